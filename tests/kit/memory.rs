//! Guest memory: two regions far apart, each a memfd that the daemon maps too.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::memfd::{MFdFlags, memfd_create};
use vhost::VhostUserMemoryRegionInfo;
use vm_memory::{
    AtomicAccess, Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap,
    GuestMemoryRegion,
};

/// Where the rings are.
pub const LOW: u64 = 0x10_0000;
pub const LOW_BYTES: u64 = 2 << 20;
/// Where the buffers are; between the two is nothing.
pub const HIGH: u64 = 0x1_0000_0000;
pub const HIGH_BYTES: u64 = 32 << 20;

/// The memory of one guest.
pub struct Memory {
    map: GuestMemoryMmap,
    next_low: AtomicU64,
    next_high: AtomicU64,
}

impl Memory {
    pub fn new() -> Memory {
        let regions = [(LOW, LOW_BYTES), (HIGH, HIGH_BYTES)]
            .map(|(start, len)| (GuestAddress(start), len as usize, Some(backing(len))));
        Memory {
            map: GuestMemoryMmap::from_ranges_with_files(regions).unwrap(),
            next_low: AtomicU64::new(0),
            next_high: AtomicU64::new(0),
        }
    }

    /// The regions as vhost-user describes them.
    pub fn regions(&self) -> Vec<VhostUserMemoryRegionInfo> {
        self.map
            .iter()
            .map(|region| VhostUserMemoryRegionInfo::from_guest_region(region).unwrap())
            .collect()
    }

    /// The address in this process, which is how vhost-user names rings.
    pub fn host_address(&self, gpa: u64) -> u64 {
        self.map.get_host_address(GuestAddress(gpa)).unwrap() as u64
    }

    /// Room for a ring; never given back.
    pub fn alloc_ring(&self, len: u64) -> u64 {
        let at = self.next_low.fetch_add(len.next_multiple_of(4096), Ordering::SeqCst);
        assert!(at + len <= LOW_BYTES, "no room for another ring");
        LOW + at
    }

    /// Room for a buffer that begins on a multiple of `align`. Reused when all memory was given
    /// out once, long after any test is done with it.
    pub fn alloc(&self, len: usize, align: u64) -> u64 {
        let len = (len as u64).max(1);
        let mut at = self.next_high.load(Ordering::SeqCst).next_multiple_of(align);
        if at + len > HIGH_BYTES {
            at = 0;
        }
        self.next_high.store(at + len, Ordering::SeqCst);
        HIGH + at
    }

    /// Takes the pages of the region that has `gpa` away, all but the first `keep` bytes. Who touches
    /// them after this, here or in the daemon, gets a SIGBUS.
    pub fn shrink(&self, gpa: u64, keep: u64) {
        let region = self.map.find_region(GuestAddress(gpa)).unwrap();
        region.file_offset().unwrap().file().set_len(keep).unwrap();
    }

    pub fn write(&self, gpa: u64, bytes: &[u8]) {
        self.map.write_slice(bytes, GuestAddress(gpa)).unwrap();
    }

    pub fn read(&self, gpa: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.map.read_slice(&mut bytes, GuestAddress(gpa)).unwrap();
        bytes
    }

    /// Inverts the bits of one byte; answers with the byte before and after.
    pub fn flip(&self, gpa: u64) -> (u8, u8) {
        let old = self.read(gpa, 1)[0];
        self.write(gpa, &[!old]);
        (old, !old)
    }

    pub fn store<T: AtomicAccess>(&self, gpa: u64, value: T) {
        self.map.store(value, GuestAddress(gpa), Ordering::SeqCst).unwrap();
    }

    pub fn load<T: AtomicAccess>(&self, gpa: u64) -> T {
        self.map.load(GuestAddress(gpa), Ordering::SeqCst).unwrap()
    }
}

fn backing(len: u64) -> FileOffset {
    let file = File::from(memfd_create("guest", MFdFlags::MFD_CLOEXEC).unwrap());
    file.set_len(len).unwrap();
    FileOffset::new(file, 0)
}
