//! A file on tmpfs, or a memory file, seen through a mapping: no system call for a copy.
//!
//! Only there: such a file's pages are memory already. A page that it has stays until it is punched
//! out, so touching it can neither need room that is not there nor fail to be read; on a disk's file
//! system either would be a SIGBUS. What has no page yet is written with pwrite, which answers a full
//! file system with an error number, and read with pread, which allocates nothing. Where somebody
//! else takes pages away all the same, the mapping is given up; see [`Watch`].

use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use super::copy::{load, prepare, store};
use crate::memory::{Owner, Watch};

/// A page of tmpfs: what is allocated at once, and punched out at once. Larger ones are made of these.
const PAGE: u64 = 4096;

/// A shared mapping of a whole file.
#[derive(Debug)]
pub(super) struct Mapped {
    base: NonNull<u8>,
    len: u64,
    writable: bool,
    /// A bit for every page: the file has it. Set after the page was seen or made; cleared before
    /// it is punched out, by who keeps everyone else out of all that lies on it.
    present: Box<[AtomicU64]>,
    watch: Watch,
}

// SAFETY: the mapping belongs to no thread, and is only touched by copies through raw pointers.
unsafe impl Send for Mapped {}
// SAFETY: as above; who touches which bytes when is the business of the range locks above, and two
// copies that meet all the same leave mixed bytes and no undefined value (as pwrite would).
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps `file`, `len` bytes long, if its pages are memory.
    pub(super) fn of(file: impl AsFd, len: u64, writable: bool) -> Option<Mapped> {
        let kind = fstatfs(&file).ok()?.filesystem_type();
        if kind != TMPFS_MAGIC {
            return None;
        }
        let bytes = std::num::NonZeroUsize::new(usize::try_from(len).ok()?)?;
        let words = usize::try_from(len.div_ceil(PAGE).div_ceil(64)).ok()?;
        let access = if writable {
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE
        } else {
            ProtFlags::PROT_READ
        };
        // SAFETY: a new mapping at a place of the kernel's choice, which nothing else refers to.
        let base = unsafe { mmap(None, bytes, access, MapFlags::MAP_SHARED, &file, 0) }.ok()?;
        let watch = Watch::over(Owner::Medium, base.as_ptr().expose_provenance(), bytes.get());
        let Some(watch) = watch else {
            unmap(base, bytes.get());
            return None;
        };
        let present = (0..words).map(|_| AtomicU64::new(0)).collect();
        Some(Mapped { base: base.cast(), len, writable, present, watch })
    }

    /// The file has these bytes' pages: it was written there, or seen to have data.
    pub(super) fn note_present(&self, offset: u64, len: u64) {
        for (word, bits) in words_of(pages_touched(offset, len)) {
            if let Some(word) = self.present.get(word)
                && word.load(Ordering::Relaxed) & bits != bits
            {
                word.fetch_or(bits, Ordering::AcqRel);
            }
        }
    }

    /// The pages that lie wholly inside are about to be punched out. The caller keeps everyone else
    /// out of the range.
    pub(super) fn note_absent(&self, offset: u64, len: u64) {
        for (word, bits) in words_of(pages_inside(offset, len)) {
            if let Some(word) = self.present.get(word) {
                word.fetch_and(!bits, Ordering::AcqRel);
            }
        }
    }

    fn has(&self, offset: u64, len: u64) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len)
            && words_of(pages_touched(offset, len)).all(|(word, bits)| {
                let word = self.present.get(word);
                word.is_some_and(|word| word.load(Ordering::Acquire) & bits == bits)
            })
    }

    /// Copies out of the file; `false`, and nothing of any meaning copied, where it does not have all
    /// the pages.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> bool {
        let Some(at) = self.place(offset, into.len()) else { return false };
        // SAFETY: `place` answers for the range.
        unsafe { load(at, into) };
        !self.watch.is_lost()
    }

    /// Lets `copy` have the bytes where they lie; `false` where the file does not have all the pages:
    /// then nothing that it copied has any meaning.
    ///
    /// What it is given is readable for `len` bytes until it returns. Others may write there.
    pub(super) fn in_place(&self, offset: u64, len: usize, copy: impl FnOnce(*const u8)) -> bool {
        let Some(at) = self.place(offset, len) else { return false };
        copy(at);
        !self.watch.is_lost()
    }

    /// The bytes will be touched soon: the CPU may bring them near.
    pub(super) fn expect(&self, offset: u64, len: usize) {
        if let Some(at) = self.place(offset, len) {
            prepare(at, len);
        }
    }

    /// Copies into the file; `false` where it does not have all the pages: then it has to be written
    /// another way, all of it.
    pub(super) fn write(&self, offset: u64, from: &[u8]) -> bool {
        let Some(at) = self.place(offset, from.len()).filter(|_| self.writable) else {
            return false;
        };
        // SAFETY: `place` answers for the range, and the mapping may be written.
        unsafe { store(at, from) };
        // Data before tuples, as with system calls: what a killed process leaves was stored in this
        // order.
        fence(Ordering::Release);
        !self.watch.is_lost()
    }

    /// The bytes at `offset`, if they are all there.
    fn place(&self, offset: u64, len: usize) -> Option<*mut u8> {
        let bytes = u64::try_from(len).ok()?;
        let start = usize::try_from(offset).ok().filter(|_| !self.watch.is_lost())?;
        // Inside the mapping, by `has`.
        self.has(offset, bytes).then(|| self.base.as_ptr().wrapping_add(start))
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.watch.end();
        if let Ok(len) = usize::try_from(self.len) {
            unmap(self.base.cast(), len);
        }
    }
}

