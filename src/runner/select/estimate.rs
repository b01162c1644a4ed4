//! How long a cell takes, about: for lists, and to deal equal parts to machines. The same on every machine,
//! whatever it is, so that shards agree; only the proportions matter. Medians of some hundred cells under
//! TCG on two busy cores.

use std::time::Duration;

use crate::runner::select::cell_spec::CellSpec;
use crate::runner::select::plan::PlannedCell;

/// From QEMU's start to the first cell.
pub const BOOT: Duration = Duration::from_secs(15);

/// Until a race shows that is there.
const FIRST_RACE: Duration = Duration::from_millis(1_200);
/// Sync, owners and unmount.
const END: Duration = Duration::from_millis(1_500);
/// Another device between file system and disk: made, and taken apart.
const STACKED: Duration = Duration::from_millis(3_000);
/// One request that fails, and the look into the kernel's log.
const FAULT: Duration = Duration::from_millis(700);

/// How long cells write, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// `--seconds`.
    pub seconds: u32,
    /// `--repeat`.
    pub repeat: u32,
}

/// How long `cell` takes.
pub fn cell(cell: &PlannedCell, pace: Pace) -> Duration {
    let spec = &cell.spec;
    let writing = if cell.faults.is_empty() {
        let asked = Duration::from_secs(pace.seconds.into());
        if cell.ends_at_a_race() { asked.min(FIRST_RACE) } else { asked }
    } else {
        FAULT.saturating_mul(u32::try_from(cell.faults.len()).unwrap_or(u32::MAX))
    };
    let stacked = if spec.scenario.drivers.is_empty() { Duration::ZERO } else { STACKED };
    let once = [set_up(spec), stacked, writing, END].iter().sum::<Duration>();
    once.saturating_mul(pace.repeat)
}

/// mkfs and mount.
fn set_up(spec: &CellSpec) -> Duration {
    Duration::from_millis(match spec.fs.name.as_str() {
        "raw" => 300,
        "xfs" => 2_400,
        "btrfs" | "btrfs-nodatasum" | "partition" => 1_500,
        _ => 1_000,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::select::catalogue::Catalogue;
    use crate::runner::select::environment::Environment;
    use crate::runner::select::selection::Selection;

    #[test]
    fn what_writes_longer_and_more_often_takes_longer() {
        let of = |scenario: &str, seconds, repeat| {
            let words = |word: &str| vec![word.to_owned()];
            let chosen =
                Selection::new(Catalogue::embedded().unwrap(), &words(scenario), &words("*"));
            let planned = chosen.unwrap().expected(&Environment::default());
            cell(&planned[0], Pace { seconds, repeat })
        };
        assert!(of("metadata-churn", 20, 1) > of("metadata-churn", 5, 1));
        assert_eq!(of("metadata-churn", 5, 3), of("metadata-churn", 5, 1) * 3);
        // A race that is expected ends its cell.
        assert_eq!(of("direct-rewrite", 20, 1), of("direct-rewrite", 5, 1));
        assert!(of("write-faults", 5, 1) > FAULT * 8);
        let most = of("metadata-churn", 86_400, 10_000);
        assert!(most > Duration::from_secs(864_000_000));
    }
}
