//! The judgement of one cell: what was expected against what was seen.

use crate::record::{Counters, WindowStats};

use super::cell::{CellOutcome, Expect, Repeat};

/// How many blocks have to be checked before "none raced" is a result.
pub const MIN_BLOCKS: u64 = 1_000;

/// What was seen of a cell that ran, in all its repetitions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// The device's counters, summed.
    pub counters: Counters,
    /// In how many repetitions something raced.
    pub repeat: Repeat,
    /// Blocks that differ between the legs of a mirror, summed; `None` where none were compared.
    pub divergent: Option<u64>,
    /// What the kernel did wrong besides, where the scenario found something.
    pub wrong: Option<String>,
    /// What went wrong in the guest, in one line.
    pub trouble: Option<String>,
}

impl Seen {
    /// Adds what one repetition counted, and what it found between the legs of a mirror.
    pub fn add(&mut self, counters: &Counters, divergent: Option<u64>) {
        let raced = counters.races.seen_by_hardware() > 0;
        self.repeat.n = self.repeat.n.saturating_add(1);
        self.repeat.k = self.repeat.k.saturating_add(u32::from(raced));
        add_counters(&mut self.counters, counters);
        self.divergent = match (self.divergent, divergent) {
            (Some(known), Some(more)) => Some(known.saturating_add(more)),
            (known, more) => known.or(more),
        };
    }

    /// Races that hardware would have seen; changes after the fetch are an audit.
    pub fn races(&self) -> u64 {
        self.counters.races.seen_by_hardware()
    }
}

/// Sums what a cell tells of; its window keeps the maximum.
fn add_counters(sum: &mut Counters, more: &Counters) {
    sum.writes = sum.writes.saturating_add(more.writes);
    sum.blocks_checked = sum.blocks_checked.saturating_add(more.blocks_checked);
    sum.races = sum.races.plus(more.races);
    sum.guard_blind = sum.guard_blind.saturating_add(more.guard_blind);
    sum.healed = sum.healed.saturating_add(more.healed);
    sum.standing = sum.standing.saturating_add(more.standing);
    sum.medium_faults = sum.medium_faults.saturating_add(more.medium_faults);
    sum.window_us = match (sum.window_us, more.window_us) {
        (Some(a), Some(b)) => Some(WindowStats { median: a.median, max: a.max.max(b.max) }),
        (a, b) => a.or(b),
    };
}

/// What else is known of the boot that a cell ran in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlEvidence {
    /// The cell is itself a positive control.
    pub is_control: bool,
    /// A positive control other than this cell was caught in the same boot.
    pub proven_by_another: bool,
}

/// Decides a cell: its outcome and, unless it passed, the reason.
///
/// A race is proof by itself. The absence of races is not: it counts only over [`MIN_BLOCKS`]
/// blocks and in a boot where a positive control was caught. A survey may be content with `few` blocks.
pub fn judge(
    expect: Expect,
    control: ControlEvidence,
    seen: &Seen,
    few: Option<u64>,
) -> (CellOutcome, Option<String>) {
    let races = seen.races();
    let checked = seen.counters.blocks_checked;
    let besides = seen.trouble.as_ref().map_or_else(String::new, |why| format!("; besides: {why}"));
    if expect == Expect::Stable && races > 0 {
        let raced = seen.counters.races.words(checked);
        return fail(format!("{raced} where none may{besides}"));
    }
    if expect == Expect::Stable
        && let Some(divergent) = seen.divergent.filter(|blocks| *blocks > 0)
    {
        return fail(format!("{divergent} blocks differ between the legs of the mirror{besides}"));
    }
    if let Some(wrong) = &seen.wrong {
        return fail(wrong.clone());
    }
    if let Some(trouble) = &seen.trouble {
        return error(trouble.clone());
    }
    if seen.counters.medium_faults > 0 {
        return error(format!(
            "{} blocks on the medium did not match their protection information",
            seen.counters.medium_faults
        ));
    }
    let needed = few.filter(|_| expect == Expect::Survey).unwrap_or(MIN_BLOCKS);
    match expect {
        Expect::Race | Expect::Survey if races > 0 => (CellOutcome::Pass, None),
        _ if checked < needed => error(format!(
            "only {checked} blocks were checked, {needed} are needed: raise --seconds"
        )),
        Expect::Survey => (CellOutcome::Pass, None),
        Expect::Race if control.is_control => {
            error(format!("control missed: none of {checked} blocks raced; raise --seconds"))
        }
        _ if !control.proven_by_another => error(
            "no control was caught in this boot, so nothing proves that the trap was armed"
                .to_owned(),
        ),
        Expect::Race => fail(format!("a race was expected and none of {checked} blocks raced")),
        Expect::Stable => (CellOutcome::Pass, None),
    }
}

fn fail(reason: String) -> (CellOutcome, Option<String>) {
    (CellOutcome::Fail, Some(reason))
}

