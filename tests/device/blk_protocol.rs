//! The disk as a driver sees it: requests, features, configuration space.

use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;
use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserProtocolFeatures};

use crate::kit::guest::bit;
use crate::kit::request::Range;
use crate::kit::*;

/// A little-endian number of the configuration space.
fn field(config: &[u8], at: usize, len: usize) -> u64 {
    config.iter().skip(at).take(len).rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Tells the daemon whether the driver wants a write-back cache.
fn set_writeback(guest: &mut Guest, value: u8) -> bool {
    guest.front.set_config(32, VhostUserConfigFlags::WRITABLE, &[value]).is_ok()
}

#[test]
fn what_was_written_is_read() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    let data = pattern(1, 64 * 1024);
    assert_eq!(guest.write(1, &data), OK);
    assert_eq!(guest.must_read(1, 64 * 1024), data);
    assert_eq!(guest.must_read(0, 512), [0; 512]);
    assert_eq!(guest.write(2047, &data[..512]), OK, "the last sector is there");
    assert_eq!(guest.must_read(2047, 512), data[..512]);
    assert_eq!(guest.flush(), OK);
    assert_eq!(daemon.disk_bytes()[512..512 + 65536], data);
    let counters = daemon.stop().stop().clone();
    assert_eq!((counters.writes, counters.reads, counters.flushes), (2, 3, 1));
    assert_eq!(counters.errors, 0);
}

#[test]
fn a_memory_disk_works_alike() {
    let daemon = Daemon::start(&["--window", "0", "--memory"]);
    let mut guest = daemon.guest();
    guest.proves_it_works(0, 8);
    assert_eq!(guest.flush(), OK);
    assert!(!daemon.disk().exists());
}

#[test]
fn data_survives_a_restart() {
    let daemon = Daemon::start(&["--window", "0"]);
    let dir = daemon.dir();
    let data = pattern(2, 8192);
    assert_eq!(daemon.guest().write(100, &data), OK);
    daemon.stop();
    let daemon = Daemon::start_in(dir, &["--window", "0"]);
    let mut guest = daemon.guest();
    assert_eq!(guest.must_read(100, 8192), data);
    drop(guest);
    assert!(daemon.stop().medium_faults().is_empty());
}

/// What the disk says when it is asked who it is.
fn name(daemon: &Daemon) -> String {
    let mut guest = daemon.guest();
    let draft = Draft::get_id(&guest.memory);
    let sent = guest.send(0, draft);
    assert_eq!(guest.finish(&sent), OK);
    let name = sent.draft.bytes();
    let text: Vec<u8> = name.iter().copied().take_while(|byte| *byte != 0).collect();
    assert!(!text.is_empty() && text.iter().all(u8::is_ascii_graphic), "{name:?}");
    String::from_utf8_lossy(&text).into_owned()
}

/// The same at every start, and no other disk's: a guest finds its disks by it.
#[test]
fn a_disk_has_a_name_of_its_own() {
    let first = Daemon::start(&["--window", "0"]);
    let dir = first.dir();
    let known = name(&first);
    drop(first.stop());
    assert_eq!(name(&Daemon::start_in(dir, &["--window", "0"])), known);
    assert_ne!(name(&Daemon::start(&["--window", "0"])), known);
    let memory = [Daemon::start(&["--memory"]), Daemon::start(&["--memory"])].map(|d| name(&d));
    assert_ne!(memory[0], memory[1]);
}

#[test]
fn discarded_and_zeroed_blocks_read_as_zeroes() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    guest.assert_offers(&[VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES]);
    let data = pattern(3, 64 * 512);
    assert_eq!(guest.write(0, &data), OK);
    let draft = Draft::discard(&guest.memory, &[Range { sector: 8, count: 8, flags: 0 }]);
    assert_eq!(guest.run(draft), OK);
    for (sector, flags) in [(24, 0), (40, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP)] {
        let range = Range { sector, count: 8, flags };
        let draft = Draft::write_zeroes(&guest.memory, &[range]);
        assert_eq!(guest.run(draft), OK);
    }
    let mut wanted = data;
    for sector in [8, 24, 40] {
        wanted[sector * 512..(sector + 8) * 512].fill(0);
    }
    assert_eq!(guest.must_read(0, 64 * 512), wanted);
    assert_eq!(guest.write(8, &pattern(4, 512)), OK, "a discarded block can be written again");
    assert_eq!(guest.must_read(8, 512), pattern(4, 512));
    drop(guest);
    let records = daemon.stop();
    assert_eq!(records.stop().discards, 3);
    assert!(records.medium_faults().is_empty());
}

