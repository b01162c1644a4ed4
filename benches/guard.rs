//! Guard kernels and their peers, one by one, with criterion's statistics.
//!
//! For ratios between them use `guard_ratios`: it interleaves.

#![allow(clippy::indexing_slicing, missing_docs, reason = "a benchmark may stop")]

mod guards;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use guards::Contender;
use guards::buffers::{CACHED_BYTES, COLD_BYTES, Pages};

/// What one iteration takes on in cold memory: the next piece.
const PIECE_BYTES: usize = 1 << 20;

fn all(criterion: &mut Criterion) {
    let (mut src, mut dst) = (Pages::new(), Pages::new());
    let (src, dst) = (src.bytes(), dst.bytes());
    for block in [512, 4096] {
        let jobs = [("guard", guards::guards(block)), ("copy", guards::copies(block))];
        for (job, contenders) in &jobs {
            let hot = (&mut dst[..CACHED_BYTES], &src[..CACHED_BYTES], CACHED_BYTES);
            one_by_one(criterion, &format!("{job}/{block}/hot"), contenders, hot);
            let cold = (&mut dst[..], &src[..], PIECE_BYTES);
            one_by_one(criterion, &format!("{job}/{block}/cold"), contenders, cold);
        }
    }
}

/// Every contender on piece after piece of the memory.
fn one_by_one(
    criterion: &mut Criterion,
    name: &str,
    contenders: &[Contender],
    (dst, src, piece): (&mut [u8], &[u8], usize),
) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(piece as u64));
    let mut pieces = (0..src.len().min(COLD_BYTES)).step_by(piece).cycle();
    for contender in contenders {
        group.bench_function(&contender.name, |bencher| {
            bencher.iter(|| {
                let at = pieces.next().unwrap_or_default();
                let (dst, src) = (&mut dst[at..at + piece], &src[at..at + piece]);
                (contender.work)(black_box(dst), black_box(src))
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(800));
    targets = all
}
criterion_main!(benches);
