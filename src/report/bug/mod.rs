//! A race as a mail to linux-fsdevel: plain text of at most 78 columns, of what is on record and nothing
//! else. What is not known is left out, or said to be not known.

mod bytes;
mod case;
mod evidence;
mod fold;
mod known;
mod rate;
mod reproducer;
mod script;
mod seen;
mod who;

pub use case::Case;
pub use evidence::{Evidence, Wanted};
pub use fold::WIDTH;
pub use script::stand_alone;

use fold::{fold, heading};

/// The mail.
pub fn bug_text(case: &Case<'_>) -> String {
    let mut out = fold(&seen::subject(case), "", " ");
    out.push('\n');
    out.push_str(&fold(&seen::sentence(case), "", ""));
    if let Some(words) = known::words(case) {
        out.push_str(&format!("\n{}", fold(&words, "", "")));
    }
    for (title, lines) in [
        ("Kernel and machine", seen::kernel(case)),
        ("How often", rate::lines(case)),
        ("The control", known::control(case)),
        ("Whose block it was", seen::owner(case)),
        ("The bytes, before (-) and after (+)", bytes::lines(case)),
        ("Who changed them", who::culprit(case)),
        ("Who submitted the write", who::submitter(case)),
        ("The page", seen::page(case)),
        ("What became of it", seen::fate(case)),
        ("What hardware would have shown", seen::hardware(case)),
        ("What fsck said", seen::checked(case)),
        ("To see it again", reproducer::lines(case)),
    ] {
        if !lines.is_empty() {
            out.push_str(&format!("\n{}{lines}", heading(title)));
        }
    }
    out
}

#[cfg(test)]
mod tests;
