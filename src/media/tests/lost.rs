//! A flush that failed stays failed, whichever file it was of and whoever asks next.

use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::path::Path;

use nix::errno::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use super::{file, fill, memory};
use crate::media::{Disk, DiskSpec, MediaError};
use crate::pi::PiType;

/// The descriptor that this process has open on `path`.
fn descriptor_of(path: &Path) -> RawFd {
    let path = path.canonicalize().unwrap();
    let open = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let mut ours = open.filter(|link| std::fs::read_link(link).is_ok_and(|to| to == path));
    ours.next().unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap()
}

/// Flushes on a thread for which the kernel refuses to flush `fd` alone, once, as a device does.
fn flush_in_vain(disk: &Disk, fd: RawFd) -> MediaError {
    let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, fd as u64);
    let rule = SeccompRule::new(vec![condition.unwrap()]).unwrap();
    let filter = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_fdatasync, vec![rule])]),
        SeccompAction::Allow,
        SeccompAction::Errno(Errno::EIO as u32),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program = BpfProgram::try_from(filter.unwrap()).unwrap();
    let flush = || {
        seccompiler::apply_filter(&program).unwrap();
        disk.flush().unwrap_err()
    };
    std::thread::scope(|scope| scope.spawn(flush).join().unwrap())
}

/// A failed flush of the file with this ending is the first of many.
fn stays_failed(spec: &DiskSpec, ending: &str) {
    let path = spec.file.clone().unwrap();
    let disk = match Disk::open(spec) {
        Ok(disk) => disk,
        Err(error) if spec.direct => return eprintln!("skipped: {error}"),
        Err(error) => panic!("{error}"),
    };
    fill(&disk, 0, 8, 0x11);
    disk.flush().unwrap();
    let mut name = path.into_os_string();
    name.push(ending);
    let error = flush_in_vain(&disk, descriptor_of(name.as_ref()));
    assert_eq!(error.errno(), Some(Errno::EIO as i32));
    // Nothing holds this thread's flushes up.
    for _ in 0..3 {
        assert_eq!(disk.flush().unwrap_err().errno(), Some(Errno::EIO as i32), "{name:?}");
        fill(&disk, 8, 8, 0x22);
    }
    assert!(disk.close().is_err(), "{name:?}");
    drop(disk);
    let again = Disk::open(spec).unwrap();
    let suspect = spec.pi_type.is_protected();
    assert_eq!(again.pair.is_suspect(), suspect, "what was not flushed is not called clean");
    again.flush().unwrap();
    again.close().unwrap();
}

#[test]
fn a_failed_flush_stays_failed_until_the_disk_is_opened_again() {
    // Pages of /dev/shm are memory; those of the target directory may be a disk's.
    for folder in ["/dev/shm", env!("CARGO_MANIFEST_DIR")] {
        let Ok(folder) = tempfile::tempdir_in(folder) else { continue };
        for (direct, pi_type) in
            [(false, PiType::Type1), (true, PiType::Type1), (false, PiType::None)]
        {
            let name = format!("{direct}-{pi_type}.img");
            let spec = DiskSpec { direct, pi_type, ..file(&folder.path().join(name)) };
            stays_failed(&spec, "");
            if pi_type.is_protected() {
                stays_failed(&spec, ".pi");
            }
        }
    }
}

#[test]
fn a_memory_disk_has_nothing_to_lose() {
    let disk = Disk::open(&memory()).unwrap();
    fill(&disk, 0, 8, 0x11);
    disk.flush().unwrap();
    disk.close().unwrap();
}

/// A file that was cut and made longer again has zeros where something was.
#[test]
fn what_became_shorter_does_not_grow_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    let disk = Disk::open(&file(&path)).unwrap();
    let data = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    data.set_len(4096).unwrap();
    assert!(!disk.grow().unwrap());
    data.set_len(4 << 20).unwrap();
    assert!(!disk.grow().unwrap());
    assert_eq!(disk.geometry().blocks.0, 2048);
}
