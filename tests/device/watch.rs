//! The watcher's two sides on one file: the plugin's log is driven here, the daemon's side finds who did it.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use dixtrap::explain::Pages;
use dixtrap::memory::{MemoryMap, Segment, Segments};
use dixtrap::record::{Culprit, Line, RaceId, Record, Side};
use dixtrap::report::Sink;
use dixtrap::watch::{Suspect, Watcher, begin, layout};
use dixtrap_watch::log::{Log, Memory, Seen};
use dixtrap_watch::ram::Ram;
use dixtrap_watch::shared::Shared;
use nix::sys::memfd::{MFdFlags, memfd_create};
use tempfile::TempDir;
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap, MmapRegion};

/// Where the small guest's RAM begins in its address space, and how large it is.
const BASE: u64 = 0x10_0000;
const BYTES: usize = 1 << 20;

struct Rig {
    dir: TempDir,
    watcher: Arc<Watcher>,
    /// QEMU's own view: the shared file and the RAM, mapped once more.
    shared: Shared,
    ram: Ram,
    memory: MemoryMap,
    sink: Sink,
    plugin: Memory,
}

fn map(file: &File, bytes: usize) -> NonNull<u8> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, which is never unmapped.
    let at = unsafe {
        libc::mmap(std::ptr::null_mut(), bytes, access, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    assert_ne!(at, libc::MAP_FAILED);
    NonNull::new(at.cast()).unwrap()
}

fn rig() -> Rig {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("shared");
    let watcher = Arc::new(Watcher::create(&path).unwrap().0);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    // SAFETY: mapped whole, and never unmapped.
    let shared = unsafe { Shared::over(map(&file, layout::BYTES)) };
    shared.header().plugin.0.ready.store(1, Relaxed);
    let guest = File::from(memfd_create("guest", MFdFlags::empty()).unwrap());
    guest.set_len(BYTES as u64).unwrap();
    // SAFETY: mapped for ever, and read as atomic words.
    let words = unsafe {
        std::slice::from_raw_parts(map(&guest, BYTES).cast::<AtomicU64>().as_ptr(), BYTES / 8)
    };
    // SAFETY: as above.
    let ram = unsafe { Ram::over(words) };
    let offset = FileOffset::new(guest, 0);
    let region = MmapRegion::from_file(offset, BYTES).unwrap();
    let region = vm_memory::GuestRegionMmap::new(region, GuestAddress(BASE)).unwrap();
    let memory = Arc::new(GuestMemoryMmap::from_regions(vec![region]).unwrap());
    let sink = Sink::open(&dir.path().join("culprits.jsonl"), None).unwrap();
    sink.begin().unwrap();
    begin(&watcher, &Arc::new(Pages::default()), sink.clone()).unwrap();
    Rig { dir, watcher, shared, ram, memory, sink, plugin: Memory::default() }
}

impl Rig {
    /// As a CPU stores, and its plugin sees it; `true` where the page was armed.
    fn store(&mut self, at: u64, bytes: &[u8], code: u64) -> bool {
        self.memory.write_slice(bytes, GuestAddress(BASE + at)).unwrap();
        let log = Log { shared: &self.shared, ram: &self.ram };
        let Some(slot) = log.armed(at) else { return false };
        let bytes = bytes.len() as u64;
        let seen = Seen { cpu: 0, code, is_kernel: true, repeats: false, address: at, at, bytes };
        log.keep(slot, seen, now(), &mut self.plugin, || None);
        true
    }

    /// A write of one block at `at`: what happens in its window is `meanwhile`'s.
    fn write(&mut self, race: u64, at: u64, meanwhile: impl FnOnce(&mut Rig)) {
        let mut data = Segments::new(Arc::clone(&self.memory));
        data.push(Segment { addr: BASE + at, len: 512 }).unwrap();
        let armed = self.watcher.arm(&data);
        let (mut old, mut new) = (vec![0; 512], vec![0; 512]);
        data.copy_out(&mut old).unwrap();
        meanwhile(self);
        data.copy_out(&mut new).unwrap();
        armed.fetched();
        let changed: Vec<usize> = (0..512).filter(|index| old[*index] != new[*index]).collect();
        let run = changed[0]..changed[changed.len() - 1] + 1;
        self.watcher.suspect(Suspect {
            race: RaceId(race),
            armed,
            memory: Arc::clone(&self.memory),
            pieces: data.pieces(0, 512),
            old,
            new,
            runs: vec![run],
            page: None,
        });
    }

    fn end(self) -> Vec<Culprit> {
        self.watcher.drain();
        self.sink.close(None);
        culprits(&self.dir.path().join("culprits.jsonl"))
    }
}

fn culprits(path: &Path) -> Vec<Culprit> {
    let text = fs::read_to_string(path).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Line>(line).unwrap().record);
    records
        .map(|record| match record {
            Record::Culprit(culprit) => *culprit,
            other => unreachable!("{other:?}"),
        })
        .collect()
}

