//! Every point at which a process can be killed in the middle of a write, one after the other.

use std::path::Path;

use super::{NONE, file, fill, mismatches, read, tuples_for};
use crate::media::direct::IoQueues;
use crate::media::header::State;
use crate::media::image::{Image, check};
use crate::media::intent::LOG_BYTES;
use crate::media::open::open;
use crate::media::pair::Pair;
use crate::media::{Disk, DiskSpec, Started};
use crate::memory::List;
use crate::pi::{PiType, Tuple, generate};
use crate::units::{BlockCount, BlockRange, BlockSize, ByteSize, Lba, QueueIndex};

const OLD: u8 = 0x0D;
const NEW: u8 = 0x4E;
/// Where the write that is cut off begins; one block before and after it are looked at as well.
const FIRST: u64 = 5;

/// How far a write came: blocks of data, and tuples, after it was noted.
#[derive(Debug, Clone, Copy)]
struct Reached {
    data: u64,
    tuples: u64,
}

/// An image in which a process was killed while it wrote `count` blocks.
fn killed_at(spec: &DiskSpec, count: u64, reached: Reached) {
    let disk = Disk::open(spec).unwrap();
    fill(&disk, 0, count as usize + 10, OLD);
    let data = vec![NEW; count as usize * spec.block_size.bytes()];
    let tuples = tuples_for(&disk, FIRST, &data);
    drop(disk);
    let pair = in_use(spec);
    let extent = pair.extent(BlockRange::new(Lba(FIRST), BlockCount(count))).unwrap();
    let _intent = pair.intend(Lba(FIRST), &tuples, || panic!("there is room")).unwrap();
    let bytes = reached.data as usize * spec.block_size.bytes();
    pair.write_data(extent.offset, &data[..bytes]).unwrap();
    pair.write_tuples(Lba(FIRST), &tuples[..reached.tuples as usize]).unwrap();
}

/// An image's files as a daemon has them that is at work. Dropped, they are as a killed one left them.
fn in_use(spec: &DiskSpec) -> Pair {
    let pair = Pair::new(open(&DiskSpec { size: None, ..spec.clone() }).unwrap());
    pair.mark(State::InUse).unwrap();
    pair.begin_intents().unwrap();
    pair
}

/// Where a write may be cut off, and how many blocks then get their tuple at the next opening.
fn every_point(count: u64) -> Vec<(Reached, u64)> {
    let some = [0, 1, count / 2, count - 1, count];
    let data = some.into_iter().map(|data| (Reached { data, tuples: 0 }, data));
    let tuples = some.into_iter().map(|tuples| (Reached { data: count, tuples }, count - tuples));
    data.chain(tuples).collect()
}

fn folders() -> [tempfile::TempDir; 2] {
    [tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap()]
}

#[test]
fn wherever_it_was_cut_off_every_block_is_old_or_new_and_fits() {
    for (folder, block_size) in folders().iter().zip([BlockSize::B512, BlockSize::B4096]) {
        // In one small record, in a large one, in several.
        for (number, count) in [8u64, 100, 1300].into_iter().enumerate() {
            let size = Some(ByteSize((count + 10) * block_size.bytes_u64()));
            for (reached, replayed) in every_point(count) {
                let name = format!("{number}-{}-{}.img", reached.data, reached.tuples);
                let path = folder.path().join(name);
                let spec = DiskSpec { size, block_size, ..file(&path) };
                killed_at(&spec, count, reached);
                let spec = DiskSpec { size: None, ..spec };
                let byte_of = |lba: u64| {
                    let new = (FIRST..FIRST + reached.data).contains(&lba);
                    if new { NEW } else { OLD }
                };
                if replayed % 2 == 0 {
                    assert_eq!(check_of(&path).replayed, BlockCount(replayed), "{reached:?}");
                }
                let disk = Disk::open(&spec).unwrap();
                let (data, _) = read(&disk, 0, count as usize + 10);
                assert_eq!(mismatches(&disk, 0, count as usize + 10), NONE, "{reached:?}");
                for (block, lba) in data.chunks(block_size.bytes()).zip(0..) {
                    assert!(block.iter().all(|byte| *byte == byte_of(lba)), "{reached:?} {lba}");
                }
                drop(disk);
                let report = check_of(&path);
                assert!(!report.was_in_use, "it was closed cleanly, and nothing speaks against it");
                std::fs::remove_file(path.with_extension("img.pi")).unwrap();
                std::fs::remove_file(&path).unwrap();
            }
        }
    }
}

fn check_of(path: &Path) -> crate::media::image::CheckReport {
    check(&Image { path: path.to_owned(), pi_file: None }, &mut |_, _| ()).unwrap()
}

#[test]
fn a_block_that_is_neither_is_named_and_the_image_stays_suspect() {
    for folder in folders() {
        let path = folder.path().join("disk.img");
        let spec = file(&path);
        killed_at(&spec, 8, Reached { data: 8, tuples: 0 });
        let cut = in_use_without_cutting(&spec);
        cut.write_data((FIRST + 3) * 512, &[7; 100]).unwrap();
        drop(cut);
        let disk = Disk::open(&DiskSpec { size: None, ..spec.clone() }).unwrap();
        assert_eq!(mismatches(&disk, 0, 18), [FIRST + 3]);
        drop(disk);
        let report = check_of(&path);
        assert!(report.was_in_use && !report.marked_clean);
        assert_eq!(report.mismatches, BlockCount(1));
    }
}

/// The files alone.
fn in_use_without_cutting(spec: &DiskSpec) -> Pair {
    Pair::new(open(&DiskSpec { size: None, ..spec.clone() }).unwrap())
}

