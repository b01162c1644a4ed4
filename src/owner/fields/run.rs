//! A run of bytes that changed, as a record has it.

/// Bytes of a block, before and after, one behind the other.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) offset: u64,
    /// As long as the run is, though fewer of its bytes are on record.
    pub(super) len: u64,
    pub(super) old: Vec<u8>,
    pub(super) new: Vec<u8>,
}

impl Run {
    /// The first and the last byte that may have changed, and the one behind.
    pub(super) fn range(&self) -> std::ops::Range<u64> {
        self.offset..self.offset.saturating_add(self.len)
    }

    /// What the record has of `len` bytes at `at`, before and after, where it has all.
    pub(super) fn bytes(&self, at: u64, len: usize) -> Option<(&[u8], &[u8])> {
        let from = usize::try_from(at.checked_sub(self.offset)?).ok()?;
        let to = from.checked_add(len)?;
        Some((self.old.get(from..to)?, self.new.get(from..to)?))
    }

    /// Whether a byte of this range is known to be another one, or not known to be the same.
    pub(super) fn changes(&self, range: &std::ops::Range<u64>) -> bool {
        let known = u64::try_from(self.old.len().min(self.new.len())).unwrap_or(u64::MAX);
        let from = range.start.max(self.offset);
        let to = range.end.min(self.range().end);
        (from..to.max(from)).any(|at| {
            let index = at - self.offset;
            let byte =
                |bytes: &[u8]| usize::try_from(index).ok().and_then(|i| bytes.get(i).copied());
            index >= known || byte(&self.old) != byte(&self.new)
        })
    }

    /// One side of a short field, byte by byte; `..` stands for one that is not on record.
    pub(super) fn side(&self, begin: u64, len: u64, pick: fn((u8, u8)) -> u8) -> String {
        let word = |at: u64| match self.bytes(begin.saturating_add(at), 1) {
            Some((&[old], &[new])) => format!("{:02x}", pick((old, new))),
            _ => "..".to_owned(),
        };
        (0..len).map(word).collect::<Vec<_>>().join(" ")
    }
}
