//! `--resume VERDICT`: a run that an earlier one has done a part of. What has a result there does not run again.

use std::collections::{BTreeMap, BTreeSet};

use crate::runner::host::device::Device;
use crate::runner::select::selection::Selection;
use crate::runner::select::shards::Assignment;
use crate::verdict::{Boot, Cell, CellOutcome, Verdict};

/// Why nothing can be resumed from a verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// It was written by another version, which may run and expect other things.
    #[error("it is of dixtrap {0}, and this is {1}: what it lacks has to run with the same")]
    Version(String, String),
    /// A report's flags have left some of its cells out.
    #[error("it has only some of its {0} cells ({1}): give the verdict that it was made from")]
    Filtered(usize, String),
    /// It does not say what the run was asked to do, or is of several.
    #[error("it is of no single plan: give the verdict of one run, or of parts of one")]
    NoPlan,
    /// The run was asked for something else.
    #[error(
        "it is of plan {0}, and this run would be of plan {1}: give the arguments that it was run with{2}"
    )]
    Foreign(String, String, String),
}

/// What an earlier run has done.
#[derive(Debug, Default)]
pub struct Resume {
    /// Its cells that have a result.
    cells: Vec<Cell>,
    /// What was told of its boots.
    pub boots: Vec<Boot>,
    /// How long it took.
    pub seconds: f64,
    /// By the last name of what was asked for, the release that it was.
    kernels: BTreeMap<String, String>,
    /// By release, the SHA-256 of its image.
    images: BTreeMap<String, BTreeSet<String>>,
}

impl Resume {
    /// What `verdict` has of the plan with this hash.
    ///
    /// # Errors
    /// Where it is of another one, or nobody can tell.
    pub fn new(verdict: Verdict, plan: &str) -> Result<Resume, ResumeError> {
        if verdict.version != env!("CARGO_PKG_VERSION") {
            let ours = env!("CARGO_PKG_VERSION").to_owned();
            return Err(ResumeError::Version(verdict.version, ours));
        }
        if let Some(filtered) = verdict.filtered {
            return Err(ResumeError::Filtered(filtered.of, filtered.by));
        }
        let parts = verdict.parts.iter().map(|part| (&part.shard, &part.provenance));
        let itself = verdict.parts.is_empty().then_some((&verdict.shard, &verdict.provenance));
        let parts: Vec<_> = parts.chain(itself).collect();
        for (shard, provenance) in &parts {
            let theirs = &shard.as_ref().ok_or(ResumeError::NoPlan)?.plan;
            if theirs != plan {
                let command = provenance.as_ref().map(|p| format!(" ({})", p.command));
                let (theirs, ours) = (short(theirs), short(plan));
                return Err(ResumeError::Foreign(theirs, ours, command.unwrap_or_default()));
            }
        }
        let told = || parts.iter().filter_map(|(_, provenance)| provenance.as_ref());
        let mut images: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (release, sha256) in told().flat_map(|provenance| &provenance.kernel_sha256) {
            images.entry(release.clone()).or_default().insert(sha256.clone());
        }
        let kernels = told()
            .flat_map(|provenance| &provenance.kernels)
            .map(|(asked, release)| (last_name(asked).to_owned(), release.clone()))
            .collect();
        let cells = verdict.cells.into_iter().filter(|cell| cell.outcome != CellOutcome::Error);
        Ok(Resume {
            cells: cells.collect(),
            boots: verdict.boots,
            seconds: verdict.seconds,
            kernels,
            images,
        })
    }

    /// Whether what ran there under this release was the image of this SHA-256, as far as that is known.
    pub fn is_image(&self, release: &str, sha256: &str) -> bool {
        self.images.get(release).is_none_or(|known| known.iter().all(|one| one == sha256))
    }

    /// The release that these words were, where it was another one than they are now.
    pub fn other_release(&self, asked: &str, now: &str) -> Option<&str> {
        self.kernels.get(last_name(asked)).map(String::as_str).filter(|then| *then != now)
    }

    /// What of an assignment has no result yet.
    pub fn lacking(&self, release: &str, assignment: &Assignment) -> Selection {
        let Assignment { device, selection, .. } = assignment;
        let lacks = |name: &String| !self.of(release, *device).any(|cell| cell.name() == *name);
        let names = selection.chosen().iter().map(|spec| spec.name());
        selection.named(&names.filter(lacks).collect::<Vec<_>>())
    }

    /// The results of an assignment's cells, and of the controls beside them.
    pub fn done(&self, release: &str, assignment: &Assignment) -> Vec<Cell> {
        let Assignment { device, selection, .. } = assignment;
        let is_chosen = |name: &str| selection.chosen().iter().any(|spec| spec.name() == name);
        let ours = |cell: &&Cell| is_chosen(&cell.name()) || cell.control;
        self.of(release, *device).filter(ours).cloned().collect()
    }

    fn of(&self, release: &str, device: Device) -> impl Iterator<Item = &Cell> {
        let here = move |cell: &&Cell| cell.kernel == release && cell.device == device.name();
        self.cells.iter().filter(here)
    }
}

/// The beginning of a plan's hash: enough to tell two apart by eye.
fn short(plan: &str) -> String {
    plan.chars().take(8).collect()
}

