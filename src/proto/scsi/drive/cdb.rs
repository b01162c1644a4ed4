//! A command descriptor block: its length follows from its first byte (SPC-5 §4.2.5.1).

/// The longest command that exists here: 32 bytes (SPC-5 §4.2.3.3 allows more).
pub const MAX_CDB_BYTES: usize = 32;

/// The operation code of commands of variable length.
pub(super) const VARIABLE: u8 = 0x7F;

/// A command's bytes, followed by zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cdb {
    bytes: [u8; MAX_CDB_BYTES],
}

impl Cdb {
    /// The command that `bytes` begin with; what is missing is zero, what is too much is ignored.
    pub fn new(bytes: &[u8]) -> Cdb {
        let mut cdb = [0; MAX_CDB_BYTES];
        for (to, from) in cdb.iter_mut().zip(bytes) {
            *to = *from;
        }
        Cdb { bytes: cdb }
    }

    /// OPERATION CODE.
    pub fn opcode(&self) -> u8 {
        self.byte(0)
    }

    /// The command's length in bytes; `None` where the operation code has none that is known.
    pub fn length(&self) -> Option<usize> {
        match self.opcode() >> 5 {
            0 => Some(6),
            1 | 2 => Some(10),
            4 => Some(16),
            5 => Some(12),
            3 if self.opcode() == VARIABLE => Some(usize::from(self.byte(7)).saturating_add(8)),
            _ => None,
        }
    }

    /// SERVICE ACTION: two bytes in a command of variable length, else five bits.
    pub fn service_action(&self) -> u16 {
        if self.opcode() == VARIABLE { self.be16(8) } else { u16::from(self.byte(1) & 0x1F) }
    }

    /// CONTROL.
    pub fn control(&self) -> u8 {
        match self.length() {
            Some(_) if self.opcode() == VARIABLE => self.byte(1),
            Some(length) => self.byte(length.saturating_sub(1)),
            None => 0,
        }
    }

    /// The byte at `at`; zero past the end.
    pub fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    /// Whether a bit is set.
    pub fn bit(&self, at: usize, mask: u8) -> bool {
        self.byte(at) & mask != 0
    }

    /// Two bytes, big-endian.
    pub fn be16(&self, at: usize) -> u16 {
        u16::from_be_bytes(self.take(at))
    }

    /// Four bytes, big-endian.
    pub fn be32(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.take(at))
    }

    /// Eight bytes, big-endian.
    pub fn be64(&self, at: usize) -> u64 {
        u64::from_be_bytes(self.take(at))
    }

    /// All the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn take<const N: usize>(&self, at: usize) -> [u8; N] {
        std::array::from_fn(|index| self.byte(at.saturating_add(index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_decides_on_the_length() {
        for (opcode, length) in [
            (0x12, Some(6)),
            (0x28, Some(10)),
            (0x5A, Some(10)),
            (0x88, Some(16)),
            (0xA8, Some(12)),
            (0x7E, None),
            (0xC0, None),
        ] {
            assert_eq!(Cdb::new(&[opcode]).length(), length, "{opcode:#x}");
        }
        assert_eq!(Cdb::new(&[0x7F, 0, 0, 0, 0, 0, 0, 0x18]).length(), Some(32));
    }

    #[test]
    fn fields_past_the_end_are_zero() {
        let cdb = Cdb::new(&[0x88, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(cdb.be64(2), 0x0102_0304_0506_0708);
        assert_eq!(cdb.be32(30), 0);
        assert_eq!(cdb.be64(usize::MAX), 0);
    }
}
