//! A records file read back: what each label counted, and the blocks that raced most.
//!
//! A daemon that was killed leaves a truncated last line and no `stop`; both are tolerated and
//! told. Anything else that is not a record is an error: half a report is no report.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::record::{
    Counters, Healed, Line, Mark, MarkState, Race, RaceId, Record, SCHEMA, Start, Stop,
};
use crate::verdict::OwnerGroup;

use super::incidents::Incidents;
use super::offenders::Offenders;
use super::owners::Owners;

/// Why a records file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The system will not give it.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// A line is not a record.
    #[error("{}, line {line}: not a record of dixtrapd", path.display())]
    NotARecord {
        /// The file.
        path: PathBuf,
        /// The line's number, counted from 1.
        line: usize,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A line of another schema.
    #[error("{}, line {line}: schema {schema}, and this build reads schema {SCHEMA}: use the dixtrap that wrote it", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The line's number, counted from 1.
        line: usize,
        /// The schema it names.
        schema: u32,
    },
    /// A line without an end.
    #[error("{}, line {line}: longer than {} bytes, which no record of dixtrapd is", path.display(), LONGEST_LINE)]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The line's number, counted from 1.
        line: usize,
    },
    /// Nothing in it.
    #[error("{} holds no record: was it the file given to dixtrapd with --races?", .0.display())]
    Empty(PathBuf),
}

/// How long a line may be. The longest that dixtrapd writes has a few kilobytes and a label.
pub const LONGEST_LINE: u64 = 1 << 20;

/// What was counted while one label was open; of a label opened several times, the sum.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LabelSummary {
    /// What the daemon counted, from every `end` mark.
    pub counters: Vec<Counters>,
    /// Race records that carry the label and are no mere audit.
    pub races: u64,
    /// How many of these a later clean write covered, be it after the label's end.
    pub healed: u64,
    /// Microseconds from the label's first begin to its first race.
    pub first_catch_us: Option<u64>,
    /// When it was opened first.
    pub began_us: Option<u64>,
    /// Whose blocks raced; empty where nobody found out.
    pub owners: Vec<OwnerGroup>,
}

impl LabelSummary {
    /// A figure summed over the times the label was open; `None` where none of them has ended.
    pub fn sum(&self, figure: fn(&Counters) -> u64) -> Option<u64> {
        (!self.counters.is_empty()).then(|| self.counters.iter().map(figure).sum())
    }

    /// Races that a later clean write covered, and those that nothing has. The daemon's own figures
    /// end with the label, but know of races whose records were lost.
    pub fn healed_and_standing(&self) -> (u64, u64) {
        let counted = self.sum(|c| c.races.before_doorbell + c.races.in_window).unwrap_or(0);
        let healed = self.healed.max(self.sum(|c| c.healed).unwrap_or(0));
        (healed, self.races.max(counted).saturating_sub(healed))
    }
}

/// The file beside the records that says whose the blocks were.
pub const OWNERS: &str = "owners.jsonl";

/// The label of races that have none.
pub const UNLABELLED: &str = "(no label)";

/// A records file, read.
#[derive(Debug, Default)]
pub struct Session {
    /// The first record.
    pub start: Option<Start>,
    /// The last record; `None` where the daemon did not end by itself.
    pub stop: Option<Stop>,
    /// The last line ends in the middle.
    pub truncated: bool,
    /// By label, in the order of the alphabet.
    pub labels: BTreeMap<String, LabelSummary>,
    /// The blocks that raced.
    pub offenders: Offenders,
    /// What else there is on record.
    pub incidents: Incidents,
    owners: Owners,
    /// The label of every race that nothing has covered yet.
    standing: BTreeMap<RaceId, Arc<str>>,
    /// The last label that raced, shared by its races: there may be millions.
    name: Option<Arc<str>>,
}

/// What every line has, whatever its type.
#[derive(Deserialize)]
struct Versioned {
    schema: u32,
}

impl Session {
    /// A figure of the daemon's own: of the whole session once that has ended, else of its labels.
    pub fn counted(&self, figure: fn(&Counters) -> u64) -> u64 {
        match &self.stop {
            Some(stop) => figure(&stop.counters),
            None => self.labels.values().flat_map(|label| &label.counters).map(figure).sum(),
        }
    }

    /// Reads the file at `path`, and [`OWNERS`] where that lies beside it.
    pub fn read(path: &Path) -> Result<Session, SessionError> {
        let mut session = Session::default();
        let beside = path.with_file_name(OWNERS);
        if beside.is_file() && beside != path {
            each_record(&beside, &mut |record| session.add(record))?;
        }
        session.truncated = each_record(path, &mut |record| session.add(record))?;
        session.finish();
        Ok(session)
    }

