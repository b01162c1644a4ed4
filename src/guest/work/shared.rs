//! Memory that several threads, or a thread and the kernel, change at once. The only `unsafe` of
//! the writers: every access from here is atomic, so that racing on purpose stays defined.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use io_uring::{IoUring, opcode, squeue, types};
use nix::sys::mman::{MapFlags, MsFlags, ProtFlags, mmap, mmap_anonymous, msync, munmap};

/// A page-aligned mapping, readable and writable, whose words may change under everybody's hands.
#[derive(Debug)]
pub struct SharedMemory {
    start: NonNull<libc::c_void>,
    bytes: usize,
}

// SAFETY: the mapping belongs to nobody's stack and lives until the drop; words are only touched
// through atomics, and the kernel reads it as raw bytes.
unsafe impl Send for SharedMemory {}
// SAFETY: as above; `&SharedMemory` gives atomic access only.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Maps the first `bytes` of `file`, shared. The file has to be that long.
    pub fn of_file(file: &File, bytes: NonZeroUsize) -> io::Result<SharedMemory> {
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let start = unsafe { mmap(None, bytes, prot, MapFlags::MAP_SHARED, file, 0) }?;
        Ok(SharedMemory { start, bytes: bytes.get() })
    }

    /// Maps `bytes` of zeroes, page-aligned as direct I/O wants its buffers.
    pub fn anonymous(bytes: NonZeroUsize) -> io::Result<SharedMemory> {
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let start = unsafe { mmap_anonymous(None, bytes, prot, MapFlags::MAP_PRIVATE) }?;
        Ok(SharedMemory { start, bytes: bytes.get() })
    }

    /// Adds 1 to the 64-bit word at byte `offset`, which is rounded down to a whole word. An
    /// offset past the end changes nothing.
    pub fn bump(&self, offset: usize) {
        let aligned = offset & !7;
        if aligned.checked_add(8).is_none_or(|end| end > self.bytes) {
            return;
        }
        // SAFETY: the word lies inside the mapping (checked above), is 8-aligned because the
        // mapping is page-aligned, and is only ever accessed atomically.
        let word = unsafe { AtomicU64::from_ptr(self.start.byte_add(aligned).cast().as_ptr()) };
        word.fetch_add(1, Ordering::Relaxed);
    }

    /// Has the kernel write the mapping back and waits for it.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: exactly the range that was mapped.
        Ok(unsafe { msync(self.start, self.bytes, MsFlags::MS_SYNC) }?)
    }

    /// How a ring is asked to write the whole memory to `file` at `offset`.
    pub fn write_entry(&self, file: &File, offset: u64) -> squeue::Entry {
        // The only memory that is ever mapped here is far below 4 GiB.
        let bytes = u32::try_from(self.bytes).unwrap_or(u32::MAX);
        let start = self.start.as_ptr().cast_const().cast();
        opcode::Write::new(types::Fd(file.as_raw_fd()), start, bytes).offset(offset).build()
    }

    /// Writes the whole memory to `file` at `offset`, while others may go on changing it.
    pub fn write_to(&self, file: &File, offset: u64) -> io::Result<()> {
        let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the kernel reads `bytes` bytes of a live mapping; no reference to them exists.
        let wrote =
            unsafe { libc::pwrite(file.as_raw_fd(), self.start.as_ptr(), self.bytes, offset) };
        let wrote = usize::try_from(wrote).map_err(|_| io::Error::last_os_error())?;
        if wrote == self.bytes { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

/// Hands `ring` a write of `memory`.
pub fn push_write(
    ring: &mut IoUring,
    memory: &SharedMemory,
    file: &File,
    offset: u64,
) -> io::Result<()> {
    let entry = memory.write_entry(file, offset);
    // SAFETY: a write only reads the memory. Where it were unmapped before the kernel has pinned it,
    // the write would fail with EFAULT; a file descriptor that is closed fails with EBADF.
    unsafe { ring.submission().push(&entry) }.map_err(io::Error::other)
}

/// Has the kernel begin to write back the dirty pages of `file`, and waits for nothing.
pub fn start_writeback(file: &File) -> io::Result<()> {
    // SAFETY: the call takes no pointer; 0 and 0 are the whole file.
    let result =
        unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: exactly the range that was mapped, and nobody borrows from it any more. A
        // failure leaves the mapping to the end of the process.
        let _ = unsafe { munmap(self.start, self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn bumps_reach_the_file_and_stay_inside() {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        let memory = SharedMemory::of_file(&file, NonZeroUsize::new(8192).unwrap()).unwrap();
        for offset in [0, 515, 8191, 8192, usize::MAX] {
            memory.bump(offset);
        }
        memory.sync().unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let changed: Vec<usize> = (0..8192).filter(|at| bytes[*at] == 1).collect();
        assert_eq!(changed, [0, 512, 8184]);
    }

    #[test]
    fn a_started_writeback_is_no_error() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        start_writeback(&file).unwrap();
    }

    #[test]
    fn anonymous_memory_is_written_out_whole() {
        let mut file = tempfile::tempfile().unwrap();
        let memory = SharedMemory::anonymous(NonZeroUsize::new(4096).unwrap()).unwrap();
        memory.bump(8);
        memory.write_to(&file, 0).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!((bytes.len(), bytes[8]), (4096, 1));
        assert!(memory.write_to(&file, u64::MAX).is_err());
    }
}
