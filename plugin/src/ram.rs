//! The guest's memory, where QEMU has it mapped: found by the file that the daemon names.

use std::fs;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::layout::{Header, PIECES};

/// Where a file of memory is mapped in this process.
#[derive(Debug, Default)]
pub struct Ram {
    base: AtomicUsize,
    bytes: AtomicUsize,
    /// Of which of the daemon's tellings this is.
    generation: AtomicU64,
}

impl Ram {
    /// Of bytes of our own, for tests.
    ///
    /// # Safety
    /// They stay where they are for as long as this is used.
    pub unsafe fn over(bytes: &[AtomicU64]) -> Ram {
        Ram {
            base: AtomicUsize::new(bytes.as_ptr().expose_provenance()),
            bytes: AtomicUsize::new(size_of_val(bytes)),
            generation: AtomicU64::new(1),
        }
    }

    /// Looks for the mapping, where the daemon told of another file since; answers whether there is one.
    #[inline]
    pub fn is_found(&self, header: &Header) -> bool {
        let told = header.ram.0.generation.load(Ordering::Acquire);
        if told != self.generation.load(Ordering::Acquire) {
            self.find(header, told);
        }
        self.base.load(Ordering::Relaxed) != 0
    }

    #[cold]
    fn find(&self, header: &Header, told: u64) {
        let ram = &header.ram.0;
        let (device, inode) =
            (ram.device.load(Ordering::Relaxed), ram.inode.load(Ordering::Relaxed));
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let (base, bytes) = mapping_of(&maps, device, inode).unwrap_or_default();
        self.base.store(0, Ordering::Release);
        self.bytes.store(bytes, Ordering::Release);
        self.base.store(base, Ordering::Release);
        self.generation.store(told, Ordering::Release);
    }

    /// The place in the file of an address of ours.
    pub fn place_of(&self, address: usize) -> Option<u64> {
        let place = address.checked_sub(self.base.load(Ordering::Acquire))?;
        (place < self.bytes.load(Ordering::Relaxed)).then_some(place as u64)
    }

    /// Copies out of the file; `false` where there is none of it.
    pub fn read(&self, at: u64, into: &mut [u8]) -> bool {
        let Some(from) = self.inside(at, into.len()) else { return false };
        for (index, byte) in into.iter_mut().enumerate() {
            // SAFETY: inside of the mapping. The guest may write there: each byte is read once.
            *byte = unsafe { from.add(index).read_volatile() };
        }
        true
    }

    /// A word of the guest's; `None` where it does not lie on eight bytes of the file.
    pub fn word(&self, at: u64) -> Option<u64> {
        let from = self.inside(at, 8).filter(|_| at.is_multiple_of(8))?;
        // SAFETY: inside of the mapping, and aligned, for a mapping begins with a page.
        Some(unsafe { from.cast::<u64>().read_volatile() })
    }

    fn inside(&self, at: u64, len: usize) -> Option<*const u8> {
        let base = self.base.load(Ordering::Acquire);
        let at = usize::try_from(at).ok()?;
        let end = at.checked_add(len)?;
        let is_inside = base != 0 && end <= self.bytes.load(Ordering::Relaxed);
        is_inside.then(|| std::ptr::with_exposed_provenance(base + at))
    }
}

/// Where a file is mapped from its begin on, by the lines of `/proc/self/maps`: first address and length. A
/// mapping may be in pieces, which follow one another.
fn mapping_of(maps: &str, device: u64, inode: u64) -> Option<(usize, usize)> {
    let mut found: Option<(usize, usize)> = None;
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (range, _, offset) = (words.next()?, words.next()?, words.next()?);
        let (major, minor) = words.next()?.split_once(':')?;
        let number = words.next()?.parse::<u64>().ok()?;
        let hex = |word: &str| u64::from_str_radix(word, 16).ok();
        if number != inode || libc::makedev(hex(major)? as u32, hex(minor)? as u32) != device {
            continue;
        }
        let (start, end) = range.split_once('-')?;
        let (start, end, offset) =
            (hex(start)? as usize, hex(end)? as usize, hex(offset)? as usize);
        match &mut found {
            None if offset == 0 => found = Some((start, end - start)),
            Some((base, bytes)) if *base + *bytes == start && *bytes == offset => {
                *bytes += end - start
            }
            // A second mapping of the same file, or a part of it.
            _ => {}
        }
    }
    found
}

/// The place in the RAM's file of a guest-physical address.
#[inline]
pub fn place_in_file(header: &Header, physical: u64) -> Option<u64> {
    for piece in header.ram.0.pieces.iter().take(PIECES) {
        let [start, bytes, offset] = piece.each_ref().map(|word| word.load(Ordering::Relaxed));
        if let Some(inside) = physical.checked_sub(start).filter(|inside| *inside < bytes) {
            return Some(offset.wrapping_add(inside));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_found_by_its_file_in_one_piece_or_more() {
        let maps = "55d0-55e0 r-xp 00000000 08:01 7 /usr/bin/qemu\n\
                    7f0000000000-7f0000100000 rw-s 00000000 00:01 42 /memfd:ram (deleted)\n\
                    7f0000100000-7f0000300000 rw-s 00100000 00:01 42 /memfd:ram (deleted)\n\
                    7f1000000000-7f1000300000 rw-s 00000000 00:01 42 /memfd:ram (deleted)\n";
        let device = libc::makedev(0, 1);
        assert_eq!(mapping_of(maps, device, 42), Some((0x7f00_0000_0000, 0x30_0000)));
        assert_eq!(mapping_of(maps, device, 43), None);
        assert_eq!(mapping_of(maps, libc::makedev(8, 1), 42), None);
    }

    #[test]
    fn nothing_is_read_from_outside() {
        let words = [AtomicU64::new(7), AtomicU64::new(8)];
        // SAFETY: they stay until the end.
        let ram = unsafe { Ram::over(&words) };
        assert_eq!((ram.word(8), ram.word(4), ram.word(16)), (Some(8), None, None));
        let mut bytes = [0; 8];
        assert!(
            ram.read(8, &mut bytes) && !ram.read(9, &mut bytes) && !ram.read(u64::MAX, &mut bytes)
        );
    }
}
