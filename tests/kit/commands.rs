//! Commands as pages and recipes show them, and whether our programs know their flags.

use std::process::Command;

use super::programs::{DIXTRAP, DIXTRAP_GUEST, DIXTRAPD, said};

/// The commands of this project that a block may call.
pub const OURS: [(&str, &str); 3] =
    [("dixtrap", DIXTRAP), ("dixtrapd", DIXTRAPD), ("dixtrap-guest", DIXTRAP_GUEST)];

/// The commands of a script, one a line, continued lines joined, comments dropped.
pub fn commands_of(script: &str) -> Vec<Vec<String>> {
    script
        .replace("\\\n", " ")
        .lines()
        .map(|line| line.split(" #").next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

/// What is wrong with the calls of our programs in a command, wherever they stand (behind
/// `git bisect run`). A program that is asked for help behind its subcommands and operands, which it
/// checks on the way, names every flag that it has there.
pub fn unknown_flags(command: &[String]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (index, word) in command.iter().enumerate() {
        // A path of ours counts as well: target/release/dixtrap.
        let file = word.rsplit('/').next().unwrap_or(word);
        let Some((name, program)) = OURS.iter().find(|(name, _)| file == *name) else { continue };
        // Behind `--` stands another program's command.
        let ends = |word: &&String| !matches!(word.as_str(), "&" | "&&" | "|" | ">" | ";" | "--");
        let rest: Vec<_> = command[index + 1..].iter().take_while(ends).collect();
        let operands = rest.iter().take_while(|word| !word.starts_with("--"));
        let output = Command::new(program).args(operands).arg("--help").output().unwrap();
        let help = said(&output);
        if !output.status.success() {
            wrong.push(format!("{name} {rest:?}: {help}"));
            continue;
        }
        let has = |flag: &str| {
            let mut words = help.split(|c: char| c.is_whitespace() || ",[]=<>".contains(c));
            words.any(|word| word == flag)
        };
        let flags = rest.iter().filter(|word| word.starts_with("--"));
        let names = flags.map(|flag| flag.split('=').next().unwrap_or(flag));
        wrong.extend(names.filter(|flag| !has(flag)).map(|flag| format!("{name} has no {flag}")));
    }
    wrong
}
