//! The SCSI device by its rings: headers, protection information, task management, events, units.

use dixtrap::control::Request;
use dixtrap::pi::{PiType, Tuple, generate};
use dixtrap::record::{Phase, Record};
use dixtrap::units::{Lba, QueueIndex};

use crate::kit::daemon::image_is_sound;
use crate::kit::request::{readable, writable};
use crate::kit::scsi::{
    ABORTED, BAD_TARGET, EVENT, FAILURE, INCORRECT_LUN, Load, OK, OVERRUN, REJECTED, REQUEST,
    RESET, SUCCEEDED, ScsiGuest, lun, ten,
};
use crate::kit::{Daemon, pattern};

const READ: u8 = 0x28;
const WRITE: u8 = 0x2A;
const TEST_UNIT_READY: [u8; 6] = [0; 6];

fn start(args: &[&str]) -> Daemon {
    let usual = ["--device", "scsi", "--num-queues", "2"];
    Daemon::start(&[&usual, args].concat())
}

fn tuples(lba: u64, data: &[u8]) -> Vec<Tuple> {
    let blocks = (lba..).zip(data.chunks(512));
    blocks.map(|(lba, block)| generate(PiType::Type1, block, Lba(lba))).collect()
}

#[test]
fn the_header_follows_the_acknowledged_features() {
    let daemon = start(&[]);
    let data = pattern(1, 1024);
    for protected in [false, true, false] {
        let mut guest = ScsiGuest::plug(&daemon, protected);
        assert!(guest.tell(&ten(WRITE, 0, 4, 2), &data).is_good());
        let reply = guest.ask(&ten(READ, 0, 4, 2), 1024);
        assert!(reply.is_good() && reply.data == data, "{protected}: {reply:?}");
    }
}

#[test]
fn tuples_travel_before_the_data_both_ways() {
    let daemon = start(&[]);
    let mut guest = ScsiGuest::plug(&daemon, true);
    let data = pattern(2, 1024);
    let sent = tuples(8, &data);
    let load = Load { out: &data, pi_out: &sent, ..Load::default() };
    assert!(guest.run(&ten(WRITE, 1, 8, 2), &load).is_good());
    let load = Load { room: 1024, pi_room: 2, ..Load::default() };
    let reply = guest.run(&ten(READ, 1, 8, 2), &load);
    assert!(reply.is_good() && reply.residual == 0, "{reply:?}");
    assert_eq!((reply.data, reply.tuples), (data, sent));
    drop(guest);
    let disk = daemon.disk();
    let dir = daemon.dir();
    daemon.stop();
    image_is_sound(&disk);
    drop(dir);
}

#[test]
fn a_race_before_and_one_after_the_doorbell_are_told_apart() {
    let daemon = start(&["--window", "hold"]);
    let mut guest = ScsiGuest::plug(&daemon, true);
    let data = pattern(3, 2048);
    let sent = tuples(8, &data);
    let load = Load { out: &data, pi_out: &sent, ..Load::default() };
    let call = guest.call(lun(0), &ten(WRITE, 1, 8, 4), &load);
    guest.guest.memory.flip(call.out + 512);
    let head = guest.send(REQUEST, &call);
    daemon.await_held(1);
    guest.guest.memory.flip(call.out + 1536);
    daemon.release();
    guest.guest.rings[REQUEST].wait(head);
    let reply = call.reply();
    assert_eq!((reply.codes(), reply.information()), ((0xB, 0x10, 0x01), 9));
    let records = daemon.stop();
    let seen: Vec<_> = records.races().iter().map(|race| (race.lba, race.phase)).collect();
    assert_eq!(seen, [(Lba(9), Phase::BeforeDoorbell), (Lba(11), Phase::InWindow)]);
    assert_eq!(records.races()[0].queue, QueueIndex(2));
}