fn now() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    std::time::Duration::from(time).as_nanos() as u64
}

#[test]
fn the_store_that_changed_the_bytes_is_named_and_others_are_not() {
    let mut rig = rig();
    assert!(!rig.store(0x5000, &[1], 1), "nothing is armed");
    rig.write(17, 0x5200, |rig| {
        // Beside the block, into the block and away again, and the one that stays.
        assert!(rig.store(0x5008, &[9; 8], 0xffff_ffff_8100_0001));
        assert!(rig.store(0x5210, &[8; 8], 0xffff_ffff_8100_0002));
        assert!(rig.store(0x5210, &[7; 8], 0xffff_ffff_8100_0003));
    });
    let culprits = rig.end();
    let [culprit] = &culprits[..] else { unreachable!("{culprits:?}") };
    let [store] = &culprit.stores[..] else { unreachable!("{culprit:?}") };
    assert_eq!((culprit.race, culprit.store_count, &culprit.unseen), (RaceId(17), 2, &None));
    assert_eq!(
        (store.offset, store.length, store.side, store.certain),
        (0x10, 8, Side::Kernel, true)
    );
    // No kernel is known here: its address is all there is, and nobody's stack is made up.
    assert_eq!(store.symbol.as_deref(), Some("0xffffffff81000003"));
    assert_eq!((&store.comm, store.stack.len()), (&None, 0));
}

#[test]
fn a_change_that_no_store_explains_has_no_culprit() {
    let mut rig = rig();
    rig.write(1, 0x5000, |rig| {
        rig.memory.write_slice(&[1; 4], GuestAddress(BASE + 0x5010)).unwrap();
    });
    rig.write(2, 0x6000, |rig| {
        rig.store(0x6010, &[5; 4], 0xffff_ffff_8100_0001);
        // Another device's DMA came behind it.
        rig.memory.write_slice(&[1; 4], GuestAddress(BASE + 0x6010)).unwrap();
    });
    let culprits = rig.end();
    assert_eq!(
        culprits[0].unseen.as_deref(),
        Some("no store was seen by the watcher (device DMA?)")
    );
    assert!(culprits[0].stores.is_empty());
    assert_eq!(culprits[1].blamed(), None, "{culprits:?}");
    assert!(culprits[1].unseen.as_deref().unwrap().contains("none of them surely explains them"));
}

#[test]
fn a_page_is_armed_until_the_last_of_its_requests_was_looked_into() {
    let mut rig = rig();
    let mut data = Segments::new(Arc::clone(&rig.memory));
    data.push(Segment { addr: BASE + 0x7f00, len: 0x200 }).unwrap();
    let (one, two) = (rig.watcher.arm(&data), rig.watcher.arm(&data));
    assert_eq!(rig.shared.header().armed.0.load(Relaxed), 2, "it lies in two pages");
    drop(one);
    assert!(rig.store(0x7000, &[1], 1) && rig.store(0x8fff, &[1], 1));
    drop(two);
    assert!(!rig.store(0x7000, &[1], 1));
    assert_eq!(rig.shared.header().armed.0.load(Relaxed), 0);
}

#[test]
fn what_lies_outside_of_the_watched_file_is_said_to() {
    let mut rig = rig();
    let other = GuestMemoryMmap::from_ranges(&[(GuestAddress(BASE), BYTES)]).unwrap();
    rig.memory = Arc::new(other);
    rig.write(1, 0x5000, |rig| {
        rig.memory.write_slice(&[1; 4], GuestAddress(BASE + 0x5010)).unwrap();
    });
    let unseen = rig.end().remove(0).unseen.unwrap();
    assert!(unseen.starts_with("not logged: its pages are in no file that is watched"), "{unseen}");
}

#[test]
fn whoever_fills_the_file_with_nonsense_ends_nothing() {
    let mut rig = rig();
    rig.write(1, 0x5000, |rig| {
        rig.store(0x5010, &[5; 4], 0xffff_ffff_8100_0001);
        let file = File::options().write(true).open(rig.dir.path().join("shared")).unwrap();
        let nonsense = vec![0xff; 1 << 20];
        for at in [layout::SLOTS_AT, layout::STORES_AT, layout::STACKS_AT] {
            std::os::unix::fs::FileExt::write_all_at(&file, &nonsense, at as u64).unwrap();
        }
    });
    assert_eq!(rig.end()[0].blamed(), None);
}

#[test]
fn a_file_that_is_made_shorter_ends_the_watch_alone() {
    let mut rig = rig();
    let path = rig.dir.path().join("shared");
    rig.write(1, 0x5000, |rig| {
        rig.memory.write_slice(&[1; 4], GuestAddress(BASE + 0x5010)).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(4096).unwrap();
    });
    let unseen = rig.end().remove(0).unseen.unwrap();
    assert_eq!(unseen, "the watcher's file was made shorter");
}
