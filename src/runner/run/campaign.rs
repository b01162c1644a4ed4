//! Kernels × devices: finds every kernel, deals the cells, and runs the guests side by side.

use std::collections::VecDeque;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use crate::runner::host::accel::Accel;
use crate::runner::host::device::Device;
use crate::runner::host::digest::sha256_of;
use crate::runner::host::progress::Board;
use crate::runner::kernel::{Kernel, KernelError, KernelSpec};
use crate::runner::run::context::{Context, cpus_each};
use crate::runner::run::kernel_run::{KernelRun, Runner};
use crate::runner::run::options::RunOptions;
use crate::runner::run::provenance::UsedKernel;
use crate::runner::run::resume::Resume;
use crate::runner::select::estimate::Pace;
use crate::runner::select::selection::Selection;
use crate::runner::select::shards::{Assignment, EmptyShard, Shard, deal};
use crate::verdict::{Cell, CellOutcome, MergeError, StopReason, merge_cells};

/// A kernel as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The user's word.
    pub name: String,
    /// What it means.
    pub spec: KernelSpec,
}

/// Why nothing can be run.
#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    /// The shard has no cell.
    #[error(transparent)]
    Shard(#[from] EmptyShard),
    /// Two kernels that no verdict could tell apart.
    #[error("{0} and {1} are both Linux {2}: give each a CONFIG_LOCALVERSION of its own")]
    SameRelease(String, String, String),
    /// A word for a kernel means another one than when the run began that is resumed.
    #[error("{0} was Linux {1} in the run that is resumed, and is {2} now: run it all once more")]
    OtherKernel(String, String, String),
    /// The kernel was built again in its place.
    #[error(
        "{0} (Linux {1}) is another file than in the run that is resumed: run it all once more"
    )]
    OtherImage(String, String),
    /// The boots of one kernel do not go together: a mistake of ours.
    #[error(transparent)]
    Merge(#[from] MergeError),
}

/// Everything that a run is about.
#[derive(Debug)]
pub struct Campaign<'a> {
    /// How.
    pub options: &'a RunOptions,
    /// On what kernels.
    pub kernels: &'a [Asked],
    /// What Debian's suites have now, even where an older kernel of them is cached.
    pub refresh: bool,
    /// On what devices.
    pub devices: &'a [Device],
    /// What.
    pub selection: &'a Selection,
    /// Which part of it all.
    pub shard: Shard,
    /// What of that has been done.
    pub resume: Option<&'a Resume>,
    /// How many guests run side by side.
    pub jobs: NonZeroU32,
    /// How many cores there are.
    pub cores: u32,
    /// Who listens.
    pub board: &'a dyn Board,
    /// Set when the user wants an end.
    pub interrupted: &'a AtomicBool,
}

/// A kernel, or why there is none.
type Found = Result<Kernel, KernelError>;

