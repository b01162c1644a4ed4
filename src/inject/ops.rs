//! Classes of requests.

use std::fmt;

/// A class of requests, of virtio-blk and SCSI alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Data goes to the guest.
    Read,
    /// Data comes from the guest and is stored.
    Write,
    /// Stored blocks are checked or compared.
    Verify,
    /// Discard, UNMAP.
    Discard,
    /// Write zeroes, WRITE SAME.
    Zeroes,
    /// Flush, SYNCHRONIZE CACHE.
    Flush,
    /// Everything else: commands that read, write or free no blocks.
    Other,
}

impl Op {
    /// All of them.
    pub const ALL: [Op; 7] =
        [Op::Read, Op::Write, Op::Verify, Op::Discard, Op::Zeroes, Op::Flush, Op::Other];

    /// The name in specifications and records.
    pub const fn name(self) -> &'static str {
        match self {
            Op::Read => "read",
            Op::Write => "write",
            Op::Verify => "verify",
            Op::Discard => "discard",
            Op::Zeroes => "zeroes",
            Op::Flush => "flush",
            Op::Other => "other",
        }
    }

    /// The class with this name.
    pub fn from_name(name: &str) -> Option<Op> {
        Op::ALL.into_iter().find(|op| op.name() == name)
    }

    const fn bit(self) -> u8 {
        match self {
            Op::Read => 1,
            Op::Write => 2,
            Op::Verify => 4,
            Op::Discard => 8,
            Op::Zeroes => 16,
            Op::Flush => 32,
            Op::Other => 64,
        }
    }
}

/// A set of request classes, as `op=` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpSet(u8);

impl OpSet {
    /// No class.
    pub const NONE: OpSet = OpSet(0);
    /// Every class.
    pub const ANY: OpSet = OpSet(0x7F);

    /// One class.
    pub const fn only(op: Op) -> OpSet {
        OpSet(op.bit())
    }

    /// These classes and one more.
    #[must_use]
    pub const fn with(self, op: Op) -> OpSet {
        OpSet(self.0 | op.bit())
    }

    /// Whether `op` is among them.
    pub const fn has(self, op: Op) -> bool {
        self.0 & op.bit() != 0
    }

    /// The first class that is here and not in `other`.
    pub fn first_not_in(self, other: OpSet) -> Option<Op> {
        Op::ALL.into_iter().find(|op| self.has(*op) && !other.has(*op))
    }
}

impl fmt::Display for OpSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == OpSet::ANY {
            return f.write_str("any");
        }
        let names: Vec<&str> =
            Op::ALL.into_iter().filter(|op| self.has(*op)).map(Op::name).collect();
        f.write_str(&names.join("+"))
    }
}
