//! Guard kernels against their peers, interleaved: prints one JSON object with the ratios of
//! medians that the project promises, and every contender's GB/s.
//!
//! Contenders take turns in short rounds, so that what else the machine does hits all alike.
//! `ROUNDS=n` sets their number.

#![allow(clippy::indexing_slicing, reason = "a benchmark may stop")]

mod guards;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use guards::Contender;
use guards::buffers::{CACHED_BYTES, Pages};

/// What a turn takes on: in cache many passes, in cold memory the next piece.
const TURN_BYTES: usize = 4 << 20;

/// GB/s by job, block size, place and contender.
type Speeds = BTreeMap<String, f64>;

fn main() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(101);
    let mut speeds = Speeds::new();
    let (mut src, mut dst) = (Pages::new(), Pages::new());
    let (src, dst) = (src.bytes(), dst.bytes());
    for block in [512, 4096] {
        let jobs = [("guard", guards::guards(block)), ("copy", guards::copies(block))];
        for (job, contenders) in &jobs {
            check(contenders, &mut dst[..CACHED_BYTES], &src[..CACHED_BYTES]);
            let hot = (&mut dst[..CACHED_BYTES], &src[..CACHED_BYTES]);
            measure(&mut speeds, &format!("{job}/{block}/hot"), contenders, hot, rounds);
            let cold = (&mut dst[..], &src[..]);
            measure(&mut speeds, &format!("{job}/{block}/cold"), contenders, cold, rounds);
        }
    }
    println!("{}", serde_json::json!({ "ratios": ratios(&speeds), "gb_per_s": speeds }));
}

/// One job, one result: whoever computes something else is no peer.
fn check(contenders: &[Contender], dst: &mut [u8], src: &[u8]) {
    let Some(first) = contenders.first() else { return };
    let expected = (first.work)(dst, src);
    for contender in contenders.iter().filter(|contender| contender.name != "memcpy") {
        assert_eq!((contender.work)(dst, src), expected, "{} is wrong", contender.name);
    }
}

/// Lets the contenders take turns; keeps each one's median.
fn measure(
    speeds: &mut Speeds,
    place: &str,
    contenders: &[Contender],
    (dst, src): (&mut [u8], &[u8]),
    rounds: usize,
) {
    let piece = src.len().min(TURN_BYTES);
    let mut pieces = (0..src.len()).step_by(piece).cycle();
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds {
        for (contender, times) in contenders.iter().zip(&mut times) {
            let at = pieces.next().unwrap_or_default();
            times.push(turn(contender, &mut dst[at..at + piece], &src[at..at + piece]));
        }
    }
    for (contender, mut times) in contenders.iter().zip(times) {
        times.sort_by(f64::total_cmp);
        let speed = TURN_BYTES as f64 / times[times.len() / 2] / 1e9;
        eprintln!("{place:16} {:30} {speed:7.2} GB/s", contender.name);
        speeds.insert(format!("{place}/{}", contender.name), speed);
    }
}

/// The seconds that one turn takes.
fn turn(contender: &Contender, dst: &mut [u8], src: &[u8]) -> f64 {
    let start = Instant::now();
    for _ in 0..TURN_BYTES / src.len() {
        black_box((contender.work)(black_box(dst), black_box(src)));
    }
    start.elapsed().as_secs_f64()
}

/// The promised ratios, and those beside them; without ISA-L only those against the `crc` crate.
fn ratios(speeds: &Speeds) -> BTreeMap<&'static str, f64> {
    let table = [
        ("guard_512_isal", "guard/512/hot", "dixtrap", "isal"),
        ("guard_512_blocks_isal", "guard/512/hot", "dixtrap-blocks", "isal"),
        ("guard_4096_isal", "guard/4096/hot", "dixtrap", "isal"),
        ("guard_512_crc", "guard/512/hot", "dixtrap", "crc-table-16"),
        ("guard_4096_crc", "guard/4096/hot", "dixtrap", "crc-table-16"),
        ("copy_guard_hot_isal", "copy/4096/hot", "dixtrap-copy", "isal-copy"),
        ("copy_guard_512_hot_isal", "copy/512/hot", "dixtrap-copy", "isal-copy"),
        ("copy_guard_cold_isal", "copy/4096/cold", "dixtrap-copy-blocks-streaming", "isal-copy"),
        ("copy_guard_512_cold_isal", "copy/512/cold", "dixtrap-copy-blocks-streaming", "isal-copy"),
        ("copy_guard_cached_cold_isal", "copy/4096/cold", "dixtrap-copy-blocks", "isal-copy"),
    ];
    let speed = |place: &str, name: &str| speeds.get(&format!("{place}/{name}")).copied();
    let ratio =
        |(key, place, ours, theirs)| Some((key, speed(place, ours)? / speed(place, theirs)?));
    table.into_iter().filter_map(ratio).collect()
}
