//! Where the guest's RAM is in its file: what both sides of the shared file mean by a place.

use std::sync::atomic::Ordering;

use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::layout::{Header, PIECES};
use crate::descriptor::Description;
use crate::memory::MemoryMap;

/// A piece of a guest's address space that the file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The first guest-physical address.
    pub start: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Where it begins in the file.
    pub offset: u64,
}

/// The largest file of a guest's memory: its RAM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RamFile {
    /// `st_dev` and `st_ino`.
    identity: (u64, u64),
    pieces: Vec<Piece>,
}

impl RamFile {
    /// Of a memory. What lies in other files is not watched.
    pub fn of(memory: &MemoryMap) -> RamFile {
        let mut files: Vec<RamFile> = Vec::new();
        for region in memory.iter() {
            let Some(file) = region.file_offset() else { continue };
            let Ok(told) = Description::of(file.file()) else { continue };
            let piece =
                Piece { start: region.start_addr().0, bytes: region.len(), offset: file.start() };
            match files.iter_mut().find(|one| one.identity == told.identity) {
                Some(known) => known.add(piece),
                None => files.push(RamFile { identity: told.identity, pieces: vec![piece] }),
            }
        }
        files.into_iter().max_by_key(RamFile::bytes).unwrap_or_default()
    }

    /// Adds a piece. Firmware and old devices cut the first megabyte into many; those that are shifted alike are
    /// told as one, with what lies between them.
    fn add(&mut self, piece: Piece) {
        let shift = |piece: &Piece| piece.start.wrapping_sub(piece.offset);
        let Some(known) = self.pieces.iter_mut().find(|known| shift(known) == shift(&piece)) else {
            self.pieces.push(piece);
            return;
        };
        let end = |piece: &Piece| piece.start.saturating_add(piece.bytes);
        let (start, end) = (known.start.min(piece.start), end(known).max(end(&piece)));
        let offset = known.offset.min(piece.offset);
        *known = Piece { start, bytes: end.saturating_sub(start), offset };
    }

    fn bytes(&self) -> u64 {
        self.pieces.iter().fold(0, |sum, piece| piece.bytes.saturating_add(sum))
    }

    /// Tells the plugin.
    pub fn tell(&self, header: &Header, generation: u64) {
        let ram = &header.ram.0;
        ram.device.store(self.identity.0, Ordering::Relaxed);
        ram.inode.store(self.identity.1, Ordering::Relaxed);
        let none = Piece { start: 0, bytes: 0, offset: 0 };
        let pieces = self.pieces.iter().chain(std::iter::repeat(&none)).take(PIECES);
        for (words, piece) in ram.pieces.iter().zip(pieces) {
            for (word, value) in words.iter().zip([piece.start, piece.bytes, piece.offset]) {
                word.store(value, Ordering::Relaxed);
            }
        }
        ram.generation.store(generation, Ordering::Release);
    }

    /// The place of a guest-physical address.
    pub fn place(&self, address: u64) -> Option<u64> {
        self.pieces.iter().take(PIECES).find_map(|piece| {
            let inside = address.checked_sub(piece.start).filter(|inside| *inside < piece.bytes)?;
            piece.offset.checked_add(inside)
        })
    }

    /// The guest-physical address of a place.
    pub fn address(&self, place: u64) -> Option<u64> {
        self.pieces.iter().take(PIECES).find_map(|piece| {
            let inside = place.checked_sub(piece.offset).filter(|inside| *inside < piece.bytes)?;
            piece.start.checked_add(inside)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shifted_alike_is_one_piece() {
        let piece = |start: u64, bytes: u64| Piece { start, bytes, offset: start };
        let mut ram = RamFile::default();
        for low in [piece(0, 0xa0000), piece(0x10_0000, 0x2ff0_0000), piece(0xc_0000, 0x4000)] {
            ram.add(low);
        }
        ram.add(Piece { start: 1 << 32, bytes: 0x1000, offset: 0x3000_0000 });
        assert_eq!(
            ram.pieces,
            [piece(0, 0x3000_0000), Piece { start: 1 << 32, bytes: 0x1000, offset: 0x3000_0000 }]
        );
    }

    #[test]
    fn a_place_is_found_on_both_sides_of_the_hole() {
        let below = Piece { start: 0, bytes: 0x8000_0000, offset: 0 };
        let above = Piece { start: 1 << 32, bytes: 0x4000_0000, offset: 0x8000_0000 };
        let ram = RamFile { identity: (1, 2), pieces: vec![below, above] };
        for (address, place) in [(0, 0), (0x1234, 0x1234), ((1 << 32) + 5, 0x8000_0005)] {
            assert_eq!((ram.place(address), ram.address(place)), (Some(place), Some(address)));
        }
        assert_eq!((ram.place(0x8000_0000), ram.address(0xc000_0000)), (None, None));
    }
}
