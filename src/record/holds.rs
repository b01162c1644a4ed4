//! What a block of a file system is made of.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A structure of a file system whose fields have names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Structure {
    /// `struct ext4_super_block`.
    Ext4Superblock,
    /// `struct ext4_group_desc`.
    Ext4GroupDescriptor,
    /// `struct ext4_inode`.
    Ext4Inode,
    /// A block of a directory: entries, and the tail with the checksum.
    Ext4Directory,
    /// One bit a block, or cluster.
    Ext4BlockBitmap,
    /// One bit an inode.
    Ext4InodeBitmap,
    /// `struct xfs_dsb`.
    XfsSuperblock,
    /// `struct xfs_agf`.
    XfsFreeSpaceHeader,
    /// `struct xfs_agi`.
    XfsInodeHeader,
    /// `struct xfs_dinode`.
    XfsInode,
    /// `struct btrfs_super_block`.
    BtrfsSuperblock,
    /// `struct btrfs_header` and what follows it.
    BtrfsTreeBlock,
    /// `struct msdos_dir_entry`, or a part of a long name.
    FatDirectoryEntry,
    /// An entry of a table of FAT16.
    Fat16Entry,
    /// An entry of a table of FAT32, or of exFAT.
    Fat32Entry,
    /// What this build does not know.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Structure::Ext4Superblock => "ext4 superblock",
            Structure::Ext4GroupDescriptor => "group descriptor",
            Structure::Ext4Inode => "ext4 inode",
            Structure::Ext4Directory => "directory block",
            Structure::Ext4BlockBitmap => "block bitmap of group",
            Structure::Ext4InodeBitmap => "inode bitmap of group",
            Structure::XfsSuperblock => "xfs superblock of group",
            Structure::XfsFreeSpaceHeader => "free space header of group",
            Structure::XfsInodeHeader => "inode header of group",
            Structure::XfsInode => "xfs inode",
            Structure::BtrfsSuperblock => "btrfs superblock",
            Structure::BtrfsTreeBlock => "btrfs tree block",
            Structure::FatDirectoryEntry => "directory entry",
            Structure::Fat16Entry | Structure::Fat32Entry => "table entry of cluster",
            Structure::Unknown => "structure",
        })
    }
}

/// Structures of one size that lie one behind the other, and where the block begins in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holds {
    /// Which structure.
    pub structure: Structure,
    /// How many bytes each takes.
    pub each: u64,
    /// The number of the one that the first byte is in: an inode's, a group's, an entry's.
    pub first: u64,
    /// How many bytes of that one come before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
}

impl Holds {
    /// Structures of `each` bytes, of which the one with number `first` begins here.
    pub fn of(structure: Structure, each: u64, first: u64) -> Holds {
        Holds { structure, each, first, skipped: 0 }
    }

    /// The same, seen from `bytes` bytes further on.
    #[must_use]
    pub fn after(self, bytes: u64) -> Holds {
        let at = self.skipped.saturating_add(bytes);
        let each = self.each.max(1);
        Holds { first: self.first.saturating_add(at / each), skipped: at % each, ..self }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_further_on_is_in_a_later_structure() {
        let inodes = Holds::of(Structure::Ext4Inode, 256, 17);
        let later = inodes.after(512 + 130);
        assert_eq!((later.first, later.skipped), (19, 130));
        assert_eq!(inodes.after(130).after(512), later);
        let broken = Holds { each: 0, ..inodes };
        assert_eq!(broken.after(3).skipped, 0);
    }

    #[test]
    fn a_later_builds_structure_is_no_error() {
        let text = r#"{"structure":"zfs-uberblock","each":1024,"first":0}"#;
        assert_eq!(serde_json::from_str::<Holds>(text).unwrap().structure, Structure::Unknown);
    }
}