    /// Turns what was gathered by owner into each label's groups.
    fn finish(&mut self) {
        for (label, groups) in self.owners.groups() {
            if let Some(summary) = self.labels.get_mut(&label) {
                summary.owners = groups;
            }
        }
    }

    fn add(&mut self, record: Record) {
        match record {
            Record::Start(start) => self.start = Some(start),
            Record::Stop(stop) => self.stop = Some(stop),
            Record::Mark(mark) => self.add_mark(mark),
            Record::Race(race) => self.add_race(*race),
            Record::Healed(healed) => self.add_healed(&healed),
            Record::Window(change) => self.incidents.add_window(change),
            Record::Owner(owner) => self.owners.learn(owner),
            Record::Inject(_) => self.incidents.injected += 1,
            Record::Medium(fault) => self.incidents.add_medium(fault),
            Record::Broken(broken) => self.incidents.add_broken(broken),
        }
    }

    fn add_mark(&mut self, mark: Mark) {
        let summary = self.labels.entry(mark.label).or_default();
        match mark.state {
            MarkState::Begin => {
                summary.began_us.get_or_insert(mark.t_us);
            }
            MarkState::End => summary.counters.extend(mark.counters),
        }
    }

    fn add_race(&mut self, mut race: Race) {
        if !race.phase.is_seen_by_hardware() {
            self.owners.tell(&mut race);
            return self.incidents.add_look(race);
        }
        let label = race.label.clone().unwrap_or_else(|| UNLABELLED.to_owned());
        self.owners.add(&label, &mut race);
        let known = self.name.take().filter(|name| **name == *label);
        let name = known.unwrap_or_else(|| label.as_str().into());
        self.standing.insert(race.id, Arc::clone(&name));
        self.name = Some(name);
        let summary = self.labels.entry(label).or_default();
        summary.races += 1;
        let since = race.t_us.saturating_sub(summary.began_us.unwrap_or(0));
        summary.first_catch_us.get_or_insert(since);
        self.offenders.add(race);
    }

    fn add_healed(&mut self, healed: &Healed) {
        self.owners.healed(healed.race, healed.after_us);
        self.offenders.healed(healed.race, healed.after_us);
        let label = self.standing.remove(&healed.race);
        if let Some(summary) = label.and_then(|label| self.labels.get_mut(&*label)) {
            summary.healed += 1;
        }
    }
}

/// Hands every record of the file at `path` over, in order; whether its last line was cut off.
///
/// # Errors
/// When it cannot be read, and when a line that is whole is no record.
pub fn each_record(path: &Path, take: &mut dyn FnMut(Record)) -> Result<bool, SessionError> {
    let file = File::open(path).map_err(|e| SessionError::Read(path.to_owned(), e))?;
    each_line(path, BufReader::new(file), take)
}

fn each_line(
    path: &Path,
    mut input: impl BufRead,
    take: &mut dyn FnMut(Record),
) -> Result<bool, SessionError> {
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let read = (&mut input)
            .take(LONGEST_LINE.saturating_add(1))
            .read_until(b'\n', &mut text)
            .map_err(|e| SessionError::Read(path.to_owned(), e))?;
        if read == 0 && line == 1 {
            return Err(SessionError::Empty(path.to_owned()));
        }
        if read == 0 {
            break;
        }
        if u64::try_from(read).unwrap_or(u64::MAX) > LONGEST_LINE {
            return Err(SessionError::TooLong { path: path.to_owned(), line });
        }
        match parse(&text) {
            Ok(record) => take(record),
            // Cut off while it was written. A first line is no evidence of a records file.
            Err(Bad::Json(_)) if line > 1 && !text.ends_with(b"\n") => return Ok(true),
            Err(bad) => return Err(bad.at(path, line)),
        }
    }
    Ok(false)
}

enum Bad {
    Json(serde_json::Error),
    Schema(u32),
}

impl Bad {
    fn at(self, path: &Path, line: usize) -> SessionError {
        let path = path.to_owned();
        match self {
            Bad::Json(source) => SessionError::NotARecord { path, line, source },
            Bad::Schema(schema) => SessionError::Schema { path, line, schema },
        }
    }
}

