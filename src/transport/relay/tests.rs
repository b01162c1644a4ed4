//! A front end and a scripted crate, with the relay in between.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::*;
use crate::transport::private::Private;

#[derive(Debug, Clone, Default)]
struct Kept {
    adopted: Arc<Mutex<Vec<usize>>>,
    complaints: Arc<Mutex<Vec<String>>>,
    channels: Arc<Mutex<usize>>,
}

impl Keeper for Kept {
    fn queues(&self) -> u16 {
        4
    }

    fn adopt(&self, regions: Vec<Region>) {
        self.adopted.lock().unwrap().push(regions.len());
    }

    fn tell_by(&self, _channel: OwnedFd) {
        *self.channels.lock().unwrap() += 1;
    }

    fn complain(&self, reason: String) {
        self.complaints.lock().unwrap().push(reason);
    }
}

struct Line {
    front: UnixStream,
    inner: UnixStream,
    kept: Kept,
    relay: JoinHandle<Result<(), RelayError>>,
}

fn line() -> Line {
    let (front, near) = UnixStream::pair().unwrap();
    let (inner, far) = UnixStream::pair().unwrap();
    let kept = Kept::default();
    let relay = Relay::new(near, far, Private::make().unwrap().listener, kept.clone());
    Line { front, inner, kept, relay: std::thread::spawn(move || relay.run()) }
}

fn with_body(request: u32, body: &[u8]) -> Message {
    Message { body: body.to_vec(), ..Message::request(request) }
}

/// Answers as the crate does: whatever is asked with a number, features with these.
fn answer(inner: &UnixStream, request: u32, features: u64) {
    let asked = Message::receive(inner).unwrap().unwrap();
    assert_eq!(asked.request, request);
    asked.reply(features.to_ne_bytes().to_vec(), Vec::new()).send(inner).unwrap();
}

fn number(stream: &UnixStream) -> u64 {
    let message = Message::receive(stream).unwrap().unwrap();
    u64::from_ne_bytes(*message.body.first_chunk().unwrap())
}

#[test]
fn the_bit_is_added_for_the_front_end_and_hidden_from_the_crate() {
    let line = line();
    Message::request(GET_PROTOCOL_FEATURES).send(&line.front).unwrap();
    answer(&line.inner, GET_PROTOCOL_FEATURES, 3);
    assert_eq!(number(&line.front), 3 | OURS);
    let taken = (1 | OURS).to_ne_bytes();
    with_body(SET_PROTOCOL_FEATURES, &taken).send(&line.front).unwrap();
    assert_eq!(number(&line.inner), 1);
    drop(line.front);
    assert!(Message::receive(&line.inner).unwrap().is_none(), "the end is passed on");
    line.relay.join().unwrap().unwrap();
}

#[test]
fn a_region_is_made_mapped_and_answered_in_turn() {
    let line = line();
    // A question that the crate has not answered yet, and then the one that is not for it.
    Message::request(GET_FEATURES).send(&line.front).unwrap();
    let asked = InFlightShape { bytes: 0, offset: 0, queues: 2, ring_size: 64 };
    with_body(GET_INFLIGHT_FD, &body_of(asked, 24)).send(&line.front).unwrap();
    answer(&line.inner, GET_FEATURES, 77);
    answer(&line.inner, GET_FEATURES, 88);
    assert_eq!(number(&line.front), 77, "what was asked first is answered first");
    let given = Message::receive(&line.front).unwrap().unwrap();
    assert_eq!((given.request, given.body.len(), given.files.len()), (GET_INFLIGHT_FD, 24, 1));
    let shape = shape_of(&given.body).unwrap();
    assert_eq!((shape.queues, shape.ring_size, shape.bytes), (2, 64, 2 * 1088));

    let back = Message { files: given.files, ..with_body(SET_INFLIGHT_FD, &given.body) };
    back.send(&line.front).unwrap();
    answer(&line.inner, GET_FEATURES, 88);
    // Its own barrier: the next message is dealt with after it.
    Message::request(GET_PROTOCOL_FEATURES).send(&line.front).unwrap();
    answer(&line.inner, GET_PROTOCOL_FEATURES, 0);
    assert_eq!(number(&line.front), OURS);
    assert_eq!(*line.kept.adopted.lock().unwrap(), [2]);
    assert!(line.kept.complaints.lock().unwrap().is_empty());
}

#[test]
fn regions_that_make_no_sense_are_refused_and_the_connection_lives() {
    let line = line();
    let too_many = InFlightShape { bytes: 0, offset: 0, queues: 5, ring_size: 64 };
    with_body(GET_INFLIGHT_FD, &body_of(too_many, 24)).send(&line.front).unwrap();
    answer(&line.inner, GET_FEATURES, 0);
    let given = Message::receive(&line.front).unwrap().unwrap();
    assert_eq!((given.body, given.files.len()), (vec![0; 24], 0));
    with_body(SET_INFLIGHT_FD, &[1, 2, 3]).send(&line.front).unwrap();
    answer(&line.inner, GET_FEATURES, 0);
    Message::request(GET_PROTOCOL_FEATURES).send(&line.front).unwrap();
    answer(&line.inner, GET_PROTOCOL_FEATURES, 0);
    assert_eq!(number(&line.front), OURS);
    assert_eq!(*line.kept.adopted.lock().unwrap(), [0], "and nothing is kept from here on");
    let complaints = line.kept.complaints.lock().unwrap().clone();
    assert!(complaints[0].contains("5 queues of 64") && complaints[1].contains("missing"));
}

#[test]
fn the_channel_of_the_backend_is_kept_and_acknowledged() {
    let line = line();
    let channel = UnixStream::pair().unwrap().0;
    let asked = Message::request(SET_BACKEND_REQ_FD);
    let flags = asked.flags | 8;
    Message { flags, files: vec![channel.into()], ..asked }.send(&line.front).unwrap();
    answer(&line.inner, GET_FEATURES, 0);
    assert_eq!(number(&line.front), 0);
    assert_eq!(*line.kept.channels.lock().unwrap(), 1);
}

#[test]
fn a_crate_that_ends_ends_the_front_end() {
    let line = line();
    with_body(GET_INFLIGHT_FD, &[0; 24]).send(&line.front).unwrap();
    assert_eq!(Message::receive(&line.inner).unwrap().unwrap().request, GET_FEATURES);
    drop(line.inner);
    assert!(Message::receive(&line.front).unwrap().is_none());
    line.relay.join().unwrap().unwrap();
}
