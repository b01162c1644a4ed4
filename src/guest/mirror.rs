//! `dixtrap-guest compare …`: the legs of a mirror, block by block. Each leg fetches a page by itself;
//! where the page changed in between, the legs hold different bytes and no guard says so.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::units::ByteSize;

/// The unit that is compared: the smallest logical block.
const BLOCK: usize = 512;
/// Blocks that are named; all are counted.
const NAMED: usize = 8;

/// Why two legs cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A leg cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
}

/// A block that is not alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Divergent {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How many of its bytes differ.
    pub bytes: usize,
}

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Blocks that were compared.
    pub blocks: u64,
    /// Blocks that differ between the copies.
    pub divergent: u64,
    /// The first few of them.
    pub first: Vec<Divergent>,
}

impl Comparison {
    /// What the scenario says of it; the line that begins with `divergent ` is the one that counts.
    pub fn words(&self) -> String {
        let mut words: String = self
            .first
            .iter()
            .map(|one| {
                format!("dixtrap: legs differ at byte {}: {} bytes\n", one.offset, one.bytes)
            })
            .collect();
        words.push_str(&format!("dixtrap: divergent {} of {}\n", self.divergent, self.blocks));
        words
    }
}

/// Compares the first `size` bytes of two legs.
///
/// # Errors
/// When a leg cannot be read, or ends before `size`.
pub fn compare(one: &Path, other: &Path, size: ByteSize) -> Result<Comparison, CompareError> {
    let mut legs = (open(one)?, open(other)?);
    let (mut left, mut right) = ([0; BLOCK], [0; BLOCK]);
    let mut seen = Comparison::default();
    let block = u64::try_from(BLOCK).unwrap_or(u64::MAX);
    for number in 0..size.0 / block {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| CompareError::Read(path, error)
        };
        legs.0.read_exact(&mut left).map_err(failed(one))?;
        legs.1.read_exact(&mut right).map_err(failed(other))?;
        seen.add(number.saturating_mul(block), &left, &right);
    }
    Ok(seen)
}

impl Comparison {
    fn add(&mut self, offset: u64, left: &[u8], right: &[u8]) {
        self.blocks = self.blocks.saturating_add(1);
        if left == right {
            return;
        }
        self.divergent = self.divergent.saturating_add(1);
        if self.first.len() < NAMED {
            let bytes = left.iter().zip(right).filter(|(a, b)| a != b).count();
            self.first.push(Divergent { offset, bytes });
        }
    }
}

fn open(path: &Path) -> Result<BufReader<File>, CompareError> {
    let file = File::open(path).map_err(|error| CompareError::Read(path.to_owned(), error))?;
    Ok(BufReader::with_capacity(1 << 20, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_differ_are_counted_and_named() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (directory.path().join("one"), directory.path().join("other"));
        let mut bytes = vec![1_u8; 16 * BLOCK];
        std::fs::write(&one, &bytes).unwrap();
        for offset in [512, 513, 5 * BLOCK] {
            bytes[offset] = 2;
        }
        std::fs::write(&other, &bytes).unwrap();
        let seen = compare(&one, &other, ByteSize(8192)).unwrap();
        assert_eq!((seen.blocks, seen.divergent), (16, 2));
        let first = [Divergent { offset: 512, bytes: 2 }, Divergent { offset: 2560, bytes: 1 }];
        assert_eq!(seen.first, first);
        assert!(seen.words().ends_with("dixtrap: divergent 2 of 16\n"), "{}", seen.words());
        assert_eq!(compare(&one, &one, ByteSize(8192)).unwrap().divergent, 0);
        // A leg that is too short is no leg that is alike.
        assert!(compare(&one, &other, ByteSize(8193 + 511)).is_err());
        assert!(compare(&one, &directory.path().join("none"), ByteSize(512)).is_err());
    }
}