#[test]
fn buffers_that_are_too_short_and_requests_that_contradict_themselves() {
    let daemon = start(&[]);
    let mut guest = ScsiGuest::plug(&daemon, true);
    assert_eq!(guest.ask(&ten(READ, 0, 0, 2), 1023).response, OVERRUN);
    assert_eq!(guest.tell(&ten(WRITE, 0, 0, 2), &[0; 1023]).response, OVERRUN);
    let both = Load { out: &[0; 512], room: 512, ..Load::default() };
    assert_eq!(guest.run(&ten(READ, 0, 0, 1), &both).response, FAILURE, "INOUT");
    let mut call = guest.call(lun(0), &TEST_UNIT_READY, &Load::default());
    call.pieces[0].len = 58;
    assert_eq!(guest.run_call(&call).response, FAILURE, "a short header");
    let call = guest.call([1, 7, 0, 0, 0, 0, 0, 0], &TEST_UNIT_READY, &Load::default());
    assert_eq!(guest.run_call(&call).response, BAD_TARGET);
    let call = guest.call(lun(9), &TEST_UNIT_READY, &Load::default());
    assert_eq!(guest.run_call(&call).codes(), (5, 0x25, 0));
    let load = Load { room: 36, ..Load::default() };
    let call = guest.call(lun(9), &[0x12, 0, 0, 0, 36], &load);
    assert_eq!(guest.run_call(&call).data[0], 0x7F);
    // A residual where the command moves less than there is room for.
    let reply = guest.ask(&[0x12, 0, 0, 0, 36], 100);
    assert!(reply.is_good() && reply.residual == 64, "{reply:?}");
}

/// Holds three writes, two of unit 0 by two queues and one of unit 1.
fn three_held(daemon: &Daemon, guest: &mut ScsiGuest) -> Vec<(usize, u16, crate::kit::scsi::Call)> {
    let data = pattern(4, 512);
    let load = Load { out: &data, ..Load::default() };
    let held: Vec<_> = [(REQUEST, 0), (REQUEST + 1, 0), (REQUEST, 1)]
        .map(|(queue, unit)| {
            let call = guest.call(lun(unit), &ten(WRITE, 0, 1, 1), &load);
            (queue, guest.send(queue, &call), call)
        })
        .into();
    daemon.await_held(3);
    held
}

fn two_units() -> (Daemon, ScsiGuest) {
    let daemon = start(&["--window", "hold", "--blk-file", "disk.img", "--blk-file", "other.img"]);
    let mut guest = ScsiGuest::plug(&daemon, true);
    let call = guest.call(lun(1), &TEST_UNIT_READY, &Load::default());
    assert_eq!(guest.run_call(&call).codes(), (6, 0x29, 0), "each unit has its own attention");
    (daemon, guest)
}

#[test]
fn one_task_is_aborted_and_stores_nothing() {
    let (daemon, mut guest) = two_units();
    let held = three_held(&daemon, &mut guest);
    let tag = held[1].2.tag;
    assert_eq!(guest.manage(6, lun(0), tag), SUCCEEDED, "QUERY TASK");
    assert_eq!(guest.manage(0, lun(0), tag), OK, "ABORT TASK");
    // It is answered before the function is.
    assert_eq!(held[1].2.reply().response, ABORTED);
    assert_eq!(guest.manage(6, lun(0), tag), OK, "QUERY TASK: gone");
    assert!(held[0].2.is_untouched() && held[2].2.is_untouched());
    assert_eq!(daemon.stats().held, 2);
    assert_eq!(guest.manage(1, lun(0), 0), OK, "ABORT TASK SET");
    assert_eq!(held[0].2.reply().response, ABORTED);
    assert_eq!(daemon.release(), 1);
    guest.guest.rings[REQUEST].wait(held[2].1);
    assert!(held[2].2.reply().is_good());
    assert_eq!(guest.ask(&ten(READ, 0, 1, 1), 512).data, [0; 512], "nothing was stored");
}

#[test]
fn a_unit_reset_ends_its_tasks_and_is_told() {
    let (daemon, mut guest) = two_units();
    let held = three_held(&daemon, &mut guest);
    assert_eq!(guest.manage(7, lun(0), 0), SUCCEEDED, "QUERY TASK SET");
    assert_eq!(guest.manage(5, lun(0), 0), OK, "LOGICAL UNIT RESET");
    assert_eq!([&held[0], &held[1]].map(|held| held.2.reply().response), [RESET; 2]);
    assert!(held[2].2.is_untouched());
    assert_eq!(guest.ask(&TEST_UNIT_READY, 0).codes(), (6, 0x29, 0x03));
    assert_eq!(guest.manage(4, lun(0), 0), OK, "I_T NEXUS RESET");
    assert_eq!(held[2].2.reply().response, RESET);
    assert_eq!(guest.ask(&TEST_UNIT_READY, 0).codes(), (6, 0x29, 0x07));
    assert_eq!(daemon.stats().held, 0);
}

