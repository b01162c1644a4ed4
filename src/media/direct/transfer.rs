//! A disk's blocks on their way: several transfers are in flight at once.
//!
//! What holds for a write made with a call of its own holds for these: the range is held from before
//! the data is sent until its tuples are written, data first. Whoever reaps a transfer writes the
//! tuples; whoever started it is told of the outcome.

use std::io;
use std::sync::Arc;

use super::engine::Transfer;
use crate::media::backing::Stopped;
use crate::media::error::MediaError;
use crate::media::intent::Intent;
use crate::media::locks::Claim;
use crate::media::pair::{Extent, Pair, failed};
use crate::memory::{Buffer, List};
use crate::pi::Tuple;

/// Blocks that are being read or written.
#[derive(Debug)]
pub struct BlockTransfer {
    pub(in crate::media) pair: Arc<Pair>,
    pub(in crate::media) extent: Extent,
    /// The range's lock, given back when the transfer has landed.
    pub(in crate::media) claim: Claim,
    /// One for each block of a write; of a read they come when its data is there.
    pub(in crate::media) tuples: Option<List<Tuple>>,
    /// What a write has noted.
    pub(in crate::media) intent: Option<Intent>,
}

/// How a transfer ended: with the blocks as they are on the medium now, or not.
pub type Completion = Result<Blocks, MediaError>;

/// Blocks and their tuples. Nothing is verified.
#[derive(Debug)]
pub struct Blocks {
    /// The data.
    pub data: Buffer,
    /// One for each block.
    pub tuples: List<Tuple>,
}

impl Transfer for BlockTransfer {
    type Completion = Completion;

    /// The second half of a read or write, with its range still held.
    fn land(self, buffer: Buffer, result: io::Result<usize>) -> Completion {
        let BlockTransfer { pair, extent, claim, tuples, intent } = self;
        let completion = match tuples {
            Some(tuples) => {
                let written = rest_of_write(&pair, extent.offset, &buffer, result);
                let finished = pair.finish_write(extent.range, written, &tuples, intent);
                finished.map(|()| Blocks { data: buffer, tuples })
            }
            None => finish_read(&pair, &extent, buffer, result),
        };
        pair.locks.release(claim);
        completion
    }
}

/// A write that the kernel cut short is completed, or fails, by an ordinary call.
fn rest_of_write(
    pair: &Pair,
    offset: u64,
    bytes: &[u8],
    result: io::Result<usize>,
) -> Result<(), Stopped> {
    let done = part_done(result).map_err(|source| Stopped { written: 0, source })?;
    match bytes.get(done..) {
        None | Some([]) => Ok(()),
        Some(rest) => pair.write_data(offset.saturating_add(done as u64), rest),
    }
}

fn finish_read(
    pair: &Pair,
    extent: &Extent,
    mut data: Buffer,
    result: io::Result<usize>,
) -> Completion {
    let done = part_done(result).map_err(|error| failed("read data", error))?;
    if let Some(rest) = data.get_mut(done..).filter(|rest| !rest.is_empty()) {
        pair.read_data(extent.offset.saturating_add(done as u64), rest)?;
    }
    let blocks = usize::try_from(extent.range.count.0).unwrap_or(usize::MAX);
    let mut tuples = List::of(Tuple::ESCAPE, blocks);
    pair.read_tuples(extent.range.first, &mut tuples)?;
    Ok(Blocks { data, tuples })
}

/// How much is done: all, a part, or nothing where it may be tried again.
fn part_done(result: io::Result<usize>) -> io::Result<usize> {
    result.or_else(|error| match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => Ok(0),
        _ => Err(error),
    })
}
