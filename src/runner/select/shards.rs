//! Who runs what: kernels × devices × cells dealt to shards and to boots. Pure and deterministic:
//! the same arguments deal the same cells on every machine.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use crate::runner::host::device::Device;
use crate::runner::select::environment::Environment;
use crate::runner::select::estimate::{self, Pace};
use crate::runner::select::selection::Selection;
use crate::verdict::ShardOf;

/// A boot costs as much as a few cells: no boot is made for fewer than these to run beside others.
const WORTH_A_BOOT: usize = 8;

/// `--shard I/N`: the I-th of N parts, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    of: NonZeroUsize,
}

impl Shard {
    /// Everything.
    pub const WHOLE: Shard = Shard { index: 0, of: NonZeroUsize::MIN };

    /// What a verdict says of it.
    pub fn of_plan(self, plan: String) -> ShardOf {
        let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        ShardOf { index: number(self.index.saturating_add(1)), of: number(self.of.get()), plan }
    }

    /// The shard's part of things that lie in a row and take so long.
    fn range(self, times: &[Duration]) -> Range<usize> {
        let start = bound(times, self.index, self.of);
        start..bound(times, self.index.saturating_add(1), self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let wrong = || format!("'{text}' is no shard: use I/N with I from 1 to N, as in 2/4");
        let (index, of) = text.split_once('/').ok_or_else(wrong)?;
        let index: NonZeroUsize = index.parse().map_err(|_| wrong())?;
        let of: NonZeroUsize = of.parse().map_err(|_| wrong())?;
        if index > of {
            return Err(wrong());
        }
        Ok(Shard { index: index.get().saturating_sub(1), of })
    }
}

/// The `index`-th (from 0) of `of` parts of `total` things in a row; parts differ by one at most.
fn part(total: usize, index: usize, of: NonZeroUsize) -> Range<usize> {
    let bound = |n: usize| {
        // Wider than any number of cells: the product cannot be cut off.
        let at = u128::try_from(total).unwrap_or(0) * u128::try_from(n).unwrap_or(0)
            / u128::try_from(of.get()).unwrap_or(1);
        usize::try_from(at).unwrap_or(total)
    };
    bound(index)..bound(index.saturating_add(1))
}

/// Where the first `n` of `of` parts end: parts take about equally long, and none is empty as long as
/// there are things enough.
fn bound(times: &[Duration], n: usize, of: NonZeroUsize) -> usize {
    let (total, of) = (times.len(), of.get());
    if of >= total {
        // One each, and nothing for some.
        return n.saturating_mul(total) / of;
    }
    if n >= of {
        return total;
    }
    let all: u128 = times.iter().map(Duration::as_micros).sum();
    let mut end = 0;
    for part in 1..=n {
        let target =
            all.saturating_mul(u128::try_from(part).unwrap_or(0)) / u128::try_from(of).unwrap_or(1);
        let mut before: u128 = 0;
        let half_way = times.iter().take_while(|time| {
            let middle = before.saturating_add(time.as_micros() / 2);
            before = before.saturating_add(time.as_micros());
            middle < target
        });
        // At least one thing for this part, and one for each that follows.
        end = half_way.count().max(end + 1).min(total - (of - part));
    }
    end
}

/// Cells for one boot (or more, where a guest is lost).
#[derive(Debug, Clone)]
pub struct Assignment {
    /// The kernel's place among those asked for.
    pub kernel: usize,
    /// The device.
    pub device: Device,
    /// The cells.
    pub selection: Selection,
}

impl Assignment {
    /// About how long each of its cells takes; the first one's boot is its own.
    pub fn times(&self, pace: Pace) -> Vec<Duration> {
        times(self.device, &self.selection, pace)
    }
}

/// A shard that has nothing to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this shard is empty: there are only {cells} cells; use no more shards than that")]
pub struct EmptyShard {
    cells: usize,
}

/// Deals the shard's part of `kernels` × `devices` × the selection's cells to boots: neighbours stay
/// together, so that few boots are needed, and a boot is split only where guests would stand idle.
///
/// # Errors
/// When the shard has no cell.
pub fn deal(
    kernels: usize,
    devices: &[Device],
    selection: &Selection,
    (shard, pace): (Shard, Pace),
    jobs: NonZeroUsize,
) -> Result<Vec<Assignment>, EmptyShard> {
    let theirs: Vec<(Device, Selection)> =
        devices.iter().map(|device| (*device, selection.on(*device))).collect();
    let one_kernel: Vec<Duration> =
        theirs.iter().flat_map(|(device, cells)| times(*device, cells, pace)).collect();
    let all = one_kernel.repeat(kernels);
    let (cells, mine) = (all.len(), shard.range(&all));
    let mut dealt = Vec::new();
    let mut first = 0_usize;
    for kernel in 0..kernels {
        for (device, selection) in &theirs {
            let each = selection.len();
            let start = mine.start.clamp(first, first.saturating_add(each)) - first;
            let end = mine.end.clamp(first, first.saturating_add(each)) - first;
            first = first.saturating_add(each);
            if start < end {
                let selection = selection.part(start..end);
                dealt.push(Assignment { kernel, device: *device, selection });
            }
        }
    }
    if dealt.is_empty() {
        return Err(EmptyShard { cells });
    }
    Ok(split(dealt, jobs))
}

/// How long each cell takes; the first one's boot is its own.
fn times(device: Device, selection: &Selection, pace: Pace) -> Vec<Duration> {
    let around = Environment { device, ..Environment::default() };
    let mut times: Vec<Duration> =
        selection.expected(&around).iter().map(|cell| estimate::cell(cell, pace)).collect();
    if let Some(first) = times.first_mut() {
        *first = first.saturating_add(estimate::BOOT);
    }
    times
}

/// Splits assignments until there is one for every guest that may run, as long as that pays.
fn split(dealt: Vec<Assignment>, jobs: NonZeroUsize) -> Vec<Assignment> {
    let wanted = jobs.get().div_ceil(dealt.len().max(1));
    let parts_of = |assignment: &Assignment| {
        let worth = assignment.selection.len() / WORTH_A_BOOT;
        NonZeroUsize::new(wanted.min(worth)).unwrap_or(NonZeroUsize::MIN)
    };
    dealt
        .into_iter()
        .flat_map(|assignment| {
            let (of, cells) = (parts_of(&assignment), assignment.selection.len());
            (0..of.get()).map(move |index| Assignment {
                selection: assignment.selection.part(part(cells, index, of)),
                ..assignment.clone()
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::select::catalogue::Catalogue;
    use proptest::prelude::*;

    const PACE: Pace = Pace { seconds: 5, repeat: 1 };

    fn all() -> Selection {
        Selection::new(Catalogue::embedded().unwrap(), &[], &[]).unwrap()
    }

    fn jobs(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).unwrap()
    }

    /// Every cell that the assignments hold, by kernel and name.
    fn names(dealt: &[Assignment]) -> Vec<(usize, String)> {
        let of = |a: &Assignment| -> Vec<(usize, String)> {
            a.selection.chosen().iter().map(|spec| (a.kernel, spec.name())).collect()
        };
        dealt.iter().flat_map(of).collect()
    }

    #[test]
    fn shards_are_written_from_one() {
        assert_eq!("1/1".parse(), Ok(Shard::WHOLE));
        let second: Shard = "2/4".parse().unwrap();
        assert_eq!(second.range(&[Duration::from_secs(1); 8]), 2..4);
        let told = ShardOf { index: 2, of: 4, plan: "p".into() };
        assert_eq!(second.of_plan("p".into()), told);
        assert_eq!(Shard::WHOLE.of_plan("p".into()), ShardOf::whole("p"));
        for bad in ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b"] {
            assert!(bad.parse::<Shard>().unwrap_err().contains("use I/N"), "{bad}");
        }
    }

    #[test]
    fn one_boot_a_kernel_unless_guests_would_stand_idle() {
        let dealt = deal(4, &[Device::Blk], &all(), (Shard::WHOLE, PACE), jobs(2)).unwrap();
        assert_eq!(dealt.iter().map(|a| a.kernel).collect::<Vec<_>>(), [0, 1, 2, 3]);
        let halves = deal(1, &[Device::Blk], &all(), (Shard::WHOLE, PACE), jobs(2)).unwrap();
        assert_eq!(halves.len(), 2);
        let one = all().part(0..WORTH_A_BOOT);
        assert_eq!(deal(1, &[Device::Blk], &one, (Shard::WHOLE, PACE), jobs(2)).unwrap().len(), 1);
    }

    #[test]
    fn a_shard_without_cells_is_refused() {
        let one = all().part(0..1);
        let shard = "2/3".parse().unwrap();
        let error = deal(1, &[Device::Blk], &one, (shard, PACE), jobs(1)).unwrap_err();
        assert!(error.to_string().contains("only 1 cells"), "{error}");
    }

    #[test]
    fn parts_take_about_equally_long() {
        let seconds =
            |all: &[u64]| all.iter().copied().map(Duration::from_secs).collect::<Vec<_>>();
        let cut = |times: &[Duration], of: usize| -> Vec<usize> {
            let of = NonZeroUsize::new(of).unwrap();
            (0..=of.get()).map(|n| bound(times, n, of)).collect()
        };
        assert_eq!(cut(&seconds(&[1, 1, 1, 1, 4]), 2), [0, 4, 5]);
        assert_eq!(cut(&seconds(&[9, 1, 1, 1]), 2), [0, 1, 4]);
        assert_eq!(cut(&seconds(&[0, 0, 0]), 2), [0, 1, 3]);
        assert_eq!(cut(&seconds(&[1, 1]), 4), [0, 0, 1, 1, 2]);
        assert_eq!(cut(&[], 2), [0, 0, 0]);
    }

    proptest! {
        /// No part is more than half of its ends' things away from its share.
        #[test]
        fn nothing_is_lost_and_no_part_is_much_too_long(
            seconds in prop::collection::vec(0_u64..100, 1..60), of in 1_usize..20,
        ) {
            let times: Vec<Duration> = seconds.iter().copied().map(Duration::from_secs).collect();
            let of = NonZeroUsize::new(of).unwrap();
            let ends: Vec<usize> = (0..=of.get()).map(|n| bound(&times, n, of)).collect();
            prop_assert_eq!((ends[0], ends[of.get()]), (0, times.len()));
            prop_assert!(ends.is_sorted());
            if of.get() <= times.len() {
                let share = seconds.iter().sum::<u64>() / u64::try_from(of.get()).unwrap();
                for ends in ends.windows(2) {
                    prop_assert!(ends[0] < ends[1]);
                    let time: u64 = seconds[ends[0]..ends[1]].iter().sum();
                    let single = ends[1] - ends[0] == 1;
                    prop_assert!(single || time <= share + 2 * 100, "{time} of {share}");
                }
            }
        }

        /// Together the shards run every cell of every kernel once, whatever the number of guests.
        #[test]
        fn shards_cover_everything_once(
            kernels in 1_usize..5, of in 1_usize..9, guests in 1_usize..9,
        ) {
            let selection = all();
            let whole = names(&deal(kernels, &[Device::Blk], &selection, (Shard::WHOLE, PACE), jobs(1)).unwrap());
            let mut sharded = Vec::new();
            for index in 1..=of {
                let shard = format!("{index}/{of}").parse().unwrap();
                let dealt = deal(kernels, &[Device::Blk], &selection, (shard, PACE), jobs(guests)).unwrap();
                prop_assert!(dealt.iter().all(|assignment| !assignment.selection.is_empty()));
                sharded.extend(names(&dealt));
            }
            prop_assert_eq!(sharded, whole);
        }
    }
}