#[test]
fn a_function_reaches_requests_that_only_just_stand_in_their_ring() {
    let (daemon, mut guest) = two_units();
    let data = pattern(5, 512);
    let call = guest.call(lun(0), &ten(WRITE, 0, 1, 1), &Load { out: &data, ..Load::default() });
    let head = guest.guest.rings[REQUEST].place(&call.pieces);
    // Exposed, and no doorbell.
    guest.guest.rings[REQUEST].expose(head);
    assert_eq!(guest.manage(0, lun(0), call.tag), OK);
    assert_eq!(call.reply().response, ABORTED);
    assert_eq!(daemon.stats().held, 0);
}

/// What an injected fault silenced is still a task: its driver can have it back.
#[test]
fn a_silenced_task_is_found_and_given_back() {
    let silent = "no-answer,op=write,lun=0,count=3";
    let units = ["--blk-file", "disk.img", "--blk-file", "other.img"];
    let daemon = start(&[&units[..], &["--window", "0", "--inject", silent]].concat());
    let mut guest = ScsiGuest::plug(&daemon, true);
    let data = pattern(9, 512);
    let load = Load { out: &data, ..Load::default() };
    let silenced = [REQUEST, REQUEST + 1, REQUEST].map(|queue| {
        let call = guest.call(lun(0), &ten(WRITE, 0, 1, 1), &load);
        (queue, guest.send(queue, &call), call)
    });
    assert!(guest.ask(&ten(READ, 0, 1, 1), 512).is_good(), "the ring goes on");
    assert_eq!(daemon.release(), 0, "a release does not end what is not held");
    let tag = silenced[0].2.tag;
    assert_eq!(guest.manage(6, lun(0), tag), SUCCEEDED, "QUERY TASK");
    assert_eq!(guest.manage(0, lun(1), tag), OK, "ABORT TASK of another unit");
    assert!(silenced[0].2.is_untouched());
    assert_eq!(guest.manage(0, lun(0), tag), OK, "ABORT TASK");
    assert_eq!(silenced[0].2.reply().response, ABORTED);
    guest.guest.rings[REQUEST].wait(silenced[0].1);
    assert_eq!(guest.manage(6, lun(0), tag), OK, "QUERY TASK: gone");
    assert_eq!(guest.manage(7, lun(0), 0), SUCCEEDED, "QUERY TASK SET: two are left");
    assert_eq!(guest.manage(5, lun(0), 0), OK, "LOGICAL UNIT RESET");
    for (queue, head, call) in &silenced[1..] {
        assert_eq!(call.reply().response, RESET);
        guest.guest.rings[*queue].wait(*head);
    }
    assert_eq!(guest.manage(7, lun(0), 0), OK, "none is left");
    assert_eq!(guest.ask(&TEST_UNIT_READY, 0).codes(), (6, 0x29, 0x03));
    assert_eq!(guest.ask(&ten(READ, 0, 1, 1), 512).data, [0; 512], "nothing was stored");
    assert!(guest.tell(&ten(WRITE, 0, 1, 1), &data).is_good());
    drop(guest);
    let records = daemon.stop();
    assert_eq!((records.stop().injected, records.stop().errors), (3, 0));
    assert!(records.broken().is_empty());
}

