//! The window: how long after the doorbell the device fetches the data, as `--window` spells it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration::{DurationError, format_duration, parse_duration};

/// What `--window` asks for. What a request got is measured, and only the measured value is reported.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum WindowSpec {
    /// `0`, `250us`: the same window for every write.
    Fixed(Duration),
    /// `uniform:0..5ms`: drawn evenly between two bounds.
    Uniform {
        /// The shortest window.
        low: Duration,
        /// The longest window.
        high: Duration,
    },
    /// `exp:200us`: drawn from an exponential distribution with this mean.
    Exponential {
        /// The mean window.
        mean: Duration,
    },
    /// `bandwidth:200us+500MB/s`: a latency, then the data's turn on a link of this speed.
    Bandwidth {
        /// The time before the first byte moves.
        latency: Duration,
        /// The speed of the link, which all queues share.
        bytes_per_second: u64,
    },
    /// `hold`: until released over the control socket.
    Hold,
}

/// Why a text is not a window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowSpecError {
    /// None of the forms.
    #[error(
        "window '{0}' is not known: use 0, 250us, uniform:0..5ms, exp:200us, bandwidth:200us+500MB/s or hold"
    )]
    Unknown(String),
    /// A duration inside it cannot be read.
    #[error("window '{0}': {1}")]
    Duration(String, DurationError),
    /// Bounds the wrong way round.
    #[error("window '{0}': the first bound is above the second; swap them")]
    Inverted(String),
    /// A link speed that cannot be read.
    #[error("window '{0}': the speed is not a number above 0 with kB/s, MB/s or GB/s")]
    Speed(String),
}

impl FromStr for WindowSpec {
    type Err = WindowSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || WindowSpecError::Unknown(text.to_owned());
        let duration = |part: &str| {
            parse_duration(part).map_err(|e| WindowSpecError::Duration(text.to_owned(), e))
        };
        if text == "hold" {
            return Ok(WindowSpec::Hold);
        }
        let Some((kind, rest)) = text.split_once(':') else {
            let number = text.starts_with(|c: char| c.is_ascii_digit());
            let fixed = if number { duration(text) } else { Err(unknown()) };
            return fixed.map(WindowSpec::Fixed);
        };
        match kind {
            "uniform" => {
                let (low, high) = rest.split_once("..").ok_or_else(unknown)?;
                let (low, high) = (duration(low)?, duration(high)?);
                if low > high {
                    return Err(WindowSpecError::Inverted(text.to_owned()));
                }
                Ok(WindowSpec::Uniform { low, high })
            }
            "exp" => Ok(WindowSpec::Exponential { mean: duration(rest)? }),
            "bandwidth" => {
                let (latency, speed) = rest.split_once('+').ok_or_else(unknown)?;
                let bytes_per_second =
                    parse_speed(speed).ok_or_else(|| WindowSpecError::Speed(text.to_owned()))?;
                Ok(WindowSpec::Bandwidth { latency: duration(latency)?, bytes_per_second })
            }
            _ => Err(unknown()),
        }
    }
}

/// Reads `500MB/s`; decimal multiples, as links are sold.
fn parse_speed(text: &str) -> Option<u64> {
    let number_and_scale =
        [("kB/s", 1_000), ("MB/s", 1_000_000), ("GB/s", 1_000_000_000), ("B/s", 1)]
            .into_iter()
            .find_map(|(suffix, scale)| text.strip_suffix(suffix).map(|number| (number, scale)));
    let (number, scale) = number_and_scale?;
    let number: u64 = number.parse().ok()?;
    number.checked_mul(scale).filter(|speed| *speed > 0)
}

/// Writes a speed in the largest unit that needs no fraction.
fn format_speed(bytes_per_second: u64) -> String {
    let (unit, name) = [(1_000_000_000, "GB/s"), (1_000_000, "MB/s"), (1_000, "kB/s")]
        .into_iter()
        .find(|(unit, _)| bytes_per_second.is_multiple_of(*unit))
        .unwrap_or((1, "B/s"));
    format!("{}{name}", bytes_per_second / unit)
}

impl fmt::Display for WindowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WindowSpec::Fixed(window) => f.write_str(&format_duration(*window)),
            WindowSpec::Uniform { low, high } => {
                write!(f, "uniform:{}..{}", format_duration(*low), format_duration(*high))
            }
            WindowSpec::Exponential { mean } => write!(f, "exp:{}", format_duration(*mean)),
            WindowSpec::Bandwidth { latency, bytes_per_second } => {
                write!(
                    f,
                    "bandwidth:{}+{}",
                    format_duration(*latency),
                    format_speed(*bytes_per_second)
                )
            }
            WindowSpec::Hold => f.write_str("hold"),
        }
    }
}

impl From<WindowSpec> for String {
    fn from(spec: WindowSpec) -> String {
        spec.to_string()
    }
}

impl TryFrom<String> for WindowSpec {
    type Error = WindowSpecError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_contract_reads_and_prints_the_same() {
        for text in
            ["0", "250us", "1ms", "uniform:0..5ms", "exp:200us", "bandwidth:200us+500MB/s", "hold"]
        {
            assert_eq!(text.parse::<WindowSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_forms_that_work() {
        for text in [
            "",
            "soon",
            "1",
            "uniform:5ms",
            "uniform:x..5ms",
            "bandwidth:1ms",
            "gauss:1ms",
            "hold:1",
        ] {
            assert!(text.parse::<WindowSpec>().is_err(), "{text}");
        }
        assert!("soon".parse::<WindowSpec>().unwrap_err().to_string().contains("exp:200us"));
        assert!("2h".parse::<WindowSpec>().unwrap_err().to_string().contains("up to an hour"));
        assert_eq!(
            "uniform:5ms..1ms".parse::<WindowSpec>(),
            Err(WindowSpecError::Inverted("uniform:5ms..1ms".into()))
        );
        assert!("bandwidth:1ms+0MB/s".parse::<WindowSpec>().is_err());
    }
}
