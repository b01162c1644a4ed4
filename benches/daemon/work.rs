//! The kinds of work, and what is measured of each.

use std::time::Duration;

use serde::Serialize;

use super::client::{Client, Pattern};
use super::server::Server;

/// A kind of work with the name that reports use.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    pub name: &'static str,
    pub pattern: Pattern,
}

const fn work(name: &'static str, write: bool, bytes: usize, depth: usize) -> Work {
    Work { name, pattern: Pattern { write, bytes, depth, sequential: false } }
}

/// What the promises are about.
pub const WORKS: [Work; 4] = [
    work("write4k_qd32", true, 4 << 10, 32),
    work("read4k_qd32", false, 4 << 10, 32),
    work("write128k_qd8", true, 128 << 10, 8),
    work("read128k_qd8", false, 128 << 10, 8),
];

/// What one turn, or the median of many, came to.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Figures {
    pub iops: f64,
    pub gb_per_s: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// Processor time of the server for one request.
    pub cpu_us: f64,
}

/// One turn.
pub fn turn(
    server: &Server,
    client: &mut Client,
    pattern: Pattern,
    time: Duration,
) -> anyhow::Result<Figures> {
    let before = server.cpu_time()?;
    let mut outcome = client.run(pattern, time)?;
    let cpu = server.cpu_time()?.saturating_sub(before);
    outcome.latencies.sort_unstable();
    let requests = outcome.latencies.len() as f64;
    let iops = requests / outcome.elapsed.as_secs_f64();
    let quantile = |share: f64| {
        let index = (requests * share) as usize;
        outcome.latencies.get(index).map_or(0.0, |nanos| *nanos as f64 / 1e3)
    };
    Ok(Figures {
        iops,
        gb_per_s: iops * pattern.bytes as f64 / 1e9,
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        cpu_us: cpu.as_secs_f64() * 1e6 / requests.max(1.0),
    })
}

/// The median of each figure.
pub fn medians(turns: &[Figures]) -> Figures {
    let of = |pick: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = turns.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    Figures {
        iops: of(|turn| turn.iops),
        gb_per_s: of(|turn| turn.gb_per_s),
        p50_us: of(|turn| turn.p50_us),
        p99_us: of(|turn| turn.p99_us),
        cpu_us: of(|turn| turn.cpu_us),
    }
}
