//! Everything at once: several rings, writes that overlap, reads of what is being written, and a
//! guest that changes its pages all the time. Whatever races, the disk stays sound and the books
//! balance.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::kit::daemon::image_is_sound;
use crate::kit::memory::Memory;
use crate::kit::records::Records;
use crate::kit::*;

const STORM: Duration = Duration::from_secs(2);
/// All requests go to the first sectors, so that they get in each other's way.
const SECTORS: u64 = 256;

/// One ring kept full of requests of one kind.
struct Stream {
    queue: usize,
    kind: u32,
    slots: HashMap<u16, Draft>,
    done: u64,
    errors: u64,
}

impl Stream {
    fn start(
        guest: &mut Guest,
        queue: usize,
        kind: u32,
        depth: usize,
        random: &mut Random,
    ) -> Stream {
        let mut stream = Stream { queue, kind, slots: HashMap::new(), done: 0, errors: 0 };
        for _ in 0..depth {
            let draft = match kind {
                VIRTIO_BLK_T_IN => Draft::read(&guest.memory, 0, 4096),
                _ => Draft::write(&guest.memory, 0, &pattern(random.next(), 4096)),
            };
            stream.send(guest, draft, random);
        }
        guest.rings[queue].kick();
        stream
    }

    fn send(&mut self, guest: &mut Guest, draft: Draft, random: &mut Random) {
        draft.set_header(self.kind, random.below(SECTORS - 8));
        guest.memory.write(draft.status, &[request::UNTOUCHED]);
        let head = guest.rings[self.queue].place(&draft.pieces());
        guest.rings[self.queue].expose(head);
        self.slots.insert(head, draft);
    }

    /// Takes what is finished; sends it again with `again`.
    fn turn(&mut self, guest: &mut Guest, random: &mut Random, again: bool) {
        let finished = guest.rings[self.queue].harvest();
        for used in &finished {
            let draft = self.slots.remove(&used.head).expect("a request of this ring");
            self.done += 1;
            match draft.status() {
                OK => {}
                IOERR => self.errors += 1,
                other => panic!("status {other}"),
            }
            if again {
                self.send(guest, draft, random);
            }
        }
        if again && !finished.is_empty() {
            guest.rings[self.queue].kick();
        }
    }
}

/// A storm with this `--on-race`; the three rings of writes and the one of reads, and the records.
fn storm(on_race: &str) -> (Vec<Stream>, Records) {
    let window = ["--window", "uniform:0..300us", "--num-queues", "4", "--on-race", on_race];
    let daemon = Daemon::start(&window);
    let mut guest = daemon.plug(Plug { queues: 4, ..Plug::default() });
    let mut random = Random::new(2011);
    let mut streams: Vec<Stream> = (0..3)
        .map(|queue| Stream::start(&mut guest, queue, VIRTIO_BLK_T_OUT, 16, &mut random))
        .collect();
    let buffers: Vec<u64> =
        streams.iter().flat_map(|stream| stream.slots.values().map(|draft| draft.data)).collect();
    streams.push(Stream::start(&mut guest, 3, VIRTIO_BLK_T_IN, 8, &mut random));

    let (memory, over) = (guest.memory.clone(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| scribble(&memory, &buffers, &over));
        let end = Instant::now() + STORM;
        while Instant::now() < end {
            streams.iter_mut().for_each(|stream| stream.turn(&mut guest, &mut random, true));
        }
        over.store(true, Ordering::Relaxed);
    });
    eventually("the storm to pass", || {
        streams.iter_mut().for_each(|stream| stream.turn(&mut guest, &mut random, false));
        streams.iter().all(|stream| stream.slots.is_empty()).then_some(())
    });
    guest.must_read(0, 1 << 20);
    drop(guest);
    let (disk, _dir) = (daemon.disk(), daemon.dir());
    let records = daemon.stop();
    image_is_sound(&disk);
    (streams, records)
}

/// Changes bytes of the buffers without end.
fn scribble(memory: &Memory, buffers: &[u64], over: &AtomicBool) {
    let mut random = Random::new(7);
    while !over.load(Ordering::Relaxed) {
        let buffer = buffers[usize::try_from(random.below(buffers.len() as u64)).unwrap_or(0)];
        memory.flip(buffer + random.below(4096));
        std::thread::sleep(Duration::from_micros(20));
    }
}

/// Every counter derives from the lines.
fn books_balance(records: &Records) {
    let (counters, races) = (records.stop(), records.races());
    assert_eq!(counters.records_lost, 0);
    assert_eq!(counters.races.in_window, races.len() as u64);
    assert_eq!(counters.all_races(), races.len() as u64);
    assert_eq!(counters.guard_blind, races.iter().filter(|race| race.guard_blind).count() as u64);
    assert_eq!(counters.healed, records.healed().len() as u64);
    assert_eq!(counters.standing + counters.healed, counters.all_races());
    assert_eq!(counters.blocks_checked, 8 * counters.writes);
    assert_eq!((counters.medium_faults, records.medium_faults().len()), (0, 0));
    let mut ids: Vec<u64> = races.iter().map(|race| race.id.0).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=races.len() as u64).collect::<Vec<_>>());
    let mut healed: Vec<u64> = records.healed().iter().map(|healed| healed.race.0).collect();
    healed.sort_unstable();
    healed.dedup();
    assert_eq!(healed.len() as u64, counters.healed, "no race heals twice");
    for race in races {
        assert!(race.changed_bytes > 0 && !race.changed.is_empty());
        assert!(race.guard_blind || race.doorbell_guard != race.fetch_guard);
        assert!(race.request.lba <= race.lba && race.lba.0 < race.request.lba.0 + 8);
    }
}

#[test]
fn with_on_race_report_every_request_succeeds() {
    let (streams, records) = storm("report");
    for stream in &streams {
        assert_eq!(stream.errors, 0, "of {} requests on ring {}", stream.done, stream.queue);
    }
    books_balance(&records);
    assert!(!records.races().is_empty(), "a storm without a race was none");
    assert_eq!(records.stop().writes, streams[..3].iter().map(|stream| stream.done).sum::<u64>());
}

#[test]
fn with_on_race_fail_exactly_the_writes_that_raced_fail() {
    let (streams, records) = storm("fail");
    assert_eq!(streams[3].errors, 0, "no read fails");
    books_balance(&records);
    let mut raced: Vec<u64> = records.races().iter().map(|race| race.request.id).collect();
    raced.sort_unstable();
    raced.dedup();
    let failed: u64 = streams.iter().map(|stream| stream.errors).sum();
    assert_eq!(failed, raced.len() as u64);
    assert!(failed > 0, "a storm without a race was none");
    assert_eq!(records.stop().errors, 0, "a race is not counted as another error");
}
