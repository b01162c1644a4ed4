//! What is done with the records that a killed process left.
//!
//! Each record's blocks are old or new, or one of them was being copied. A block whose data fits the tuple
//! that was recorded is new, and gets it. One whose data fits the tuple that it has is old, and stays. One
//! that fits neither was cut in the middle: no tuple is made up for it, so its next read fails its check.

use super::error::MediaError;
use super::intent::{Left, Record};
use super::pair::{Pair, failed, zero_tuples};
use crate::pi::{GuardTag, PiType, Tuple, guard, verify};
use crate::units::{BlockCount, BlockRange, Lba};

/// What became of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Replayed {
    /// Blocks that got the tuple of the data that they have.
    pub(super) completed: BlockCount,
    /// Blocks that are neither old nor new.
    pub(super) torn: BlockCount,
}

/// How many blocks are looked at together.
const STEP: u64 = 256;

/// Completes what a killed process left under way, where there is a log that says so, and believes the image
/// if nothing else speaks against it. Whoever calls is alone with the disk.
pub(super) fn recover(pair: &Pair) -> Result<Replayed, MediaError> {
    let left = pair.left_intents().map_err(|e| failed("read the intent log", e))?;
    let Some(left) = left else { return Ok(Replayed::default()) };
    let replayed = replay(pair, &left)?;
    pair.trust(left.suspect || replayed.torn > BlockCount(0));
    Ok(replayed)
}

fn replay(pair: &Pair, left: &Left) -> Result<Replayed, MediaError> {
    let mut replayed = Replayed::default();
    for record in &left.records {
        match record {
            Record::Tuples(first, tuples) => replay_run(pair, *first, tuples, &mut replayed)?,
            Record::Zeros(range) => replay_zeros(pair, *range, &mut replayed)?,
        }
    }
    Ok(replayed)
}

fn replay_zeros(pair: &Pair, range: BlockRange, replayed: &mut Replayed) -> Result<(), MediaError> {
    // A record that is longer than the disk is nothing that we wrote.
    if pair.extent(range).is_err() {
        return Ok(());
    }
    for skipped in (0..range.count.0).step_by(usize::try_from(STEP).unwrap_or(1)) {
        let count = BlockCount((range.count.0 - skipped).min(STEP));
        let part = BlockRange::new(range.first.offset(skipped), count);
        let tuples: Vec<Tuple> = zero_tuples(pair.geometry(), part).collect();
        replay_run(pair, part.first, &tuples, replayed)?;
    }
    Ok(())
}

fn replay_run(
    pair: &Pair,
    first: Lba,
    recorded: &[Tuple],
    replayed: &mut Replayed,
) -> Result<(), MediaError> {
    let geometry = pair.geometry();
    let size = geometry.block_size.bytes();
    let bytes = recorded.len().saturating_mul(size);
    let Ok(extent) = pair.extent_of(first, bytes, recorded.len()) else { return Ok(()) };
    let (mut data, mut tuples) = (vec![0; bytes], vec![Tuple::ESCAPE; recorded.len()]);
    pair.read(&extent, &mut data, &mut tuples)?;
    let mut changed = false;
    let blocks = data.chunks(size).zip(recorded).zip(tuples.iter_mut()).zip((first.0..).map(Lba));
    for (((block, recorded), tuple), lba) in blocks {
        match state_of(geometry.pi_type, *recorded, *tuple, guard(block), lba) {
            BlockState::Old => {}
            BlockState::New => {
                *tuple = *recorded;
                changed = true;
                add_one(&mut replayed.completed);
            }
            BlockState::Torn => add_one(&mut replayed.torn),
        }
    }
    if changed { pair.write_tuples(first, &tuples) } else { Ok(()) }
}

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BlockState {
    Old,
    New,
    Torn,
}

/// What a block of this guard is, that has the tuple `stored` and was to have `recorded`.
fn state_of(kind: PiType, recorded: Tuple, stored: Tuple, guard: GuardTag, lba: Lba) -> BlockState {
    let fits = |tuple| verify(kind, tuple, guard, lba).is_ok();
    if stored == recorded {
        return if fits(stored) { BlockState::Old } else { BlockState::Torn };
    }
    if !recorded.is_escaped(kind) && fits(recorded) {
        return BlockState::New;
    }
    // A tuple that is escaped fits everything.
    if fits(stored) {
        return BlockState::Old;
    }
    if recorded.is_escaped(kind) { BlockState::New } else { BlockState::Torn }
}

fn add_one(count: &mut BlockCount) {
    count.0 = count.0.saturating_add(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pi::generate;

    #[test]
    fn a_block_is_what_its_data_fits() {
        use BlockState::{New, Old, Torn};
        let kind = PiType::Type1;
        let (old, new) = (generate(kind, &[1; 512], Lba(7)), generate(kind, &[2; 512], Lba(7)));
        let (escape, elsewhere) = (Tuple::ESCAPE, generate(kind, &[2; 512], Lba(8)));
        let cases = [
            (new, old, 1, Old),
            (new, old, 2, New),
            (new, old, 3, Torn),
            (new, new, 2, Old),
            (new, new, 3, Torn),
            (new, escape, 2, New),
            (new, escape, 3, Old),
            (escape, old, 1, Old),
            (escape, old, 2, New),
            (elsewhere, old, 2, Torn),
        ];
        for (recorded, stored, byte, expected) in cases {
            let state = state_of(kind, recorded, stored, guard(&[byte; 512]), Lba(7));
            assert_eq!(state, expected, "{recorded:?} {stored:?} {byte}");
        }
    }
}
