//! What both programs do with arguments they cannot use, and with limits.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Makes a file that would outgrow the limit on its size (`ulimit -f`) an error of that write, EFBIG: the
/// signal that comes besides would end the process without a word. A handler, unlike a signal that is
/// ignored, is not passed on to programs that we start.
pub fn survive_file_limits() {
    let nobody = Arc::new(AtomicBool::new(false));
    if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, nobody) {
        log::warn!("a file that outgrows its limit will end this process: {error}");
    }
}

/// How many characters of a wrong value are shown.
const MOST_OF_A_VALUE: usize = 80;

/// A usage error as one line: what was wrong, and clap's tip where it has one.
///
/// `None` for help and version, which are answers and no errors.
pub fn one_line(error: &clap::Error) -> Option<String> {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return None;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Some("no command was given; --help lists them".to_owned());
    }
    let mut text = error.render().to_string();
    // A long value must not push the reason out of the line.
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue)
        && value.chars().count() > MOST_OF_A_VALUE
    {
        let short: String = value.chars().take(MOST_OF_A_VALUE).collect();
        text = text.replace(value.as_str(), &format!("{short}…"));
    }
    let said = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        // A flag that does not exist is meant as no value.
        .filter(|line| !line.is_empty() && !line.starts_with("tip: to pass '"))
        .collect::<Vec<_>>()
        .join(" ");
    Some(format!("{}; --help lists what can be given", said.trim_start_matches("error: ")))
}

/// The commands that can stand where `words`, the arguments behind the program's name, leave the ones
/// that are known; none where that command takes none.
pub fn commands_there(program: &Command, words: impl IntoIterator<Item = OsString>) -> Vec<String> {
    let mut at = program;
    for word in words {
        match at.find_subcommand(word) {
            Some(further) => at = further,
            None => break,
        }
    }
    at.get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .map(|command| command.get_name().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Args;
    use clap::Parser;

    fn said(flags: &[&str]) -> Option<String> {
        let error = Args::try_parse_from(std::iter::once(&"dixtrapd").chain(flags)).unwrap_err();
        one_line(&error)
    }

    #[test]
    fn a_wrong_value_is_one_line_with_the_way_out() {
        let line = said(&["--window", "soon"]).unwrap();
        assert!(line.contains("'soon'") && line.contains("exp:200us"), "{line}");
        assert!(!line.contains('\n') && !line.contains("error:"), "{line}");
    }

    #[test]
    fn a_long_value_does_not_hide_what_is_wrong_with_it() {
        let line = said(&["--window", &"w".repeat(3000)]).unwrap();
        assert!(line.len() < 1000 && line.contains("…") && line.contains("exp:200us"), "{line}");
    }

    #[test]
    fn an_unknown_flag_is_one_line() {
        let line = said(&["--windov", "1ms"]).unwrap();
        assert!(line.contains("--windov") && line.contains("--window"), "{line}");
        let line = one_line(
            &Command::new("p")
                .arg(clap::Arg::new("x"))
                .try_get_matches_from(["p", "--y"])
                .unwrap_err(),
        );
        assert!(line.is_some_and(|line| line.contains("'--y'") && !line.contains("tip")));
    }

    #[test]
    fn the_commands_that_can_stand_there_are_known() {
        let program = Command::new("p")
            .subcommand(Command::new("run"))
            .subcommand(Command::new("list").subcommands([Command::new("a"), Command::new("b")]));
        let there = |words: &[&str]| commands_there(&program, words.iter().map(OsString::from));
        assert_eq!(there(&[]), ["run", "list"]);
        assert_eq!(there(&["lost", "a"]), ["run", "list"]);
        assert_eq!(there(&["list", "c"]), ["a", "b"]);
        assert_eq!(there(&["run", "x"]), [""; 0]);
    }

    #[test]
    fn help_is_no_error() {
        assert_eq!(said(&["--help"]), None);
    }
}