#[test]
fn discards_that_make_no_sense_are_refused() {
    let daemon = Daemon::start(&["--window", "0", "--block-size", "4096"]);
    let mut guest = daemon.guest();
    let data = pattern(5, 1 << 16);
    assert_eq!(guest.write(0, &data), OK);
    let max = field(&guest.config(0, 60), 36, 4);
    let beyond = [
        Range { sector: 2048, count: 8, flags: 0 },
        Range { sector: 2040, count: 16, flags: 0 },
        Range { sector: u64::MAX - 7, count: 8, flags: 0 },
        Range { sector: 0, count: u32::MAX, flags: 0 },
        Range { sector: 1, count: 8, flags: 0 },
        Range { sector: 0, count: 3, flags: 0 },
    ];
    for range in beyond {
        for draft in
            [Draft::discard(&guest.memory, &[range]), Draft::write_zeroes(&guest.memory, &[range])]
        {
            assert_eq!(guest.run(draft), IOERR, "{range:?} (at most {max} sectors)");
        }
    }
    // §5.2.6.2: unknown flags, and unmap in a discard, are unsupported.
    let unknown = Range { sector: 0, count: 8, flags: 2 };
    let draft = Draft::write_zeroes(&guest.memory, &[unknown]);
    assert_eq!(guest.run(draft), UNSUPP);
    let unmap = Range { flags: VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP, ..unknown };
    let draft = Draft::discard(&guest.memory, &[unmap]);
    assert_eq!(guest.run(draft), UNSUPP);
    // A range cut short.
    let draft = Draft::with_data(&guest.memory, VIRTIO_BLK_T_DISCARD, 0, &[0; 15]);
    assert_eq!(guest.run(draft), IOERR);
    assert_eq!(guest.must_read(0, 1 << 16), data, "nothing was touched");
}

#[test]
fn unknown_requests_are_unsupported() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    for kind in [2, 3, 14, 15, 16, 24, 99, 1 << 31, u32::MAX] {
        let draft = Draft::with_data(&guest.memory, kind, 0, &pattern(6, 512));
        assert_eq!(guest.run(draft), UNSUPP, "type {kind}");
    }
    assert_eq!(guest.must_read(0, 512), [0; 512]);
    guest.proves_it_works(0, 0);
}

#[test]
fn a_read_only_disk_refuses_every_change() {
    let daemon = Daemon::start(&["--window", "0"]);
    let dir = daemon.dir();
    let data = pattern(7, 4096);
    assert_eq!(daemon.guest().write(0, &data), OK);
    daemon.stop();

    let daemon = Daemon::start_in(dir, &["--window", "0", "--read-only"]);
    let mut guest = daemon.guest();
    guest.assert_offers(&[VIRTIO_BLK_F_RO]);
    assert_eq!(guest.write(0, &pattern(8, 512)), IOERR);
    let range = [Range { sector: 0, count: 8, flags: 0 }];
    for draft in [Draft::discard(&guest.memory, &range), Draft::write_zeroes(&guest.memory, &range)]
    {
        assert_ne!(guest.run(draft), OK);
    }
    assert_eq!(guest.must_read(0, 4096), data);
    drop(guest);
    let disk = daemon.disk_bytes();
    daemon.stop();
    assert_eq!(disk[..4096], data);
}

#[test]
fn the_features_of_the_contract_are_offered() {
    let daemon = Daemon::start(&["--num-queues", "4"]);
    let mut guest = daemon.plug(Plug { queues: 4, ..Plug::default() });
    guest.assert_offers(&[
        VIRTIO_F_VERSION_1,
        VIRTIO_RING_F_INDIRECT_DESC,
        VIRTIO_RING_F_EVENT_IDX,
        VIRTIO_BLK_F_FLUSH,
        VIRTIO_BLK_F_DISCARD,
        VIRTIO_BLK_F_WRITE_ZEROES,
        VIRTIO_BLK_F_CONFIG_WCE,
        VIRTIO_BLK_F_BLK_SIZE,
        VIRTIO_BLK_F_TOPOLOGY,
        VIRTIO_BLK_F_MQ,
        VIRTIO_BLK_F_SEG_MAX,
    ]);
    for absent in [VIRTIO_F_RING_PACKED, VIRTIO_BLK_F_RO] {
        assert_eq!(guest.offered & bit(absent), 0, "feature bit {absent}");
    }
    let wanted = VhostUserProtocolFeatures::MQ
        | VhostUserProtocolFeatures::CONFIG
        | VhostUserProtocolFeatures::REPLY_ACK
        | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
        | VhostUserProtocolFeatures::RESET_DEVICE;
    assert!(guest.protocol.contains(wanted), "{:?}", guest.protocol);
    let more = VhostUserProtocolFeatures::INFLIGHT_SHMFD | VhostUserProtocolFeatures::BACKEND_REQ;
    assert!(guest.protocol.contains(more), "{:?}", guest.protocol);
    assert_eq!(guest.front.get_queue_num().unwrap(), 4);
    assert!(guest.front.get_max_mem_slots().unwrap() >= 2);
}