/// Where a kernel lies may differ from machine to machine.
fn last_name(asked: &str) -> &str {
    asked.rsplit('/').find(|name| !name.is_empty()).unwrap_or(asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::select::catalogue::Catalogue;
    use crate::verdict::{Expect, Filtered, Part, ShardOf};
    use chrono::DateTime;

    fn assignment() -> Assignment {
        let words = |word: &str| [word.to_owned()];
        let catalogue = Catalogue::embedded().unwrap();
        let selection = Selection::new(catalogue, &words("mmap-rewrite"), &words("ext4")).unwrap();
        Assignment { kernel: 0, device: Device::Blk, selection }
    }

    fn cell(kernel: &str, name: usize, outcome: CellOutcome, control: bool) -> Cell {
        let assignment = assignment();
        let spec = &assignment.selection.chosen()[name];
        Cell::unmeasured(
            (kernel, "blk"),
            (&spec.scenario.name, &spec.fs.name, spec.stable_writes),
            (Expect::Stable, control),
            (outcome, None),
        )
    }

    fn verdict(cells: Vec<Cell>) -> Verdict {
        Verdict::over(cells, None, DateTime::UNIX_EPOCH, 2.0).of_shard(ShardOf::whole("p"))
    }

    #[test]
    fn what_has_a_result_does_not_run_again() {
        use CellOutcome::{Error, Fail, Pass};
        let added = Cell {
            scenario: "direct-rewrite".into(),
            fs: "raw".into(),
            ..cell("6.1.0", 0, Pass, true)
        };
        for (outcome, again) in [(Pass, 1), (Fail, 1), (Error, 2)] {
            let cells = vec![cell("6.1.0", 0, outcome, false), added.clone()];
            let resume = Resume::new(verdict(cells), "p").unwrap();
            assert_eq!(resume.lacking("6.1.0", &assignment()).len(), again, "{outcome}");
            // A control of an earlier boot stays beside what it proves.
            assert_eq!(resume.done("6.1.0", &assignment()).len(), 3 - again);
            assert_eq!(resume.lacking("6.2.0", &assignment()).len(), 2, "another kernel");
            let scsi = Assignment { device: Device::Scsi, ..assignment() };
            assert_eq!(resume.lacking("6.1.0", &scsi).len(), 2, "another device");
        }
    }

    /// `uname -r` of a kernel that was built again in its place is the same.
    #[test]
    fn another_image_of_the_same_release_is_told_apart() {
        let of = |images: &[(&str, &str)]| {
            let images = images.iter().map(|(r, s)| ((*r).to_owned(), (*s).to_owned()));
            let provenance = crate::verdict::Provenance {
                kernel_sha256: images.collect(),
                ..Default::default()
            };
            Resume::new(verdict(Vec::new()).with_provenance(provenance), "p").unwrap()
        };
        assert!(of(&[("6.1.0", "aa")]).is_image("6.1.0", "aa"));
        assert!(!of(&[("6.1.0", "aa")]).is_image("6.1.0", "bb"));
        assert!(of(&[("6.2.0", "aa")]).is_image("6.1.0", "bb"));
    }

    #[test]
    fn nothing_is_resumed_from_what_is_foreign() {
        let whole = verdict(vec![cell("6.1.0", 0, CellOutcome::Pass, false)]);
        let of = |change: &dyn Fn(&mut Verdict)| {
            let mut verdict = whole.clone();
            change(&mut verdict);
            Resume::new(verdict, "p").map(drop).unwrap_err().to_string()
        };
        assert!(Resume::new(whole.clone(), "p").is_ok());
        let foreign = of(&|v| v.shard = Some(ShardOf::whole("0123456789")));
        assert!(foreign.contains("of plan 01234567, and this run would be of plan p"), "{foreign}");
        assert!(of(&|v| v.shard = None).contains("no single plan"));
        assert!(of(&|v| v.version = "0.0.1".into()).contains("it is of dixtrap 0.0.1"));
        let by = "--label a".to_owned();
        let some = Filtered { by, of: 9, bad_left_out: 0 };
        assert!(of(&|v| v.filtered = Some(some.clone())).contains("only some of its 9 cells"));
        // Parts of one plan without a whole are what a killed part leaves; of two plans they are none.
        let part = |plan: &str| Part {
            shard: Some(ShardOf { index: 1, of: 3, plan: plan.into() }),
            started: DateTime::UNIX_EPOCH,
            seconds: 1.0,
            exit_status: 0,
            provenance: None,
        };
        let parts = |plans: [&str; 2]| Verdict {
            shard: None,
            parts: plans.map(part).to_vec(),
            ..whole.clone()
        };
        assert!(Resume::new(parts(["p", "p"]), "p").is_ok());
        assert!(Resume::new(parts(["p", "q"]), "p").is_err());
    }

    #[test]
    fn a_word_for_a_kernel_may_mean_another_one_by_now() {
        let kernels = [("debian:sid".to_owned(), "7.2.1".to_owned())].into();
        let resume = Resume { kernels, ..Resume::default() };
        assert_eq!(resume.other_release("debian:sid", "7.2.2"), Some("7.2.1"));
        assert_eq!(resume.other_release("debian:sid", "7.2.1"), None);
        assert_eq!(resume.other_release("debian:trixie", "6.12.0"), None);
    }
}
