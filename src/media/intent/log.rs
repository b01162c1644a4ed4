//! A record's life: noted before the data is stored, cleared after the tuples are.
//!
//! Who notes blocks has their range's lock until the record is cleared, so no block stands in two records.

use std::fs::File;
use std::io;

use super::layout::{
    LARGE, LOG_BYTES, SMALL, SUSPECT_AT, SlotClass, head_of_tuples, head_of_zeros, header, word_of,
};
use super::region::Region;
use super::slots::Slots;
use crate::memory::{List, listed};
use crate::pi::Tuple;
use crate::units::{BlockRange, Lba};

/// The log of one image.
#[derive(Debug)]
pub(in crate::media) struct IntentLog {
    region: Region,
    small: Slots,
    large: Slots,
}

/// What was noted, to be cleared with [`IntentLog::clear`].
#[derive(Debug)]
#[must_use = "a record that is never cleared takes a place for good"]
pub(in crate::media) struct Intent(Places);

#[derive(Debug)]
enum Places {
    One(Place),
    Many(List<Place>),
}

/// Where a record stands.
#[derive(Debug, Clone, Copy)]
pub(in crate::media) struct Place {
    large: bool,
    number: usize,
}

listed!(Place);

impl IntentLog {
    /// Begins a log in bytes of a file that are zeros, from `offset` on.
    pub(in crate::media) fn begin(
        file: &File,
        offset: u64,
        suspect: bool,
    ) -> io::Result<IntentLog> {
        let region = Region::map(file, offset, LOG_BYTES)?;
        let log = IntentLog { region, small: Slots::of(SMALL), large: Slots::of(LARGE) };
        log.write_header(suspect);
        Ok(log)
    }

    /// The log lies elsewhere in the file from now on, in bytes that are zeros. Nothing is noted in it.
    pub(in crate::media) fn move_to(
        &self,
        file: &File,
        offset: u64,
        suspect: bool,
    ) -> io::Result<()> {
        self.region.move_to(file, offset)?;
        self.write_header(suspect);
        Ok(())
    }

    fn write_header(&self, suspect: bool) {
        // The magic last: a header that is there is whole.
        for (at, word) in header(suspect).into_iter().enumerate().rev() {
            self.region.store(at, word);
        }
    }

    /// Data and tuples may disagree somewhere, whatever the records say.
    pub(in crate::media) fn suspect(&self) {
        self.region.store(SUSPECT_AT, 1);
    }

    /// Notes blocks that are about to be written; while there is no place, `wait` is called, which lets
    /// others come to an end.
    ///
    /// `None` where they are more than the log could ever hold.
    pub(in crate::media) fn note(
        &self,
        first: Lba,
        tuples: &[Tuple],
        wait: impl Fn(),
    ) -> Option<Intent> {
        if tuples.len() <= LARGE.tuples() {
            let place = self.wait_for_place(tuples.len(), &wait);
            self.store_tuples(place, first, tuples);
            return Some(Intent(Places::One(place)));
        }
        let parts = || tuples.chunks(LARGE.tuples());
        let places = self.wait_for_places(parts().len(), &wait)?;
        let mut at = first;
        for (place, part) in places.iter().zip(parts()) {
            self.store_tuples(*place, at, part);
            at = at.offset(part.len() as u64);
        }
        Some(Intent(Places::Many(places)))
    }

    /// As [`IntentLog::note`], of blocks that are about to become zeros.
    pub(in crate::media) fn note_zeros(&self, range: BlockRange, wait: impl Fn()) -> Intent {
        let place = self.wait_for_place(0, &wait);
        let at = place.at();
        self.region.store(at + 1, range.first.0);
        self.region.store(at, head_of_zeros(range.count));
        Intent(Places::One(place))
    }

    /// Data and tuples of these blocks are stored, or it is known that they are not.
    pub(in crate::media) fn clear(&self, intent: Intent) {
        match intent.0 {
            Places::One(place) => self.free(place),
            Places::Many(places) => places.iter().for_each(|place| self.free(*place)),
        }
    }

    fn store_tuples(&self, place: Place, first: Lba, tuples: &[Tuple]) {
        let at = place.at();
        for (at, tuple) in (at + 2..).zip(tuples) {
            self.region.store(at, word_of(*tuple));
        }
        self.region.store(at + 1, first.0);
        self.region.store(at, head_of_tuples(tuples.len()));
    }

    fn free(&self, place: Place) {
        self.region.store(place.at(), 0);
        self.slots(place.large).give_back(place.number);
    }

    fn wait_for_place(&self, tuples: usize, wait: &impl Fn()) -> Place {
        loop {
            if let Some(place) = self.take(tuples) {
                return place;
            }
            wait();
        }
    }

    /// So many large places; none is kept while others are waited for, so nobody waits for ever.
    fn wait_for_places(&self, count: usize, wait: &impl Fn()) -> Option<List<Place>> {
        if count > LARGE.count {
            return None;
        }
        loop {
            let mut places = List::new();
            places.extend(std::iter::from_fn(|| self.take(LARGE.tuples())).take(count));
            if places.len() == count {
                return Some(places);
            }
            places.iter().for_each(|place| self.free(*place));
            wait();
        }
    }

    fn take(&self, tuples: usize) -> Option<Place> {
        let small = (tuples <= SMALL.tuples()).then(|| self.small.take()).flatten();
        let place = |large| move |number| Place { large, number };
        small.map(place(false)).or_else(|| self.large.take().map(place(true)))
    }

    fn slots(&self, large: bool) -> &Slots {
        if large { &self.large } else { &self.small }
    }
}

impl Place {
    /// Its first word.
    fn at(self) -> usize {
        let class: SlotClass = if self.large { LARGE } else { SMALL };
        class.place(self.number)
    }
}
