//! kill -9 in the middle of writes.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use super::{file, fill, mismatches};
use crate::media::image::{Image, check};
use crate::media::{Disk, DiskSpec};
use crate::units::ByteSize;

const INSIDE: &str = "DIXTRAP_TEST_KILLED_IMAGE";
const TEST: &str = "media::tests::killed::a_killed_process_loses_at_most_the_request_in_flight";

/// Blocks of one request, and of the disk.
const REQUEST: u64 = 256;
const BLOCKS: u64 = 64 * REQUEST;

/// Writes until it is killed.
fn write_for_ever(spec: &DiskSpec) {
    let disk = Disk::open(spec).unwrap();
    for round in 0u64.. {
        fill(&disk, round % 64 * REQUEST, REQUEST as usize, (round / 64 % 250) as u8);
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

#[test]
fn a_killed_process_loses_at_most_the_request_in_flight() {
    if let Ok(path) = std::env::var(INSIDE) {
        return write_for_ever(&DiskSpec { size: None, ..file(path.as_ref()) });
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    let spec = DiskSpec { size: Some(ByteSize(BLOCKS * 512)), ..file(&path) };
    drop(Disk::open(&spec).unwrap());
    for _ in 0..10 {
        write_and_die(&spec);
        let disk = Disk::open(&spec).unwrap();
        let torn = mismatches(&disk, 0, BLOCKS as usize);
        let requests: Vec<u64> = torn.iter().map(|lba| lba / REQUEST).collect();
        assert!(requests.windows(2).all(|pair| pair[0] == pair[1]), "{torn:?}");
        drop(disk);
        let image = Image { path: path.clone(), pi_file: None };
        let report = check(&image, &mut |_, _| ()).unwrap();
        assert!(report.was_in_use);
        assert_eq!(report.mismatches.0, torn.len() as u64);
    }
}
