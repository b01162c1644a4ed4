//! The ioctls that tell where things lie, each as a function that returns checked values.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use nix::{ioctl_readwrite_bad, request_code_readwrite};

/// A run of bytes of a file, and where they lie on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// In bytes from the file's start.
    pub logical: u64,
    /// In bytes from the device's start.
    pub physical: u64,
    /// Bytes.
    pub bytes: u64,
}

/// How many records an ioctl returns at a time.
const BATCH: usize = 128;
/// A file in more pieces, or a disk with more records, is not told to its end.
const MOST: usize = 1 << 17;

/// `struct fiemap_extent` (linux/fiemap.h).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct FiemapExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

/// `struct fiemap` with room for extents.
#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extents: [FiemapExtent; BATCH],
}

const FIEMAP_EXTENT_LAST: u32 = 0x1;
/// UNKNOWN, DELALLOC, DATA_INLINE: there is no place on the device that is the file's alone.
const FIEMAP_NO_PLACE: u32 = 0x2 | 0x4 | 0x200;

ioctl_readwrite_bad!(fs_ioc_fiemap, request_code_readwrite!(b'f', 11, 32), Fiemap);

/// Where a file's bytes lie (FIEMAP), as far as they have a place yet. Has nothing written back.
///
/// # Errors
/// `EOPNOTSUPP` or `ENOTTY` where the file system has no such call.
pub fn extents(file: &impl AsFd) -> io::Result<Vec<Extent>> {
    let mut all = Vec::new();
    let mut start = 0;
    while all.len() < MOST {
        let mut map = Fiemap {
            start,
            length: u64::MAX - start,
            flags: 0,
            mapped_extents: 0,
            extent_count: u32::try_from(BATCH).unwrap_or(0),
            reserved: 0,
            extents: [FiemapExtent::default(); BATCH],
        };
        // SAFETY: `map` is laid out as `struct fiemap` with `extent_count` extents behind it, and
        // the kernel writes no further than those.
        unsafe { fs_ioc_fiemap(file.as_fd().as_raw_fd(), &raw mut map) }?;
        let count = usize::try_from(map.mapped_extents).unwrap_or(0);
        let found = map.extents.get(..count).unwrap_or(&map.extents);
        let placed = found.iter().filter(|extent| extent.flags & FIEMAP_NO_PLACE == 0);
        all.extend(placed.map(|extent| Extent {
            logical: extent.logical,
            physical: extent.physical,
            bytes: extent.length,
        }));
        let Some(last) = found.last().filter(|last| last.flags & FIEMAP_EXTENT_LAST == 0) else {
            break;
        };
        start = last.logical.saturating_add(last.length.max(1));
    }
    Ok(all)
}

ioctl_readwrite_bad!(fs_ioc_fibmap, 1, libc::c_int);
ioctl_readwrite_bad!(fs_ioc_figetbsz, 2, libc::c_int);

/// Where a file's first `bytes` bytes lie, block by block (FIBMAP): for file systems without FIEMAP.
///
/// # Errors
/// Where the file system has no such call either.
pub fn blocks(file: &impl AsFd, bytes: u64) -> io::Result<Vec<Extent>> {
    let fd = file.as_fd().as_raw_fd();
    let mut size: libc::c_int = 0;
    // SAFETY: FIGETBSZ writes one int.
    unsafe { fs_ioc_figetbsz(fd, &raw mut size) }?;
    let size =
        u64::try_from(size).ok().filter(|size| *size > 0).ok_or(io::ErrorKind::InvalidData)?;
    let mut all: Vec<Extent> = Vec::new();
    let count = bytes.div_ceil(size).min(MOST.try_into().unwrap_or(u64::MAX));
    for number in 0..count {
        let Ok(mut block) = libc::c_int::try_from(number) else { break };
        // SAFETY: FIBMAP reads and writes one int.
        unsafe { fs_ioc_fibmap(fd, &raw mut block) }?;
        let Some(place) = u64::try_from(block).ok().filter(|block| *block != 0) else { continue };
        let (logical, physical) = (number.saturating_mul(size), place.saturating_mul(size));
        match all.last_mut() {
            Some(last)
                if last.logical.saturating_add(last.bytes) == logical
                    && last.physical.saturating_add(last.bytes) == physical =>
            {
                last.bytes = last.bytes.saturating_add(size);
            }
            _ => all.push(Extent { logical, physical, bytes: size }),
        }
    }
    Ok(all)
}

