//! A file system without room: the request fails, the disk lives, and no pair is torn.

use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use super::{NONE, file, fill, mismatches, read, tuples_for};
use crate::media::{Disk, DiskSpec, MediaError};
use crate::pi::Tuple;
use crate::units::{BlockCount, BlockSize, ByteSize, Lba};

const INSIDE: &str = "DIXTRAP_TEST_SMALL_FILE_SYSTEM";

/// Runs the test named again in a mount namespace of its own, where it may mount a small tmpfs.
/// Returns the folder when this is that run.
fn small_file_system(test: &str) -> Option<String> {
    if let Ok(folder) = std::env::var(INSIDE) {
        mount(Some("none"), folder.as_str(), Some("tmpfs"), MsFlags::empty(), Some("size=256k"))
            .unwrap();
        return Some(folder);
    }
    let folder = tempfile::tempdir().unwrap();
    let namespace = if nix::unistd::geteuid().is_root() { "-m" } else { "-rm" };
    let may_mount = Command::new("unshare")
        .args([namespace, "mount", "-t", "tmpfs", "none"])
        .arg(folder.path())
        .output();
    if !may_mount.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this machine does not allow a mount namespace");
        return None;
    }
    let output = Command::new("unshare")
        .arg(namespace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    // A name that matches no test would end in success too.
    let passed = output.status.success() && said.contains("1 passed");
    assert!(passed, "{said}{}", String::from_utf8_lossy(&output.stderr));
    None
}

/// Writes until there is no room left; returns the block at which it failed.
fn fill_up(disk: &Disk) -> u64 {
    for lba in (0..disk.geometry().blocks.0).step_by(16) {
        let data = vec![0xC3; 16 * disk.geometry().block_size.bytes()];
        if let Err(error) = disk.write(Lba(lba), &data, &tuples_for(disk, lba, &data)) {
            assert!(matches!(error, MediaError::Io { .. }));
            assert_eq!(error.errno(), Some(Errno::ENOSPC as i32));
            return lba;
        }
    }
    panic!("the file system was never full");
}

fn check_full(spec: &DiskSpec) {
    let disk = Disk::open(spec).unwrap();
    let failed = fill_up(&disk);
    let blocks = disk.geometry().blocks.0 as usize;
    assert_eq!(mismatches(&disk, 0, blocks), NONE, "no torn pair after ENOSPC");
    assert!(failed > 0);
    let (data, tuples) = read(&disk, 0, failed as usize);
    assert_eq!(tuples, tuples_for(&disk, 0, &data), "what succeeded is protected");
    // Overwriting needs no room, and a discard makes some.
    fill(&disk, 0, 8, 0x3C);
    disk.discard(Lba(0), BlockCount(failed)).unwrap();
    fill(&disk, failed, 16, 0x3C);
    disk.flush().unwrap();
    assert_eq!(mismatches(&disk, 0, blocks), NONE);
    drop(disk);
    drop(Disk::open(spec).unwrap());
}

#[test]
fn a_full_file_system_fails_the_write_and_nothing_else() {
    let Some(folder) = small_file_system(
        "media::tests::full::a_full_file_system_fails_the_write_and_nothing_else",
    ) else {
        return;
    };
    for block_size in [BlockSize::B512, BlockSize::B4096] {
        let path = Path::new(&folder).join(format!("{block_size}.img"));
        check_full(&DiskSpec { block_size, ..file(&path) });
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_write_that_fails_half_way_leaves_no_new_data_under_old_tuples() {
    let name = "media::tests::full::\
                a_write_that_fails_half_way_leaves_no_new_data_under_old_tuples";
    let Some(folder) = small_file_system(name) else { return };
    let disk = Disk::open(&file(&Path::new(&folder).join("disk.img"))).unwrap();
    let last = disk.geometry().blocks.0 - 64;
    // Room for the first page of the last request, and for none after it.
    fill(&disk, last, 8, 0x11);
    fill_up(&disk);
    let data = vec![0x22; 64 * 512];
    let error = disk.write(Lba(last), &data, &tuples_for(&disk, last, &data)).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::ENOSPC as i32));
    let (data, tuples) = read(&disk, last, 64);
    assert_eq!(data[..8 * 512], [0x22; 8 * 512], "the request went half way");
    assert_eq!(tuples, [Tuple::ESCAPE; 64]);
}

#[test]
fn a_full_file_system_under_the_pi_file_leaves_escape_tags() {
    let name = "media::tests::full::a_full_file_system_under_the_pi_file_leaves_escape_tags";
    let Some(folder) = small_file_system(name) else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    let data = elsewhere.path().join("disk.img");
    let pi_file = Some(Path::new(&folder).join("disk.pi"));
    // 256 KiB hold the tuples of 32,000 blocks; the disk has 65,536.
    let size = Some(ByteSize(32 << 20));
    check_full(&DiskSpec { pi_file, size, ..file(&data) });
}
