//! Figures in words: the same in every format for people.

use std::time::Duration;

use crate::units::format_duration;
use crate::verdict::{Boot, Cell, SECOND_LOOK, Verdict};

use super::plain::plain;

/// What was seen of a cell: `34 of 12345 blocks raced`, `none of 12345 blocks raced`, `not run`.
pub fn seen_words(cell: &Cell) -> String {
    let (Some(races), Some(checked)) = (cell.races, cell.blocks_checked) else {
        return "not run".to_owned();
    };
    let raced = match cell.phases {
        _ if races == 0 => format!("none of {checked} blocks raced"),
        Some(phases) => phases.words(checked),
        None => format!("{races} of {checked} blocks raced"),
    };
    let repeats = match cell.repeat {
        Some(repeat) if repeat.n > 1 => format!(", in {} of {} runs", repeat.k, repeat.n),
        _ => String::new(),
    };
    let legs = match cell.divergent {
        None => String::new(),
        Some(0) => ", legs alike".to_owned(),
        Some(blocks) => format!(", {blocks} divergent between legs"),
    };
    // Where the cell's name does not tell it.
    let knob = match (cell.stable_writes, cell.ran_with) {
        (None, Some(was)) => format!(", stable_writes was {was}"),
        _ => String::new(),
    };
    format!("{raced}{repeats}{legs}{knob}")
}

/// Healed and standing races of a cell: `7/2`, or `7+/?` where more than these may have been healed.
pub fn healed_words(healed: Option<u64>, standing: Option<u64>) -> String {
    match (healed, standing) {
        (Some(healed), Some(standing)) => format!("{healed}/{standing}"),
        (Some(healed), None) => format!("{healed}+/?"),
        (None, _) => "-".to_owned(),
    }
}

/// What `?` means, where a cell has it.
fn untold_words(cell: &Cell) -> Option<String> {
    (cell.healed.is_some() && cell.standing.is_none()).then(|| {
        "which of its races stand is not known: later healings were only counted, because the records \
         reached their limit (raise --races-limit), or because nobody could read them"
            .to_owned()
    })
}

/// What was expected of a cell, and why where that is known: `stable: the journal writes a copy`.
pub fn expected_words(cell: &Cell) -> String {
    cell.why.as_ref().map_or_else(
        || cell.expect.to_string(),
        |why| format!("{}: {}", cell.expect, why.replace('\n', " ")),
    )
}

/// What the kernel said of itself while a cell ran, and went on after; a line each.
pub fn noted_words(cell: &Cell) -> Vec<String> {
    untold_words(cell).into_iter().chain(cell.notes.iter().map(|note| noted(note))).collect()
}

fn noted(note: &str) -> String {
    let note = note.replace('\n', " ");
    // What dixtrap itself noted.
    if note.starts_with(SECOND_LOOK) {
        note
    } else {
        format!("the kernel said, and went on: {note}")
    }
}

/// What is to be told of the boots: where it was, and a line for each thing.
pub fn boot_words(verdict: &Verdict) -> Vec<(String, String)> {
    let lines = |boot: &Boot| {
        let place = boot.directory.as_ref().map_or_else(String::new, |name| format!(", {name}"));
        let name = format!("boot of {}, device {}{place}", boot.kernel, boot.device);
        let deaths = deaths_words(boot);
        let words = deaths.into_iter().chain(boot.notes.iter().map(|note| noted(note)));
        words.map(|line| (plain(&name), plain(&line))).collect::<Vec<_>>()
    };
    verdict.boots.iter().flat_map(lines).collect()
}

/// How many kernels of a boot died before their agents answered, and what each said.
fn deaths_words(boot: &Boot) -> Vec<String> {
    let (deaths, tries) = (&boot.early_deaths, boot.tries);
    if deaths.is_empty() {
        return Vec::new();
    }
    let count = format!(
        "{} of {tries} tries died before the guest's agent answered, possibly of QEMU's own making (TCG)",
        deaths.len()
    );
    let each = deaths.iter().map(|line| format!("it died: {}", line.replace('\n', " ")));
    [count].into_iter().chain(each).collect()
}

/// Milliseconds in words, `-` where there are none: to a tenth below 10 ms, else whole.
pub fn millis_words(millis: Option<f64>) -> String {
    match millis {
        None => "-".to_owned(),
        Some(millis) if millis < 10.0 => format!("{millis:.1} ms"),
        Some(millis) => format!("{millis:.0} ms"),
    }
}

/// Microseconds in words, `-` where there are none.
pub fn micros_words(micros: Option<f64>) -> String {
    match micros {
        Some(micros) if micros < 1_000.0 => format!("{micros:.0} us"),
        other => millis_words(other.map(|micros| micros / 1_000.0)),
    }
}

/// A number of microseconds in words, whole and in the largest unit that fits.
pub fn whole_micros_words(micros: u64) -> String {
    let rounded = if micros < 10_000 { micros } else { micros / 1_000 * 1_000 };
    format_duration(Duration::from_micros(rounded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_units() {
        assert_eq!(millis_words(None), "-");
        assert_eq!(millis_words(Some(4.26)), "4.3 ms");
        assert_eq!(millis_words(Some(460.2)), "460 ms");
        assert_eq!(micros_words(Some(812.4)), "812 us");
        assert_eq!(micros_words(Some(1_912.4)), "1.9 ms");
        assert_eq!(whole_micros_words(999), "999us");
        assert_eq!(whole_micros_words(46_123), "46ms");
    }
}
