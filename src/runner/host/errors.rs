//! Errors in words, whole and in one line.

/// An error and its causes, with all their lines.
pub fn whole_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// An error and its causes in one line; a console's tail stays behind.
pub fn one_line(error: &dyn std::error::Error) -> String {
    let text = whole_text(error);
    let line = text.lines().next().unwrap_or_default();
    line.trim_end_matches("; its console ended with:").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::SessionError;
    use std::path::PathBuf;

    #[test]
    fn a_reason_is_one_line() {
        let error = SessionError::Read(
            PathBuf::from("f"),
            std::io::Error::other("first; its console ended with:\n    second"),
        );
        assert_eq!(one_line(&error), "cannot read f: first");
        assert!(whole_text(&error).contains("second"));
    }
}
