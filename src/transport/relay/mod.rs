//! Messages between a front end and the vhost-user crate, one thread a connection.
//!
//! The crate's handler knows nothing of the in-flight region and has no hook for it, so its two messages
//! are answered here, and its bit is added to the protocol features. So is the channel by which a backend
//! asks a front end: the crate's cannot say that the configuration space has changed. Every other message passes as it is,
//! with its descriptors. Rings, doorbells and interrupts do not come this way: a request costs nothing
//! more.

mod message;

use std::fs::File;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vhost::vhost_user::message::{FrontendReq, VhostUserProtocolFeatures};

use self::message::{Message, MessageError};
use crate::queue::{InFlightFileError, InFlightShape, Region};

const GET_FEATURES: u32 = FrontendReq::GET_FEATURES as u32;
const GET_PROTOCOL_FEATURES: u32 = FrontendReq::GET_PROTOCOL_FEATURES as u32;
const SET_PROTOCOL_FEATURES: u32 = FrontendReq::SET_PROTOCOL_FEATURES as u32;
const SET_BACKEND_REQ_FD: u32 = FrontendReq::SET_BACKEND_REQ_FD as u32;
const GET_INFLIGHT_FD: u32 = FrontendReq::GET_INFLIGHT_FD as u32;
const SET_INFLIGHT_FD: u32 = FrontendReq::SET_INFLIGHT_FD as u32;

/// The protocol features of which the crate is told nothing.
const OURS: u64 =
    VhostUserProtocolFeatures::INFLIGHT_SHMFD.union(VhostUserProtocolFeatures::BACKEND_REQ).bits();

/// How long a front end may say nothing at all while another one waits.
const SILENCE: Duration = Duration::from_secs(10);

/// Why a connection is ended from here.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    /// What it sent cannot be passed on, or what it is sent is not taken.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// Somebody else may have more to say.
    #[error("it said nothing for {SILENCE:?}, and another front end waits")]
    Silent,
    /// The sockets cannot be watched.
    #[error("its socket cannot be watched: {0}")]
    Poll(io::Error),
}

/// What the relay does of its own: it hands the regions of a front end on.
pub(super) trait Keeper {
    /// How many queues there may be.
    fn queues(&self) -> u16;
    /// From here on requests in flight are recorded in these regions; in none, where there are none.
    fn adopt(&self, regions: Vec<Region>);
    /// By this the front end is told what it did not ask for.
    fn tell_by(&self, channel: OwnedFd);
    /// Something is wrong that ends nothing.
    fn complain(&self, reason: String);
}

/// One connection: the front end's end, the crate's, and where others wait meanwhile.
#[derive(Debug)]
pub(super) struct Relay<K> {
    front: UnixStream,
    inner: UnixStream,
    others: UnixListener,
    keeper: K,
    /// A message came from the front end.
    heard: bool,
    since: Instant,
    /// Answers to GET_FEATURES that the crate owes.
    owed: u64,
}

/// Who has something to say.
enum Speaker {
    Front,
    Inner,
}

impl<K: Keeper> Relay<K> {
    pub(super) fn new(
        front: UnixStream,
        inner: UnixStream,
        others: UnixListener,
        keeper: K,
    ) -> Self {
        let since = Instant::now();
        Relay { front, inner, others, keeper, heard: false, since, owed: 0 }
    }

    /// Passes messages until one of both ends goes, and lets the other one go then.
    pub(super) fn run(mut self) -> Result<(), RelayError> {
        let passed = self.pass_messages();
        // The other end may have gone already.
        let _ = (self.inner.shutdown(Shutdown::Both), self.front.shutdown(Shutdown::Both));
        passed
    }

    fn pass_messages(&mut self) -> Result<(), RelayError> {
        loop {
            let message = match self.wait()? {
                Speaker::Front => Message::receive(&self.front)?,
                Speaker::Inner if self.pass_back()? => continue,
                Speaker::Inner => return Ok(()),
            };
            let Some(message) = message else { return Ok(()) };
            self.heard = true;
            self.pass_on(message)?;
        }
    }

