//! The contenders that both guard benchmarks run.

pub mod buffers;
pub mod isal;

use crc::{CRC_16_T10_DIF, Crc, Table};
use dixtrap::pi::{CrcBackend, GuardTag, Store};
use isal::Isal;

/// What a contender does with one block: reads the source, and writes the other if it copies.
/// Returns something that depends on the guard.
pub type Work = Box<dyn Fn(&mut [u8], &[u8]) -> u16>;

/// A named way to do one job.
pub struct Contender {
    /// As benchmarks print it.
    pub name: String,
    /// Takes whole buffers of any number of blocks.
    pub work: Work,
}

fn contender(
    name: impl Into<String>,
    work: impl Fn(&mut [u8], &[u8]) -> u16 + 'static,
) -> Contender {
    Contender { name: name.into(), work: Box::new(work) }
}

/// Calls `each` for every block, and adds up the guards.
fn blockwise(src: &[u8], block: usize, mut each: impl FnMut(&[u8]) -> u16) -> u16 {
    src.chunks_exact(block).fold(0, |sum, block| sum ^ each(block))
}

/// The same with the place of each copy.
fn copywise(
    dst: &mut [u8],
    src: &[u8],
    block: usize,
    mut each: impl FnMut(&mut [u8], &[u8]) -> u16,
) -> u16 {
    let pairs = dst.chunks_exact_mut(block).zip(src.chunks_exact(block));
    pairs.fold(0, |sum, (dst, src)| sum ^ each(dst, src))
}

/// Guards only, over blocks of this size.
pub fn guards(block: usize) -> Vec<Contender> {
    const TABLE_1: Crc<u16, Table<1>> = Crc::<u16, Table<1>>::new(&CRC_16_T10_DIF);
    const TABLE_16: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_T10_DIF);
    let mut all = vec![
        contender("dixtrap", move |_, src| blockwise(src, block, |b| dixtrap::pi::guard(b).0)),
        contender("dixtrap-blocks", move |_, src| runwise(src, block, dixtrap::pi::guards)),
        contender("crc-table-1", move |_, src| blockwise(src, block, |b| TABLE_1.checksum(b))),
        contender("crc-table-16", move |_, src| blockwise(src, block, |b| TABLE_16.checksum(b))),
        contender("crc-fast", move |_, src| {
            blockwise(src, block, |b| {
                let guard = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc16T10Dif, b);
                u16::try_from(guard).unwrap_or_default()
            })
        }),
    ];
    all.extend(CrcBackend::available().map(|backend| {
        contender(backend.name(), move |_, src| blockwise(src, block, |b| backend.guard(b).0))
    }));
    all.extend(
        Isal::load()
            .map(|isal| contender("isal", move |_, src| blockwise(src, block, |b| isal.guard(b)))),
    );
    all
}

/// Copies with guards, over blocks of this size.
pub fn copies(block: usize) -> Vec<Contender> {
    let mut all = vec![
        contender("dixtrap-copy", move |dst, src| {
            copywise(dst, src, block, |d, s| dixtrap::pi::copy_guard(d, s).0)
        }),
        contender("dixtrap-copy-blocks", move |dst, src| copy_runs(Store::Cached, dst, src, block)),
        contender("dixtrap-copy-blocks-streaming", move |dst, src| {
            copy_runs(Store::Streaming, dst, src, block)
        }),
    ];
    all.extend(CrcBackend::available().map(|backend| {
        contender(format!("{}-copy", backend.name()), move |dst, src| {
            copywise(dst, src, block, |d, s| backend.copy_guard(d, s).0)
        })
    }));
    all.push(contender("memcpy", |dst, src| {
        dst.copy_from_slice(src);
        0
    }));
    all.extend(Isal::load().map(|isal| {
        contender("isal-copy", move |dst, src| {
            copywise(dst, src, block, |d, s| isal.copy_guard(d, s))
        })
    }));
    all
}

/// What the largest usual request holds.
const RUN_BYTES: usize = 128 << 10;

/// Calls `each` with runs of blocks, as a large request has them.
fn runwise(src: &[u8], block: usize, mut each: impl FnMut(&[u8], &mut [GuardTag])) -> u16 {
    let mut room = [GuardTag(0); RUN_BYTES / 512];
    src.chunks(RUN_BYTES).fold(0, |sum, run| {
        let guards = &mut room[..run.len() / block];
        each(run, guards);
        guards.iter().fold(sum, |sum, guard| sum ^ guard.0)
    })
}

/// [`runwise`] with copies.
fn copy_runs(store: Store, dst: &mut [u8], src: &[u8], block: usize) -> u16 {
    let mut dst = dst.chunks_mut(RUN_BYTES);
    runwise(src, block, |src, guards| {
        let dst = dst.next().unwrap_or_default();
        assert_eq!(dst.len(), src.len());
        // SAFETY: a borrow as long as the copy.
        unsafe { dixtrap::pi::copy_guards_from(store, dst, src.as_ptr(), guards) }
    })
}
