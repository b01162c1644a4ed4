//! The line that runs it again, and the scenario.

use crate::report::plain::plain;

use super::case::Case;
use super::fold::{WIDTH, paragraph};
use super::seen::word_for;

/// A line of dixtrap, and the script that it runs.
pub(super) fn lines(case: &Case<'_>) -> String {
    let Some(command) = command(case) else {
        return paragraph(
            "Not on record: the records are of no run of dixtrap's. What was done under the label is known to who \
             set it.",
        );
    };
    let mut out = shell_lines(&command);
    match case.scenario {
        Some(script) => {
            out.push_str(&paragraph(
                "The scenario is dixtrap's own; 'dixtrap report --bug … --script FILE' writes it with all that it needs \
                 to run by itself in a guest. Its commands:",
            ));
            out.push_str(&commands(script));
        }
        None => out.push_str(&paragraph(
            "The scenario is one of the reporter's own, and has to come with this mail.",
        )),
    }
    out
}

/// The words of the command, each with what belongs to it; nothing where no verdict tells what ran.
fn command(case: &Case<'_>) -> Option<Vec<String>> {
    let (cell, verdict) = (case.cell?, case.verdict?);
    let provenance = verdict.provenance.as_ref();
    let kernel = provenance.and_then(|known| word_for(known, &cell.kernel)).unwrap_or(&cell.kernel);
    let mut words = vec!["dixtrap run".to_owned(), format!("--kernel {}", quoted(kernel))];
    if cell.device != "blk" {
        words.push(format!("--device {}", quoted(&cell.device)));
    }
    words.push(format!("--fs {}", quoted(&cell.fs)));
    words.push(format!("--scenario {}", quoted(&cell.scenario)));
    words.extend(cell.stable_writes.map(|setting| format!("--stable-writes {setting}")));
    words.extend(cell.window_us.map(|window| format!("--window {}", window.asked)));
    words.extend(provenance.map(|known| format!("--seed {}", known.seed)));
    if case.evidence.culprit.is_some() {
        words.push("--culprit on".to_owned());
    }
    Some(words)
}

/// As a shell reads it.
fn quoted(word: &str) -> String {
    let word = plain(word);
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./:+@=,%".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        return word;
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Words with what belongs to them, in lines that a shell takes for one.
fn shell_lines(words: &[String]) -> String {
    let mut out = String::from("  ");
    let mut column = 2;
    for (at, word) in words.iter().enumerate() {
        let length = word.chars().count();
        // Room for the backslash.
        if at > 0 && column + 1 + length + 2 > WIDTH {
            out.push_str(" \\\n   ");
            column = 3;
        }
        if at > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out + "\n"
}

/// What of a script is no comment, with lines that are too long for a mail left as they are broken by a shell.
fn commands(script: &str) -> String {
    let lines = script
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    lines.map(|line| broken(&plain(line))).collect()
}

fn broken(line: &str) -> String {
    if line.chars().count() + 4 <= WIDTH {
        return format!("    {line}\n");
    }
    super::fold::fold(line, "    ", "      ")
}
