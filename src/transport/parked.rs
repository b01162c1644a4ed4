//! Requests that wait for news of the device.

use super::lane::Lane;
use super::work::{LaneError, Work, complete};
use crate::memory::Segments;
use crate::proto::{Answered, Device, Unanswerable};
use crate::queue::{Ring, Token};

/// A request that waits for news, and where they go.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) room: Segments,
    pub(super) token: Token,
}

impl<D: Device> Lane<D> {
    /// Keeps a request for news of the device.
    pub(super) fn park(
        &self,
        work: &mut Work<D>,
        ring: &Ring,
        parked: Parked,
    ) -> Result<(), LaneError> {
        let size = ring.size();
        if work.parked.len() >= size {
            parked.token.abandon();
            return Err(LaneError::Overfull(size));
        }
        work.parked.push_back(parked);
        Ok(())
    }

    /// Tells the device's news to parked requests, for as long as there are both.
    pub(super) fn tell(&self, work: &mut Work<D>, ring: &Ring) -> Result<(), LaneError> {
        while !work.parked.is_empty()
            && let Some(news) = self.device.news()
            && let Some(parked) = work.parked.pop_front()
        {
            parked.tell(ring, &news)?;
        }
        Ok(())
    }
}

impl Parked {
    /// Answers with as much of the news as there is room for.
    pub(super) fn tell(self, ring: &Ring, news: &[u8]) -> Result<(), LaneError> {
        let room = usize::try_from(self.room.len()).unwrap_or(usize::MAX).min(news.len());
        let told = self.room.copy_in(0, news.get(..room).unwrap_or_default());
        let answered = told
            .map(|()| Answered { written: u32::try_from(room).unwrap_or(0) })
            .map_err(|error| Unanswerable(error.to_string()));
        complete(ring, self.token, answered)
    }
}