/// Reads one line. The schema comes first: a newer one may have types that this build lacks.
fn parse(text: &[u8]) -> Result<Record, Bad> {
    match serde_json::from_slice::<Versioned>(text) {
        Ok(versioned) if versioned.schema != SCHEMA => Err(Bad::Schema(versioned.schema)),
        Ok(_) => serde_json::from_slice::<Line>(text).map(|l| l.record).map_err(Bad::Json),
        Err(error) => Err(Bad::Json(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::offenders::tests::race;
    use super::*;
    use crate::record::{OwnerKind, Phase, RaceId, RaceOwner};

    fn line(record: Record) -> String {
        serde_json::to_string(&Line::from(record)).unwrap() + "\n"
    }

    fn mark(t_us: u64, state: MarkState) -> String {
        let counters =
            (state == MarkState::End).then(|| Counters { writes: 7, ..Counters::default() });
        line(Record::Mark(Mark { t_us, label: "a".into(), state, counters }))
    }

    fn read(text: &str) -> Result<Session, SessionError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("races.jsonl");
        std::fs::write(&path, text).unwrap();
        Session::read(&path)
    }

    #[test]
    fn owners_beside_the_records_are_joined_and_grouped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("races.jsonl");
        let labelled = |id, lba| Race { label: Some("a".into()), ..race(id, lba) };
        let healed = |race, after_us| {
            line(Record::Healed(crate::record::Healed { t_us: 9, race: RaceId(race), after_us }))
        };
        let races: String =
            (1..=4).map(|id| line(Record::Race(Box::new(labelled(id, id))))).collect();
        std::fs::write(
            &path,
            races
                + &healed(1, 40)
                + &healed(2, 30)
                + &healed(4, 1)
                + &mark(9, MarkState::End)
                + &healed(3, 50),
        )
        .unwrap();
        let owner = |race, name: &str, kind| {
            let owner = crate::record::Owner::new(name, kind);
            line(Record::Owner(RaceOwner { race: RaceId(race), owner }))
        };
        let owners: String =
            (1..=3).map(|id| owner(id, "inode table", OwnerKind::Metadata)).collect();
        std::fs::write(dir.path().join(OWNERS), owners).unwrap();
        let session = Session::read(&path).unwrap();
        let groups = &session.labels["a"].owners;
        let told: Vec<_> =
            groups.iter().map(|g| (g.name.as_str(), g.races, g.healed, g.healed_in_us)).collect();
        assert_eq!(told, [("inode table", 3, 3, Some(50)), ("unknown", 1, 1, Some(1))]);
        assert_eq!(session.labels["a"].healed_and_standing(), (4, 0), "after its end as well");
        let worst = session.offenders.worst(1, |_| true);
        assert_eq!(worst[0].worst.owner.as_ref().unwrap().name, "inode table");
    }

    #[test]
    fn labels_keep_their_counters_and_first_catch() {
        let first = Race { t_us: 1_500, label: Some("a".into()), ..race(1, 8) };
        let second = Race { t_us: 1_900, label: Some("a".into()), ..race(2, 9) };
        let audit = Race { phase: Phase::AfterFetch, ..race(3, 9) };
        let text = mark(1_000, MarkState::Begin)
            + &line(Record::Race(Box::new(first)))
            + &line(Record::Race(Box::new(second)))
            + &line(Record::Race(Box::new(audit)))
            + &mark(2_000, MarkState::End);
        let session = read(&text).unwrap();
        let label = &session.labels["a"];
        assert_eq!((label.races, label.first_catch_us), (2, Some(500)));
        assert_eq!(label.healed_and_standing(), (0, 2), "an audited race is none");
        assert_eq!(label.counters[0].writes, 7);
        assert!(!session.labels.contains_key(UNLABELLED));
        assert!(session.stop.is_none() && !session.truncated);
    }

    #[test]
    fn a_line_without_an_end_is_given_up() {
        let long =
            mark(1, MarkState::Begin).replace("\"a\"", &format!("{:?}", "a".repeat(1 << 20)));
        let error = read(&(mark(1, MarkState::Begin) + &long)).unwrap_err();
        assert!(matches!(error, SessionError::TooLong { line: 2, .. }), "{error}");
        let error = Session::read(Path::new("/dev/zero")).unwrap_err();
        assert!(matches!(error, SessionError::TooLong { line: 1, .. }), "{error}");
    }

    #[test]
    fn only_the_last_line_may_be_cut_off() {
        let whole = mark(1, MarkState::Begin);
        let cut = &whole[..20];
        assert!(read(&format!("{whole}{cut}")).unwrap().truncated);
        let error = read(&format!("{whole}{cut}\n{whole}")).unwrap_err();
        assert!(matches!(error, SessionError::NotARecord { line: 2, .. }), "{error}");
        assert!(read(cut).is_err());
        assert!(matches!(read(""), Err(SessionError::Empty(_))));
        let newer = whole.replace("\"schema\":1", "\"schema\":2");
        assert!(matches!(read(&newer), Err(SessionError::Schema { schema: 2, .. })));
    }
}
