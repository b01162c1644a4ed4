//! A page of the guest's, as its kernel had it when a block of it raced.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whose a page is: the host of its mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PageHost {
    /// A regular file's, or a directory's.
    File,
    /// A block device's own inode: buffers of a file system's metadata, as a rule.
    Device,
    /// Memory of a program.
    Anon,
    /// Nobody's: the kernel's own, as a rule.
    None,
}

impl fmt::Display for PageHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PageHost::File => "a file",
            PageHost::Device => "the block device's inode",
            PageHost::Anon => "a program's memory",
            PageHost::None => "no mapping",
        })
    }
}

/// The state of a page, read from the kernel's own structures while the request was not completed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The page frame's number.
    pub pfn: u64,
    /// The flags that were set, by the kernel's own names: `writeback`, `dirty`, `locked`, …. Those of the
    /// folio, where the page is a part of one.
    pub flags: Vec<String>,
    /// Whose it is.
    pub host: PageHost,
    /// The inode's number, where it has one.
    pub inode: Option<u64>,
    /// `major:minor`: of the block device itself, or of the file system that a file is on.
    pub device: Option<String>,
    /// Which page of the inode's it is.
    pub index: Option<u64>,
    /// How often it is mapped into programs.
    pub mapcount: i32,
    /// How many hold it.
    pub refcount: i32,
    /// How long the look at it took, in microseconds.
    pub read_us: f64,
}
