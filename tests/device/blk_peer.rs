//! The hostile front end: messages that no honest one sends. A connection may end over them; the
//! daemon may not.

use vhost::vhost_user::VhostUserFrontend;
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};

use crate::kit::ring::Ring;
use crate::kit::*;

/// Does something on a connection of its own, then proves that the next front end is served.
fn survived(daemon: &mut Daemon, what: &str, attack: impl FnOnce(&mut Guest)) {
    let mut guest = daemon.guest();
    attack(&mut guest);
    drop(guest);
    assert!(daemon.lives(), "{what} ended the daemon: {}", daemon.stderr());
    daemon.guest().proves_it_works(0, 0);
}

/// The addresses of a ring, as an honest front end would give them.
fn addresses(guest: &Guest, ring: &Ring) -> VringConfigData {
    VringConfigData {
        queue_max_size: ring.size,
        queue_size: ring.size,
        flags: 0,
        desc_table_addr: guest.memory.host_address(ring.desc),
        used_ring_addr: guest.memory.host_address(ring.used),
        avail_ring_addr: guest.memory.host_address(ring.avail),
        log_addr: None,
    }
}

#[test]
fn ring_sizes_that_are_none() {
    let mut daemon = Daemon::start(&["--window", "0"]);
    for size in [0, 3, 1000, 2048, 0x8000, u16::MAX] {
        survived(&mut daemon, &format!("a ring of {size}"), |guest| {
            let _ = guest.front.set_vring_num(0, size);
            guest.start_write(0, &pattern(1, 512));
        });
    }
}

#[test]
fn ring_addresses_outside_memory() {
    let mut daemon = Daemon::start(&["--window", "0"]);
    for address in [0, 1, 0x1000, u64::MAX, u64::MAX - 15] {
        for which in 0..3 {
            survived(&mut daemon, &format!("a ring at {address:#x}"), |guest| {
                let mut data = addresses(guest, &guest.rings[0]);
                *[&mut data.desc_table_addr, &mut data.used_ring_addr, &mut data.avail_ring_addr]
                    [which] = address;
                let _ = guest.front.set_vring_addr(0, &data);
                guest.start_write(0, &pattern(1, 512));
            });
        }
    }
}

#[test]
fn a_ring_that_ends_outside_memory() {
    use crate::kit::memory::{LOW, LOW_BYTES};
    let mut daemon = Daemon::start(&["--window", "0"]);
    for room in [16u64, 64, 1000] {
        survived(&mut daemon, "a ring over the edge", |guest| {
            let mut data = addresses(guest, &guest.rings[0]);
            let edge = guest.memory.host_address(LOW + LOW_BYTES - room);
            data.desc_table_addr = edge;
            data.used_ring_addr = edge;
            let _ = guest.front.set_vring_addr(0, &data);
            guest.start_write(0, &pattern(1, 512));
            guest.rings[0].kick();
        });
    }
}

#[test]
fn rings_that_do_not_exist() {
    let mut daemon = Daemon::start(&["--window", "0"]);
    survived(&mut daemon, "ring 7 of 1", |_| {});
    let socket = daemon.socket();
    let mut guest = Guest::greet(&socket, &Plug { queues: 256, ..Plug::default() });
    for index in [1, 7, 255] {
        let _ = guest.front.set_vring_num(index, 64);
        let _ = guest.front.set_vring_base(index, 0);
        let _ = guest.front.set_vring_enable(index, true);
        let _ = guest.front.get_vring_base(index);
    }
    drop(guest);
    assert!(daemon.lives());
    daemon.guest().proves_it_works(0, 0);
}

#[test]
fn a_doorbell_before_there_is_memory() {
    let mut daemon = Daemon::start(&["--window", "0"]);
    let socket = daemon.socket();
    let mut guest = Guest::greet(&socket, &Plug::default());
    let ring = Ring::new(&guest.memory, 64);
    let _ = guest.front.set_vring_num(0, 64);
    let _ = guest.front.set_vring_call(0, &ring.call);
    let _ = guest.front.set_vring_kick(0, &ring.kick);
    let _ = guest.front.set_vring_enable(0, true);
    ring.kick();
    ring.settle();
    drop(guest);
    assert!(daemon.lives(), "{}", daemon.stderr());
    daemon.guest().proves_it_works(0, 0);
}

#[test]
fn memory_that_is_not_there() {
    let mut daemon = Daemon::start(&["--window", "0"]);
    type Attack = fn(&mut VhostUserMemoryRegionInfo);
    let attacks: [(&str, Attack); 4] = [
        ("past the end of its file", |region| region.memory_size <<= 8),
        ("far into its file", |region| region.mmap_offset = 1 << 60),
        ("past the last address", |region| region.guest_phys_addr = u64::MAX - 4095),
        ("not at a page", |region| region.mmap_offset = 7),
    ];
    for (what, attack) in attacks {
        for table in [true, false] {
            let mut guest = Guest::greet(&daemon.socket(), &Plug::default());
            let mut region = guest.memory.regions()[0];
            attack(&mut region);
            let taken = if table {
                guest.front.set_mem_table(&[region]).map(drop)
            } else {
                guest.front.add_mem_region(&region).map(drop)
            };
            assert!(taken.is_err(), "memory {what} was taken");
            drop(guest);
            assert!(daemon.lives(), "memory {what} ended the daemon: {}", daemon.stderr());
            daemon.guest().proves_it_works(0, 0);
        }
    }
    survived(&mut daemon, "one region twice", |guest| {
        let region = guest.memory.regions()[0];
        let _ = guest.front.add_mem_region(&region);
        guest.start_write(0, &pattern(1, 512));
    });
}

#[test]
fn memory_that_goes_away_under_a_held_write() {
    let daemon = Daemon::start(&["--window", "hold", "--on-race", "report"]);
    let mut guest = daemon.plug(Plug { region_by_region: true, ..Plug::default() });
    let data = pattern(1, 4096);
    let sent = guest.start_write(0, &data);
    daemon.await_held(1);
    let buffers = guest.memory.regions()[1];
    let removed = guest.front.remove_mem_region(&buffers);
    daemon.release();
    if removed.is_ok() {
        guest.front.add_mem_region(&buffers).unwrap();
    }
    // It finished before the memory went, or it read the memory it was given.
    let status = guest.finish(&sent);
    assert_eq!(status, OK, "after removal: {removed:?}");
    assert_eq!(guest.must_read(0, 4096), data);
    drop(guest);
    assert!(daemon.stop().races().is_empty());
}

#[test]
fn a_new_memory_table_under_a_held_write() {
    let daemon = Daemon::start(&["--window", "hold", "--on-race", "report"]);
    let mut guest = daemon.guest();
    let data = pattern(2, 4096);
    let sent = guest.start_write(0, &data);
    daemon.await_held(1);
    let regions = guest.memory.regions();
    guest.front.set_mem_table(&regions).unwrap();
    daemon.release();
    assert_eq!(guest.finish(&sent), OK);
    assert_eq!(guest.must_read(0, 4096), data);
    drop(guest);
    assert!(daemon.stop().races().is_empty());
}

#[test]
fn features_that_were_not_offered() {
    let mut daemon = Daemon::start(&["--window", "0"]);
    for features in [u64::MAX, 1 << VIRTIO_F_RING_PACKED, 1 << 33] {
        survived(&mut daemon, "features that were not offered", |guest| {
            let _ = guest.front.set_features(features);
            guest.start_write(0, &pattern(1, 512));
        });
    }
}
