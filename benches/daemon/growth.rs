//! How dixtrapd grows: with queues, with depth, with requests held in a window; and how near a window
//! is to what was asked.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use dixtrap::control::{Client as Control, Request};
use serde::Serialize;

use super::client::{Client, Pattern};
use super::duel::DISK_BYTES;
use super::server::{Kind, Server};
use super::work::{Figures, turn};

const BLOCK: usize = 4 << 10;
/// Header, data and status of a request are a descriptor each.
const DESCRIPTORS: usize = 3;

/// One line of a table.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    pub queues: usize,
    pub depth: usize,
    pub figures: Figures,
    /// Memory of the server's own while the requests were in flight.
    pub private_mib: f64,
}

/// A window that was asked for and what it came to.
#[derive(Debug, Clone, Serialize)]
pub struct Window {
    pub asked_us: f64,
    pub poll: bool,
    pub median_us: f64,
    pub max_us: f64,
    /// Before the doorbell's sample: see the counter `blind_us`.
    pub blind_median_us: f64,
}

/// All tables.
#[derive(Debug, Default, Serialize)]
pub struct Growth {
    pub queues: Vec<Step>,
    pub depth: Vec<Step>,
    pub held_10ms: Vec<Step>,
    pub windows: Vec<Window>,
}

/// Fills the tables; `time` for each line.
pub fn grow(folder: &Path, time: Duration) -> anyhow::Result<Growth> {
    let mut growth = Growth::default();
    for queues in [1, 2, 4] {
        growth.queues.push(step(folder, "0", queues, 32, time)?);
    }
    for depth in [1, 4, 16, 64, 256] {
        growth.depth.push(step(folder, "0", 1, depth, time)?);
    }
    for depth in [64, 256, 1024, 4096] {
        growth.held_10ms.push(step(folder, "10ms", 1, depth, time)?);
    }
    for poll in [false, true] {
        for window in ["50us", "100us", "250us", "1ms"] {
            growth.windows.push(measure_window(folder, window, poll, time)?);
        }
    }
    Ok(growth)
}

fn step(
    folder: &Path,
    window: &str,
    queues: usize,
    depth: usize,
    time: Duration,
) -> anyhow::Result<Step> {
    let count = queues.to_string();
    let more = ["--num-queues", &count, "--window", window];
    let server = Server::start_with(Kind::Checked, folder, DISK_BYTES, &more)?;
    let mut client = connect(&server, queues, depth)?;
    let pattern = Pattern { write: true, bytes: BLOCK, depth, sequential: false };
    client.run(pattern, time / 4)?;
    let memory = std::thread::scope(|scope| {
        // Looked at in the middle of the turn, while all are in flight.
        let look = scope.spawn(|| {
            std::thread::sleep(time / 2);
            server.private_bytes()
        });
        let figures = turn(&server, &mut client, pattern, time);
        (figures, look.join().expect("reading /proc panicked"))
    });
    let (figures, private) = (memory.0?, memory.1?);
    let private_mib = private as f64 / f64::from(1 << 20);
    println!(
        "window {window:5} queues {queues} depth {depth:5} {:9.0} IOPS  p50 {:8.1} us  \
         memory {private_mib:6.1} MiB",
        figures.iops, figures.p50_us
    );
    Ok(Step { queues, depth, figures, private_mib })
}

fn connect(server: &Server, queues: usize, depth: usize) -> anyhow::Result<Client> {
    let ring = (depth * DESCRIPTORS).next_power_of_two().max(256);
    let buffers = (depth * BLOCK).max(128 << 10) * 8;
    let ring = u16::try_from(ring).context("the ring is too large")?;
    let mut client = Client::connect(&server.socket(), queues, ring, buffers)?;
    client.populate()?;
    Ok(client)
}

/// One write at a time, so that no window waits for another write.
fn measure_window(
    folder: &Path,
    asked: &str,
    poll: bool,
    time: Duration,
) -> anyhow::Result<Window> {
    let more = ["--window", asked, "--poll", if poll { "10ms" } else { "0" }];
    let server = Server::start_with(Kind::Checked, folder, 1 << 20, &more)?;
    let mut client = Client::connect(&server.socket(), 1, 256, 1 << 20)?;
    client.run(Pattern { write: true, bytes: BLOCK, depth: 1, sequential: true }, time)?;
    let stats = Control::connect(&server.control())?.ask(&Request::Stats)?.stats;
    let counters = stats.context("stats without stats")?.counters;
    let windows = counters.window_us.context("no window was measured")?;
    let asked_us = dixtrap::units::parse_duration(asked)?.as_secs_f64() * 1e6;
    let blind_median_us = counters.blind_us.map_or(0.0, |blind| blind.median);
    println!(
        "window {asked:5} poll {poll:5}  measured median {:7.1} us, max {:8.1} us  \
         blind {blind_median_us:5.1} us",
        windows.median, windows.max
    );
    let (median_us, max_us) = (windows.median, windows.max);
    Ok(Window { asked_us, poll, median_us, max_us, blind_median_us })
}
