//! Which files make a disk, and what is said where they do not.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{NONE, file, fill, mismatches, read};
use crate::media::error::HeaderError;
use crate::media::header::{Header, State};
use crate::media::pi_file::PiFile;
use crate::media::{Disk, DiskSpec, Geometry, MediaError, OpenError};
use crate::pi::{PiType, Tuple};
use crate::units::{BlockCount, BlockSize, ByteSize, Lba};

/// An empty folder, and the name of an image in it.
fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    (folder, path)
}

/// A folder with an image of 1 MiB that was closed cleanly.
fn made() -> (TempDir, PathBuf) {
    let (folder, path) = folder();
    drop(Disk::open(&file(&path)).unwrap());
    (folder, path)
}

fn error(spec: &DiskSpec) -> OpenError {
    Disk::open(spec).unwrap_err()
}

fn existing(path: &Path) -> DiskSpec {
    DiskSpec { size: None, ..file(path) }
}

fn pi_of(path: &Path) -> PathBuf {
    path.with_extension("img.pi")
}

/// The state in the PI file's header, read past all locks.
fn state_of(path: &Path) -> State {
    let bytes = fs::read(pi_of(path)).unwrap();
    Header::parse(&bytes).unwrap().state
}

#[test]
fn a_size_creates_sparse_files_that_open_again_with_what_was_written() {
    let (_folder, path) = folder();
    let spec = DiskSpec { size: Some(ByteSize(1 << 40)), ..file(&path) };
    let disk = Disk::open(&spec).unwrap();
    let blocks = BlockCount((1 << 40) / 512);
    let (block_size, pi_type) = (BlockSize::B512, PiType::Type1);
    assert_eq!(disk.geometry(), Geometry { block_size, blocks, pi_type, read_only: false });
    fill(&disk, blocks.0 - 3, 3, 0x77);
    drop(disk);
    let disk = Disk::open(&existing(&path)).unwrap();
    assert_eq!(read(&disk, blocks.0 - 3, 3).0, vec![0x77; 3 * 512]);
    assert_eq!(mismatches(&disk, blocks.0 - 600, 600), NONE);
    assert_eq!(read(&disk, 0, 1).1, [Tuple::ESCAPE]);
    use std::os::unix::fs::MetadataExt;
    drop(disk);
    for name in [&path, &pi_of(&path)] {
        assert!(fs::metadata(name).unwrap().blocks() < 100, "{} is sparse", name.display());
    }
}

#[test]
fn without_a_size_nothing_is_created() {
    let (folder, path) = folder();
    let error = error(&existing(&path));
    assert!(matches!(error, OpenError::Missing(_)));
    assert!(error.to_string().contains("--size"));
    let read_only = DiskSpec { read_only: true, ..file(&path) };
    assert!(matches!(self::error(&read_only), OpenError::Missing(_)));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_size_must_be_whole_blocks_and_agree_with_the_file() {
    let (_folder, path) = made();
    let odd = DiskSpec { size: Some(ByteSize(1000)), ..file(&path.with_extension("new")) };
    assert!(matches!(error(&odd), OpenError::OddSize { .. }));
    let other = DiskSpec { size: Some(ByteSize(2 << 20)), ..file(&path) };
    assert!(matches!(error(&other), OpenError::SizeDiffers { .. }));
    Disk::open(&file(&path)).unwrap();
}

#[test]
fn part_of_a_block_and_no_block_are_refused() {
    let (_folder, path) = folder();
    fs::write(&path, [0; 1000]).unwrap();
    assert!(matches!(error(&existing(&path)), OpenError::PartialBlock { bytes: 1000, .. }));
    fs::write(&path, []).unwrap();
    assert!(matches!(error(&existing(&path)), OpenError::Empty(_)));
}

#[test]
fn data_without_pi_and_pi_without_data_are_refused_with_the_way_out() {
    let (_folder, path) = folder();
    fs::write(&path, [7; 1024]).unwrap();
    for read_only in [false, true] {
        let error = error(&DiskSpec { read_only, ..existing(&path) });
        assert!(matches!(error, OpenError::NoPiFile { .. }));
        assert!(error.to_string().contains("dixtrap image adopt"), "{error}");
    }
    assert_eq!(fs::read(&path).unwrap(), [7; 1024]);
    fs::rename(&path, pi_of(&path)).unwrap();
    assert!(matches!(error(&file(&path)), OpenError::OrphanPiFile { .. }));
    assert!(!path.exists());
    assert_eq!(fs::read(pi_of(&path)).unwrap(), [7; 1024]);
}

#[test]
fn another_geometry_than_the_pi_files_is_refused_and_names_the_right_one() {
    let (_folder, path) = made();
    let error_of = |spec| error(&spec).to_string();
    let block_size = DiskSpec { block_size: BlockSize::B4096, ..file(&path) };
    assert!(error_of(block_size).contains("--block-size 512"));
    let pi_type = DiskSpec { pi_type: PiType::Type3, ..file(&path) };
    assert!(error_of(pi_type).contains("--pi-type 1"));
    File::options().write(true).open(&path).unwrap().set_len(2 << 20).unwrap();
    let error = error(&existing(&path));
    let (has, wanted) = (BlockCount(2048), BlockCount(4096));
    assert!(
        matches!(error, OpenError::PiBlocks { has: h, wanted: w, .. } if h == has && w == wanted)
    );
}

#[test]
fn damaged_foreign_and_cut_pi_files_are_told_apart() {
    let (_folder, path) = made();
    let pi = File::options().write(true).open(pi_of(&path)).unwrap();
    let why = || match error(&existing(&path)) {
        OpenError::NotAPiFile { why, .. } => why,
        other => panic!("{other}"),
    };
    pi.write_at(&[9], 8).unwrap();
    assert_eq!(why(), HeaderError::Version(9));
    pi.write_at(&[1], 8).unwrap();
    pi.write_at(&[0xFF], 25).unwrap();
    assert_eq!(why(), HeaderError::Damaged);
    pi.write_at(&[8], 25).unwrap();
    pi.set_len(5000).unwrap();
    assert!(matches!(error(&existing(&path)), OpenError::PiLength { bytes: 5000, .. }));
    pi.set_len(10).unwrap();
    assert_eq!(why(), HeaderError::Foreign);
    let data_as_pi = DiskSpec { pi_file: Some(path.clone()), ..existing(&path) };
    assert!(matches!(error(&data_as_pi), OpenError::InUse(_) | OpenError::NotAPiFile { .. }));
}

#[test]
fn what_is_no_disk_is_refused_without_waiting_for_it() {
    let (folder, path) = folder();
    assert!(matches!(error(&existing(folder.path())), OpenError::NotADisk(_)));
    assert!(matches!(error(&existing(Path::new("/dev/zero"))), OpenError::NotADisk(_)));
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(error(&existing(&path)), OpenError::NotADisk(_)));
    let dangling = path.with_extension("link");
    symlink(path.with_extension("gone"), &dangling).unwrap();
    assert!(matches!(error(&existing(&dangling)), OpenError::Missing(_)));
}

