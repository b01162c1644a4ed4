//! The moments of a kill, every one of them; and regions that somebody wrote over.

use super::*;
use proptest::prelude::*;

const SIZE: u16 = 4;

fn region() -> Region {
    let shape = InFlightShape::new(1, SIZE, 1).unwrap();
    shape.map(shape.make_file().unwrap(), 1).unwrap().remove(0)
}

fn tracked(region: &Region) -> InFlight {
    let in_flight = InFlight::default();
    in_flight.adopt(Some(region.clone()));
    in_flight
}

fn indexes(used: u16, available: u16) -> Indexes {
    Indexes { size: SIZE, used, available }
}

fn unanswered(in_flight: &InFlight) -> Vec<u16> {
    std::iter::from_fn(|| in_flight.next_unanswered()).collect()
}

/// The stores of the protocol, one by one, with the process killed after any of them.
#[derive(Debug, Clone, Copy)]
enum Store {
    Counter(u16, u64),
    Mark(u16, bool),
    LastHead(u16),
    /// Of the used ring, which is guest memory.
    UsedElement(u16),
    UsedRingIdx,
    UsedIdx,
}

fn stores_of_taking(head: u16, counter: u64) -> Vec<Store> {
    vec![Store::Counter(head, counter), Store::Mark(head, true)]
}

fn stores_of_answering(head: u16) -> Vec<Store> {
    use Store::{LastHead, Mark, UsedElement, UsedIdx, UsedRingIdx};
    vec![LastHead(head), UsedElement(head), UsedRingIdx, Mark(head, false), UsedIdx]
}

/// What a guest sees, and what a process finds after a kill.
#[derive(Debug, Clone, Default)]
struct World {
    used_elements: Vec<u16>,
    used: u16,
    pending: Option<u16>,
}

fn execute(store: Store, region: &Region, world: &mut World) {
    match store {
        Store::Counter(head, counter) => region.set_counter(head, counter),
        Store::Mark(head, mark) => region.set_in_flight(head, mark),
        Store::LastHead(head) => region.set_last_head(head),
        Store::UsedElement(head) => world.pending = Some(head),
        Store::UsedRingIdx => {
            world.used = world.used.wrapping_add(1);
            world.used_elements.extend(world.pending.take());
        }
        Store::UsedIdx => region.set_used_idx(region.used_idx().wrapping_add(1)),
    }
}

/// Three requests, taken in order and answered in `order`, `before` of which are taken first.
fn history(order: &[u16], mixed: bool) -> Vec<Store> {
    let taken: Vec<_> = (0..3).map(|head| stores_of_taking(head, u64::from(head) + 1)).collect();
    let answers: Vec<_> = order.iter().map(|head| stores_of_answering(*head)).collect();
    if !mixed {
        return taken.into_iter().chain(answers).flatten().collect();
    }
    // An answer between the second and the third request, where it is of one that was taken.
    let mut all: Vec<Vec<Store>> = taken.get(..2).unwrap().to_vec();
    let early = order.first().copied().filter(|head| *head < 2);
    all.extend(early.map(stores_of_answering));
    all.push(taken.get(2).unwrap().clone());
    let rest = order.iter().filter(|head| Some(**head) != early);
    all.extend(rest.map(|head| stores_of_answering(*head)));
    all.into_iter().flatten().collect()
}

#[test]
fn a_kill_after_any_store_loses_no_request_and_does_none_again_that_was_answered() {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let mut moments = 0;
    // Also where the indexes come round.
    for start in [0_u16, u16::MAX - 1] {
        for (order, mixed) in orders.iter().flat_map(|order| [(order, false), (order, true)]) {
            let stores = history(order, mixed);
            for killed in 0..=stores.len() {
                let region = region();
                begin(&region, indexes(start, start));
                let mut world = World { used: start, ..World::default() };
                let executed = stores.get(..killed).unwrap();
                executed.iter().for_each(|store| execute(*store, &region, &mut world));
                check(&region, &world, start, executed);
                moments += 1;
            }
        }
    }
    assert!(moments > 400, "{moments} moments were looked at");
}