    /// Waits for either end.
    fn wait(&self) -> Result<Speaker, RelayError> {
        loop {
            let mut waits = [self.inner.as_fd(), self.front.as_fd(), self.others.as_fd()]
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let quiet = SILENCE.saturating_sub(self.since.elapsed());
            let (count, limit) = match (self.heard, quiet.is_zero()) {
                (true, _) => (2, PollTimeout::NONE),
                (false, false) => (2, PollTimeout::try_from(quiet).unwrap_or(PollTimeout::MAX)),
                (false, true) => (3, PollTimeout::NONE),
            };
            match poll(waits.get_mut(..count).unwrap_or_default(), limit) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(RelayError::Poll(errno.into())),
            }
            let [inner, front, others] = waits.map(|it| it.any().unwrap_or(false));
            match (inner, front, others) {
                (true, ..) => return Ok(Speaker::Inner),
                (_, true, _) => return Ok(Speaker::Front),
                (.., true) => return Err(RelayError::Silent),
                _ => {}
            }
        }
    }

    /// One message of the front end.
    fn pass_on(&mut self, mut message: Message) -> Result<(), RelayError> {
        match message.request {
            GET_INFLIGHT_FD => return self.make_region(&message),
            SET_INFLIGHT_FD => return self.take_region(message),
            SET_BACKEND_REQ_FD => return self.take_channel(message),
            GET_FEATURES => self.owed = self.owed.saturating_add(1),
            SET_PROTOCOL_FEATURES => change(&mut message.body, |features| features & !OURS),
            _ => {}
        }
        Ok(message.send(&self.inner)?)
    }

    /// One message of the crate; `false` at its end.
    fn pass_back(&mut self) -> Result<bool, RelayError> {
        let Some(mut message) = Message::receive(&self.inner)? else { return Ok(false) };
        match message.request {
            GET_FEATURES => self.owed = self.owed.saturating_sub(1),
            GET_PROTOCOL_FEATURES => change(&mut message.body, |features| features | OURS),
            _ => {}
        }
        message.send(&self.front)?;
        Ok(true)
    }

    /// Answers in turn: what was asked before is answered before. A question of our own, whose answer the
    /// front end does not see, comes back when the crate has dealt with all that came before it. `false`
    /// where the crate has gone.
    fn catch_up(&mut self) -> Result<bool, RelayError> {
        Message::request(GET_FEATURES).send(&self.inner)?;
        while self.owed > 0 {
            if !self.pass_back()? {
                return Ok(false);
            }
        }
        loop {
            match Message::receive(&self.inner)? {
                None => return Ok(false),
                Some(ours) if ours.request == GET_FEATURES => return Ok(true),
                Some(other) => other.send(&self.front)?,
            }
        }
    }

    /// GET_INFLIGHT_FD: a new region, which the front end keeps.
    fn make_region(&mut self, message: &Message) -> Result<(), RelayError> {
        let asked = shape_of(&message.body);
        let made = asked.ok_or(InFlightFileError::Missing).and_then(|asked| {
            let shape = InFlightShape::new(asked.queues, asked.ring_size, self.keeper.queues())?;
            Ok((shape, OwnedFd::from(shape.make_file()?)))
        });
        let (body, files) = match made {
            Ok((shape, file)) => (body_of(shape, message.body.len()), vec![file]),
            Err(error) => {
                self.keeper.complain(format!("a front end gets no in-flight region: {error}"));
                // No size, no descriptor: there is none.
                (vec![0; message.body.len()], Vec::new())
            }
        };
        if self.catch_up()? {
            message.reply(body, files).send(&self.front)?;
        }
        Ok(())
    }

    /// SET_INFLIGHT_FD: the region that is to be kept from here on.
    fn take_region(&mut self, mut message: Message) -> Result<(), RelayError> {
        let file = message.files.pop().map(File::from);
        let regions = match (shape_of(&message.body), file) {
            (Some(shape), Some(file)) => shape.map(file, self.keeper.queues()),
            _ => Err(InFlightFileError::Missing),
        };
        let refused = regions
            .as_ref()
            .err()
            .map(|error| format!("the front end's in-flight region is not used: {error}"));
        // The rings that the messages before this one are about are another matter.
        if !self.catch_up()? {
            return Ok(());
        }
        self.keeper.adopt(regions.unwrap_or_default());
        let failed = refused.is_some();
        refused.into_iter().for_each(|reason| self.keeper.complain(reason));
        self.acknowledge(&message, failed)
    }

    /// SET_BACKEND_REQ_FD: the channel for what the front end did not ask.
    fn take_channel(&mut self, mut message: Message) -> Result<(), RelayError> {
        let channel = message.files.pop();
        if !self.catch_up()? {
            return Ok(());
        }
        let missing = channel.is_none();
        channel.into_iter().for_each(|channel| self.keeper.tell_by(channel));
        self.acknowledge(&message, missing)
    }

    /// Answers a message that has no answer of its own, where the front end wants one.
    fn acknowledge(&self, message: &Message, failed: bool) -> Result<(), RelayError> {
        if message.needs_reply() {
            let told = u64::from(failed).to_ne_bytes().to_vec();
            message.reply(told, Vec::new()).send(&self.front)?;
        }
        Ok(())
    }
}

/// Changes a body that is one number.
fn change(body: &mut [u8], how: impl FnOnce(u64) -> u64) {
    if let Some(number) = body.first_chunk_mut::<8>() {
        *number = how(u64::from_ne_bytes(*number)).to_ne_bytes();
    }
}

/// The body of both messages: size (8), offset (8), queues (2), descriptors each (2), and what a
/// compiler adds.
fn shape_of(body: &[u8]) -> Option<InFlightShape> {
    let (bytes, rest) = body.split_first_chunk::<8>()?;
    let (offset, rest) = rest.split_first_chunk::<8>()?;
    let (queues, rest) = rest.split_first_chunk::<2>()?;
    let (ring_size, _) = rest.split_first_chunk::<2>()?;
    Some(InFlightShape {
        bytes: u64::from_ne_bytes(*bytes),
        offset: u64::from_ne_bytes(*offset),
        queues: u16::from_ne_bytes(*queues),
        ring_size: u16::from_ne_bytes(*ring_size),
    })
}

/// As long as the question was.
fn body_of(shape: InFlightShape, length: usize) -> Vec<u8> {
    let long = [shape.bytes, shape.offset].into_iter().flat_map(u64::to_ne_bytes);
    let short = [shape.queues, shape.ring_size].into_iter().flat_map(u16::to_ne_bytes);
    let mut body: Vec<u8> = long.chain(short).collect();
    body.resize(length, 0);
    body
}

#[cfg(test)]
mod tests;
