//! Which store explains which changed bytes. Nothing that only may have been is said to have been.

use std::ops::Range;

/// A store, as far as it touches one block: places are bytes of the block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// What it wrote, all its stores together.
    pub range: Range<usize>,
    /// Where `value` begins; it may begin before the block.
    pub value_at: isize,
    /// What stood there behind the last of its stores, as far as that is known.
    pub value: Vec<u8>,
    /// When the first one was seen, and the last.
    pub seen: (u64, u64),
    /// How many stores it was.
    pub count: u64,
    /// The instruction.
    pub code: u64,
}

/// A block that changed.
#[derive(Debug, Clone, Copy)]
pub struct Changed<'a> {
    /// Its bytes at the doorbell.
    pub old: &'a [u8],
    /// As they were fetched.
    pub new: &'a [u8],
    /// When the doorbell's sample was taken, and when the bytes had been fetched.
    pub window: (u64, u64),
    /// Every store to it was kept.
    pub is_whole: bool,
}

/// How long after the fetch a store may be told that was made before it.
pub const GRACE: u64 = 4_000_000;

/// Which of the stores explains a run of changed bytes, and whether it surely does.
pub fn explain(
    changed: &Changed<'_>,
    run: &Range<usize>,
    touches: &[Touch],
) -> Option<(usize, bool)> {
    let there = || {
        touches.iter().enumerate().filter(|(_, touch)| {
            !overlap(&touch.range, run).is_empty()
                && touch.seen.1 >= changed.window.0
                && touch.seen.0 <= changed.window.1.saturating_add(GRACE)
        })
    };
    // A store that left the very bytes: the one that left most of them, and of those the last before the fetch.
    let proven =
        there().filter_map(|(index, touch)| Some((index, touch, proof(changed, run, touch)?)));
    let best = proven.max_by_key(|(_, touch, bytes)| (*bytes, rank(touch, changed.window.1)));
    if let Some((index, ..)) = best {
        return Some((index, true));
    }
    // Many stores of one instruction are logged as one, and its last value is all that is known. It is the one
    // where nobody else stored there.
    let many = |touch: &Touch| touch.count > 1 || touch.value.len() < touch.range.len();
    let (index, last) = there().max_by_key(|(_, touch)| rank(touch, changed.window.1))?;
    let is_only = there().all(|(_, touch)| touch.code == last.code && many(touch));
    let covers = last.range.start <= run.start && run.end <= last.range.end;
    let in_time = last.seen.0 <= changed.window.1;
    Some((index, changed.is_whole && is_only && covers && in_time))
}

/// The last one before the fetch first, then the first one after it.
fn rank(touch: &Touch, fetched: u64) -> (bool, u64) {
    let (is_early, seen) = (touch.seen.1 <= fetched, touch.seen.1);
    (is_early, if is_early { seen } else { u64::MAX - seen })
}

/// How many changed bytes of a run a store's value is the reason of; `None` where it is not the value that was
/// fetched.
fn proof(changed: &Changed<'_>, run: &Range<usize>, touch: &Touch) -> Option<usize> {
    let mut bytes = 0;
    for (value, at) in touch.value.iter().zip(touch.value_at..) {
        let Some(at) = usize::try_from(at).ok().filter(|at| run.contains(at)) else { continue };
        let (old, new) = (changed.old.get(at)?, changed.new.get(at)?);
        if value != new {
            return None;
        }
        bytes += usize::from(old != new);
    }
    (bytes > 0).then_some(bytes)
}

fn overlap(one: &Range<usize>, other: &Range<usize>) -> Range<usize> {
    one.start.max(other.start)..one.end.min(other.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: [u8; 16] = [0; 16];
    const NEW: [u8; 16] = [0, 0, 0, 0, 7, 8, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const RUN: Range<usize> = 4..7;

    fn changed() -> Changed<'static> {
        Changed { old: &OLD, new: &NEW, window: (100, 200), is_whole: true }
    }

    fn store(at: usize, value: &[u8], seen: u64) -> Touch {
        Touch {
            range: at..at + value.len(),
            value_at: at as isize,
            value: value.to_vec(),
            seen: (seen, seen),
            count: 1,
            code: at as u64,
        }
    }

    fn explained(touches: &[Touch]) -> Option<(usize, bool)> {
        explain(&changed(), &RUN, touches)
    }

    #[test]
    fn the_store_that_left_the_bytes_is_the_one() {
        let wrong = store(4, &[7, 8, 1, 0], 190);
        let right = store(4, &[7, 8, 9, 0], 150);
        assert_eq!(explained(&[wrong.clone(), right]), Some((1, true)));
        assert_eq!(
            explained(&[wrong]),
            Some((0, false)),
            "it touched them, and does not explain them"
        );
        assert_eq!(explained(&[store(8, &[1], 150)]), None, "other bytes");
        assert_eq!(explained(&[]), None);
    }

    #[test]
    fn the_last_one_before_the_fetch_or_the_first_that_was_told_late() {
        let value = [7, 8, 9];
        let stores = [store(4, &value, 120), store(4, &value, 180), store(4, &value, 210)];
        assert_eq!(explained(&stores), Some((1, true)));
        let late = [store(4, &value, 230), store(4, &value, 210)];
        assert_eq!(explained(&late), Some((1, true)));
        assert_eq!(explained(&[store(4, &value, 99)]), None, "before the doorbell");
        assert_eq!(explained(&[store(4, &value, 201 + GRACE)]), None, "much later");
    }

    #[test]
    fn who_left_more_of_the_bytes_comes_first() {
        let stores = [store(4, &[7, 8, 9], 120), store(6, &[9], 180)];
        assert_eq!(explained(&stores), Some((0, true)));
    }

    #[test]
    fn bytes_that_did_not_change_prove_nothing() {
        let block = Changed { new: &OLD, ..changed() };
        assert_eq!(explain(&block, &RUN, &[store(4, &[0, 0, 0], 150)]), Some((0, false)));
    }

    #[test]
    fn many_stores_of_one_instruction_are_believed_where_it_was_alone() {
        let many =
            Touch { count: 9, value: vec![3], value_at: 15, range: 0..16, ..store(0, &[0], 150) };
        assert_eq!(explained(std::slice::from_ref(&many)), Some((0, true)));
        let other = Touch { code: 5, ..many.clone() };
        assert!(!explained(&[many.clone(), other]).unwrap().1, "either may have been it");
        assert!(!explained(&[many.clone(), store(5, &[1], 120)]).unwrap().1);
        let torn = Changed { is_whole: false, ..changed() };
        assert_eq!(explain(&torn, &RUN, std::slice::from_ref(&many)), Some((0, false)));
        let part = Touch { range: 0..6, ..many.clone() };
        assert_eq!(explained(&[part]), Some((0, false)), "the last byte is not its work");
        let late = Touch { seen: (201, 300), ..many };
        assert_eq!(explained(&[late]), Some((0, false)), "it may have begun behind the fetch");
    }
}