/// A record of GETFSMAP, `struct fsmap` (linux/fsmap.h).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fsmap {
    /// The device, as `st_dev` has it.
    pub device: u32,
    /// `FMR_OF_*`.
    pub flags: u32,
    /// In bytes from the device's start.
    pub physical: u64,
    /// An inode's number, or a special owner.
    pub owner: u64,
    /// In bytes from the owner's start.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Zero.
    pub reserved: [u64; 3],
}

/// `struct fsmap_head` with room for records.
#[repr(C)]
struct FsmapHead {
    iflags: u32,
    oflags: u32,
    count: u32,
    entries: u32,
    reserved: [u64; 6],
    keys: [Fsmap; 2],
    records: [Fsmap; BATCH],
}

const FMR_OF_LAST: u32 = 0x20;

ioctl_readwrite_bad!(fs_ioc_getfsmap, request_code_readwrite!(b'X', 59, 192), FsmapHead);

/// Who owns what on the device of the file system that `root` is in (GETFSMAP).
///
/// # Errors
/// Where the file system or the kernel has no such call.
pub fn fsmap(root: &impl AsFd) -> io::Result<Vec<Fsmap>> {
    let everything = Fsmap {
        device: u32::MAX,
        flags: u32::MAX,
        physical: u64::MAX,
        owner: u64::MAX,
        offset: u64::MAX,
        ..Fsmap::default()
    };
    let mut low = Fsmap::default();
    let mut all: Vec<Fsmap> = Vec::new();
    while all.len() < MOST {
        let mut head = FsmapHead {
            iflags: 0,
            oflags: 0,
            count: u32::try_from(BATCH).unwrap_or(0),
            entries: 0,
            reserved: [0; 6],
            keys: [low, everything],
            records: [Fsmap::default(); BATCH],
        };
        // SAFETY: `head` is laid out as `struct fsmap_head` with `count` records behind it, and the
        // kernel writes no further than those.
        unsafe { fs_ioc_getfsmap(root.as_fd().as_raw_fd(), &raw mut head) }?;
        let count = usize::try_from(head.entries).unwrap_or(0);
        let found = head.records.get(..count).unwrap_or(&head.records);
        all.extend(found);
        let Some(last) = found.last().filter(|last| last.flags & FMR_OF_LAST == 0) else { break };
        low = *last;
    }
    // Records of a log or real-time device of its own are not of this disk.
    let device = all.first().map(|first| first.device);
    all.retain(|record| Some(record.device) == device);
    Ok(all)
}

/// `struct getbmapx` (xfs_fs.h).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Getbmapx {
    offset: i64,
    block: i64,
    length: i64,
    count: i32,
    entries: i32,
    iflags: i32,
    oflags: i32,
    unused: [i32; 2],
}

ioctl_readwrite_bad!(xfs_ioc_getbmapx, request_code_readwrite!(b'X', 56, 32), [Getbmapx; BATCH]);

/// Where the bytes of a directory of xfs lie: FIEMAP is for its files only.
///
/// # Errors
/// Where it is not xfs.
pub fn xfs_extents(file: &impl AsFd) -> io::Result<Vec<Extent>> {
    const UNIT: i64 = 512;
    let mut map = [Getbmapx::default(); BATCH];
    let [head, ..] = &mut map;
    head.length = -1;
    head.count = i32::try_from(BATCH).unwrap_or(0);
    // SAFETY: the first element is the head, whose `count` is the number of elements; the kernel
    // writes no further than those.
    unsafe { xfs_ioc_getbmapx(file.as_fd().as_raw_fd(), &raw mut map) }?;
    let [head, records @ ..] = &map;
    let count = usize::try_from(head.entries).unwrap_or(0);
    let bytes = |units: i64| u64::try_from(units.saturating_mul(UNIT)).ok();
    let extent = |record: &Getbmapx| {
        Some(Extent {
            logical: bytes(record.offset)?,
            // -1 is a hole, -2 has no place yet.
            physical: bytes(record.block)?,
            bytes: bytes(record.length)?,
        })
    };
    Ok(records.iter().take(count).filter_map(extent).collect())
}

/// `struct xfs_inogrp` (xfs_fs.h).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InodeChunk {
    /// The number of the first inode.
    pub first: u64,
    allocated: i32,
    mask: u64,
}

/// How many inodes a chunk has, in use or not.
pub const INODES_A_CHUNK: u64 = 64;

/// `struct xfs_fsop_bulkreq`.
#[repr(C)]
struct BulkRequest {
    last: *mut u64,
    count: i32,
    buffer: *mut InodeChunk,
    found: *mut i32,
}

