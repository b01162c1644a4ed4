//! Text of strangers, made harmless: a label, a path, a release or a reason may hold anything that a guest,
//! a client or a file put there.

/// How many characters of one text are shown.
pub const SHOWN: usize = 2_000;

/// `text` in one line that does nothing but stand there. Whatever moves a cursor, turns text round, ends a
/// line, or is no character of XML is written as its number, `\u{1b}`; of a long text the beginning is
/// kept, and how much is missing.
pub fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(SHOWN) {
        if acts(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    let more = text.chars().count().saturating_sub(SHOWN);
    if more > 0 {
        out.push_str(&format!("… ({more} more characters)"));
    }
    out
}

/// The same for text of several lines, such as the end of a console.
pub fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// JSON that does nothing on a terminal either: what acts stands only in strings, where JSON has numbers
/// for it.
pub fn plain_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if acts(c) && c != '\n' {
            let mut units = [0; 2];
            out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that do something instead of standing there.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Soft hyphen, joiners and marks of direction, line and paragraph ends, bidi embeddings and
            // isolates, interlinear notes.
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            // Tags, which nobody sees.
            | '\u{e0000}'..='\u{e0fff}')
        // Noncharacters; XML has none of U+FFFE and U+FFFF.
        || matches!(c, '\u{fdd0}'..='\u{fdef}')
        || u32::from(c) & 0xfffe == 0xfffe
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What strangers may say, for the test of every format.
    pub(crate) fn evil() -> Vec<String> {
        let mut all: Vec<String> = [
            "\u{1b}[2J\u{1b}[Hverdict: pass (9 pass)",
            "\u{1b}]0;title\u{7}",
            "\u{9b}31m\u{9d}0;x\u{9c}",
            "bell\u{7} back\u{8}space del\u{7f} nul\0",
            "a\nok 99 forged\r\nnot ok 7 forged",
            "tab\there # SKIP forged",
            "\u{202e}desrever\u{202c} \u{2066}isolated\u{2069} \u{200f}mark",
            "\u{2028}line\u{2029}paragraph\u{85}next",
            "\u{fffe}\u{ffff}\u{fdd0}\u{1fffe}\u{feff}",
            "]]><![CDATA[<script>alert(1)</script>&amp;\"'--!>",
            "\u{e0041}\u{ad}\u{200b}hidden",
        ]
        .map(str::to_owned)
        .to_vec();
        all.push("x".repeat(3_000_000));
        all.push("\u{1b}".repeat(100_000));
        all
    }

    /// Nothing in it acts, but for the ends of its lines.
    pub(crate) fn is_harmless(text: &str) -> bool {
        !text.chars().any(|c| c != '\n' && acts(c))
    }

    #[test]
    fn what_acts_is_written_as_its_number_and_the_rest_as_it_is() {
        assert_eq!(plain("a\u{1b}[0m\n\u{202e}b"), "a\\u{1b}[0m\\u{a}\\u{202e}b");
        let words = "héllo – 漢字 🎉 \\u{1b} # <&>";
        assert_eq!(plain(words), words);
        assert_eq!(plain_lines("a\u{7}\nb\r\n"), "a\\u{7}\nb");
        let long = plain(&"x".repeat(SHOWN + 7));
        assert!(long.ends_with("x… (7 more characters)") && long.len() < SHOWN + 40);
    }

    #[test]
    fn json_stays_what_it_is() {
        for text in evil() {
            let json = serde_json::to_string_pretty(&[&text]).unwrap();
            let shown = plain_json(&json);
            assert!(is_harmless(&shown));
            assert_eq!(serde_json::from_str::<[String; 1]>(&shown).unwrap(), [text]);
        }
    }

    proptest! {
        #[test]
        fn nothing_acts_and_nothing_grows_without_end(text in any::<String>()) {
            let shown = plain(&text);
            prop_assert!(is_harmless(&shown) && !shown.contains('\n'));
            prop_assert_eq!(plain(&shown).len(), shown.len());
        }
    }
}
