//! Who may connect to a socket, as chmod(1) writes it: `600`, `0660`.

use std::fmt;
use std::str::FromStr;

/// The permissions of a socket's file. To connect is to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketMode(u32);

/// Why a text is not such a mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "mode '{0}' is not an octal number up to 777: write 600 (only you), 660 (your group too) or 666 (everybody)"
)]
pub struct SocketModeError(String);

impl SocketMode {
    /// The nine bits.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl Default for SocketMode {
    /// Nobody but the owner.
    fn default() -> SocketMode {
        SocketMode(0o600)
    }
}

impl FromStr for SocketMode {
    type Err = SocketModeError;

    fn from_str(text: &str) -> Result<Self, SocketModeError> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let bits = u32::from_str_radix(text, 8).ok().filter(|bits| digits && *bits <= 0o777);
        bits.map(SocketMode).ok_or_else(|| SocketModeError(text.to_owned()))
    }
}

impl fmt::Display for SocketMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03o}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_and_nine_bits() {
        for (text, bits) in [("600", 0o600), ("0660", 0o660), ("777", 0o777), ("0", 0)] {
            assert_eq!(text.parse::<SocketMode>().unwrap().bits(), bits, "{text}");
        }
        for text in ["", "rw", "1777", "800", "+600", "-1", "0o600"] {
            assert!(text.parse::<SocketMode>().is_err(), "{text}");
        }
        assert_eq!(SocketMode::default().to_string(), "600");
    }
}
