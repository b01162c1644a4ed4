//! Disks of any contents: a layout or an error, no endless table, and every area lies on a disk.
#![no_main]

use std::io;

use dixtrap::owner::{Details, Map, ReadAt, layout};
use libfuzzer_sys::fuzz_target;

/// A disk that repeats the input's pages, so that a short input can have structures far away.
struct Disk<'a>(&'a [u8]);

const PAGE: usize = 1024;
const BYTES: u64 = 64 << 20;

impl ReadAt for Disk<'_> {
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        if offset.checked_add(len as u64).is_none_or(|end| end > BYTES) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let at = |i: u64| {
            let pages = (self.0.len() / PAGE).max(1) as u64;
            let page = (offset + i) / PAGE as u64 % pages;
            let byte = (page * PAGE as u64 + (offset + i) % PAGE as u64) as usize;
            self.0.get(byte).copied().unwrap_or_default()
        };
        Ok((0..len as u64).map(at).collect())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let disk = Disk(bytes);
    let Ok(Some(found)) = layout(&disk) else { return };
    let mut map = Map::default();
    for area in found.areas {
        let _ = area.end();
        map.add(area);
    }
    for at in [0, 512, 4096, BYTES / 2, u64::MAX] {
        let _ = map.owner(at, 0);
    }
    if let Details::Ext4(ext4) = &found.details {
        for inode in [0, 2, 8, 11, u64::MAX] {
            let _ = ext4.tree_areas(&disk, inode, "/file");
        }
    }
});
