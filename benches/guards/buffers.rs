//! Memory to work on.

const PAGE: usize = 4096;

/// What fits into every first-level cache, source and copy together.
pub const CACHED_BYTES: usize = 16 << 10;
/// What fits into no cache.
pub const COLD_BYTES: usize = 256 << 20;

/// Bytes that begin on a page, as guest memory and buffers do.
pub struct Pages {
    room: Vec<u8>,
    start: usize,
}

impl Pages {
    /// [`COLD_BYTES`] without a pattern.
    pub fn new() -> Pages {
        let mut state = 1_u64;
        let words = (0..(COLD_BYTES + PAGE) / 8).flat_map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()
        });
        let room: Vec<u8> = words.collect();
        let start = room.as_ptr().align_offset(PAGE);
        Pages { room, start }
    }

    /// All of them.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.room[self.start..self.start + COLD_BYTES]
    }
}