/// Also one that falls silent behind its doorbell; and rings that stop forget what they never answered.
#[test]
fn a_task_may_fall_silent_after_its_window_and_a_ring_forgets_its_silence() {
    let daemon = start(&["--window", "0", "--inject", "no-answer,op=verify,count=2"]);
    let mut guest = ScsiGuest::plug(&daemon, true);
    let data = pattern(9, 512);
    let load = Load { out: &data, ..Load::default() };
    let verified = guest.call(lun(0), &ten(0x2E, 0, 1, 1), &load);
    let head = guest.send(REQUEST, &verified);
    // A read that follows at once may overtake the end of the window.
    crate::kit::eventually("its silence", || (daemon.stats().counters.injected == 1).then_some(()));
    assert_eq!(guest.ask(&ten(READ, 0, 1, 1), 512).data, data, "it was stored");
    assert!(verified.is_untouched());
    assert_eq!(guest.manage(0, lun(0), verified.tag), OK, "ABORT TASK");
    assert_eq!(verified.reply().response, ABORTED);
    guest.guest.rings[REQUEST].wait(head);
    let verify = guest.call(lun(0), &ten(0x2F, 0, 1, 1), &Load::default());
    guest.send(REQUEST + 1, &verify);
    assert_eq!(guest.manage(6, lun(0), verify.tag), SUCCEEDED);
    guest.guest.restart_ring(REQUEST + 1);
    assert_eq!(guest.manage(6, lun(0), verify.tag), OK, "forgotten");
    assert!(verify.is_untouched());
    let again = guest.call(lun(0), &ten(0x2F, 0, 1, 1), &Load::default());
    let head = guest.send(REQUEST + 1, &again);
    guest.guest.rings[REQUEST + 1].wait(head);
    assert!(again.reply().is_good());
    drop(guest);
    assert!(daemon.stop().broken().is_empty());
}

#[test]
fn control_requests_that_make_no_sense_are_answered() {
    let (_daemon, mut guest) = two_units();
    assert_eq!(guest.manage(2, lun(0), 0), REJECTED, "CLEAR ACA");
    assert_eq!(guest.manage(99, lun(0), 0), REJECTED);
    assert_eq!(guest.manage(5, lun(7), 0), INCORRECT_LUN);
    assert_eq!(guest.manage(5, [1, 3, 0, 0, 0, 0, 0, 0], 0), BAD_TARGET);
    assert_eq!(guest.control(&[0; 5], 1), FAILURE);
    assert_eq!(guest.control(&[0xFF; 24], 1), FAILURE);
    let query = [&[1, 0, 0, 0][..], &lun(0), &[0xFF; 4]].concat();
    assert_eq!(guest.control(&query, 5), OK);
    assert!(guest.ask(&TEST_UNIT_READY, 0).is_good());
}

#[test]
fn event_buffers_wait_and_come_back_when_the_ring_stops() {
    let daemon = start(&[]);
    let mut guest = ScsiGuest::plug(&daemon, true);
    let memory = std::sync::Arc::clone(&guest.guest.memory);
    let room = memory.alloc(16, 16);
    memory.write(room, &[0xA5; 16]);
    let head = guest.guest.rings[EVENT].place(&[writable(room, 16)]);
    guest.guest.ring_bell(EVENT, head);
    guest.guest.rings[EVENT].stays_silent();
    assert_eq!(daemon.stats().held, 0);
    daemon.release();
    guest.guest.rings[EVENT].stays_silent();
    guest.guest.stop_ring(EVENT);
    assert_eq!(guest.guest.rings[EVENT].wait(head).len, 16);
    assert_eq!(memory.read(room, 16), [0; 16], "no event");
    assert!(daemon.stop().broken().is_empty());
}

#[test]
fn a_request_without_room_for_its_response_breaks_its_ring_alone() {
    let daemon = start(&[]);
    let mut guest = ScsiGuest::plug(&daemon, true);
    let memory = std::sync::Arc::clone(&guest.guest.memory);
    let room = memory.alloc(128, 16);
    let head = guest.guest.rings[REQUEST + 1].place(&[readable(room, 59), writable(room, 11)]);
    guest.guest.ring_bell(REQUEST + 1, head);
    crate::kit::eventually("a broken ring", || daemon.records().broken().first().map(|_| ()));
    assert!(guest.ask(&TEST_UNIT_READY, 0).is_good());
    assert_eq!(guest.manage(7, lun(0), 0), OK);
    guest.guest.restart_ring(REQUEST + 1);
    let call = guest.call(lun(0), &TEST_UNIT_READY, &Load::default());
    let head = guest.send(REQUEST + 1, &call);
    guest.guest.rings[REQUEST + 1].wait(head);
    assert!(call.reply().is_good());
}

