//! A guest under TCG writes to both of its disks in turn: dixtrapd's, with everything checked and a
//! window of 0, and QEMU's own virtio-blk on a raw file beside it.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use dixtrap::runner::guest::{BootRequest, Exec, Guest};
use dixtrap::runner::host::accel::Accel;
use dixtrap::runner::host::qemu::Disk;
use dixtrap::runner::kernel::KernelSpec;

use super::client::Client;
use super::server::{Kind, Server};

const DISK_BYTES: u64 = 256 << 20;
const ROUNDS: usize = 9;
/// One a CPU of the guest: as many as QEMU's own virtio-blk takes when it is not told.
const QUEUES: &str = "2";
/// The first is dixtrapd's, in the order of the command line.
const DISKS: [&str; 2] = ["/dev/vda", "/dev/vdb"];

/// QEMU's time divided by dixtrapd's: medians of whole passes of dd over the disk.
pub fn write_ratio(folder: &Path) -> anyhow::Result<f64> {
    let queues = ["--window", "0", "--num-queues", QUEUES];
    let server = Server::start_with(Kind::Checked, folder, DISK_BYTES, &queues)?;
    Client::connect(&server.socket(), 1, 256, 1 << 20)?.populate()?;
    let raw = folder.join("guest.raw");
    std::io::copy(&mut std::io::repeat(7).take(DISK_BYTES), &mut File::create(&raw)?)?;
    let kernel = KernelSpec::parse(Some("debian:bookworm"), None)?;
    let kernel = kernel.locate(&|step| println!("{step}"))?;
    let mut request = BootRequest::new(&kernel, Accel::Tcg, &folder.join("boot"));
    request.require = vec!["virtio_blk".to_owned()];
    request.disks = vec![
        Disk::VhostUserBlk { socket: server.socket(), queues: QUEUES.parse()? },
        Disk::File { path: raw, read_only: false },
    ];
    let mut guest = dixtrap::runner::guest::boot(&request).context("the guest did not boot")?;
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        for (disk, times) in DISKS.iter().zip(&mut times) {
            let time = write_all(&mut guest, disk)?;
            // The first round warms up.
            if round > 0 {
                times.push(time);
            }
        }
    }
    guest.power_off()?;
    let [ours, theirs] = times.map(median);
    let megabytes = DISK_BYTES as f64 / 1e6;
    println!(
        "guest under TCG, dd: dixtrapd {:.0} MB/s, QEMU's own virtio-blk {:.0} MB/s",
        megabytes / ours.as_secs_f64(),
        megabytes / theirs.as_secs_f64()
    );
    Ok(theirs.as_secs_f64() / ours.as_secs_f64())
}

/// One pass over the disk, past the guest's page cache.
fn write_all(guest: &mut Guest, disk: &str) -> anyhow::Result<Duration> {
    let count = DISK_BYTES >> 17;
    let dd = format!("dd if=/dev/zero of={disk} bs=128k count={count} oflag=direct conv=notrunc");
    let argv = dd.split(' ').map(str::to_owned).collect();
    let exec = Exec { argv, timeout: Duration::from_secs(120), ..Exec::default() };
    let mut said = String::new();
    let result = guest.exec(&exec, &mut |line| said.push_str(&line.text))?;
    ensure!(result.status.success(), "dd failed in the guest: {said}");
    Ok(result.elapsed)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
