//! `make soak`: dixtrapd is killed under load, again and again, with its front end living on. No write
//! that was acknowledged may be lost, none may stay without an answer, and no race may be invented.
//! Prints a table for SOAK.md; ends with status 101 at the first finding.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tests may state what they know"
)]

#[path = "../kit/mod.rs"]
mod kit;

mod chaos;
mod load;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use kit::{Daemon, Random};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use chaos::Chaos;
use load::{Load, Slot};

/// Kills dixtrapd under load and looks what it cost.
#[derive(Debug, Parser)]
struct Args {
    /// How many kills, dealt to all kinds of disks.
    #[arg(long, default_value_t = 1000)]
    kills: u32,
    /// What the load and the moments are drawn from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Instead of kills: so many seconds of everything else that can go wrong, dealt to all kinds of disks.
    #[arg(long)]
    chaos: Option<u64>,
    /// cargo's own word to benchmarks.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a kind of disk went through.
#[derive(Debug, Default)]
struct Figures {
    kills: u32,
    /// Kills that came while at least one request was not answered.
    hit: u32,
    /// Requests that were not answered at a kill, and were after it.
    resumed: u64,
    /// Writes in all.
    writes: u64,
    /// Blocks that were read and compared.
    verified: u64,
    /// Kills after which an image was checked before the next daemon had it.
    checked: u32,
    /// Blocks that had to be replayed then.
    replayed: u64,
    /// Images that had blocks all the same whose data and tuples disagree.
    torn: u32,
    /// The longest time from the kill to the last answer.
    slowest: Duration,
}

/// The devices, and whether their disk is direct.
const KINDS: [(&str, bool); 4] = [("blk", false), ("blk", true), ("scsi", false), ("scsi", true)];

/// After so many kills the guest is another one.
const KILLS_A_GUEST: u32 = 20;

fn main() {
    let args = Args::parse();
    if let Some(seconds) = args.chaos {
        return chaos(Duration::from_secs(seconds), args.seed);
    }
    println!(
        "| device | disk | kills | under way at | requests resumed | writes | 4 KiB verified | images checked | blocks replayed | torn images | slowest recovery |\n\
         |---|---|---|---|---|---|---|---|---|---|---|"
    );
    let mut random = Random::new(args.seed);
    for (device, direct) in KINDS {
        let share = args.kills.div_ceil(KINDS.len() as u32);
        let Some(folder) = folder(direct) else { continue };
        let figures = soak(device, direct, folder, share, &mut random);
        let disk = if direct { "direct" } else { "mapped" };
        let Figures { kills, hit, resumed, writes, verified, .. } = figures;
        let Figures { checked, replayed, torn, slowest, .. } = figures;
        let slowest = slowest.as_millis();
        println!(
            "| {device} | {disk} | {kills} | {hit} | {resumed} | {writes} | {verified} | {checked} | {replayed} | {torn} | {slowest} ms |"
        );
    }
}

fn chaos(time: Duration, seed: u64) {
    println!("{}", Chaos::HEAD);
    let mut random = Random::new(seed);
    for (device, direct) in KINDS {
        let (mut chaos, end) = (Chaos::default(), Instant::now() + time / KINDS.len() as u32);
        while Instant::now() < end && chaos::live(device, direct, &mut random, &mut chaos) {}
        let disk = if direct { "direct" } else { "mapped" };
        assert!(chaos.guests > 0, "{device} on a {disk} disk: nothing ran: mounting needs root");
        println!("{}", chaos.row(device, disk));
    }
}

fn folder(direct: bool) -> Option<Arc<TempDir>> {
    if direct { kit::direct::folder() } else { Some(Arc::new(TempDir::new().unwrap())) }
}

fn soak(
    device: &str,
    direct: bool,
    folder: Arc<TempDir>,
    kills: u32,
    random: &mut Random,
) -> Figures {
    let mut args = vec!["--device", device, "--num-queues", "2", "--window", "uniform:0..2ms"];
    args.extend(direct.then_some("--direct"));
    let mut figures = Figures::default();
    let mut slots = Slot::all();
    let mut folder = folder;
    while figures.kills < kills {
        let mut daemon = Daemon::start_in(folder, &args);
        let mut load = Load::plug(&daemon, device == "scsi");
        for _ in 0..KILLS_A_GUEST.min(kills - figures.kills) {
            daemon = one_kill(daemon, &mut load, &args, (&mut slots, &mut figures), random);
        }
        drop(load);
        folder = daemon.dir();
        let records = daemon.stop();
        assert!(records.broken().is_empty(), "{:?}", records.broken());
        assert!(records.races().is_empty(), "a race was invented");
        assert!(
            check(&folder.path().join("disk.img"), None).is_clean,
            "the image is not clean after an orderly end"
        );
    }
    figures
}

/// Load, a kill at some moment, the next daemon; and everything is there.
fn one_kill(
    mut daemon: Daemon,
    load: &mut Load,
    args: &[&str],
    (slots, figures): (&mut [Slot], &mut Figures),
    random: &mut Random,
) -> Daemon {
    let sent = load.write_some(slots, random);
    figures.writes += sent.len() as u64;
    std::thread::sleep(Duration::from_micros(random.below(2500)));
    daemon.signal(Signal::SIGKILL);
    let killed = Instant::now();
    daemon.wait();
    let open = load.unanswered(&sent);
    figures.kills += 1;
    figures.hit += u32::from(open > 0);
    figures.resumed += open;
    let folder = daemon.dir();
    let is_direct = args.contains(&"--direct");
    drop(daemon);
    // The next daemon replays what a check did not.
    if figures.kills.is_multiple_of(2) {
        let checked = check(&folder.path().join("disk.img"), None);
        figures.checked += 1;
        figures.replayed += checked.replayed;
        figures.torn += u32::from(!checked.is_clean);
        assert!(checked.is_clean || !is_direct, "a kill tore a block");
    }
    let daemon = Daemon::start_in(folder, args);
    load.reconnect(&daemon);
    load.finish(sent, slots);
    figures.slowest = figures.slowest.max(killed.elapsed());
    figures.verified += load.verify(slots);
    daemon
}

/// What `dixtrap image check` says.
struct Checked {
    is_clean: bool,
    replayed: u64,
}

fn check(image: &Path, pi: Option<&Path>) -> Checked {
    let pi = pi.map(|pi| [Path::new("--pi-file"), pi]);
    let checked = Command::new(env!("CARGO_BIN_EXE_dixtrap"))
        .args(["image", "check"])
        .args(pi.into_iter().flatten())
        .arg(image)
        .output()
        .unwrap();
    let is_clean = match checked.status.code() {
        Some(0) => true,
        Some(1) => false,
        other => panic!("{other:?}: {}", String::from_utf8_lossy(&checked.stderr)),
    };
    let said = String::from_utf8(checked.stdout).unwrap();
    let replayed = said.lines().find_map(|line| line.strip_prefix("replayed ")?.split(' ').next());
    Checked { is_clean, replayed: replayed.map_or(0, |count| count.parse().unwrap()) }
}
