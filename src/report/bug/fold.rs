//! Lines of a mail.

/// The most columns of a line.
pub const WIDTH: usize = 78;

/// `words` in lines of at most [`WIDTH`] columns, the first behind `first`, the others behind `rest`. A word
/// that is longer than a line is cut.
pub fn fold(words: &str, first: &str, rest: &str) -> String {
    let mut out = String::new();
    let mut line = first.to_owned();
    let mut empty = true;
    for word in words.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        if !empty && columns(&line) + 1 + word.len() > WIDTH {
            out.push_str(&format!("{}\n", line.trim_end()));
            rest.clone_into(&mut line);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        while columns(&line) + word.len() > WIDTH {
            let room = WIDTH.saturating_sub(columns(&line)).max(1);
            line.extend(word.drain(..room.min(word.len())));
            out.push_str(&format!("{line}\n"));
            rest.clone_into(&mut line);
        }
        line.extend(word);
        empty = false;
    }
    if !line.trim().is_empty() {
        out.push_str(&format!("{}\n", line.trim_end()));
    }
    out
}

/// A paragraph below a heading.
pub fn paragraph(words: &str) -> String {
    fold(words, "  ", "  ")
}

/// A heading of the mail.
pub fn heading(title: &str) -> String {
    format!("{title}:\n")
}

/// Letters of a wide script take two columns on a terminal, in a mail they count as one.
fn columns(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_stay_whole_where_they_can() {
        assert_eq!(fold("a b", "- ", "  "), "- a b\n");
        assert_eq!(fold("", "  ", "  "), "");
        let two = fold(&format!("{} y", "x".repeat(77)), "", "  ");
        assert_eq!(two, format!("{}\n  y\n", "x".repeat(77)));
        let cut = fold(&"x".repeat(100), "    ", "    ");
        assert_eq!(cut, format!("    {}\n    {}\n", "x".repeat(74), "x".repeat(26)));
    }

    proptest! {
        #[test]
        fn no_line_is_longer_and_no_letter_is_lost(words in "[a-zä ]{0,400}", indent in 0_usize..20) {
            let indent = " ".repeat(indent);
            let folded = fold(&words, &indent, &indent);
            prop_assert!(folded.lines().all(|line| columns(line) <= WIDTH));
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(letters(&folded), letters(&words));
        }
    }
}
