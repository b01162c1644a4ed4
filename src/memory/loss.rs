//! Guest memory that its front end takes away while it is in use.
//!
//! A front end may shrink the file behind a region at any moment. A copy that meets the hole reads
//! empty pages (see [`super::sigbus`]) and learns afterwards that the region is lost: nothing is judged
//! by what was invented. A lost region stays lost; the front end has to give a new one.

use std::sync::Arc;

use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::map::MemoryMap;
use super::sigbus::{Owner, Watch, any_guest_lost, is_lost_at};

/// Whether a page was gone in a region that has any of these bytes. For sound memory that is one
/// relaxed load.
///
/// Asked after a copy: what the copy read was read before this answers.
pub fn is_lost(map: &MemoryMap, addr: u64, len: u64) -> bool {
    any_guest_lost() && is_region_lost(map, addr, len)
}

#[cold]
fn is_region_lost(map: &MemoryMap, addr: u64, len: u64) -> bool {
    let end = addr.saturating_add(len);
    let mut touched = map.iter().filter(|region| {
        let start = region.start_addr().0;
        start < end && addr < start.saturating_add(region.len())
    });
    touched.any(|region| is_lost_at(region.as_ptr().addr()))
}

/// The memory of one connection under watch: the map in force, and older ones for as long as
/// requests use them.
#[derive(Debug, Default)]
pub struct Watched {
    /// Dropped before the maps: an address is watched no longer than it is ours.
    watches: Vec<(Place, Watch)>,
    maps: Vec<MemoryMap>,
}

/// Where a region is in this process.
type Place = (usize, usize);

impl Watched {
    /// Watches the regions of a map that comes into force; `false` where that cannot be done.
    #[must_use]
    pub fn add(&mut self, map: MemoryMap) -> bool {
        // Where only we hold a map, nobody can come to hold it again. It is unmapped last of all.
        let (used, _unused): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.maps).into_iter().partition(|old| Arc::strong_count(old) > 1);
        self.maps = used;
        self.maps.push(map);
        let places: Vec<Place> = self.maps.iter().flat_map(places_of).collect();
        self.watches.retain(|(place, _)| places.contains(place));
        places.iter().all(|place| self.watch(*place))
    }

    fn watch(&mut self, place: Place) -> bool {
        if self.watches.iter().any(|(watched, _)| *watched == place) {
            return true;
        }
        let watch = Watch::over(Owner::Guest, place.0, place.1);
        watch.map(|watch| self.watches.push((place, watch))).is_some()
    }
}

fn places_of(map: &MemoryMap) -> impl Iterator<Item = Place> + '_ {
    map.iter().map(|region| {
        let len = usize::try_from(region.len()).unwrap_or(usize::MAX);
        (region.as_ptr().expose_provenance(), len)
    })
}
