//! kill -9 in the middle of writes.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{NONE, file, fill, mismatches};
use crate::media::image::{Image, check};
use crate::media::{Disk, DiskSpec};
use crate::units::{BlockCount, ByteSize, Lba};

const INSIDE: &str = "DIXTRAP_TEST_KILLED_IMAGE";
const TEST: &str = "media::tests::killed::a_killed_process_leaves_every_block_old_or_new";

/// Blocks of one request, and of the disk.
const REQUEST: u64 = 256;
const BLOCKS: u64 = 64 * REQUEST;
/// Where zeros are written.
const ZEROED: u64 = 60 * REQUEST;

/// Writes until it is killed: large requests, small ones, and zeros.
fn write_for_ever(spec: &DiskSpec) {
    let disk = Disk::open(spec).unwrap();
    for round in 0u64.. {
        let byte = (round / 60 % 250) as u8;
        match round % 4 {
            0 => fill(&disk, round % 60 * REQUEST, 8, byte),
            1 => disk.write_zeroes(Lba(ZEROED), BlockCount(4 * REQUEST), false).unwrap(),
            2 => fill(&disk, ZEROED, 4 * REQUEST as usize, byte),
            _ => fill(&disk, round % 60 * REQUEST, REQUEST as usize, byte),
        }
        if round == 200 {
            println!("\nwriting");
            std::io::stdout().flush().unwrap();
        }
    }
}

/// Runs [`write_for_ever`] in another process, and kills it when it is well under way.
fn write_and_die(spec: &DiskSpec) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(INSIDE, spec.file.as_ref().unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    let mut output = child.stdout.take().unwrap();
    while !String::from_utf8_lossy(&said).contains("\nwriting\n") {
        let mut byte = [0];
        output.read_exact(&mut byte).unwrap();
        said.extend(byte);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Kills writers of an image in `folder`; answers how many blocks fitted neither way, and how many were
/// replayed.
fn kill_often(folder: &Path, kills: usize) -> (usize, u64) {
    let path = folder.join("disk.img");
    let spec = DiskSpec { size: Some(ByteSize(BLOCKS * 512)), ..file(&path) };
    drop(Disk::open(&spec).unwrap());
    let length = std::fs::metadata(folder.join("disk.img.pi")).unwrap().len();
    let (mut torn, mut replayed) = (0, 0);
    for round in 0..kills {
        write_and_die(&spec);
        if round % 2 == 0 {
            let report =
                check(&Image { path: path.clone(), pi_file: None }, &mut |_, _| ()).unwrap();
            assert!(report.was_in_use);
            replayed += report.replayed.0;
            torn += usize::try_from(report.mismatches.0).unwrap();
        }
        let disk = Disk::open(&spec).unwrap();
        let left = mismatches(&disk, 0, BLOCKS as usize);
        torn += if round % 2 == 0 { 0 } else { left.len() };
        for lba in left {
            fill(&disk, lba, 1, 0);
        }
        assert_eq!(mismatches(&disk, 0, BLOCKS as usize), NONE);
        drop(disk);
        let report = check(&Image { path: path.clone(), pi_file: None }, &mut |_, _| ()).unwrap();
        assert_eq!(report.mismatches.0, 0);
        assert_eq!(std::fs::metadata(folder.join("disk.img.pi")).unwrap().len(), length);
    }
    (torn, replayed)
}

#[test]
fn a_killed_process_leaves_every_block_old_or_new() {
    if let Ok(path) = std::env::var(INSIDE) {
        return write_for_ever(&DiskSpec { size: None, ..file(path.as_ref()) });
    }
    let folder = tempfile::tempdir().unwrap();
    let (torn, replayed) = kill_often(folder.path(), 20);
    println!("{replayed} blocks replayed");
    assert_eq!(torn, 0);
}

/// There the daemon copies blocks itself, and the one that it is at may be cut in the middle.
#[test]
fn on_tmpfs_a_killed_process_leaves_at_most_the_block_that_was_being_copied() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let (torn, replayed) = kill_often(folder.path(), 10);
    println!("{torn} blocks torn, {replayed} replayed");
    assert!(torn <= 10, "{torn}");
}
