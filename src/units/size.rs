//! Sizes as people write them: `1G`, `64M`, `4096`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A size in bytes, written as a number with an optional binary suffix (`K`, `M`, `G`, `T`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// It does not begin with a number, or ends in an unknown suffix.
    #[error("size '{0}' is not a number with an optional K, M, G or T: write 512M or 1G")]
    Unreadable(String),
    /// It is 0 or past 2^63.
    #[error("size '{0}' is out of range: write a size from 1 byte up to 8388607T")]
    OutOfRange(String),
}

impl FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unreadable = || SizeError::Unreadable(text.to_owned());
        let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, suffix) = text.split_at_checked(digits_end).ok_or_else(unreadable)?;
        let shift = match suffix.trim_end_matches("iB").trim_end_matches('B') {
            "" => 0,
            "K" | "k" => 10,
            "M" | "m" => 20,
            "G" | "g" => 30,
            "T" | "t" => 40,
            _ => return Err(unreadable()),
        };
        if digits.is_empty() {
            return Err(unreadable());
        }
        let out_of_range = || SizeError::OutOfRange(text.to_owned());
        let number: u64 = digits.parse().map_err(|_| out_of_range())?;
        let bytes = number.checked_mul(1 << shift).ok_or_else(out_of_range)?;
        if bytes == 0 || bytes > i64::MAX as u64 {
            return Err(out_of_range());
        }
        Ok(ByteSize(bytes))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, suffix) = [(1u64 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")]
            .into_iter()
            .find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit))
            .unwrap_or((1, ""));
        write!(f, "{}{}", self.0 / unit, suffix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_binary() {
        for (text, bytes) in [
            ("1", 1),
            ("512", 512),
            ("4K", 4096),
            ("4k", 4096),
            ("64M", 64 << 20),
            ("1G", 1 << 30),
            ("1GiB", 1 << 30),
            ("2T", 2 << 40),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "G", "1X", "-1", "1.5G", "0", "99999999T", "99999999999999999999"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn prints_what_it_reads() {
        for text in ["1G", "3K", "513", "64M"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
    }
}