impl Campaign<'_> {
    /// Runs everything. What goes wrong with one kernel does not keep the others from their turn.
    ///
    /// # Errors
    /// When nothing can be run at all.
    pub fn run(&self) -> Result<KernelRun, CampaignError> {
        let jobs = NonZeroUsize::try_from(self.jobs).unwrap_or(NonZeroUsize::MIN);
        let RunOptions { seconds, repeat, .. } = *self.options;
        let part = (self.shard, Pace { seconds, repeat });
        let dealt = deal(self.kernels.len(), self.devices, self.selection, part, jobs)?;
        let found = self.find_kernels(&dealt);
        self.check_releases(&found)?;
        let (dealt, done) = self.without_done(dealt, &found);
        let accel = Mutex::new(None);
        let runs = self.run_all(&dealt, &found, &accel);
        let mut all = gather(done, runs)?;
        all.kernels = self.used(&found);
        all.accel = accel.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(all)
    }

    /// What the words for the kernels turned out to be.
    fn used(&self, found: &[Option<Found>]) -> Vec<UsedKernel> {
        let used = |(asked, found): (&Asked, &Option<Found>)| {
            found.as_ref()?.as_ref().ok().map(|kernel| UsedKernel::of(&asked.name, kernel))
        };
        self.kernels.iter().zip(found).filter_map(used).collect()
    }

    /// Locates the kernels that something was dealt to.
    fn find_kernels(&self, dealt: &[Assignment]) -> Vec<Option<Found>> {
        let say = self.board.lane(None);
        let used = |index| dealt.iter().any(|assignment| assignment.kernel == index);
        let locate = |asked: &Asked| asked.spec.locate_now(self.refresh, &|line| say.note(line));
        let kernels = self.kernels.iter().enumerate();
        kernels.map(|(index, asked)| used(index).then(|| locate(asked))).collect()
    }

    fn check_releases(&self, found: &[Option<Found>]) -> Result<(), CampaignError> {
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for (asked, found) in self.kernels.iter().zip(found) {
            let release = match found {
                None => continue,
                Some(Ok(kernel)) => kernel.release.as_str(),
                Some(Err(_)) => asked.name.as_str(),
            };
            if let Some((other, _)) = seen.iter().find(|(_, known)| *known == release) {
                let (a, b) = ((*other).to_owned(), asked.name.clone());
                return Err(CampaignError::SameRelease(a, b, release.to_owned()));
            }
            if let (Some(resume), Some(Ok(_))) = (self.resume, found)
                && let Some(then) = resume.other_release(&asked.name, release)
            {
                let (asked, then) = (asked.name.clone(), then.to_owned());
                return Err(CampaignError::OtherKernel(asked, then, release.to_owned()));
            }
            if let (Some(resume), Some(Ok(kernel))) = (self.resume, found)
                && sha256_of(&kernel.image).is_ok_and(|now| !resume.is_image(release, &now))
            {
                return Err(CampaignError::OtherImage(asked.name.clone(), release.to_owned()));
            }
            seen.push((&asked.name, release));
        }
        Ok(())
    }

    /// What is left where a run is resumed, and the results that there are.
    fn without_done(
        &self,
        dealt: Vec<Assignment>,
        found: &[Option<Found>],
    ) -> (Vec<Assignment>, Vec<Cell>) {
        let Some(resume) = self.resume else { return (dealt, Vec::new()) };
        let (mut left, mut done) = (Vec::new(), Vec::new());
        let cells_of = |all: &[Assignment]| all.iter().map(|a| a.selection.len()).sum::<usize>();
        let all = cells_of(&dealt);
        for assignment in dealt {
            let Some(Some(Ok(kernel))) = found.get(assignment.kernel) else {
                left.push(assignment);
                continue;
            };
            // Assignments of one kernel have its controls in common.
            let theirs = resume.done(&kernel.release, &assignment);
            let new = theirs.into_iter().filter(|cell| !done.contains(cell)).collect::<Vec<_>>();
            done.extend(new);
            let selection = resume.lacking(&kernel.release, &assignment);
            if !selection.is_empty() {
                left.push(Assignment { selection, ..assignment });
            }
        }
        let words = format!("resumed: {} of {all} cells are left to run", cells_of(&left));
        self.board.lane(None).note(&words);
        (left, done)
    }

    /// Runs the assignments, as many side by side as there are jobs; in their order again at the end.
    fn run_all(
        &self,
        dealt: &[Assignment],
        found: &[Option<Found>],
        accel: &Mutex<Option<Accel>>,
    ) -> Vec<KernelRun> {
        let queue: Mutex<VecDeque<usize>> = Mutex::new((0..dealt.len()).collect());
        let done: Mutex<Vec<(usize, KernelRun)>> = Mutex::new(Vec::new());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.get() {
                // QEMU and dixtrapd die with the thread that started them.
                scope.spawn(|| {
                    while let Some(index) = next() {
                        let Some(assignment) = dealt.get(index) else { break };
                        let run = self.run_one(assignment, found, dealt.len() > 1, accel);
                        done.lock().unwrap_or_else(PoisonError::into_inner).push((index, run));
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, run)| run).collect()
    }

    fn run_one(
        &self,
        assignment: &Assignment,
        found: &[Option<Found>],
        named: bool,
        accel: &Mutex<Option<Accel>>,
    ) -> KernelRun {
        let asked = self.kernels.get(assignment.kernel).map_or("", |asked| asked.name.as_str());
        let lane = self.board.lane(named.then_some(asked));
        let context = Context {
            options: self.options,
            cpus: cpus_each(self.cores, self.jobs),
            accel,
            progress: lane.as_ref(),
            interrupted: self.interrupted,
            until: None,
        };
        let runner = Runner { context: &context, selection: &assignment.selection };
        match found.get(assignment.kernel).and_then(Option::as_ref) {
            Some(Ok(kernel)) => runner.run(kernel, assignment.device),
            Some(Err(error)) => KernelRun::lost(&runner, assignment.device, asked, error),
            None => KernelRun::default(),
        }
    }
}

/// One run of them all, with what was done before: the boots of each kernel and device become one.
fn gather(done: Vec<Cell>, runs: Vec<KernelRun>) -> Result<KernelRun, CampaignError> {
    let mut all = KernelRun { cells: done, ..KernelRun::default() };
    for run in runs {
        all.cells.extend(run.cells);
        all.cut = all.cut.max(run.cut);
        all.broken_script |= run.broken_script;
        all.boots.extend(run.boots);
        all.told.extend(run.told);
        // Boots of one kernel may have failed for one reason.
        for text in run.troubles {
            if !all.troubles.contains(&text) {
                all.troubles.push(text);
            }
        }
    }
    all.cells = merge_cells(all.cells)?;
    // What is proven stays so; else the user has to mend the script before any kernel is blamed.
    let proven = all.cells.iter().any(|cell| cell.outcome == CellOutcome::Fail);
    if all.broken_script && !proven {
        all.cut = all.cut.max(Some(StopReason::Fault));
    }
    Ok(all)
}
