//! What stands in the log: 64-bit words, little-endian.
//!
//! | word | what |
//! |---|---|
//! | 0 | magic `DIXTRINT` |
//! | 1 | format version: 1 |
//! | 2 | 1: data and tuples may disagree somewhere else, whatever the records say |
//! | 3, 4 | the boot of the machine that the records are of (`/proc/sys/kernel/random/boot_id`) |
//! | 512 … | 512 records of 16 words, then 128 of 512 |
//!
//! A record:
//!
//! | word | what |
//! |---|---|
//! | 0 | 0: free; else the number of blocks, and in the highest bit whether they are zeros |
//! | 1 | the first block |
//! | 2 … | a tuple for each block, as it will be stored; none where they are zeros |
//!
//! Word 0 is stored last, and cleared first: a record that is there is whole.

use std::fs;

use crate::pi::{TUPLE_BYTES, Tuple};
use crate::units::{BlockCount, BlockRange, Lba};

/// How long the log is.
pub(in crate::media) const LOG_BYTES: usize = WORDS * 8;

/// Its words.
pub(super) const WORDS: usize = LARGE.end();

/// Where its header says whether the image is suspect.
pub(super) const SUSPECT_AT: usize = 2;
/// A page for the header.
const HEADER_WORDS: usize = 512;

const MAGIC: u64 = u64::from_le_bytes(*b"DIXTRINT");
const VERSION: u64 = 1;
/// The blocks are zeros.
const ZEROS: u64 = 1 << 63;
/// A record's words before its tuples.
const RECORD_HEAD: usize = 2;

/// Places for records, all of one size.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlotClass {
    first: usize,
    /// How many there are: a multiple of 64.
    pub(super) count: usize,
    words: usize,
}

/// For what most requests are: two lines of a cache each.
pub(super) const SMALL: SlotClass = SlotClass { first: HEADER_WORDS, count: 512, words: 16 };
/// For large ones.
pub(super) const LARGE: SlotClass = SlotClass { first: SMALL.end(), count: 128, words: 512 };

impl SlotClass {
    const fn end(self) -> usize {
        self.first + self.count * self.words
    }

    /// The most tuples of one record.
    pub(super) const fn tuples(self) -> usize {
        self.words - RECORD_HEAD
    }

    /// Where a place begins.
    pub(super) const fn place(self, number: usize) -> usize {
        self.first + number * self.words
    }
}

/// What a record says is being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::media) enum Record {
    /// These blocks, from the first on.
    Tuples(Lba, Vec<Tuple>),
    /// Zeros.
    Zeros(BlockRange),
}

/// The header of a log of this boot.
pub(super) fn header(suspect: bool) -> [u64; 5] {
    let [low, high] = boot();
    [MAGIC, VERSION, suspect.into(), low, high]
}

/// What a header says: whether anything else is suspect. `None` where it is none.
pub(super) fn parse_header(words: &[u64]) -> Option<bool> {
    let &[MAGIC, VERSION, suspect, low, high, ..] = words else { return None };
    let this_boot = [low, high] == boot() && [low, high] != [0, 0];
    Some(suspect != 0 || !this_boot)
}

/// This boot of the machine; zeros where it cannot be told, which is like no boot at all.
fn boot() -> [u64; 2] {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).collect();
    let half = |range| digits.get(range).and_then(|part| u64::from_str_radix(part, 16).ok());
    half(0..16).zip(half(16..32)).map_or([0, 0], |(low, high)| [low, high])
}

/// The words of a record, its head in front; to be stored from behind.
pub(super) fn head_of_tuples(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// As above, of blocks that are zeros.
pub(super) fn head_of_zeros(count: BlockCount) -> u64 {
    (count.0 & !ZEROS) | ZEROS
}

/// A tuple as a word.
pub(super) fn word_of(tuple: Tuple) -> u64 {
    u64::from_le_bytes(tuple.to_bytes())
}

/// All records that are there. What makes no sense is left out: the file may be a stranger's.
pub(super) fn parse_records(words: &[u64]) -> Vec<Record> {
    let places = [SMALL, LARGE].into_iter().flat_map(|class| {
        (0..class.count).filter_map(move |number| {
            let start = class.place(number);
            words.get(start..start + class.words)
        })
    });
    places.filter_map(parse_record).collect()
}

fn parse_record(words: &[u64]) -> Option<Record> {
    let (&[head, first], tuples) = words.split_first_chunk::<RECORD_HEAD>()?;
    let count = head & !ZEROS;
    if count == 0 {
        return None;
    }
    if head & ZEROS != 0 {
        return Some(Record::Zeros(BlockRange::new(Lba(first), BlockCount(count))));
    }
    let tuples = tuples.get(..usize::try_from(count).ok()?)?;
    let tuple = |word: &u64| Tuple::from_bytes(word.to_le_bytes());
    Some(Record::Tuples(Lba(first), tuples.iter().map(tuple).collect()))
}

const _: () = assert!(TUPLE_BYTES == size_of::<u64>());

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_log_of_another_boot_or_of_a_suspect_image_is_suspect_and_others_are_none() {
        assert_eq!(parse_header(&header(false)), Some(false));
        assert_eq!(parse_header(&header(true)), Some(true));
        let mut words = header(false);
        words[3] ^= 1;
        assert_eq!(parse_header(&words), Some(true));
        for at in [0, 1] {
            let mut words = header(false);
            words[at] ^= 1;
            assert_eq!(parse_header(&words), None);
        }
        assert_eq!(parse_header(&[]), None);
    }

    proptest! {
        #[test]
        fn any_words_are_parsed_within_bounds(
            words in proptest::collection::vec(prop_oneof![Just(0), 0u64..600, any::<u64>()], 0..4096),
        ) {
            for record in parse_records(&words) {
                match record {
                    Record::Tuples(_, tuples) => {
                        prop_assert!((1..=LARGE.tuples()).contains(&tuples.len()));
                    }
                    Record::Zeros(range) => prop_assert!(range.count.0 > 0),
                }
            }
        }
    }
}
