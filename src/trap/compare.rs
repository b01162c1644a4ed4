//! What changed between two samples of one block.

use crate::record::Change;

/// The most runs of changed bytes that one record lists.
const MAX_RUNS: usize = 16;
/// The most bytes of a run that are shown.
const MAX_SHOWN: usize = 32;
/// Equal bytes shorter than this between two changes do not end a run.
const JOIN_GAP: usize = 4;

/// How two samples of one block differ.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// The first runs of changed bytes.
    pub runs: Vec<Change>,
    /// How many bytes differ in all.
    pub bytes: usize,
}

/// Compares two samples of one block, which have the same length.
pub fn difference(old: &[u8], new: &[u8]) -> Difference {
    let changed: Vec<usize> =
        old.iter().zip(new).enumerate().filter(|(_, (a, b))| a != b).map(|(at, _)| at).collect();
    let runs = runs_of(&changed).into_iter().take(MAX_RUNS);
    let runs = runs.map(|(start, end)| change(old, new, start, end)).collect();
    Difference { runs, bytes: changed.len() }
}

/// Groups changed offsets into runs `[start, end)`.
fn runs_of(changed: &[usize]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for at in changed {
        match runs.last_mut() {
            Some((_, end)) if *at < *end + JOIN_GAP => *end = at + 1,
            _ => runs.push((*at, at + 1)),
        }
    }
    runs
}

fn change(old: &[u8], new: &[u8], start: usize, end: usize) -> Change {
    let shown =
        |sample: &[u8]| sample.get(start..end.min(start + MAX_SHOWN)).map_or_else(String::new, hex);
    Change { offset: start, len: end - start, old: shown(old), new: shown(new) }
}

/// Bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_byte() {
        let mut new = [0u8; 512];
        new[17] = 0xAB;
        let found = difference(&[0; 512], &new);
        assert_eq!(found.bytes, 1);
        assert_eq!(found.runs, [Change { offset: 17, len: 1, old: "00".into(), new: "ab".into() }]);
    }

    #[test]
    fn near_changes_are_one_run_and_far_ones_are_not() {
        let mut new = [0u8; 512];
        for at in [10, 13, 100] {
            new[at] = 1;
        }
        let found = difference(&[0; 512], &new);
        assert_eq!(found.bytes, 3);
        assert_eq!(
            found.runs.iter().map(|r| (r.offset, r.len)).collect::<Vec<_>>(),
            [(10, 4), (100, 1)]
        );
        assert_eq!(found.runs[0].new, "01000001");
    }

    #[test]
    fn long_runs_are_cut_and_keep_their_length() {
        let found = difference(&[0; 4096], &[1; 4096]);
        assert_eq!((found.bytes, found.runs.len(), found.runs[0].len), (4096, 1, 4096));
        assert_eq!(found.runs[0].old.len(), 2 * MAX_SHOWN);
    }

    proptest! {
        #[test]
        fn every_shown_byte_is_true(old in proptest::collection::vec(0u8..3, 512), new in proptest::collection::vec(0u8..3, 512)) {
            let found = difference(&old, &new);
            prop_assert_eq!(found.bytes, old.iter().zip(&new).filter(|(a, b)| a != b).count());
            for run in found.runs {
                let end = run.offset + run.len.min(MAX_SHOWN);
                prop_assert_eq!(run.old, hex(&old[run.offset..end]));
                prop_assert_eq!(run.new, hex(&new[run.offset..end]));
            }
        }
    }
}