/// Takes away a mapping of ours that nothing refers to any more.
fn unmap(base: NonNull<c_void>, len: usize) {
    // SAFETY: the caller's word; all of this file's mappings are whole files.
    if let Err(errno) = unsafe { munmap(base, len) } {
        log::warn!("a file's mapping cannot be taken away: {}", io::Error::from(errno));
    }
}

/// The pages `[start, end)` that have a byte of the range.
fn pages_touched(offset: u64, len: u64) -> (u64, u64) {
    if len == 0 {
        return (0, 0);
    }
    (offset / PAGE, offset.saturating_add(len).div_ceil(PAGE))
}

/// The pages `[start, end)` that have no byte outside the range.
fn pages_inside(offset: u64, len: u64) -> (u64, u64) {
    (offset.div_ceil(PAGE), offset.saturating_add(len) / PAGE)
}

/// Pages `[start, end)` as words of the bitmap and the bits in each.
fn words_of((start, end): (u64, u64)) -> impl Iterator<Item = (usize, u64)> {
    let words = if start < end { start / 64..(end - 1) / 64 + 1 } else { 0..0 };
    words.map(move |word| {
        let low = start.saturating_sub(word * 64).min(63);
        let high = (end - word * 64).min(64);
        let bits = (u64::MAX >> (64 - (high - low))) << low;
        (usize::try_from(word).unwrap_or(usize::MAX), bits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use proptest::prelude::*;

    fn file(len: u64) -> std::fs::File {
        let file = std::fs::File::from(memfd_create("test", MFdFlags::MFD_CLOEXEC).unwrap());
        file.set_len(len).unwrap();
        file
    }

    fn mapped(len: u64) -> Mapped {
        Mapped::of(file(len), len, true).unwrap()
    }

    #[test]
    fn a_file_made_shorter_by_somebody_else_ends_the_mapping_and_not_the_process() {
        let file = file(4 * PAGE);
        for write in [true, false] {
            let mapped = Mapped::of(&file, 4 * PAGE, true).unwrap();
            mapped.note_present(0, 4 * PAGE);
            file.set_len(4 * PAGE).unwrap();
            assert!(mapped.write(2 * PAGE, &[1; 4096]));
            file.set_len(PAGE).unwrap();
            let done =
                if write { mapped.write(0, &[2; 16384]) } else { mapped.read(0, &mut [0; 16384]) };
            assert!(!done);
            assert!(!mapped.write(0, &[3; 16]), "the mapping is not used again");
        }
        // Other mappings are none the worse.
        let other = Mapped::of(&file, PAGE, true).unwrap();
        other.note_present(0, PAGE);
        assert!(other.write(0, &[4; 4096]));
    }

    #[test]
    fn only_pages_that_are_there_are_touched() {
        let mapped = mapped(10 * PAGE);
        assert!(!mapped.write(0, &[1; 512]));
        mapped.note_present(PAGE + 512, PAGE);
        assert!(mapped.write(PAGE, &[7; 8192]));
        assert!(!mapped.write(PAGE - 1, &[7; 8]));
        let mut bytes = [0; 8192];
        assert!(mapped.read(PAGE, &mut bytes));
        assert_eq!(bytes, [7; 8192]);
        // Half a page is not punched out, a whole one is.
        mapped.note_absent(PAGE + 512, 2 * PAGE - 512);
        assert!(mapped.read(PAGE, &mut [0; 4096]));
        assert!(!mapped.read(2 * PAGE, &mut [0; 1]));
    }

    #[test]
    fn nothing_past_the_end() {
        let mapped = mapped(PAGE + 512);
        mapped.note_present(0, 2 * PAGE);
        assert!(mapped.write(PAGE, &[1; 512]));
        assert!(!mapped.write(PAGE, &[1; 513]));
        assert!(!mapped.read(u64::MAX, &mut [0; 2]));
    }

    proptest! {
        #[test]
        fn words_cover_exactly_the_pages(start in 0u64..300, count in 0u64..300) {
            let mut pages = Vec::new();
            for (word, bits) in words_of((start, start + count)) {
                pages.extend((0..64).filter(|bit| bits >> bit & 1 == 1).map(|bit| word as u64 * 64 + bit));
            }
            prop_assert_eq!(pages, (start..start + count).collect::<Vec<_>>());
        }
    }
}
