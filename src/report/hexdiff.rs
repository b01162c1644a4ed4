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
/// did not change stand as `..`, bytes that are not on record as `??`; of many lines the first are
/// shown, and the last line says how many of the `total` bytes that changed are not.
pub fn hexdiff(changes: &[Change], total: usize, colour: Colour) -> Vec<String> {
    let rows = rows(changes, total);
    let shown = rows.iter().take(MOST_ROWS).flat_map(|(offset, row)| {
        let (red, green) = (Style::new().red(), Style::new().green());
        [
            format!("{offset:#06x}  - {}", half(row, |pair| pair.0, red, colour)),
            format!("        + {}", half(row, |pair| pair.1, green, colour)),
        ]
    });
    let mut lines: Vec<String> = shown.collect();
    let shown = rows.values().take(MOST_ROWS).flatten().filter(|slot| slot.changed()).count();
    if total > shown {
        lines
            .push(format!("        {}", rest(total - shown, total - recorded(changes).min(total))));
    }
    lines
}

/// What is not shown, in words: so many bytes that changed, of which so many are not on record.
fn rest(hidden: usize, lost: usize) -> String {
    let bytes = if hidden == 1 { "byte" } else { "bytes" };
    let lost = match lost {
        0 => String::new(),
        lost if lost == hidden => ", not on record".to_owned(),
        lost => format!(", {lost} of them not on record"),
    };
    format!("… and {hidden} more changed {bytes}{lost}")
}

/// The longest stretch of bytes that all changed, in words. Runs on record hold equal bytes between
/// changes that lie close together, are cut when they are long, and are the first of many.
pub fn longest_run(changes: &[Change], total: usize) -> String {
    let whole = changes.iter().flat_map(|change| {
        let pairs: Vec<Slot> = slots(change).collect();
        let runs: Vec<usize> = pairs.split(|slot| !slot.changed()).map(<[Slot]>::len).collect();
        runs
    });
    let longest = whole.max().unwrap_or(0);
    let cut = changes.iter().filter(|change| is_cut(change)).map(|change| change.len).max();
    match cut {
        Some(len) if len > longest => format!("longest run up to {len}"),
        _ if recorded(changes) < total => format!("longest run on record {longest}"),
        _ => format!("longest run {longest}"),
    }
}

/// How many of the bytes that changed are on record.
fn recorded(changes: &[Change]) -> usize {
    changes.iter().flat_map(slots).filter(|slot| slot.changed()).count()
}

/// The record has only the first bytes of the run.
fn is_cut(change: &Change) -> bool {
    change.old_bytes().len() < change.len
}

/// What is known of a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// It did not change.
    Same,
    /// It may have changed: the record ends before it.
    Unknown,
    /// Before and after.
    Known(u8, u8),
}

impl Slot {
    fn changed(&self) -> bool {
        matches!(self, Slot::Known(old, new) if old != new)
    }
}

/// The bytes of a run that are on record.
fn slots(change: &Change) -> impl Iterator<Item = Slot> {
    let pairs = change.old_bytes().into_iter().zip(change.new_bytes());
    pairs.map(|(old, new)| if old == new { Slot::Same } else { Slot::Known(old, new) })
}

/// Every line that has bytes on record, by its offset.
fn rows(changes: &[Change], total: usize) -> BTreeMap<usize, Vec<Slot>> {
    let mut rows: BTreeMap<usize, Vec<Slot>> = BTreeMap::new();
    for change in changes {
        for (at, known) in slots(change).enumerate() {
            let offset = change.offset.saturating_add(at);
            let row = rows.entry(offset - offset % ROW).or_insert_with(|| vec![Slot::Same; ROW]);
            if let Some(slot) = row.get_mut(offset % ROW) {
                *slot = known;
            }
        }
    }
    for change in changes.iter().filter(|change| is_cut(change)) {
        let from = change.offset.saturating_add(change.old_bytes().len());
        blot(&mut rows, from, change.offset.saturating_add(change.len));
    }
    if let Some(last) = changes.last().filter(|_| recorded(changes) < total) {
        blot(&mut rows, last.offset.saturating_add(last.len), usize::MAX);
    }
    rows
}

