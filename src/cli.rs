//! What both programs do with arguments they cannot use.

use clap::error::ErrorKind;

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
    let text = error.render().to_string();
    let said = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    Some(format!("{}; --help lists what can be given", said.trim_start_matches("error: ")))
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
    fn an_unknown_flag_is_one_line() {
        let line = said(&["--windov", "1ms"]).unwrap();
        assert!(line.contains("--windov") && line.contains("--window"), "{line}");
    }

    #[test]
    fn help_is_no_error() {
        assert_eq!(said(&["--help"]), None);
    }
}
