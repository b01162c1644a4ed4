//! The bytes of a race, before and after, for people.

use std::collections::BTreeMap;

use console::Style;

use crate::record::Change;

/// Bytes a row.
const ROW: usize = 16;
/// Rows a block; many small runs say no more than a few.
const MOST_ROWS: usize = 4;

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

/// The bytes of one block before and after, in lines of sixteen: offset, hex, and text. Bytes that
/// did not change are not on record and stand as `..`; of many lines the first are shown.
pub fn hexdiff(changes: &[Change], colour: Colour) -> Vec<String> {
    let rows = rows(changes);
    let shown = rows.iter().take(MOST_ROWS).flat_map(|(offset, row)| {
        let (red, green) = (Style::new().red(), Style::new().green());
        [
            format!("{offset:#06x}  - {}", half(row, |pair| pair.0, red, colour)),
            format!("        + {}", half(row, |pair| pair.1, green, colour)),
        ]
    });
    let mut lines: Vec<String> = shown.collect();
    if rows.len() > MOST_ROWS {
        lines.push(format!("        … and {} lines more", rows.len() - MOST_ROWS));
    }
    lines
}

/// A byte before and after.
type Pair = (u8, u8);

/// The known bytes of every line that has any, by the line's offset.
fn rows(changes: &[Change]) -> BTreeMap<usize, Vec<Option<Pair>>> {
    let mut rows: BTreeMap<usize, Vec<Option<Pair>>> = BTreeMap::new();
    for change in changes {
        let pairs = decode(&change.old).into_iter().zip(decode(&change.new));
        for (at, pair) in pairs.enumerate() {
            let offset = change.offset.saturating_add(at);
            let row = rows.entry(offset - offset % ROW).or_insert_with(|| vec![None; ROW]);
            if let Some(slot) = row.get_mut(offset % ROW) {
                *slot = Some(pair);
            }
        }
    }
    rows
}

/// One side of a line in hex and as text; what differs from the other side in `style`.
fn half(row: &[Option<Pair>], side: fn(Pair) -> u8, style: Style, colour: Colour) -> String {
    let mut hex = String::new();
    let mut text = String::new();
    for slot in row {
        let Some(pair) = *slot else {
            hex.push_str(".. ");
            text.push(' ');
            continue;
        };
        let byte = side(pair);
        let printable = if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '.' };
        let paint = |part: String| match pair {
            (old, new) if old == new => part,
            _ => colour.paint(style.clone(), &part),
        };
        hex.push_str(&paint(format!("{byte:02x}")));
        hex.push(' ');
        text.push_str(&paint(printable.to_string()));
    }
    format!("{hex} |{text}|")
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

    fn change(offset: usize, old: &str, new: &str) -> Change {
        Change { offset, len: old.len() / 2, old: old.into(), new: new.into() }
    }

    #[test]
    fn runs_near_each_other_share_their_lines() {
        let changes = [change(0x1f1, "41", "42"), change(0x1ff, "4344", "4546")];
        let lines = hexdiff(&changes, Colour::Never);
        let dots = |count| ".. ".repeat(count);
        assert_eq!(
            lines,
            [
                format!("0x01f0  - .. 41 {}43  | A             C|", dots(13)),
                format!("        + .. 42 {}45  | B             E|", dots(13)),
                format!("0x0200  - 44 {} |D               |", dots(15)),
                format!("        + 46 {} |F               |", dots(15)),
            ]
        );
    }

    #[test]
    fn long_runs_are_cut_and_said_to_be() {
        let (old, new) = ("41".repeat(200), "42".repeat(200));
        let lines = hexdiff(&[change(0, &old, &new)], Colour::Never);
        assert_eq!(lines.len(), 2 * MOST_ROWS + 1);
        assert_eq!(lines.last().unwrap().trim(), "… and 9 lines more");
    }

    #[test]
    fn colour_marks_only_what_differs() {
        let changes = [change(0, "0041", "0042")];
        let lines = hexdiff(&changes, Colour::Always);
        assert!(lines[0].contains("- 00 \u{1b}["), "{lines:?}");
        assert!(!hexdiff(&changes, Colour::Never)[0].contains('\u{1b}'));
    }

    #[test]
    fn broken_hex_and_absurd_offsets_show_what_can_be_read() {
        assert_eq!(decode("41f"), [0x41]);
        assert!(decode("4x41").is_empty());
        assert!(hexdiff(&[change(0, "", "")], Colour::Never).is_empty());
        assert_eq!(hexdiff(&[change(usize::MAX, "4142", "4243")], Colour::Never).len(), 2);
    }
}