#[test]
fn the_driver_may_choose_its_sizes() {
    let daemon = start(&[]);
    let mut guest = ScsiGuest::plug(&daemon, true);
    let config = guest.guest.config(0, 36);
    assert_eq!((config[0], config[20], config[24]), (2, 96, 32));
    use vhost::vhost_user::VhostUserFrontend;
    use vhost::vhost_user::message::VhostUserConfigFlags;
    let set = |guest: &mut ScsiGuest, at: u32, value: u32| {
        let flags = VhostUserConfigFlags::WRITABLE;
        guest.guest.front.set_config(at, flags, &value.to_le_bytes())
    };
    assert!(set(&mut guest, 24, 16).is_ok() && set(&mut guest, 20, 18).is_ok());
    let mut call = guest.call(lun(0), &[0xC0], &Load::default());
    call.pieces[0].len = 43;
    call.pieces[1].len = 30;
    assert_eq!(guest.run_call(&call).codes(), (5, 0x20, 0));
    // A refusal ends the connection, so it comes last.
    assert!(set(&mut guest, 0, 1).is_err());
}

#[test]
fn records_name_the_unit_and_the_start_lists_them() {
    let (daemon, mut guest) = two_units();
    let data = pattern(6, 512);
    let call = guest.call(lun(1), &ten(WRITE, 0, 1, 1), &Load { out: &data, ..Load::default() });
    let head = guest.send(REQUEST, &call);
    daemon.await_held(1);
    guest.guest.memory.flip(call.out);
    daemon.release();
    guest.guest.rings[REQUEST].wait(head);
    assert_eq!(call.reply().codes(), (0xB, 0x10, 0x01));
    drop(guest);
    let records = daemon.stop();
    assert_eq!((records.race().lun, records.race().device.as_str()), (Some(1), "scsi"));
    let Some(Record::Start(start)) = records.0.first() else { panic!("{records:?}") };
    assert_eq!(start.luns, ["disk.img", "other.img"]);
    assert_eq!(records.stop().writes, 1);
}

#[test]
fn random_requests_leave_the_device_standing() {
    let daemon = start(&["--window", "0"]);
    let mut guest = ScsiGuest::plug(&daemon, true);
    let mut random = crate::kit::Random::new(7);
    for _ in 0..600 {
        let bytes: Vec<u8> = (0..32).map(|_| random.next() as u8).collect();
        let out = vec![1; random.below(3000) as usize * random.below(2) as usize];
        let room = if out.is_empty() { random.below(5000) as usize } else { 0 };
        let load = Load { out: &out, room, ..Load::default() };
        let mut call = guest.call(lun(random.below(2) as u8), &bytes, &load);
        if random.below(8) == 0 {
            call.pieces[0].len = 1 + random.below(59) as u32;
        }
        guest.run_call(&call);
        assert!(!call.is_untouched());
    }
    guest.ask(&[0x1B, 0, 0, 0, 1], 0);
    assert!(guest.ask(&TEST_UNIT_READY, 0).is_good());
    assert!(daemon.stop().broken().is_empty());
}

#[test]
fn injected_faults_answer_commands_of_one_unit() {
    let daemon = start(&[
        "--blk-file",
        "disk.img",
        "--blk-file",
        "other.img",
        "--inject",
        "sense=3/11/00,op=read,lun=1,lba=5",
        "--inject",
        "busy,op=write,lun=0",
        "--inject",
        "no-answer,op=other,lun=1,nth=2",
    ]);
    let mut guest = ScsiGuest::plug(&daemon, true);
    let load = Load { room: 1024, ..Load::default() };
    assert!(guest.run(&ten(READ, 0, 4, 2), &load).is_good());
    let call = guest.call(lun(1), &[0x03, 0, 0, 0, 18], &load);
    assert!(guest.run_call(&call).is_good(), "the attention");
    let call = guest.call(lun(1), &ten(READ, 0, 4, 2), &load);
    let reply = guest.run_call(&call);
    assert_eq!((reply.codes(), reply.information()), ((3, 0x11, 0), 5));
    assert_eq!(guest.tell(&ten(WRITE, 0, 0, 1), &[1; 512]).status, 0x08);
    let call = guest.call(lun(1), &TEST_UNIT_READY, &Load::default());
    guest.send(REQUEST, &call);
    guest.guest.rings[REQUEST].stays_silent();
    let records = daemon.stop();
    assert_eq!(records.stop().injected, 3);
    assert_eq!((records.stop().errors, records.stop().medium_faults), (0, 0));
}