/// What the next process makes of it.
fn check(region: &Region, world: &World, start: u16, executed: &[Store]) {
    let next = tracked(region);
    let available = start.wrapping_add(3);
    let entry = next.recover(indexes(world.used, available)).unwrap().unwrap();
    let again = unanswered(&next);
    let marked = |head: u16| {
        executed.iter().any(|store| matches!(store, Store::Mark(it, true) if *it == head))
    };
    for head in 0..3_u16 {
        let answered = world.used_elements.contains(&head);
        let is_again = again.contains(&head);
        let is_new = entry.wrapping_sub(start) <= head;
        // Exactly one of: answered, in flight, still in the available ring.
        let states = [answered, is_again, is_new];
        assert_eq!(states.iter().filter(|it| **it).count(), 1, "{head}: {states:?}, {executed:?}");
        assert!(marked(head) || !is_again, "{head} was never taken");
    }
    assert!(again.is_sorted(), "in the order in which they were taken: {again:?}");
    // A second look, by a process that was killed at once, finds the same.
    let third = tracked(region);
    assert_eq!(third.recover(indexes(world.used, available)), Ok(Some(entry)));
    assert_eq!(unanswered(&third), again);
}

#[test]
fn the_code_makes_the_stores_of_the_protocol_in_its_order() {
    let (region, mut world) = (region(), World::default());
    let in_flight = tracked(&region);
    assert_eq!(in_flight.recover(indexes(0, 0)), Ok(None), "a new region: the base counts");
    assert_eq!((region.version(), region.descriptors()), (1, SIZE));
    in_flight.take(2);
    in_flight.take(1);
    assert!(region.counter(1) > region.counter(2));
    in_flight
        .answer(1, || {
            assert_eq!(region.last_head(), 1);
            assert!(region.is_in_flight(1), "until the answer is there");
            world.used = 1;
            Ok::<(), ()>(())
        })
        .unwrap();
    assert_eq!((region.is_in_flight(1), region.used_idx()), (false, 1));
    assert_eq!(in_flight.answer(2, || Err("the ring is gone")), Err("the ring is gone"));
    assert!(region.is_in_flight(2), "an answer that was not put is none");
    let next = tracked(&region);
    assert_eq!(next.recover(indexes(1, 2)), Ok(Some(2)));
    assert!(next.has_unanswered());
    assert_eq!(unanswered(&next), [2]);
    let counter = region.counter(2);
    next.take(3);
    assert!(region.counter(3) > counter, "the order goes on");
}

#[test]
fn a_region_of_another_ring_is_refused() {
    let region = region();
    begin(&region, indexes(0, 0));
    let recover = |ring| tracked(&region).recover(ring);
    let size = InFlightError::Size { region: SIZE, ring: 2 };
    assert_eq!(recover(Indexes { size: 2, used: 0, available: 0 }), Err(size));
    region.set_in_flight(3, true);
    let found = recover(indexes(0, 0));
    assert!(matches!(found, Err(InFlightError::Contradiction { in_flight: 1, .. })), "{found:?}");
    assert!(recover(indexes(0, SIZE + 1)).is_err(), "more than the ring holds");
    region.set_version(2);
    assert_eq!(recover(indexes(0, 1)), Err(InFlightError::Version(2)));
    tracked(&region).forget();
    assert_eq!(recover(indexes(0, 0)), Ok(None), "as new");
}

proptest! {
    #[test]
    fn whatever_lies_in_a_region_is_survived(
        bytes in proptest::collection::vec(any::<u8>(), 16 + 16 * usize::from(SIZE)),
        version in 0_u16..3, used: u16, available: u16,
    ) {
        use std::os::unix::fs::FileExt;
        let shape = InFlightShape::new(1, SIZE, 1).unwrap();
        let file = shape.make_file().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let region = shape.map(file, 1).unwrap().remove(0);
        region.set_version(version);
        region.set_descriptors(SIZE);
        let in_flight = tracked(&region);
        if let Ok(Some(next)) = in_flight.recover(indexes(used, available)) {
            let again = unanswered(&in_flight);
            prop_assert!(again.len() <= usize::from(SIZE));
            prop_assert!(again.iter().all(|head| *head < SIZE));
            prop_assert!(available.wrapping_sub(next) <= SIZE);
        }
        in_flight.take(u16::MAX);
        in_flight.answer(u16::MAX, || Ok::<(), ()>(())).unwrap();
    }
}
