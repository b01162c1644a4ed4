//! Which pages are armed, for whom, and where their stores are logged.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering;

use super::layout::{PAGE, SLOTS, Slot, Store};
use super::shared::Shared;

/// The daemon's books about the slots of the shared file.
#[derive(Debug)]
pub struct Arms {
    /// By page of the RAM's file: its slot, and how many requests have it armed.
    armed: HashMap<u64, (usize, u32)>,
    free: Vec<usize>,
}

impl Default for Arms {
    fn default() -> Arms {
        Arms { armed: HashMap::new(), free: (0..SLOTS).rev().collect() }
    }
}

impl Arms {
    /// Arms a page; `false` where there is no room for it.
    pub fn arm(&mut self, shared: &Shared, page: u64) -> bool {
        let Some(place) = shared.page(page) else { return false };
        match self.armed.entry(page) {
            Entry::Occupied(mut entry) => {
                let (slot, users) = entry.get_mut();
                *users = users.saturating_add(1);
                // Stores matter again that come behind the fetch of another request.
                if let Some(slot) = shared.slot(*slot) {
                    slot.fetched.store(0, Ordering::Release);
                    slot.blocks.iter().for_each(|block| block.late.store(0, Ordering::Relaxed));
                }
            }
            Entry::Vacant(entry) => {
                let Some(number) = self.free.pop() else { return false };
                let (Some(slot), Ok(mark)) = (shared.slot(number), u32::try_from(number + 1))
                else {
                    return false;
                };
                slot.page.store(page, Ordering::Relaxed);
                slot.fetched.store(0, Ordering::Relaxed);
                slot.blocks.iter().for_each(super::layout::Block::clear);
                place.store(mark, Ordering::SeqCst);
                entry.insert((number, 1));
            }
        }
        true
    }

    /// Disarms a page for one of those that armed it.
    pub fn disarm(&mut self, shared: &Shared, page: u64) {
        let Entry::Occupied(mut entry) = self.armed.entry(page) else { return };
        let (slot, users) = *entry.get();
        if users > 1 {
            entry.insert((slot, users - 1));
            return;
        }
        entry.remove();
        if let Some(place) = shared.page(page) {
            place.store(0, Ordering::SeqCst);
        }
        self.free.push(slot);
    }

    /// Notes when a page's data was fetched.
    pub fn fetched(&self, shared: &Shared, page: u64, at: u64) {
        if let Some(slot) = self.slot(shared, page) {
            slot.fetched.store(at, Ordering::Release);
        }
    }

    fn slot<'s>(&self, shared: &'s Shared, page: u64) -> Option<&'s Slot> {
        shared.slot(self.armed.get(&page)?.0)
    }

    /// The stores to a block that are kept, and whether those are all; `None` where its page is not armed.
    pub fn stores(&self, shared: &Shared, at: u64) -> Option<(Vec<Store>, bool)> {
        let slot = self.slot(shared, at / PAGE)?;
        let block = slot.blocks.get(usize::try_from(at % PAGE / super::layout::BLOCK).ok()?)?;
        let (names, more) = block.names();
        let count = names.len();
        let page = at / PAGE * PAGE..at / PAGE * PAGE + PAGE;
        let read = |name: super::layout::Name| {
            let store = shared.store(name.cpu, name.number)?.read()?;
            // Another store's by now, or another page's: whoever fills the file may put anything there.
            let is_it = store.number == name.number
                && store.cpu == name.cpu as u64
                && store.low < store.high
                && page.contains(&store.low)
                && store.high <= page.end;
            is_it.then_some(store)
        };
        let stores: Vec<Store> = names.into_iter().filter_map(read).collect();
        let are_all = !more && stores.len() == count;
        Some((stores, are_all))
    }

    /// How many pages are armed.
    pub fn count(&self) -> u64 {
        self.armed.len() as u64
    }
}
