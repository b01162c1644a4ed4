//! The schema of the records: one JSON object a line, `"schema": 1`.
//!
//! The daemon writes these lines and every other format derives from them, so this module is the
//! contract between the two programs. Names say when a sample was taken, never who is right.

mod counters;
mod culprit;
mod holds;
mod page;
mod race;

use serde::{Deserialize, Serialize};

pub use counters::{Counters, Phases, WindowStats};
pub use culprit::{Culprit, Side, StackBy, StoreSeen, Submitter};
pub use holds::{Holds, Structure};
pub use page::{Page, PageHost};
pub use race::{Change, Outcome, Owner, OwnerKind, Phase, PiChange, Race, RaceId, RequestInfo};

use crate::units::{BlockSize, ByteSize, Lba, QueueIndex, WindowSpec};

/// The version of the schema that this build writes and reads.
pub const SCHEMA: u32 = 1;

/// One line of a records file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// What happened.
    #[serde(flatten)]
    pub record: Record,
}

impl From<Record> for Line {
    fn from(record: Record) -> Self {
        Line { schema: SCHEMA, record }
    }
}

/// Something worth a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Record {
    /// The daemon began to serve: what disk, what rules.
    Start(Start),
    /// A label began or ended; races in between carry it.
    Mark(Mark),
    /// A logical block whose bytes differ between two samples.
    Race(Box<Race>),
    /// A fault that was injected on purpose; never counted as found.
    Inject(Inject),
    /// A later clean write covered a block that had raced.
    Healed(Healed),
    /// The window of writes to come was changed.
    Window(WindowChange),
    /// Data on the medium that does not match its stored protection information.
    Medium(MediumFault),
    /// A ring or a connection that could not be followed any further.
    Broken(Broken),
    /// Whose block a race was; found out afterwards, so it stands in a file of its own.
    Owner(RaceOwner),
    /// Who changed the bytes of a race; in a file of its own, too.
    Culprit(Box<Culprit>),
    /// The file has reached its limit: what follows of races and their like is only counted.
    Limit(Limit),
    /// The daemon ended; the figures of the whole session.
    Stop(Stop),
}

/// What `--on-race` says: refuse the write as hardware would, or store it and go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnRace {
    /// The write fails; none of its blocks reaches the medium.
    Fail,
    /// The fetched data is stored with protection information recomputed over it.
    Report,
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// dixtrap's version.
    pub version: String,
    /// `blk` or `scsi`.
    pub device: String,
    /// The path of the image, or `memory`; of the first one where there are several.
    pub disk: String,
    /// With `scsi`: the disk of each logical unit, by number.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub luns: Vec<String>,
    /// Bytes a logical block.
    pub block_size: BlockSize,
    /// The protection type, 0 to 3.
    pub pi_type: u8,
    /// The window asked for.
    pub window: WindowSpec,
    /// The seed of every random draw.
    pub seed: u64,
    /// What happens to a write that raced.
    pub on_race: OnRace,
    /// Nothing is checked: a benchmark's yardstick, no trap.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub unchecked: bool,
    /// The names of the virtio features offered.
    pub features: Vec<String>,
    /// Wall-clock time of `t_us` 0, milliseconds since 1970.
    pub unix_ms: u64,
}

/// Whether a mark opens or closes its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarkState {
    /// Races from here on carry the label.
    Begin,
    /// The label is over.
    End,
}

/// A label set over the control socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Microseconds since the start record.
    pub t_us: u64,
    /// The label.
    pub label: String,
    /// Opened or closed.
    pub state: MarkState,
    /// With `end`: what was counted while the label was open.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub counters: Option<Counters>,
}

/// A fault that was injected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inject {
    /// Microseconds since the start record.
    pub t_us: u64,
    /// The specification it came from.
    pub spec: String,
    /// The first block it touched; 0 where the request has none.
    pub lba: Lba,
    /// The label in force.
    #[serde(default)]
    pub label: Option<String>,
    /// The class of the request: `read`, `write`, ….
    #[serde(default)]
    pub op: String,
    /// The logical unit it went to, where there are several.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lun: Option<u16>,
}

/// A race that a later clean write covered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Healed {
    /// Microseconds since the start record.
    pub t_us: u64,
    /// The race's `id`.
    pub race: RaceId,
    /// Microseconds between the race's fetch and the clean write's.
    pub after_us: u64,
}

/// Another window than the start record's, set over the control socket.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WindowChange {
    /// Microseconds since the start record.
    pub t_us: u64,
    /// The window asked for from here on.
    pub spec: WindowSpec,
}

/// A block on the medium whose data and stored protection information disagree, or that reads back
/// other than it was just written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MediumFault {
    /// Microseconds since the start record.
    pub t_us: u64,
    /// The label in force.
    pub label: Option<String>,
    /// The logical unit, where there are several to tell apart.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lun: Option<u16>,
    /// The block.
    pub lba: Lba,
    /// Which of the three checks failed first: `guard`, `app` or `ref`; or `data` where a block reads
    /// back other than it was written, with the guards of both.
    pub check: String,
    /// The tag as it lies on the medium.
    pub stored: u32,
    /// The tag as computed from the data or the address.
    pub computed: u32,
    /// A fault that was injected did it: not counted among `medium_faults`.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub injected: bool,
}

/// Something of the peer's that could not be followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Broken {
    /// Microseconds since the start record.
    pub t_us: u64,
    /// The ring, where one is to blame.
    pub queue: Option<QueueIndex>,
    /// What was wrong.
    pub reason: String,
}

/// Whose block a race was. `dixtrap run` writes these lines to `owners.jsonl`, beside the records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaceOwner {
    /// The race's `id`.
    pub race: RaceId,
    /// Whose.
    pub owner: Owner,
}

/// The records have reached `--races-limit`, or a label its part of it. But for the first of each label beyond
/// its limit, races and all else that a guest can make more of are only counted; and of labels that begin beyond
/// it the first thousand have their marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Microseconds since the start record.
    pub t_us: u64,
    /// The limit in bytes.
    pub limit: ByteSize,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// Microseconds since the start record.
    pub t_us: u64,
    /// The figures of the whole session.
    pub counters: Counters,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_schema_and_type() {
        let line = Line::from(Record::Healed(Healed { t_us: 5, race: RaceId(1), after_us: 3 }));
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(text, r#"{"schema":1,"type":"healed","t_us":5,"race":1,"after_us":3}"#);
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
    }
}