fn error(reason: String) -> (CellOutcome, Option<String>) {
    (CellOutcome::Error, Some(reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Phases;

    const ARMED: ControlEvidence = ControlEvidence { is_control: false, proven_by_another: true };
    const UNPROVEN: ControlEvidence =
        ControlEvidence { is_control: false, proven_by_another: false };
    const CONTROL: ControlEvidence = ControlEvidence { is_control: true, proven_by_another: true };

    fn seen(checked: u64, in_window: u64) -> Seen {
        let races = Phases { in_window, ..Phases::default() };
        let counters = Counters { blocks_checked: checked, races, ..Counters::default() };
        Seen { counters, ..Seen::default() }
    }

    #[test]
    fn every_rule() {
        use CellOutcome::{Error, Fail, Pass};
        for (expect, control, checked, races, outcome) in [
            (Expect::Stable, ARMED, 5_000, 0, Pass),
            (Expect::Stable, ARMED, 5_000, 1, Fail),
            // Proof needs no control and no number of blocks.
            (Expect::Stable, UNPROVEN, 1, 1, Fail),
            (Expect::Stable, UNPROVEN, 5_000, 0, Error),
            (Expect::Stable, ARMED, MIN_BLOCKS, 0, Pass),
            (Expect::Stable, ARMED, MIN_BLOCKS - 1, 0, Error),
            (Expect::Race, UNPROVEN, 1, 1, Pass),
            (Expect::Race, ARMED, 5_000, 0, Fail),
            (Expect::Race, UNPROVEN, 5_000, 0, Error),
            (Expect::Race, ARMED, 10, 0, Error),
            // A control that misses says nothing about the kernel.
            (Expect::Race, CONTROL, 5_000, 0, Error),
            (Expect::Survey, UNPROVEN, MIN_BLOCKS, 0, Pass),
            // A survey of next to nothing tells nothing either.
            (Expect::Survey, ARMED, MIN_BLOCKS - 1, 0, Error),
            (Expect::Survey, ARMED, 10, 5, Pass),
            (Expect::Survey, ARMED, 0, 0, Error),
        ] {
            let (got, reason) = judge(expect, control, &seen(checked, races), None);
            assert_eq!(got, outcome, "{expect} {control:?} {checked} {races}");
            assert_eq!(reason.is_none(), outcome == Pass);
        }
    }

    #[test]
    fn legs_that_differ_fail_where_nothing_may_race() {
        let diverged = Seen { divergent: Some(3), ..seen(5_000, 0) };
        let (outcome, reason) = judge(Expect::Stable, ARMED, &diverged, None);
        assert_eq!(outcome, CellOutcome::Fail);
        assert_eq!(reason.unwrap(), "3 blocks differ between the legs of the mirror");
        let alike = Seen { divergent: Some(0), ..seen(5_000, 0) };
        assert_eq!(judge(Expect::Stable, ARMED, &alike, None).0, CellOutcome::Pass);
        assert_eq!(judge(Expect::Survey, ARMED, &diverged, None).0, CellOutcome::Pass);
    }

    #[test]
    fn what_a_scenario_found_wrong_fails_whatever_was_expected() {
        for expect in [Expect::Stable, Expect::Race, Expect::Survey] {
            let wrong = Some("a read ended with EIO".to_owned());
            let trouble = Some("the script failed".to_owned());
            let seen = Seen { wrong: wrong.clone(), trouble, ..seen(5_000, 0) };
            assert_eq!(judge(expect, ARMED, &seen, None), (CellOutcome::Fail, wrong));
        }
    }

    #[test]
    fn a_change_after_the_fetch_is_no_race() {
        let mut audit = seen(5_000, 0);
        audit.counters.races.after_fetch = 9;
        assert_eq!(judge(Expect::Stable, ARMED, &audit, None).0, CellOutcome::Pass);
    }

    #[test]
    fn trouble_in_the_guest_hides_no_race_and_passes_no_cell() {
        let trouble = Some("umount failed".to_owned());
        let clean = Seen { trouble: trouble.clone(), ..seen(5_000, 0) };
        assert_eq!(
            judge(Expect::Stable, ARMED, &clean, None),
            (CellOutcome::Error, trouble.clone())
        );
        let raced = Seen { trouble, ..seen(5_000, 3) };
        let (outcome, reason) = judge(Expect::Stable, ARMED, &raced, None);
        assert_eq!(outcome, CellOutcome::Fail);
        assert!(reason.unwrap().ends_with("where none may; besides: umount failed"));
    }

    #[test]
    fn faults_of_the_medium_are_never_clean() {
        let mut faulty = seen(5_000, 0);
        faulty.counters.medium_faults = 1;
        assert_eq!(judge(Expect::Stable, ARMED, &faulty, None).0, CellOutcome::Error);
    }

    #[test]
    fn a_survey_may_ask_for_few_blocks_and_nothing_else_may() {
        let of = |expect, checked| judge(expect, ARMED, &seen(checked, 0), Some(8));
        assert_eq!(of(Expect::Survey, 8).0, CellOutcome::Pass);
        let (outcome, reason) = of(Expect::Survey, 7);
        assert_eq!(outcome, CellOutcome::Error);
        assert!(reason.unwrap().starts_with("only 7 blocks were checked, 8 are needed"));
        assert_eq!(of(Expect::Stable, 8).0, CellOutcome::Error);
        assert_eq!(of(Expect::Race, 8).0, CellOutcome::Error);
    }
}