#[test]
fn one_writer_or_many_readers() {
    let (folder, path) = made();
    let read_only = DiskSpec { read_only: true, ..existing(&path) };
    let writer = Disk::open(&existing(&path)).unwrap();
    assert!(matches!(error(&existing(&path)), OpenError::InUse(_)));
    assert!(matches!(error(&read_only), OpenError::InUse(_)));
    let hard_link = folder.path().join("hard.img");
    fs::hard_link(&path, &hard_link).unwrap();
    assert!(matches!(error(&existing(&hard_link)), OpenError::InUse(_)));
    drop(writer);
    let _reader = Disk::open(&read_only).unwrap();
    let _another = Disk::open(&read_only).unwrap();
    assert!(matches!(error(&existing(&path)), OpenError::InUse(_)));
}

#[test]
fn two_disks_do_not_share_a_pi_file() {
    let (_folder, path) = made();
    let other = path.with_extension("other");
    fs::copy(&path, &other).unwrap();
    let _disk = Disk::open(&existing(&path)).unwrap();
    let borrowed = DiskSpec { pi_file: Some(pi_of(&path)), ..existing(&other) };
    assert!(matches!(error(&borrowed), OpenError::InUse(pi) if pi == pi_of(&path)));
}

#[test]
fn a_read_only_disk_changes_nothing() {
    let (_folder, path) = made();
    let before = (fs::read(&path).unwrap(), fs::read(pi_of(&path)).unwrap());
    let disk = Disk::open(&DiskSpec { read_only: true, ..existing(&path) }).unwrap();
    assert!(matches!(disk.write(Lba(0), &[1; 512], &[Tuple::ESCAPE]), Err(MediaError::ReadOnly)));
    assert!(matches!(disk.discard(Lba(0), BlockCount(1)), Err(MediaError::ReadOnly)));
    assert!(matches!(disk.write_zeroes(Lba(0), BlockCount(1), true), Err(MediaError::ReadOnly)));
    read(&disk, 0, 2048);
    disk.flush().unwrap();
    drop(disk);
    assert_eq!((fs::read(&path).unwrap(), fs::read(pi_of(&path)).unwrap()), before);
}

#[test]
fn protection_is_not_switched_off_by_accident() {
    let (_folder, path) = made();
    let unprotected = DiskSpec { pi_type: PiType::None, ..existing(&path) };
    assert!(matches!(error(&unprotected), OpenError::PiNotAsked { .. }));
    Disk::open(&DiskSpec { read_only: true, ..unprotected }).unwrap();
    let plain = DiskSpec { pi_type: PiType::None, ..file(&path.with_extension("plain")) };
    let disk = Disk::open(&plain).unwrap();
    fill(&disk, 0, 1, 3);
    drop(disk);
    assert!(!path.with_extension("plain.pi").exists());
    assert_eq!(read(&Disk::open(&plain).unwrap(), 0, 1), (vec![3; 512], vec![Tuple::ESCAPE]));
}

#[test]
fn the_header_says_in_use_while_open_and_clean_after_a_close() {
    let (_folder, path) = made();
    assert_eq!(state_of(&path), State::Clean);
    let disk = Disk::open(&existing(&path)).unwrap();
    assert_eq!(state_of(&path), State::InUse);
    disk.close().unwrap();
    assert_eq!(state_of(&path), State::Clean);
}

/// A process that dies leaves what a leaked disk leaves; only the locks go.
#[test]
fn an_image_left_in_use_opens_and_stays_so_until_it_is_checked() {
    let (_folder, path) = made();
    let pi = PiFile::open(&pi_of(&path), crate::media::backing::Access::Write).unwrap();
    pi.mark(State::InUse).unwrap();
    drop(pi);
    let disk = Disk::open(&existing(&path)).unwrap();
    fill(&disk, 0, 4, 1);
    drop(disk);
    assert_eq!(state_of(&path), State::InUse);
}
