//! Everything that can go wrong around a daemon at once, for as long as is asked: its disk is full and then
//! not, it is stopped and goes on, a crowd talks to its control socket, front ends come and are silent, and
//! its guest's memory goes away in the middle of writes.
//!
//! It may answer with errors. It may not end, hang, invent a race, or lose what it acknowledged.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dixtrap::control::{Client, Request};
use dixtrap::record::MarkState;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::check;
use crate::kit::direct::{Loop, Mount, sparse};
use crate::kit::{Daemon, Random};
use crate::load::{Load, Slot};

/// How long one guest lives.
const GUEST: Duration = Duration::from_secs(12);
/// Who talks to the control socket at the same time.
const CROWD: usize = 6;

/// What came of it.
#[derive(Debug, Default)]
pub struct Chaos {
    pub guests: u32,
    writes: u64,
    refused: u64,
    verified: u64,
    stops: u64,
    full: AtomicU64,
    answers: AtomicU64,
}

impl Chaos {
    pub const HEAD: &str = "| device | disk | guests | writes | refused with an error | 4 KiB verified | times full | stopped and continued | control answers |\n\
         |---|---|---|---|---|---|---|---|---|";

    pub fn row(&self, device: &str, disk: &str) -> String {
        let Chaos { guests, writes, refused, verified, stops, full, answers } = self;
        let (full, answers) = (full.load(Ordering::Relaxed), answers.load(Ordering::Relaxed));
        format!(
            "| {device} | {disk} | {guests} | {writes} | {refused} | {verified} | {full} | {stops} | {answers} |"
        )
    }
}

/// A disk on a file system that is small enough to be filled.
struct Disk {
    // Goes before the file system that it lies on.
    device: Option<Loop>,
    small: Mount,
    image: PathBuf,
}

impl Disk {
    /// `None` where it cannot be made here.
    fn new(direct: bool) -> Option<Disk> {
        let small = Mount::with(&["-t", "tmpfs", "-o", "size=2304k", "none"])?;
        let file = small.path().join("disk.img");
        if !direct {
            return Some(Disk { small, device: None, image: file });
        }
        sparse(&file, 1 << 20);
        let device = Loop::over(&file, &[])?;
        let image = PathBuf::from(&device.device);
        Some(Disk { small, device: Some(device), image })
    }

    /// The daemon's flags for it; a device's protection information lies in `folder`.
    fn flags(&self, folder: &Path) -> Vec<String> {
        let mut flags = vec!["--blk-file".to_owned(), text(&self.image)];
        if self.device.is_none() {
            flags.extend(["--size".to_owned(), (1 << 20).to_string()]);
            return flags;
        }
        let pi = text(&folder.join("device.pi"));
        let adopted = Command::new(env!("CARGO_BIN_EXE_dixtrap"))
            .args(["image", "adopt", "--pi-file", &pi, &text(&self.image)])
            .output()
            .unwrap();
        assert!(adopted.status.success(), "{}", String::from_utf8_lossy(&adopted.stderr));
        flags.extend(["--pi-file".to_owned(), pi, "--direct".to_owned(), "--no-size".to_owned()]);
        flags
    }

