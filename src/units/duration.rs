//! Durations as people write them: `0`, `250us`, `1ms`, `2s`.

use std::time::Duration;

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No number, or an unknown unit.
    #[error(
        "duration '{0}' is not a number with a unit: write 500ns, 250us, 1ms or 2s, up to an hour"
    )]
    Unreadable(String),
    /// Longer than an hour.
    #[error("duration '{0}' is longer than an hour: no DMA fetch waits that long")]
    TooLong(String),
}

/// The longest duration that is taken.
const LONGEST: Duration = Duration::from_secs(3600);

/// Reads a duration: a decimal number and one of `ns`, `us`, `ms`, `s`; a bare `0` needs no unit.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let unreadable = || DurationError::Unreadable(text.to_owned());
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(unreadable)?;
    let (number, unit) = text.split_at_checked(unit_at).ok_or_else(unreadable)?;
    let scale = match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return Err(unreadable()),
    };
    let number: f64 = number.parse().map_err(|_| unreadable())?;
    let duration = Duration::try_from_secs_f64(number * scale)
        .map_err(|_| DurationError::TooLong(text.to_owned()))?;
    if duration > LONGEST {
        return Err(DurationError::TooLong(text.to_owned()));
    }
    Ok(duration)
}

/// The longest limit that is taken, in seconds.
const LONGEST_LIMIT: u64 = 24 * 3600;

/// Reads how long something may take: whole seconds, minutes or hours, `90s`, `10m`, `2h`.
///
/// # Errors
/// In words, where it is none, is nothing, or is longer than a day.
pub fn parse_limit(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no time limit: write 90s, 10m or 2h, from 1s to a day");
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at_checked(unit_at).ok_or_else(wrong)?;
    let scale = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
    let seconds = seconds.filter(|seconds| (1..=LONGEST_LIMIT).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

/// Writes a duration in the largest unit that needs no fraction.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")]
        .into_iter()
        .find(|(unit, _)| nanos >= *unit && nanos.is_multiple_of(*unit))
        .map_or_else(
            || if nanos == 0 { "0".to_owned() } else { format!("{nanos}ns") },
            |(unit, name)| format!("{}{name}", nanos / unit),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        for (text, nanos) in
            [("0", 0), ("250us", 250_000), ("1ms", 1_000_000), ("2s", 2_000_000_000), ("15ns", 15)]
        {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration.as_nanos(), nanos, "{text}");
            assert_eq!(format_duration(duration), text);
        }
        assert_eq!(parse_duration("1.5ms").unwrap().as_micros(), 1500);
    }

    #[test]
    fn limits_are_whole_and_bounded() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("2h", 7200), ("24h", 86_400)] {
            assert_eq!(parse_limit(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "0s", "90", "s", "1.5m", "-1s", "25h", "1d", "99999999999999999999h"] {
            assert!(parse_limit(text).unwrap_err().contains("10m"), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "1", "ms", "1h", "1.2.3ms", "-1ms", "1e400s", "99999s", "1 ms"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
