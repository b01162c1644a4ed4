//! A kernel, ready to boot: its image, its modules, and what has to live as long as both.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use super::error::KernelError;
use super::{cache, image};
use crate::runner::kernel::modules::ModuleTree;

/// A kernel, ready to boot.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The file for QEMU; absolute.
    pub image: PathBuf,
    /// Its modules; a kernel without any has everything built in.
    pub modules: Option<ModuleTree>,
    /// What its image says `uname -r` will be.
    pub release: String,
    /// Where it comes from, as the user named it.
    pub origin: String,
    /// What must live as long as the kernel is used.
    pub(super) _keep: Vec<Arc<Keep>>,
}

/// What a kernel needs beside its paths.
#[derive(Debug)]
#[expect(dead_code, reason = "they are kept for what they do when they go")]
pub(super) enum Keep {
    /// A file of our own making.
    Folder(TempDir),
    /// An entry of the cache, which nobody replaces meanwhile.
    Entry(cache::CacheEntry),
}

impl Kernel {
    /// The kernel in `file`, which lies at `path`; a part of a file becomes one of its own.
    pub(super) fn of(
        mut file: &File,
        path: PathBuf,
        image: image::Image,
        origin: &str,
    ) -> Result<Kernel, KernelError> {
        let (release, origin) = (image.release, origin.to_owned());
        let Some(part) = image.part else {
            return Ok(Kernel { image: path, modules: None, release, origin, _keep: Vec::new() });
        };
        let dir = TempDir::with_prefix("dixtrap-kernel-")
            .map_err(KernelError::file(&std::env::temp_dir()))?;
        let copy = dir.path().join("vmlinuz");
        let mut out = File::create_new(&copy).map_err(KernelError::file(&copy))?;
        file.seek(SeekFrom::Start(part.offset)).map_err(KernelError::file(&path))?;
        let size = part.size.min(PART_LIMIT);
        let copied = io::copy(&mut file.take(size), &mut out).map_err(KernelError::file(&copy))?;
        if copied != part.size {
            return Err(KernelError::NotAnImage { path });
        }
        let keep = vec![Arc::new(Keep::Folder(dir))];
        Ok(Kernel { image: copy, modules: None, release, origin, _keep: keep })
    }

    /// The same kernel, from an entry of the cache.
    pub(super) fn keeping(mut self, entry: cache::CacheEntry) -> Kernel {
        self._keep.push(Arc::new(Keep::Entry(entry)));
        self
    }
}

/// Kernels have a tenth of that.
const PART_LIMIT: u64 = 256 << 20;
