//! Disks of any contents: a layout or an error, no endless table, and every area lies on a disk.
#![no_main]

use std::io;

use dixtrap::owner::{Map, ReadAt, layout};
use libfuzzer_sys::fuzz_target;

/// A disk that begins with the input; the rest of it is zeros.
struct Disk<'a>(&'a [u8]);

const BYTES: u64 = 64 << 20;

impl ReadAt for Disk<'_> {
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        if offset.checked_add(len as u64).is_none_or(|end| end > BYTES) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let start = usize::try_from(offset).expect("below 64 MiB");
        let mut bytes = self.0.get(start..).unwrap_or_default().to_vec();
        bytes.resize(len, 0);
        Ok(bytes)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let disk = Disk(bytes);
    let Ok(Some(found)) = layout(&disk) else { return };
    let mut map = Map::default();
    for area in found.areas() {
        let _ = area.end();
        map.add(area);
    }
    for at in [0, 512, 4096, BYTES / 2, u64::MAX] {
        let _ = map.owner(at, 0);
    }
    for inode in [0, 2, 8, 11, u64::MAX] {
        let _ = found.tree_areas(&disk, inode, "/file");
    }
    let _ = found.runs(u64::MAX / 2, u64::MAX);
});
