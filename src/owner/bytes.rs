//! Numbers out of bytes that nobody has checked, and the disk that the bytes come from.

use std::io;

/// Something that can be read at an offset: a disk in the guest, an image on the host.
pub trait ReadAt {
    /// Reads exactly `len` bytes at `offset`.
    ///
    /// # Errors
    /// When the disk ends before, or cannot be read.
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>>;
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The little-endian 16-bit number at `at`.
pub fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// The little-endian 32-bit number at `at`.
pub fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// The little-endian 64-bit number at `at`.
pub fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// The big-endian 16-bit number at `at`.
pub fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

/// The big-endian 32-bit number at `at`.
pub fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

/// The big-endian 64-bit number at `at`.
pub fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_be_bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    impl ReadAt for Vec<u8> {
        fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let bytes = from.checked_add(len).and_then(|end| self.get(from..end));
            bytes.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        }
    }

    impl ReadAt for std::fs::File {
        fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
            let mut bytes = vec![0; len];
            std::os::unix::fs::FileExt::read_exact_at(self, &mut bytes, offset)?;
            Ok(bytes)
        }
    }

    #[test]
    fn numbers_end_where_the_bytes_end() {
        let bytes = [1, 2, 3, 4, 5];
        assert_eq!((le16(&bytes, 3), le16(&bytes, 4)), (Some(0x0504), None));
        assert_eq!((be32(&bytes, 1), be32(&bytes, 2)), (Some(0x0203_0405), None));
        assert_eq!((le64(&bytes, 0), be64(&bytes, usize::MAX)), (None, None));
    }
}
