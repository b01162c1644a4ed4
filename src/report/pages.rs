//! What the guest's kernel knew of the pages that raced, in words.
//!
//! A page under writeback is one that its owner was asked to hold stable; who that is follows from its host.

use std::collections::BTreeMap;

use super::plain::plain;
use crate::record::{Page, PageHost, Race};

/// The flag of a page whose write is under way (`PG_writeback`).
const WRITEBACK: &str = "writeback";
/// How many flags of a page are shown, of a record that may be a stranger's.
const SHOWN: usize = 24;

/// Raced pages by label and host.
#[derive(Debug, Default)]
pub struct PageTally {
    labels: BTreeMap<String, BTreeMap<Option<PageHost>, Seen>>,
}

/// How many races there were in pages of one host.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    races: u64,
    under_writeback: u64,
    mapped: u64,
}

impl PageTally {
    /// Counts a race.
    pub fn add(&mut self, label: &str, race: &Race) {
        if !self.labels.contains_key(label) {
            self.labels.insert(label.to_owned(), BTreeMap::new());
        }
        let Some(hosts) = self.labels.get_mut(label) else { return };
        let seen = hosts.entry(race.page.as_ref().map(|page| page.host)).or_default();
        seen.races += 1;
        seen.mapped += u64::from(race.page.as_ref().is_some_and(|page| page.mapcount > 0));
        seen.under_writeback += u64::from(race.page.as_ref().is_some_and(is_under_writeback));
    }

    /// Whose the pages of a label were, where all of them were known, of one host, under writeback, and in no
    /// program's hands; and how many races they had.
    pub fn held_by_their_owner(&self, label: &str) -> Option<(PageHost, u64)> {
        let mut hosts = self.labels.get(label)?.iter();
        match (hosts.next(), hosts.next()) {
            (Some((Some(host), seen)), None) if seen.under_writeback == seen.races => {
                let stores = *host == PageHost::Device && seen.mapped > 0;
                (!stores).then_some((*host, seen.races))
            }
            _ => None,
        }
    }

    /// A line for each host of a label's pages; nothing where no page is known at all.
    pub fn text(&self, label: &str) -> String {
        let Some(hosts) = self.labels.get(label) else { return String::new() };
        if hosts.keys().all(Option::is_none) {
            return String::new();
        }
        let lines: String = hosts.iter().map(|(host, seen)| seen.line(*host)).collect();
        format!("the pages of these races in {}:\n{lines}", plain(label))
    }
}

impl Seen {
    fn line(self, host: Option<PageHost>) -> String {
        let races = if self.races == 1 { "1 race".into() } else { format!("{} races", self.races) };
        let Some(host) = host else {
            return format!("  {races} in pages that could not be looked up\n");
        };
        let share = |count: u64| match count {
            0 => "none of them".to_owned(),
            all if all == self.races => "all".to_owned(),
            some => format!("{some} of them"),
        };
        let (written, mapped) = (share(self.under_writeback), share(self.mapped));
        format!(
            "  {races} in pages of {host}, {written} under writeback, {mapped} mapped into programs{}\n",
            self.meaning(host)
        )
    }

    /// What follows from it, where something does.
    fn meaning(self, host: PageHost) -> &'static str {
        match host {
            PageHost::Device if self.under_writeback == self.races && self.mapped == 0 => {
                ": whoever changes such buffers has to wait, the file system that is on the disk, or a \
                 program that writes to the disk itself"
            }
            PageHost::File if self.under_writeback == self.races => {
                ": a store into such a page has to wait where stable pages are asked for"
            }
            PageHost::Anon if self.under_writeback == 0 => {
                ": a program's own buffers (direct I/O), which no kernel holds still"
            }
            PageHost::File | PageHost::Device | PageHost::Anon | PageHost::None => "",
        }
    }
}

/// One page, in a line.
pub fn page_words(page: &Page) -> String {
    let place = match (page.inode, &page.device, page.index) {
        (Some(inode), Some(device), Some(index)) => {
            format!(" (inode {inode} on {}, page {index})", plain(device))
        }
        _ => String::new(),
    };
    let flags: Vec<_> = page.flags.iter().take(SHOWN).map(|flag| plain(flag)).collect();
    let flags = if flags.is_empty() { "no flags".to_owned() } else { flags.join(" ") };
    let times = if page.mapcount == 1 { "once".into() } else { format!("{} times", page.mapcount) };
    format!(
        "page {:#x} of {}{place}: {flags}; mapped {times}, held {}×",
        page.pfn, page.host, page.refcount
    )
}

fn is_under_writeback(page: &Page) -> bool {
    page.flags.iter().any(|flag| flag == WRITEBACK)
}

#[cfg(test)]
mod tests {
    use super::super::offenders::tests::race;
    use super::*;

    fn page(host: PageHost, flags: &[&str]) -> Page {
        let inode = matches!(host, PageHost::File | PageHost::Device).then_some(12);
        Page {
            pfn: 0x1234,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            host,
            inode,
            device: inode.map(|_| "254:0".to_owned()),
            index: inode.map(|_| 7),
            mapcount: 1,
            refcount: 3,
            read_us: 1.0,
        }
    }

    fn tally(pages: &[Option<Page>]) -> PageTally {
        let mut tally = PageTally::default();
        for page in pages {
            tally.add("a", &Race { page: page.clone(), ..race(1, 1) });
        }
        tally
    }

    #[test]
    fn the_sentence_of_2011() {
        let buffer = page(PageHost::Device, &["dirty", "writeback"]);
        let buffer = Some(Page { mapcount: 0, ..buffer });
        let text = tally(&[buffer.clone(), buffer]).text("a");
        assert_eq!(
            text,
            "the pages of these races in a:\n  2 races in pages of the block device's inode, all under \
             writeback, none of them mapped into programs: whoever changes such buffers has to wait, the \
             file system that is on the disk, or a program that writes to the disk itself\n"
        );
    }

    #[test]
    fn nothing_follows_from_what_is_mixed_or_not_known() {
        let file = |flags: &[&str]| Some(page(PageHost::File, flags));
        let text = tally(&[file(&["writeback"]), file(&["dirty"]), None]).text("a");
        assert_eq!(
            text,
            "the pages of these races in a:\n  1 race in pages that could not be looked up\n  2 races in \
             pages of a file, 1 of them under writeback, all mapped into programs\n"
        );
        assert_eq!(tally(&[None]).text("a"), "");
        assert_eq!(tally(&[]).text("b"), "");
    }

    #[test]
    fn a_strangers_record_cannot_speak_to_the_terminal() {
        let mut evil = page(PageHost::File, &["\u{1b}[31mdirty"]);
        evil.device = Some("1:\n2".into());
        let words = page_words(&evil);
        assert!(!words.contains(['\u{1b}', '\n']), "{words}");
        assert!(words.starts_with("page 0x1234 of a file (inode 12 on 1:"), "{words}");
    }
}
