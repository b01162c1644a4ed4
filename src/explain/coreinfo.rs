//! vmcoreinfo: what a kernel writes down for those who read its memory from outside.
//! Document: Linux, Documentation/admin-guide/kdump/vmcoreinfo.rst; kernel/vmcore_info.c.

use std::collections::HashMap;

use super::physical::Physical;

const PAGE: usize = 4096;
/// What it begins with, at the start of a page (`crash_save_vmcoreinfo_init`).
const BEGINNING: &[u8] = b"OSRELEASE=";
/// The most pages that are looked at: 64 GiB.
const MAX_PAGES: usize = 16 << 20;
/// The most places that look like one: a guest that was started again keeps old ones.
const MAX_FOUND: usize = 8;

/// The lines of one vmcoreinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreInfo {
    lines: HashMap<String, String>,
}

impl CoreInfo {
    /// All that stand in memory, dead ones included.
    pub fn find(memory: &dyn Physical) -> Vec<CoreInfo> {
        let pages = memory.populated().into_iter().flat_map(|piece| {
            // A front end may put memory at the very end of all addresses.
            let first = piece.start.checked_next_multiple_of(PAGE as u64).unwrap_or(piece.end);
            (first..piece.end).step_by(PAGE)
        });
        let begins = |at: &u64| {
            let mut start = [0; BEGINNING.len()];
            memory.read(*at, &mut start).is_some() && start == BEGINNING
        };
        pages
            .take(MAX_PAGES)
            .filter(begins)
            .take(MAX_FOUND)
            .filter_map(|at| CoreInfo::at(memory, at))
            .collect()
    }

    fn at(memory: &dyn Physical, at: u64) -> Option<CoreInfo> {
        let mut page = [0; PAGE];
        memory.read(at, &mut page)?;
        let text = page.split(|byte| *byte == 0).next()?;
        Some(CoreInfo::parse(std::str::from_utf8(text).ok()?))
    }

    /// Reads `KEY=value` lines.
    pub fn parse(text: &str) -> CoreInfo {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        CoreInfo { lines: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect() }
    }

    /// The kernel's release.
    pub fn release(&self) -> Option<&str> {
        self.lines.get("OSRELEASE").map(String::as_str)
    }

    /// `SYMBOL(name)`: a virtual address.
    pub fn symbol(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.lines.get(&format!("SYMBOL({name})"))?, 16).ok()
    }

    /// A decimal number under any key: `NUMBER(…)`, `SIZE(…)`, `OFFSET(…)`, `LENGTH(…)`.
    pub fn number(&self, key: &str) -> Option<i64> {
        self.lines.get(key)?.parse().ok()
    }
}
