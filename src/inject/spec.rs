//! A fault and the conditions under which it happens.

use std::fmt;

use super::fault::{Fault, Place};
use super::ops::{Op, OpSet};
use crate::units::{BlockCount, Lba};

/// Blocks from `first` up to and without `end`. Not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LbaRange {
    /// The first block.
    pub first: Lba,
    /// The block behind the last.
    pub end: Lba,
}

/// One specification. [`fmt::Display`] and [`std::str::FromStr`] are each other's inverse.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spec {
    /// What happens.
    pub fault: Fault,
    /// To which classes of requests.
    pub ops: OpSet,
    /// To requests that touch these blocks.
    pub blocks: Option<LbaRange>,
    /// To requests to this logical unit.
    pub lun: Option<u16>,
    /// Not before this many requests matched; from 1.
    pub nth: u64,
    /// With which probability; above 0 and up to 1.
    pub probability: f64,
    /// How many times; `None` for ever.
    pub count: Option<u64>,
}

impl Spec {
    /// A fault that happens once, to the first request it can happen to.
    pub fn new(fault: Fault) -> Spec {
        let ops = default_ops(fault);
        Spec { fault, ops, blocks: None, lun: None, nth: 1, probability: 1.0, count: Some(1) }
    }

    /// The first block that a request of `blocks` blocks at `lba` has in that range; its place in the
    /// request.
    pub(super) fn first_hit(&self, lba: Lba, blocks: BlockCount) -> Option<u64> {
        let Some(LbaRange { first, end }) = self.blocks else { return Some(0) };
        let hit = lba.max(first);
        let index = hit.0.checked_sub(lba.0)?;
        (index < blocks.0 && hit < end).then_some(index)
    }
}

/// The classes of requests that a fault happens to where `op=` is left out.
pub(super) fn default_ops(fault: Fault) -> OpSet {
    match fault {
        Fault::Flip { place: Place::Out, .. } => OpSet::only(Op::Read),
        Fault::Flip { .. } | Fault::Misdirect(_) | Fault::Lost | Fault::Torn(_) => {
            OpSet::only(Op::Write)
        }
        Fault::Sense(_) | Fault::MediumError | Fault::Busy | Fault::NoAnswer => OpSet::ANY,
    }
}

/// The classes of requests that a fault can happen to.
pub(super) fn possible_ops(fault: Fault) -> OpSet {
    match fault {
        Fault::Flip { place: Place::Medium, .. } => OpSet::only(Op::Write).with(Op::Read),
        _ => default_ops(fault),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Flip { part, place, byte } => {
                write!(f, "flip={},at={}", part.name(), place.name())?;
                if *byte != 0 { write!(f, ",byte={byte}") } else { Ok(()) }
            }
            Fault::Misdirect(by) => write!(f, "misdirect={by:+}"),
            Fault::Lost => f.write_str("lost"),
            Fault::Torn(blocks) => write!(f, "torn={blocks}"),
            Fault::Sense(sense) => write!(f, "sense={sense}"),
            Fault::MediumError => f.write_str("medium-error"),
            Fault::Busy => f.write_str("busy"),
            Fault::NoAnswer => f.write_str("no-answer"),
        }
    }
}

impl fmt::Display for LbaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first.0.checked_add(1) == Some(self.end.0) {
            return self.first.fmt(f);
        }
        write!(f, "{}..{}", self.first, self.end)
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)?;
        if self.ops != default_ops(self.fault) {
            write!(f, ",op={}", self.ops)?;
        }
        if let Some(blocks) = self.blocks {
            write!(f, ",lba={blocks}")?;
        }
        if let Some(lun) = self.lun {
            write!(f, ",lun={lun}")?;
        }
        if self.nth != 1 {
            write!(f, ",nth={}", self.nth)?;
        }
        #[allow(clippy::float_cmp, reason = "1 is exact")]
        if self.probability != 1.0 {
            write!(f, ",p={}", self.probability)?;
        }
        match self.count {
            Some(1) => Ok(()),
            Some(count) => write!(f, ",count={count}"),
            None => f.write_str(",count=all"),
        }
    }
}
