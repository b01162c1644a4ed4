//! Servers take turns in short rounds, so that what else the machine does hits all alike.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::client::Client;
use super::server::{Kind, Server};
use super::work::{Figures, WORKS, medians, turn};

/// Figures by work and server.
pub type Results = BTreeMap<&'static str, BTreeMap<&'static str, Figures>>;

/// How large the disk is: far larger than the caches.
pub const DISK_BYTES: u64 = 512 << 20;
/// Room for the descriptors of 32 requests, and for 8 requests of 128 KiB.
const RING: u16 = 256;
const BUFFER_BYTES: usize = 1 << 20;

/// How long it all may take.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    pub rounds: usize,
    pub turn: Duration,
}

struct Contender {
    kind: Kind,
    server: Server,
    client: Client,
}

impl Contender {
    fn start(kind: Kind, folder: &Path) -> anyhow::Result<Contender> {
        let server = Server::start(kind, folder, DISK_BYTES)?;
        let mut client = Client::connect(&server.socket(), 1, RING, BUFFER_BYTES)?;
        client.populate()?;
        Ok(Contender { kind, server, client })
    }
}

/// All servers, all work whose name begins with `prefix`.
pub fn fight(
    kinds: &[Kind],
    folder: &Path,
    effort: Effort,
    prefix: &str,
) -> anyhow::Result<Results> {
    let contenders = kinds.iter().filter(|kind| kind.is_installed());
    let mut contenders = contenders
        .map(|kind| Contender::start(*kind, folder))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut results = Results::new();
    for work in WORKS.iter().filter(|work| work.name.starts_with(prefix)) {
        let mut turns = vec![Vec::new(); contenders.len()];
        for round in 0..=effort.rounds {
            for (contender, turns) in contenders.iter_mut().zip(&mut turns) {
                let Contender { server, client, .. } = contender;
                let figures = turn(server, client, work.pattern, effort.turn)?;
                // The first round warms up.
                if round > 0 {
                    turns.push(figures);
                }
            }
        }
        for (contender, turns) in contenders.iter().zip(&turns) {
            let figures = medians(turns);
            print_line(work.name, contender.kind.name(), &figures);
            results.entry(work.name).or_default().insert(contender.kind.name(), figures);
        }
    }
    Ok(results)
}

fn print_line(work: &str, server: &str, figures: &Figures) {
    let Figures { iops, gb_per_s, p50_us, p99_us, cpu_us } = figures;
    println!(
        "{work:14} {server:20} {iops:9.0} IOPS {gb_per_s:6.2} GB/s  p50 {p50_us:7.1} us  \
         p99 {p99_us:7.1} us  cpu {cpu_us:6.2} us/request"
    );
}

/// The ratios that are promised, by their keys; a server that did not run has none.
pub fn ratios(results: &Results) -> BTreeMap<&'static str, f64> {
    let ratio = |work: &str, ours: Kind, theirs: Kind| {
        let figures = results.get(work)?;
        Some(figures.get(ours.name())?.iops / figures.get(theirs.name())?.iops)
    };
    let ours = Kind::Checked;
    [
        ("write4k_qd32_threads", ratio("write4k_qd32", ours, Kind::Threads)),
        ("write4k_qd32_uring", ratio("write4k_qd32", ours, Kind::Uring)),
        ("read4k_qd32_threads", ratio("read4k_qd32", ours, Kind::Threads)),
        ("read4k_qd32_uring", ratio("read4k_qd32", ours, Kind::Uring)),
        ("write128k_qd8_threads", ratio("write128k_qd8", ours, Kind::Threads)),
        ("write128k_qd8_uring", ratio("write128k_qd8", ours, Kind::Uring)),
        ("read128k_qd8_threads", ratio("read128k_qd8", ours, Kind::Threads)),
        ("read128k_qd8_uring", ratio("read128k_qd8", ours, Kind::Uring)),
        ("checks_4k", ratio("write4k_qd32", ours, Kind::Unchecked)),
        ("checks_128k", ratio("write128k_qd8", ours, Kind::Unchecked)),
        ("checks_read_4k", ratio("read4k_qd32", ours, Kind::Unchecked)),
        ("checks_read_128k", ratio("read128k_qd8", ours, Kind::Unchecked)),
    ]
    .into_iter()
    .filter_map(|(key, ratio)| Some((key, ratio?)))
    .collect()
}