#[test]
fn the_configuration_space_describes_the_disk() {
    for (block_size, per_block) in [("512", 1), ("4096", 8)] {
        let daemon = Daemon::start(&["--block-size", block_size, "--num-queues", "3"]);
        let mut guest = daemon.plug(Plug { queues: 3, ..Plug::default() });
        let config = guest.config(0, 60);
        assert_eq!(field(&config, 0, 8), 2048, "the capacity counts 512-byte sectors");
        assert!(field(&config, 12, 4) >= 126, "seg_max");
        assert_eq!(field(&config, 20, 4), 512 * per_block, "blk_size");
        // Topology is counted in logical blocks.
        let (exponent, offset) = (field(&config, 24, 1), field(&config, 25, 1));
        assert!(exponent <= 3 && offset == 0, "{exponent} {offset}");
        assert_eq!(field(&config, 32, 1), 1, "a write-back cache to begin with");
        assert_eq!(field(&config, 34, 2), 3, "num_queues");
        assert!(field(&config, 36, 4) > 0 && field(&config, 40, 4) > 0, "discard limits");
        assert_eq!(field(&config, 44, 4) % per_block, 0, "discard alignment");
        assert!(field(&config, 48, 4) > 0 && field(&config, 52, 4) > 0, "write-zeroes limits");
    }
}

#[test]
fn the_configuration_space_answers_every_length_it_is_asked_for() {
    let daemon = Daemon::start(&[]);
    let mut guest = daemon.guest();
    let whole = guest.config(0, 60);
    for size in [57, 60, 8, 1, 33] {
        assert_eq!(guest.config(0, size), whole[..size as usize]);
    }
    assert_eq!(guest.config(20, 4), whole[20..24]);
    // Longer than the space: all that was asked for comes back, and begins with it.
    assert_eq!(guest.config(0, 256)[..60], whole);
}

#[test]
fn the_write_cache_can_be_switched() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    for value in [0, 1, 0] {
        assert!(set_writeback(&mut guest, value));
        assert_eq!(field(&guest.config(0, 60), 32, 1), u64::from(value));
        guest.proves_it_works(0, 8);
    }
}

#[test]
fn nothing_else_of_the_configuration_space_can_be_set() {
    let daemon = Daemon::start(&["--window", "0"]);
    let before = daemon.guest().config(0, 60);
    let attempts: [(u32, &[u8]); 5] =
        [(0, &[1; 8]), (20, &[0; 4]), (34, &[9; 2]), (59, &[1]), (200, &[1; 8])];
    for (offset, bytes) in attempts {
        // Refused, ignored, or the end of the connection: the daemon's choice.
        let _ = daemon.guest().front.set_config(offset, VhostUserConfigFlags::WRITABLE, bytes);
        assert_eq!(daemon.guest().config(0, 60), before, "after {} bytes at {offset}", bytes.len());
    }
}

#[test]
fn a_reset_device_can_be_driven_again() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    guest.proves_it_works(0, 8);
    guest.front.reset_device().unwrap();
    guest.rings[0].clear();
    // A reset forgets the features: the next driver negotiates again, as after a reboot.
    guest.front.set_features(guest.offered & !Plug::default().without).unwrap();
    guest.start_ring(0);
    guest.proves_it_works(0, 16);
}

/// A front end that gave a channel is told that the configuration space has changed, as QEMU's own
/// backends tell it; one that did not reads it when it likes.
#[test]
fn an_image_that_grows_is_told_to_the_front_end() {
    use std::io::Read;
    for channel in [true, false] {
        let daemon = Daemon::start(&["--window", "0"]);
        let mut guest = daemon.plug(Plug { in_flight: true, ..Plug::default() });
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        if channel {
            guest.front.set_backend_request_fd(&theirs).unwrap();
        }
        assert_eq!(field(&guest.config(0, 8), 0, 8), 2048);
        let image = std::fs::File::options().write(true).open(daemon.disk()).unwrap();
        image.set_len(2 << 20).unwrap();
        if channel {
            let mut message = [0; 12];
            ours.set_read_timeout(Some(PATIENCE)).unwrap();
            ours.read_exact(&mut message).unwrap();
            let fields = [2_u32, 1, 0].map(u32::to_ne_bytes);
            assert_eq!(message, fields.as_flattened(), "VHOST_USER_BACKEND_CONFIG_CHANGE_MSG");
        }
        eventually("the new capacity", || (field(&guest.config(0, 8), 0, 8) == 4096).then_some(()));
        guest.proves_it_works(0, 4000);
    }
}
