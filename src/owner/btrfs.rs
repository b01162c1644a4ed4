//! btrfs: superblocks and chunks (Linux, `struct btrfs_super_block`, `btrfs_chunk`). What the kernel
//! and the trees call an address is a logical one; chunks say where its bytes lie on which device.

use crate::record::{Holds, OwnerKind, Structure};

use super::area::Area;
use super::bytes::{ReadAt, le16, le32, le64};
use super::layout::{Layout, LayoutError, Mounted, Run};

/// The superblock and its copies.
const SUPERBLOCKS: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
const SUPERBLOCK_BYTES: usize = 4096;
const MAGIC: &[u8] = b"_BHRfS_M";
const SYSTEM_CHUNKS: usize = 0x32B;
const KEY_BYTES: usize = 17;
const CHUNK_BYTES: usize = 48;
const STRIPE_BYTES: usize = 32;

const DATA: u64 = 1;
const SYSTEM: u64 = 2;
const METADATA: u64 = 4;
/// RAID0, RAID10, RAID5, RAID6: each device has a part only.
const STRIPED: u64 = 1 << 3 | 1 << 6 | 1 << 7 | 1 << 8;

/// What a chunk is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChunkKind {
    /// For the data of files.
    Data,
    /// For the blocks of all trees but that of the chunks.
    Metadata,
    /// The blocks of the chunk tree.
    System,
}

/// A run of logical addresses, and where its copies lie on this device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The first logical address.
    pub(super) logical: u64,
    /// Bytes.
    pub(super) bytes: u64,
    /// What for; chunks that mix data and metadata count as data.
    pub(super) kind: ChunkKind,
    /// The first byte of every copy on this device.
    pub(super) copies: Vec<u64>,
}

impl Chunk {
    /// Reads a chunk item that begins at logical address `logical`. Of striped chunks no address is
    /// known.
    pub(super) fn parse(logical: u64, item: &[u8], device: u64) -> Option<Chunk> {
        let (bytes, flags) = (le64(item, 0)?, le64(item, 24)?);
        let stripes = item.get(CHUNK_BYTES..)?.chunks_exact(STRIPE_BYTES);
        let copies = stripes
            .take(le16(item, 44)?.into())
            .filter(|stripe| flags & STRIPED == 0 && le64(stripe, 0) == Some(device))
            .filter_map(|stripe| le64(stripe, 8))
            .collect();
        let kind = if flags & DATA != 0 {
            ChunkKind::Data
        } else if flags & METADATA != 0 {
            ChunkKind::Metadata
        } else if flags & SYSTEM != 0 {
            ChunkKind::System
        } else {
            return None;
        };
        Some(Chunk { logical, bytes, kind, copies })
    }

    /// What it holds that no file claims any more: data all the same.
    fn freed(&self) -> Vec<Area> {
        if self.kind != ChunkKind::Data {
            return Vec::new();
        }
        self.copies
            .iter()
            .map(|start| Area::of("freed", OwnerKind::Data, *start, self.bytes))
            .collect()
    }

    /// What lies in it apart from files; tree blocks have `node` bytes each, and are counted by their logical
    /// addresses.
    fn areas(&self, node: u64) -> Vec<Area> {
        let name = match self.kind {
            ChunkKind::Data => return Vec::new(),
            ChunkKind::Metadata => "tree block",
            ChunkKind::System => "chunk tree block",
        };
        let size = node.max(1);
        let holds = Holds::of(Structure::BtrfsTreeBlock, size, self.logical / size)
            .after(self.logical % size);
        let area = |start: &u64| Area::metadata(name, *start, self.bytes).holding(holds);
        self.copies.iter().map(area).collect()
    }
}

/// The chunks of this device that are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Btrfs {
    /// This device's number in the file system.
    pub(super) device: u64,
    /// Bytes a tree block.
    pub(super) node: u64,
    /// By rising logical address.
    pub(super) chunks: Vec<Chunk>,
}

impl Btrfs {
    fn parse(superblock: &[u8]) -> Option<Btrfs> {
        let device = le64(superblock, 0xC9)?;
        let length = usize::try_from(le32(superblock, 0xA0)?).ok()?;
        let mut rest = superblock.get(SYSTEM_CHUNKS..)?.get(..length)?;
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let logical = le64(rest, 9)?;
            let item = rest.get(KEY_BYTES..)?;
            chunks.push(Chunk::parse(logical, item, device)?);
            let stripes = usize::from(le16(item, 44)?);
            rest = item.get(CHUNK_BYTES + stripes * STRIPE_BYTES..)?;
        }
        Some(Btrfs { device, node: le32(superblock, 0x94)?.into(), chunks })
    }
}

impl Layout for Btrfs {
    /// Reads the first superblock, and the chunks that it holds itself: those of the chunk tree.
    fn read(disk: &dyn ReadAt) -> Result<Option<Self>, LayoutError> {
        let [first, ..] = SUPERBLOCKS;
        let bytes = disk.read_at(first, SUPERBLOCK_BYTES)?;
        if bytes.get(0x40..0x48) != Some(MAGIC) {
            return Ok(None);
        }
        Btrfs::parse(&bytes).map(Some).ok_or(LayoutError::Damaged("superblock"))
    }

    fn name(&self) -> &'static str {
        "btrfs"
    }

    /// All chunks of this device; those of the superblock stay where the kernel does not tell.
    fn learn(&mut self, mounted: &dyn Mounted) {
        let items = mounted.chunk_items();
        let all = items.iter().filter_map(|(at, item)| Chunk::parse(*at, item, self.device));
        let all: Vec<Chunk> = all.collect();
        if !all.is_empty() {
            self.chunks = all;
        }
    }

    /// Superblocks and tree blocks.
    fn areas(&self) -> Vec<Area> {
        let names = ["superblock", "backup superblock", "backup superblock"];
        let superblocks = SUPERBLOCKS.iter().zip(names).map(|(start, name)| {
            let bytes = SUPERBLOCK_BYTES as u64;
            let holds = Holds::of(Structure::BtrfsSuperblock, bytes, 0);
            Area::metadata(name, *start, bytes).holding(holds)
        });
        superblocks.chain(self.chunks.iter().flat_map(|chunk| chunk.areas(self.node))).collect()
    }

    /// What is left of the data chunks once the files have taken theirs: to be told last.
    fn freed(&self) -> Vec<Area> {
        self.chunks.iter().flat_map(Chunk::freed).collect()
    }

    /// One run for each copy and chunk: what the kernel calls physical is a logical address.
    fn runs(&self, logical: u64, bytes: u64) -> Vec<Run> {
        let end = logical.saturating_add(bytes);
        let mut runs = Vec::new();
        for chunk in &self.chunks {
            let from = logical.max(chunk.logical);
            let to = end.min(chunk.logical.saturating_add(chunk.bytes));
            if from < to {
                runs.extend(chunk.copies.iter().map(|copy| {
                    let start = copy.saturating_add(from - chunk.logical);
                    Run { start, bytes: to - from, skipped: from - logical }
                }));
            }
        }
        runs
    }
}