#[test]
fn zeros_that_were_cut_off_are_completed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    let disk = Disk::open(&file(&path)).unwrap();
    fill(&disk, 0, 2048, OLD);
    drop(disk);
    let pair = in_use(&file(&path));
    let range = BlockRange::new(Lba(100), BlockCount(1500));
    let log = pair.intents().unwrap();
    let _intent = log.note_zeros(range, || panic!("there is room"));
    pair.write_data(100 * 512, &[0; 700 * 512]).unwrap();
    drop(pair);
    assert_eq!(check_of(&path).replayed, BlockCount(700));
    let disk = Disk::open(&DiskSpec { size: None, ..file(&path) }).unwrap();
    assert_eq!(mismatches(&disk, 0, 2048), NONE);
    assert_eq!(read(&disk, 100, 1).1, [generate(PiType::Type1, &[0; 512], Lba(100))]);
}

#[test]
fn a_log_that_somebody_made_up_changes_no_block_that_fits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    let disk = Disk::open(&file(&path)).unwrap();
    fill(&disk, 0, 2048, OLD);
    drop(disk);
    let pair = in_use(&file(&path));
    let log = pair.intents().unwrap();
    let other = generate(PiType::Type1, &[NEW; 512], Lba(0));
    let past_the_end = Lba(2047);
    for first in [Lba(0), past_the_end, Lba(u64::MAX)] {
        let _intent = log.note(first, &[other, Tuple::ESCAPE, other], || panic!("there is room"));
        let range = BlockRange::new(first, BlockCount(1 << 40));
        let _intent = log.note_zeros(range, || panic!("there is room"));
    }
    drop(pair);
    let report = check_of(&path);
    assert_eq!((report.replayed, report.mismatches), (BlockCount(0), BlockCount(0)));
}

#[test]
fn an_image_that_grows_takes_its_log_along() {
    for folder in folders() {
        let path = folder.path().join("disk.img");
        let disk = Disk::open(&file(&path)).unwrap();
        fill(&disk, 0, 2048, OLD);
        let data = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        data.set_len(4 << 20).unwrap();
        assert!(disk.grow().unwrap());
        assert_eq!(read(&disk, 2048, 1).1, [Tuple::ESCAPE]);
        fill(&disk, 2040, 100, NEW);
        // As a killed daemon would leave it: in the log that moved, with no clean end.
        let tuples = tuples_for(&disk, 4000, &[NEW; 512]);
        let _intent = disk.pair.intend(Lba(4000), &tuples, || panic!("there is room")).unwrap();
        disk.pair.write_data(4000 * 512, &[NEW; 512]).unwrap();
        let copy = folder.path().join("copy.img");
        std::fs::copy(&path, &copy).unwrap();
        std::fs::copy(path.with_extension("img.pi"), copy.with_extension("img.pi")).unwrap();
        let report = check_of(&copy);
        assert_eq!((report.replayed, report.mismatches), (BlockCount(1), BlockCount(0)));
        drop(disk);
        let length = std::fs::metadata(path.with_extension("img.pi")).unwrap().len();
        assert_eq!(length, 4096 + (4 << 20) / 512 * 8);
    }
}

/// Killed after the data became longer, and before that was taken over.
#[test]
fn data_that_grew_under_a_killed_process_is_taken_over_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    killed_at(&file(&path), 8, Reached { data: 8, tuples: 0 });
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(2 << 20).unwrap();
    let disk = Disk::open(&DiskSpec { size: None, ..file(&path) }).unwrap();
    assert_eq!(disk.geometry().blocks, BlockCount(2048));
    assert!(disk.grow().unwrap());
    assert_eq!(disk.geometry().blocks, BlockCount(4096));
    assert_eq!(mismatches(&disk, 0, 4096), NONE);
    drop(disk);
    assert_eq!(check_of(&path).mismatches, BlockCount(0));
}

#[test]
fn a_clean_close_leaves_no_log_and_an_open_image_has_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    let length = || std::fs::metadata(path.with_extension("img.pi")).unwrap().len();
    let disk = Disk::open(&file(&path)).unwrap();
    assert!(length() >= LOG_BYTES as u64);
    drop(disk);
    assert_eq!(length(), 4096 + 2048 * 8);
}

/// More writes in flight than there are places: they wait for each other, and all are stored.
#[test]
fn direct_writes_wait_for_places_and_are_all_stored() {
    let folder = tempfile::tempdir().unwrap();
    let spec = DiskSpec {
        size: Some(ByteSize(64 << 20)),
        block_size: BlockSize::B4096,
        direct: true,
        ..file(&folder.path().join("disk.img"))
    };
    // Not every file system does direct I/O.
    let Ok(mut disk) = Disk::open(&spec) else { return };
    let queues = IoQueues::open(0..4);
    disk.overlap(&queues);
    let data = vec![NEW; 4096];
    let (mut pending, mut landed) = (0, Vec::new());
    for number in 0..1500u64 {
        let tuples: List<Tuple> = tuples_for(&disk, number, &data).into_iter().collect();
        let queue = QueueIndex((number % 4) as u16);
        match disk.start_write(queue, Lba(number), &data, tuples).unwrap() {
            Started::Pending(..) => pending += 1,
            Started::Done(()) => {}
        }
    }
    for queue in (0..4).map(QueueIndex).cycle() {
        if landed.len() == pending {
            break;
        }
        let io = queues.of(queue);
        io.submit();
        io.collect(true, &mut landed);
    }
    assert!(landed.iter().all(|(_, completion)| completion.is_ok()));
    assert_eq!(mismatches(&disk, 0, 1500), NONE);
    assert_eq!(read(&disk, 1499, 1).0, data);
}
