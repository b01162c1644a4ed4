//! Guest-physical memory, as somebody reads it who looks for the kernel in it.

use std::ops::Range;

use nix::unistd::{Whence, lseek};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use crate::memory::{MemoryMap, is_lost};

/// The most pieces that memory is looked at in; the rest of one that has more is not searched.
const MAX_PIECES: usize = 1 << 16;

/// Where bytes of a guest are copied from.
pub trait Physical {
    /// Copies out; `None` where there is no memory, or none any more.
    fn read(&self, at: u64, into: &mut [u8]) -> Option<()>;

    /// Where the guest has touched its memory, as far as that can be found out. What it never touched is
    /// not to be read: that would give it memory.
    fn populated(&self) -> Vec<Range<u64>>;

    /// A little-endian number of up to eight bytes.
    fn number(&self, at: u64, bytes: usize) -> Option<u64> {
        let mut buffer = [0; 8];
        self.read(at, buffer.get_mut(..bytes)?)?;
        Some(u64::from_le_bytes(buffer))
    }
}

impl Physical for MemoryMap {
    fn read(&self, at: u64, into: &mut [u8]) -> Option<()> {
        let len = into.len() as u64;
        self.read_slice(into, GuestAddress(at)).ok()?;
        (!is_lost(self, at, len)).then_some(())
    }

    fn populated(&self) -> Vec<Range<u64>> {
        let mut pieces = Vec::new();
        for region in self.iter() {
            let (start, len) = (region.start_addr().0, region.len());
            match region.file_offset() {
                Some(file) => add_data_of(
                    file.file(),
                    file.start(),
                    start..start.saturating_add(len),
                    &mut pieces,
                ),
                None => pieces.push(start..start.saturating_add(len)),
            }
        }
        pieces
    }
}

/// Adds the parts of a region whose file has data there; all of it where the file cannot say.
fn add_data_of(
    file: &std::fs::File,
    offset: u64,
    region: Range<u64>,
    pieces: &mut Vec<Range<u64>>,
) {
    let mut at = region.start;
    while at < region.end && pieces.len() < MAX_PIECES {
        let in_file =
            |at: u64| i64::try_from(offset.saturating_add(at.saturating_sub(region.start)));
        let in_guest = |place: i64| {
            let place = u64::try_from(place).unwrap_or(0).saturating_sub(offset);
            region.start.saturating_add(place).min(region.end)
        };
        let Ok(from) = in_file(at) else { return };
        match lseek(file, from, Whence::SeekData) {
            Ok(data) => {
                let begin = in_guest(data).max(at);
                let hole = lseek(file, data, Whence::SeekHole).map_or(region.end, in_guest);
                if begin < hole {
                    pieces.push(begin..hole);
                }
                at = hole.max(begin).max(at.saturating_add(1));
            }
            // No data from here on.
            Err(nix::errno::Errno::ENXIO) => return,
            Err(_) => {
                pieces.push(at..region.end);
                return;
            }
        }
    }
}
