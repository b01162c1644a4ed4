//! One kernel on one device: a boot, and another where a guest was lost and cells are left.

use std::time::Instant;

use crate::report::Offender;
use crate::runner::host::accel::Accel;
use crate::runner::host::blame::Blame;
use crate::runner::host::device::Device;
use crate::runner::host::errors::whole_text;
use crate::runner::host::outdir;
use crate::runner::kernel::{Kernel, KernelError};
use crate::runner::run::agenda::Agenda;
use crate::runner::run::boot::run_boot;
use crate::runner::run::boot_run::{BootRecords, BootRun};
use crate::runner::run::context::Context;
use crate::runner::run::error::RunError;
use crate::runner::run::options::Culprit;
use crate::runner::run::provenance::UsedKernel;
use crate::runner::run::second_look::look_again;
use crate::runner::run::start::{Start, nothing_runs};
use crate::runner::select::selection::Selection;
use crate::verdict::{self, Cell, StopReason};

/// How many guests one kernel may lose on one device before its remaining cells are given up.
const MAX_LOST: u32 = 3;

/// What one kernel came to.
#[derive(Debug, Default)]
pub struct KernelRun {
    /// Every planned cell, once for each boot that it ran or should have run in.
    pub cells: Vec<Cell>,
    /// The run ended before its time, through no fault of the kernel's.
    pub cut: Option<StopReason>,
    /// A script of the run calls a program that is not there: its author's mistake, and no kernel's.
    pub broken_script: bool,
    /// What went wrong, for people; the console's end included.
    pub troubles: Vec<String>,
    /// The boots that have records.
    pub boots: Vec<RecordedBoot>,
    /// What is to be told of the boots beside their cells.
    pub told: Vec<verdict::Boot>,
    /// The kernels that were found.
    pub kernels: Vec<UsedKernel>,
    /// What executed the guests; `None` where none was booted.
    pub accel: Option<Accel>,
}

/// A boot that left records.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedBoot {
    /// The guest's release.
    pub kernel: String,
    /// The worst blocks of each label.
    pub worst: Vec<Offender>,
    /// The records reached their limit, and do not hold everything.
    pub limit_reached: bool,
}

impl KernelRun {
    /// Every cell of `selection` is lost for the same reason.
    pub fn lost(runner: &Runner<'_>, device: Device, asked: &str, error: &KernelError) -> Self {
        let mut run = KernelRun::default();
        let (blame, error) = (error.blame(), whole_text(error));
        let mut boot = BootRun::without_guest(asked, device, runner.selection);
        boot.give_up(error.lines().next().unwrap_or_default());
        run.cells = boot.judge_cells(runner.context.options.window);
        run.cut = (blame == Blame::Host).then_some(StopReason::Fault);
        run.troubles = vec![error];
        run
    }
}

/// Runs a selection on one kernel.
#[derive(Debug)]
pub struct Runner<'a> {
    /// What the boots have in common.
    pub context: &'a Context<'a>,
    /// Which cells.
    pub selection: &'a Selection,
}

impl Runner<'_> {
    /// Runs every cell on one kernel. Whatever happens, every planned cell is accounted for.
    pub fn run(&self, kernel: &Kernel, device: Device) -> KernelRun {
        let mut run = KernelRun::default();
        let disk = self.context.options.disk;
        if let Some(known) = nothing_runs(kernel, device, disk, self.selection) {
            let count = self.selection.len();
            self.context.progress.note(&format!(
                "{} is not booted: none of {count} cells can run ({})",
                kernel.release, kernel.origin
            ));
            let agenda = Agenda::skipped(self.selection, &known);
            self.note(&mut run, BootRun::new(&kernel.release, device, agenda), false);
            return run;
        }
        let begun = Instant::now();
        let mut left = self.selection.clone();
        for attempt in 1..=MAX_LOST {
            let mut boot = match outdir::make_boot_directory(&self.context.options.out) {
                Ok(directory) => {
                    let (selection, directory) = (&left, directory.as_path());
                    let watched = self.context.options.culprit == Culprit::On;
                    run_boot(self.context, Start { kernel, device, selection, directory, watched })
                }
                Err(source) => {
                    let error = RunError::Output(self.context.options.out.clone(), source);
                    BootRun::without_guest(&kernel.release, device, &left).lost_by(&error)
                }
            };
            let interrupted = self.context.is_interrupted();
            let rest = left.part(boot.agenda.reached()..left.len());
            let again = boot.lost.as_ref().is_some_and(|lost| lost.again)
                && !interrupted
                && attempt < MAX_LOST
                && !rest.is_empty()
                && rest.len() < left.len();
            if !again {
                boot.give_up(&why_not_reached(&boot, interrupted));
            }
            self.note(&mut run, boot, interrupted);
            if !again {
                break;
            }
            left = rest;
        }
        let first = (run.cells.as_mut_slice(), begun.elapsed());
        look_again(self.context, (kernel, device), self.selection, first);
        run
    }

    /// Adds what a boot came to.
    fn note(&self, run: &mut KernelRun, boot: BootRun, interrupted: bool) {
        let cells = boot.judge_cells(self.context.options.window);
        run.broken_script |= boot.has_broken_script(&cells);
        run.cells.extend(cells);
        run.told.push(boot.told());
        let kernel = boot.kernel;
        run.boots.extend(boot.records.map(|BootRecords { worst, limit_reached }| RecordedBoot {
            kernel,
            worst,
            limit_reached,
        }));
        let fault = boot.lost.as_ref().is_some_and(|lost| lost.blame == Blame::Host);
        let cut = match (interrupted, fault) {
            (true, _) => Some(StopReason::Interrupted),
            (_, true) => Some(StopReason::Fault),
            _ => None,
        };
        run.cut = run.cut.max(cut);
        run.troubles.extend(boot.lost.map(|lost| lost.whole));
    }
}

fn why_not_reached(boot: &BootRun, interrupted: bool) -> String {
    match &boot.lost {
        _ if interrupted => "interrupted before it ran".to_owned(),
        Some(lost) => lost.reason.clone(),
        None => "it was not reached".to_owned(),
    }
}