ioctl_readwrite_bad!(
    xfs_ioc_fsinumbers,
    request_code_readwrite!(b'X', 103, size_of::<BulkRequest>()),
    BulkRequest
);

/// The inode chunks of an xfs.
///
/// # Errors
/// Where it is not xfs.
pub fn inode_chunks(root: &impl AsFd) -> io::Result<Vec<InodeChunk>> {
    let mut all = Vec::new();
    let mut last = 0_u64;
    while all.len() < MOST {
        let mut chunks = [InodeChunk::default(); BATCH];
        let mut found = 0_i32;
        let mut request = BulkRequest {
            last: &raw mut last,
            count: i32::try_from(BATCH).unwrap_or(0),
            buffer: chunks.as_mut_ptr(),
            found: &raw mut found,
        };
        // SAFETY: the three pointers are to live variables, `buffer` to `count` chunks.
        unsafe { xfs_ioc_fsinumbers(root.as_fd().as_raw_fd(), &raw mut request) }?;
        let count = usize::try_from(found).unwrap_or(0);
        let found = chunks.get(..count).unwrap_or(&chunks);
        if found.is_empty() {
            break;
        }
        all.extend(found);
    }
    Ok(all)
}

/// `struct btrfs_ioctl_search_key` (linux/btrfs.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct SearchKey {
    tree: u64,
    min_object: u64,
    max_object: u64,
    min_offset: u64,
    max_offset: u64,
    min_transaction: u64,
    max_transaction: u64,
    min_kind: u32,
    max_kind: u32,
    items: u32,
    unused: u32,
    more_unused: [u64; 4],
}

/// `struct btrfs_ioctl_search_args`.
#[repr(C)]
struct SearchArgs {
    key: SearchKey,
    buffer: [u8; 4096 - size_of::<SearchKey>()],
}

ioctl_readwrite_bad!(
    btrfs_ioc_tree_search,
    request_code_readwrite!(0x94, 17, size_of::<SearchArgs>()),
    SearchArgs
);

/// The items of btrfs's chunk tree from logical address `from` on, as many as come at once: each an
/// address and its bytes. Needs root.
///
/// # Errors
/// Where it is not btrfs.
pub fn chunk_items(root: &impl AsFd, from: u64) -> io::Result<Vec<(u64, Vec<u8>)>> {
    const CHUNK_TREE: u64 = 3;
    const FIRST_CHUNK_TREE: u64 = 256;
    const CHUNK_ITEM: u32 = 228;
    const HEADER: usize = 32;
    let key = SearchKey {
        tree: CHUNK_TREE,
        min_object: FIRST_CHUNK_TREE,
        max_object: FIRST_CHUNK_TREE,
        min_offset: from,
        max_offset: u64::MAX,
        min_transaction: 0,
        max_transaction: u64::MAX,
        min_kind: CHUNK_ITEM,
        max_kind: CHUNK_ITEM,
        items: u32::MAX,
        unused: 0,
        more_unused: [0; 4],
    };
    let mut args = SearchArgs { key, buffer: [0; 4096 - size_of::<SearchKey>()] };
    // SAFETY: `args` is laid out as `struct btrfs_ioctl_search_args`, 4096 bytes.
    unsafe { btrfs_ioc_tree_search(root.as_fd().as_raw_fd(), &raw mut args) }?;
    let mut items = Vec::new();
    let mut rest = args.buffer.as_slice();
    for _ in 0..args.key.items {
        // transid, objectid, offset (8 bytes each), type and length (4 each), then the item.
        let number = |at: usize| rest.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
        let length = rest.get(28..32).and_then(|l| l.try_into().ok()).map(u32::from_ne_bytes);
        let (Some(offset), Some(length)) = (number(16), length) else { break };
        let end = HEADER.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        let Some(item) = rest.get(HEADER..end) else { break };
        items.push((offset, item.to_vec()));
        rest = rest.get(end..).unwrap_or_default();
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes that stand in the kernel's request numbers.
    #[test]
    fn structures_are_as_long_as_the_kernels() {
        assert_eq!(size_of::<Fiemap>(), 32 + BATCH * 56);
        assert_eq!(size_of::<FsmapHead>(), 192 + BATCH * 64);
        assert_eq!(size_of::<Getbmapx>(), 48);
        assert_eq!((size_of::<InodeChunk>(), size_of::<BulkRequest>()), (24, 32));
        assert_eq!(size_of::<SearchArgs>(), 4096);
    }
}