    fn ballast(&self) -> PathBuf {
        self.small.path().join("ballast")
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// One guest's life on a disk of its own; `false` where there can be none here.
pub fn live(device: &str, direct: bool, random: &mut Random, chaos: &mut Chaos) -> bool {
    let Some(disk) = Disk::new(direct) else { return false };
    let folder = Arc::new(TempDir::new().unwrap());
    let mut args = vec!["--device".to_owned(), device.to_owned()];
    args.extend(["--num-queues", "2", "--window", "uniform:0..2ms"].map(str::to_owned));
    args.extend(disk.flags(folder.path()));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut daemon = Daemon::start_in(Arc::clone(&folder), &args);
    let mut slots = Slot::all();
    // From here on the image is open: a start on a full disk is refused, which is another test's business.
    let load = Load::plug(&daemon, device == "scsi");
    let over = AtomicBool::new(false);
    let (full, answers) = (&chaos.full, &chaos.answers);
    let mut figures = Figures::default();
    std::thread::scope(|scope| {
        let _over = OnDrop(&over);
        for number in 0..CROWD {
            let (control, mut random) = (daemon.control_path(), Random::new(random.next()));
            let (over, socket) = (&over, daemon.socket());
            scope.spawn(move || crowd(number, &control, &socket, &mut random, over, answers));
        }
        let (ballast, mut other) = (disk.ballast(), Random::new(random.next()));
        let is_over = &over;
        scope.spawn(move || fill(&ballast, &mut other, is_over, full));
        work(&daemon, load, &mut slots, random, &mut figures);
    });
    let _ = std::fs::remove_file(disk.ballast());
    assert!(daemon.lives(), "dixtrapd ended");
    let mut load = Load::plug_next(&daemon, device == "scsi");
    figures.verified += load.verify(&slots);
    drop(load);
    let records = daemon.stop();
    assert!(records.races().is_empty(), "a race was invented");
    let pi = direct.then(|| folder.path().join("device.pi"));
    assert!(
        check(&disk.image, pi.as_deref()).is_clean,
        "the image is not clean after an orderly end"
    );
    chaos.guests += 1;
    chaos.writes += figures.writes;
    chaos.refused += figures.refused;
    chaos.verified += figures.verified;
    chaos.stops += figures.stops;
    true
}

#[derive(Default)]
struct Figures {
    writes: u64,
    refused: u64,
    verified: u64,
    stops: u64,
}

/// Says that it is over however the scope is left.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes and reads, while the daemon is stopped now and then; ends with memory that goes away.
fn work(
    daemon: &Daemon,
    mut load: Load,
    slots: &mut [Slot],
    random: &mut Random,
    figures: &mut Figures,
) {
    let end = Instant::now() + GUEST;
    while Instant::now() < end {
        let sent = load.write_some(slots, random);
        figures.writes += sent.len() as u64;
        if random.below(20) == 0 {
            daemon.signal(Signal::SIGSTOP);
            std::thread::sleep(Duration::from_millis(random.below(50)));
            daemon.signal(Signal::SIGCONT);
            figures.stops += 1;
        }
        figures.refused += load.finish_some(sent, slots);
        if random.below(10) == 0 {
            figures.verified += load.verify(slots);
        }
    }
    // What is under way now has no answer that anybody could see.
    let sent = load.write_some(slots, random);
    load.forget(&sent, slots);
    load.take_memory_away();
    drop(load);
}

/// Fills the file system, and empties it again.
fn fill(ballast: &Path, random: &mut Random, over: &AtomicBool, full: &AtomicU64) {
    while !over.load(Ordering::Relaxed) {
        let mut file = std::fs::File::create(ballast).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        full.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(random.below(200)));
        drop(file);
        std::fs::remove_file(ballast).unwrap();
        std::thread::sleep(Duration::from_millis(random.below(400)));
    }
}

/// One of a crowd: asks, talks nonsense, says nothing, goes away.
fn crowd(
    number: usize,
    control: &Path,
    socket: &Path,
    random: &mut Random,
    over: &AtomicBool,
    answers: &AtomicU64,
) {
    while !over.load(Ordering::Relaxed) {
        match random.below(8) {
            0 => nonsense(control, random),
            // A front end that waits for its turn, and gives up.
            1 => drop(UnixStream::connect(socket)),
            _ => {
                let Ok(mut client) = Client::connect(control) else { continue };
                for _ in 0..=random.below(20) {
                    let answered = client.ask(&request(number, random)).is_ok();
                    answers.fetch_add(u64::from(answered), Ordering::Relaxed);
                }
            }
        }
        // A crowd, not a flood: the guest is to get its turn on two processors.
        std::thread::sleep(Duration::from_millis(random.below(20)));
    }
}

fn request(number: usize, random: &mut Random) -> Request {
    const WINDOWS: [&str; 4] = ["0", "uniform:0..2ms", "exp:200us", "bandwidth:200us+500MB/s"];
    let state = if random.below(2) == 0 { MarkState::Begin } else { MarkState::End };
    match random.below(5) {
        0 => Request::Mark { label: format!("label {number}"), state },
        1 => Request::Window { spec: WINDOWS[random.below(4) as usize].parse().unwrap() },
        2 => Request::Inject { spec: "none".to_owned() },
        3 => Request::Release,
        _ => Request::Stats,
    }
}

fn nonsense(control: &Path, random: &mut Random) {
    let Ok(mut stream) = UnixStream::connect(control) else { return };
    let bytes: Vec<u8> = (0..random.below(5000)).map(|_| random.below(256) as u8).collect();
    let _ = stream.write_all(&bytes);
}
