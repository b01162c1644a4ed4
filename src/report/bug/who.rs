//! Who changed the bytes, and who had submitted the write: as far as a watcher saw it.

use crate::record::{Side, StackBy, StoreSeen};
use crate::report::plain::plain;

use super::case::Case;
use super::fold::{fold, paragraph};

/// How many stores of one race are told.
const SHOWN: usize = 4;
/// How many callers of one.
const FRAMES: usize = 40;
/// How many other culprits of the label.
const OTHERS: usize = 4;

/// The stores that explain the bytes, with their callers, and what the label's other races had.
pub(super) fn culprit(case: &Case<'_>) -> String {
    let Some(culprit) = &case.evidence.culprit else {
        let watched = case.session.culprits.groups(case.evidence.label()).is_some();
        return paragraph(if watched {
            "Not on record for this race, though stores were watched."
        } else {
            "Not on record: nobody watched the guest's stores. 'dixtrap run --culprit on' does, where the guest \
             is emulated (TCG)."
        });
    };
    let certain: Vec<&StoreSeen> = culprit.stores.iter().filter(|store| store.certain).collect();
    let mut out: String = certain.iter().take(SHOWN).map(|one| store(one)).collect();
    if certain.len() > SHOWN {
        out.push_str(&paragraph(&format!(
            "and {} more stores of this race.",
            certain.len() - SHOWN
        )));
    }
    if certain.is_empty() {
        let why = culprit.unseen.as_deref().map_or_else(|| "no reason is told".to_owned(), plain);
        out.push_str(&paragraph(&format!("Nobody is named: {why}.")));
    }
    out + &others(case)
}

fn store(store: &StoreSeen) -> String {
    let whose = match store.side {
        Side::Kernel => "the kernel's",
        Side::User => "a program's",
    };
    let id =
        |what: &str, id: Option<u32>| id.map_or_else(String::new, |id| format!(", {what} {id}"));
    let by = store.comm.as_deref().map_or_else(
        || "by nobody that could be told (an interrupt?)".to_owned(),
        |comm| format!("by {}{}{}", plain(comm), id("pid", store.pid), id("tid", store.tid)),
    );
    let words = format!(
        "{} byte{} at {:#x}: {whose} store, {by}, on CPU {}, seen {:.0} us after the doorbell:",
        store.length,
        if store.length == 1 { "" } else { "s" },
        store.offset,
        store.cpu,
        store.after_doorbell_us
    );
    let source =
        store.source.as_deref().map_or_else(String::new, |line| format!(" ({})", plain(line)));
    let mut out = paragraph(&words);
    out.push_str(&frame(&format!("{}{source}", plain(&store.name()))));
    out.push_str(&stack(&store.stack));
    out.push_str(&match (store.stack_by, store.side) {
        (StackBy::Orc, _) => String::new(),
        (StackBy::Scan, _) => {
            paragraph("(the callers are guesses: return addresses found on the stack)")
        }
        (StackBy::None, Side::Kernel) => paragraph("(its callers could not be read)"),
        (StackBy::None, Side::User) => String::new(),
    });
    out
}

fn stack(frames: &[String]) -> String {
    let mut out: String = frames.iter().take(FRAMES).map(|one| frame(&plain(one))).collect();
    if frames.len() > FRAMES {
        out.push_str(&frame(&format!("… {} more", frames.len() - FRAMES)));
    }
    out
}

fn frame(words: &str) -> String {
    fold(words, "    ", "      ")
}

/// How the label's races are shared out among culprits.
fn others(case: &Case<'_>) -> String {
    let groups = case.session.culprits.groups(case.evidence.label()).unwrap_or_default();
    if groups.len() < 2 {
        return String::new();
    }
    let caller = |stack: &[String]| {
        stack.first().map_or_else(String::new, |one| format!(" < {}", plain(one)))
    };
    let mut out = paragraph("All of this label, by store and callers:");
    for group in groups.iter().take(OTHERS) {
        let words = format!("{}: {}{}", group.races, plain(&group.symbol), caller(&group.stack));
        out.push_str(&frame(&words));
    }
    if groups.len() > OTHERS {
        out.push_str(&frame(&format!("and {} more", groups.len() - OTHERS)));
    }
    out
}

/// Who rang the doorbell.
pub(super) fn submitter(case: &Case<'_>) -> String {
    match case.evidence.culprit.as_ref().and_then(|culprit| culprit.submitter.as_ref()) {
        Some(one) => {
            format!("{}{}", paragraph(&format!("{}:", plain(&one.comm))), stack(&one.stack))
        }
        None => paragraph("Not on record."),
    }
}
