//! exploration
#![allow(clippy::unwrap_used, clippy::panic)]
mod common;
use common::Daemon;
use dixtrap::runner::accel::Accel;
use dixtrap::runner::guest::{BootRequest, Exec, Guest};
use dixtrap::runner::initramfs::find_program;
use dixtrap::runner::kernel::KernelSpec;
use dixtrap::runner::qemu::Disk;
use std::collections::BTreeMap;
use std::time::Duration;

#[test]
fn explore() {
    let flags = std::env::var("EXPLORE_FLAGS").unwrap_or_default();
    let t10 = std::env::var("EXPLORE_T10").is_ok();
    let families = std::env::var("EXPLORE_FAMILIES").unwrap();
    let usual = ["--device", "scsi", "--num-queues", "2", "--size", "64M"];
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let daemon = Daemon::start_for(Duration::from_secs(550), &[&usual, &flags[..]].concat());
    let suite = std::env::var("DIXTRAP_TEST_KERNEL").unwrap_or("debian:bookworm".into());
    let kernel =
        KernelSpec::parse(Some(&suite), None).unwrap().locate(&|l| eprintln!("{l}")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut request = BootRequest::new(&kernel, Accel::Tcg, dir.path());
    request.require = vec!["virtio_scsi".into(), "sd_mod".into()];
    request.wish = vec!["sg".into(), "crct10dif_generic".into()];
    request.programs = ["iscsi-test-cu", "sg_raw", "sg_inq"]
        .iter()
        .filter_map(|name| find_program(name))
        .collect();
    request.disks = vec![Disk::VhostUserScsi { socket: daemon.socket(), queues: 2, t10_pi: t10 }];
    let mut guest = Guest::boot(&request).unwrap();
    for family in families.split_whitespace() {
        let script = format!(
            "test -e /dev/sg0 || sleep 3; iscsi-test-cu --dataloss --allow-sanitize {} -t '{family}' /dev/sg0 2>&1",
            std::env::var("EXPLORE_V").unwrap_or_default()
        );
        let argv = ["sh", "-c", &script].map(String::from).to_vec();
        let exec = Exec { argv, env: BTreeMap::new(), timeout: Duration::from_secs(60) };
        println!("=== {family}");
        let result = guest.exec(&exec, &mut |line| println!("{}", line.text)).unwrap();
        println!("=== {family} ended {:?} after {:?}", result.status, result.elapsed);
    }
    println!("=== dmesg");
    let argv = ["sh", "-c", "dmesg | tail -60"].map(String::from).to_vec();
    let exec = Exec { argv, env: BTreeMap::new(), timeout: Duration::from_secs(60) };
    guest.exec(&exec, &mut |line| println!("{}", line.text)).unwrap();
    guest.power_off().unwrap();
    daemon.stop();
}
