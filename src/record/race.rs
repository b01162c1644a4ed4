//! A race: a logical block whose bytes differ between two samples.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::holds::Holds;
use super::page::Page;
use crate::units::{BlockCount, Lba, QueueIndex};

/// The number of a race, counted from 1 in the order of their fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RaceId(pub u64);

/// Between which samples the bytes changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Submit and doorbell differ; only guards can be compared.
    BeforeDoorbell,
    /// Doorbell and fetch differ.
    InWindow,
    /// Fetch and completion differ; hardware cannot see it, so it is an audit, never a failure.
    AfterFetch,
    /// A read: what was delivered is not what stood there at a later look. The guest's memory did that,
    /// and no disk; never a failure.
    AfterDelivery,
}

impl Phase {
    /// Whether a write raced so that hardware would have seen it: what races are counted by. The others
    /// are known only because somebody looked once more.
    pub const fn is_seen_by_hardware(self) -> bool {
        match self {
            Phase::BeforeDoorbell | Phase::InWindow => true,
            Phase::AfterFetch | Phase::AfterDelivery => false,
        }
    }
}

/// What became of the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The write was refused; the medium keeps its old bytes.
    Failed,
    /// The fetched bytes were stored.
    Stored,
    /// The block was read, and delivered as it lies on the medium.
    Delivered,
}

/// The request that the block belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestInfo {
    /// The request's number, counted from 1 a session.
    pub id: u64,
    /// `write`, `read`, ….
    pub op: String,
    /// The first block of the request.
    pub lba: Lba,
    /// How many blocks it has.
    pub blocks: BlockCount,
    /// A daemon before this one took it and was killed: the doorbell sample is this one's, so that a change
    /// before it was not seen. Stands there only where it is `true`.
    #[serde(skip_serializing_if = "is_false", default)]
    pub resubmitted: bool,
}

impl RequestInfo {
    /// A request that came to this daemon first; of which blocks: the first, and how many.
    pub fn new(id: u64, op: String, (lba, blocks): (Lba, BlockCount)) -> Self {
        RequestInfo { id, op, lba, blocks, resubmitted: false }
    }
}

/// A run of bytes that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Where the run begins, in bytes from the block's start.
    pub offset: usize,
    /// The run's true length in bytes.
    pub len: usize,
    /// The earlier sample's bytes as hex, cut to the first bytes of a long run.
    pub old: String,
    /// The later sample's bytes as hex, cut alike.
    pub new: String,
}

impl Change {
    /// The earlier bytes, as far as they are on record and are hex.
    pub fn old_bytes(&self) -> Vec<u8> {
        bytes_of(&self.old)
    }

    /// The later bytes, alike.
    pub fn new_bytes(&self) -> Vec<u8> {
        bytes_of(&self.new)
    }
}

/// Reads hex as far as it is hex: a report shows what there is.
fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().map_while(|c| c.to_digit(16)).flat_map(u8::try_from).collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect()
}

/// Protection information that changed while its write was in its window, or after a read delivered it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PiChange {
    /// The guest-physical address of the tuple.
    pub gpa: u64,
    /// The tuple of the submit sample, or as it was delivered: sixteen hex digits, guard, application and
    /// reference tag.
    pub old: String,
    /// The tuple as it was fetched, or stood there at the look after the delivery.
    pub new: String,
}

/// By which rule a block has to be kept stable: what tells a bug from a property of the file system.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum OwnerKind {
    /// A file's own bytes: pages of its inode, held stable by the file system.
    Data,
    /// The journal: frozen copies.
    Journal,
    /// What the file system writes about files, as a rule through buffer heads of the device inode.
    Metadata,
    /// Nobody can tell.
    #[default]
    Unknown,
}

impl fmt::Display for OwnerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            OwnerKind::Data => "data",
            OwnerKind::Journal => "journal",
            OwnerKind::Metadata => "metadata",
            OwnerKind::Unknown => "unknown",
        })
    }
}

/// Whose block it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// `file`, `journal`, `directory`, `inode table`, …; `freed` where the block had changed hands
    /// before anybody asked, `unknown` where nothing can be told.
    pub name: String,
    /// Whether it is data, journal or metadata: each has pages of its own kind.
    #[serde(default)]
    pub kind: OwnerKind,
    /// A file's path, where it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
    /// The block's byte offset in that file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub offset: Option<u64>,
    /// Which structures lie in the block, where their places are known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub holds: Option<Holds>,
}

impl Owner {
    /// An owner that has no path: a structure of the file system.
    pub fn new(name: &str, kind: OwnerKind) -> Owner {
        Owner { name: name.to_owned(), kind, ..Owner::default() }
    }

    /// Nobody can tell.
    pub fn unknown() -> Owner {
        Owner::new("unknown", OwnerKind::Unknown)
    }

    /// The same with texts as long as paths are: who tells of one owner may mean a million races.
    #[must_use]
    pub fn cut(mut self) -> Owner {
        cut(&mut self.name);
        self.path.iter_mut().for_each(cut);
        self
    }
}

/// Linux's `PATH_MAX` (include/uapi/linux/limits.h).
const LONGEST_PATH: usize = 4096;

fn cut(text: &mut String) {
    if text.len() > LONGEST_PATH {
        let end = (0..=LONGEST_PATH).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
        text.shrink_to_fit();
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A logical block whose bytes differ between two samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Race {
    /// The race's number.
    pub id: RaceId,
    /// Microseconds between the start record and the later sample.
    pub t_us: u64,
    /// The label in force when the doorbell rang.
    pub label: Option<String>,
    /// `blk` or `scsi`.
    pub device: String,
    /// The logical unit, where there are several to tell apart.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lun: Option<u16>,
    /// The ring the request came by.
    pub queue: QueueIndex,
    /// The request.
    pub request: RequestInfo,
    /// The block.
    pub lba: Lba,
    /// The guest-physical address of the block's first byte.
    pub gpa: u64,
    /// Between which samples the bytes changed.
    pub phase: Phase,
    /// The measured time between the two samples of this request, in microseconds; 0 where the first
    /// is the guest's own, because the guest does not say when it took it.
    pub window_us: f64,
    /// The guard computed over the doorbell sample of a write.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub doorbell_guard: Option<u16>,
    /// The guard computed over the fetch sample of a write.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fetch_guard: Option<u16>,
    /// The guard computed over what a read delivered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub delivered_guard: Option<u16>,
    /// The guard computed over what stood there at the look after the delivery.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub look_guard: Option<u16>,
    /// The guard that the guest sent along (DIX only).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub submit_guard: Option<u16>,
    /// The protection information itself changed between submit and fetch, or after its delivery (DIX
    /// only). Where nothing else changed, `changed` is empty.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pi_changed: Option<PiChange>,
    /// The bytes differ and the guard does not.
    pub guard_blind: bool,
    /// The runs of bytes that changed; the first ones of very many. None where the earlier bytes are gone:
    /// before the doorbell, and where a block was written again after it was delivered.
    pub changed: Vec<Change>,
    /// How many bytes changed in all.
    pub changed_bytes: usize,
    /// The same guest page stands more than once in the chain.
    pub overlap: bool,
    /// The later look came after the completion (`--audit`): the buffer of the read was the guest's own
    /// again, so that this is no race.
    #[serde(skip_serializing_if = "is_false", default)]
    pub after_completion: bool,
    /// What became of the block.
    pub outcome: Outcome,
    /// The state of the guest's page that has the block, where its kernel could be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub page: Option<Page>,
    /// Whose block it was, where that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<Owner>,
}