#[test]
fn a_unit_that_comes_or_goes_is_told_by_event_and_attention() {
    let (daemon, mut guest) = two_units();
    let memory = std::sync::Arc::clone(&guest.guest.memory);
    let told = |guest: &mut ScsiGuest, request: Request| {
        let room = memory.alloc(16, 16);
        let head = guest.guest.rings[EVENT].place(&[writable(room, 16)]);
        guest.guest.ring_bell(EVENT, head);
        daemon.ask(request);
        assert_eq!(guest.guest.rings[EVENT].wait(head).len, 16);
        memory.read(room, 16)
    };
    let luns = |guest: &mut ScsiGuest| {
        guest.ask(&[0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0], 64).data[..4].to_vec()
    };
    // The unit is spelt as REPORT LUNS spells it.
    let reset = |reason: u8| [1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, reason, 0, 0, 0];
    assert_eq!(told(&mut guest, Request::Unplug { lun: 1 }), reset(2));
    let call = guest.call(lun(1), &TEST_UNIT_READY, &Load::default());
    assert_eq!(guest.run_call(&call).codes(), (5, 0x25, 0), "LOGICAL UNIT NOT SUPPORTED");
    assert_eq!(guest.ask(&TEST_UNIT_READY, 0).codes(), (6, 0x3F, 0x0E));
    assert_eq!(luns(&mut guest), [0, 0, 0, 8]);
    assert_eq!(told(&mut guest, Request::Plug { lun: 1 }), reset(1));
    assert_eq!(luns(&mut guest), [0, 0, 0, 16]);
    let call = guest.call(lun(1), &TEST_UNIT_READY, &Load::default());
    assert_eq!(guest.run_call(&call).codes(), (6, 0x29, 0), "as after power on");
    // What is so already is no news, and what never was is an error.
    daemon.ask(Request::Plug { lun: 1 });
    assert_eq!(guest.ask(&TEST_UNIT_READY, 0).codes(), (6, 0x3F, 0x0E), "of the plugging before");
    assert!(guest.ask(&TEST_UNIT_READY, 0).is_good());
    let error = daemon.control().ask(&Request::Unplug { lun: 7 }).unwrap_err();
    assert!(error.to_string().contains("there is no logical unit 7"), "{error}");
}

#[test]
fn an_image_that_grows_is_told_by_event_and_attention() {
    let daemon = start(&[]);
    let mut guest = ScsiGuest::plug(&daemon, true);
    let memory = std::sync::Arc::clone(&guest.guest.memory);
    let room = memory.alloc(16, 16);
    let head = guest.guest.rings[EVENT].place(&[writable(room, 16)]);
    guest.guest.ring_bell(EVENT, head);
    let file = std::fs::File::options().write(true).open(daemon.disk()).unwrap();
    file.set_len(2 << 20).unwrap();
    assert_eq!(guest.guest.rings[EVENT].wait(head).len, 16);
    let event = [3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x2A, 0x09, 0, 0];
    assert_eq!(memory.read(room, 16), event);
    assert_eq!(guest.ask(&TEST_UNIT_READY, 0).codes(), (6, 0x2A, 0x09));
    let capacity = guest.ask(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0], 8).data;
    assert_eq!(capacity[..4], 4095u32.to_be_bytes());
    let data = pattern(8, 512);
    let last = [WRITE, 0, 0, 0, 0x0F, 0xFF, 0, 0, 1, 0];
    assert!(guest.tell(&last, &data).is_good());
    drop(guest);
    let (disk, dir) = (daemon.disk(), daemon.dir());
    daemon.stop();
    image_is_sound(&disk);
    drop(dir);
}
