//! The bytes of a race, before and after, for people.

use console::Style;

use crate::record::Change;

/// Bytes a row.
const ROW: usize = 16;

/// Whether to colour what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Never,
    /// ANSI colours, whatever the output is.
    Always,
}

impl Colour {
    /// Colours where standard output is a terminal that has them and `NO_COLOR` is not set.
    pub fn of_stdout() -> Colour {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if console::colors_enabled() && !no_colour { Colour::Always } else { Colour::Never }
    }

    /// `text` in `style`, where there are colours.
    pub fn paint(self, style: Style, text: &str) -> String {
        match self {
            Colour::Never => text.to_owned(),
            Colour::Always => style.force_styling(true).apply_to(text).to_string(),
        }
    }
}

/// One run of changed bytes as lines: offset, bytes before and after, and both as text.
pub fn hexdiff(change: &Change, colour: Colour) -> Vec<String> {
    let (old, new) = (decode(&change.old), decode(&change.new));
    let rows = old.chunks(ROW).zip(new.chunks(ROW)).enumerate();
    let mut lines: Vec<String> = rows
        .flat_map(|(at, (old, new))| {
            let offset = change.offset.saturating_add(at.saturating_mul(ROW));
            [
                format!("{offset:#06x}  - {}", row(old, new, Style::new().red(), colour)),
                format!("        + {}", row(new, old, Style::new().green(), colour)),
            ]
        })
        .collect();
    if change.len > old.len() {
        lines.push(format!("        … {} bytes changed in this run", change.len));
    }
    lines
}

/// The bytes of `this` in hex and as text, those that differ from `other` in `style`.
fn row(this: &[u8], other: &[u8], style: Style, colour: Colour) -> String {
    let differs = |at: usize, byte: &u8| other.get(at) != Some(byte);
    let mut hex = String::new();
    let mut text = String::new();
    for (at, byte) in this.iter().enumerate() {
        let printable = if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' };
        let (two, one) = (format!("{byte:02x}"), printable.to_string());
        let paint = |part: &str| {
            if differs(at, byte) { colour.paint(style.clone(), part) } else { part.to_owned() }
        };
        hex.push_str(&paint(&two));
        hex.push(' ');
        text.push_str(&paint(&one));
    }
    let padding = "   ".repeat(ROW.saturating_sub(this.len()));
    format!("{hex}{padding} |{text}|")
}

/// Reads hex as far as it is hex: a report shows what there is.
fn decode(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().map_while(|c| c.to_digit(16)).flat_map(u8::try_from).collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(old: &str, new: &str, len: usize) -> Change {
        Change { offset: 0x1f0, len, old: old.into(), new: new.into() }
    }

    #[test]
    fn a_run_shows_both_sides_and_its_true_length() {
        let old = "41".repeat(18);
        let new = "42".repeat(18);
        let lines = hexdiff(&change(&old, &new, 100), Colour::Never);
        assert_eq!(lines.len(), 5, "{lines:#?}");
        assert!(
            lines[0].starts_with("0x01f0  - 41 41") && lines[0].ends_with("|AAAAAAAAAAAAAAAA|")
        );
        assert!(lines[1].starts_with("        + 42 42"));
        assert!(lines[2].starts_with("0x0200  - 41 41  ") && lines[2].ends_with("|AA|"));
        assert!(lines[4].contains("100 bytes"));
    }

    #[test]
    fn colour_marks_only_what_differs() {
        let lines = hexdiff(&change("0041", "0042", 2), Colour::Always);
        assert!(lines[0].contains("- 00 \u{1b}["), "{lines:?}");
        assert!(!hexdiff(&change("0041", "0042", 2), Colour::Never)[0].contains('\u{1b}'));
    }

    #[test]
    fn broken_hex_shows_what_can_be_read() {
        assert_eq!(decode("41f"), [0x41]);
        assert_eq!(decode("4x41"), [] as [u8; 0]);
        assert!(hexdiff(&change("", "", 0), Colour::Never).is_empty());
    }
}