/// Marks what is not on record, as far as it shares the line of something that is.
fn blot(rows: &mut BTreeMap<usize, Vec<Slot>>, from: usize, to: usize) {
    if let Some(row) = rows.get_mut(&(from - from % ROW)) {
        let bytes = (from..to).zip(row.iter_mut().skip(from % ROW));
        bytes.filter(|(_, slot)| **slot == Slot::Same).for_each(|(_, slot)| *slot = Slot::Unknown);
    }
}

/// One side of a line in hex and as text, what changed in `style`.
fn half(row: &[Slot], side: fn((u8, u8)) -> u8, style: Style, colour: Colour) -> String {
    let mut hex = String::new();
    let mut text = String::new();
    for slot in row {
        match *slot {
            Slot::Same => {
                hex.push_str(".. ");
                text.push(' ');
            }
            Slot::Unknown => {
                hex.push_str("?? ");
                text.push('?');
            }
            Slot::Known(old, new) => {
                let byte = side((old, new));
                let printable = if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '.' };
                hex.push_str(&colour.paint(style.clone(), &format!("{byte:02x}")));
                hex.push(' ');
                text.push_str(&colour.paint(style.clone(), &printable.to_string()));
            }
        }
    }
    format!("{hex} |{text}|")
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
        let lines = hexdiff(&changes, 3, Colour::Never);
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
    fn what_is_not_shown_is_counted_and_never_passes_for_unchanged() {
        // A run of 200 bytes of which a record has the first 32.
        let long = Change { len: 200, ..change(8, &"41".repeat(32), &"42".repeat(32)) };
        let lines = hexdiff(std::slice::from_ref(&long), 200, Colour::Never);
        assert_eq!(lines.len(), 2 * 3 + 1);
        assert!(lines[4].ends_with(&format!("|{}{}|", "A".repeat(8), "?".repeat(8))), "{lines:?}");
        assert_eq!(lines[6].trim(), "… and 168 more changed bytes, not on record");
        assert_eq!(longest_run(&[long], 200), "longest run up to 200");

        // Many small runs: the first lines are shown, the rest of the record is counted.
        let many: Vec<Change> = (0..16).map(|run| change(run * 16, "41", "42")).collect();
        let lines = hexdiff(&many, 17, Colour::Never);
        assert_eq!(
            lines.last().unwrap().trim(),
            "… and 13 more changed bytes, 1 of them not on record"
        );
        assert_eq!(longest_run(&many, 17), "longest run on record 1");
        let all = hexdiff(&many, 16, Colour::Never);
        assert_eq!(all.last().unwrap().trim(), "… and 12 more changed bytes");
        let last_row = hexdiff(&many[15..], 2, Colour::Never);
        assert!(last_row[0].ends_with(&format!("|A{}|", "?".repeat(15))), "{last_row:?}");
    }

    #[test]
    fn equal_bytes_inside_a_run_are_no_part_of_the_longest() {
        let joined = [change(0, "010099ff05", "02009901ff")];
        assert_eq!(longest_run(&joined, 3), "longest run 2");
        assert!(hexdiff(&joined, 3, Colour::Never)[0].contains("- 01 .. .. ff 05 .."));
    }

    #[test]
    fn colour_marks_only_what_differs() {
        let changes = [change(0, "0041", "0042")];
        let lines = hexdiff(&changes, 1, Colour::Always);
        assert!(lines[0].contains("- .. \u{1b}["), "{lines:?}");
        assert!(!hexdiff(&changes, 1, Colour::Never)[0].contains('\u{1b}'));
    }

    #[test]
    fn broken_hex_and_absurd_offsets_show_what_can_be_read() {
        assert_eq!(change(0, "41f", "").old_bytes(), [0x41]);
        assert!(change(0, "4x41", "").old_bytes().is_empty());
        assert!(hexdiff(&[change(0, "", "")], 0, Colour::Never).is_empty());
        assert_eq!(hexdiff(&[change(usize::MAX, "41", "42")], 1, Colour::Never).len(), 2);
    }
}
