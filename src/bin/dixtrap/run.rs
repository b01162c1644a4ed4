//! `dixtrap run`: one kernel, all scenarios, one verdict.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, ensure};
use chrono::Utc;
use dixtrap::report::{
    Colour, Offender, Session, offenders_text, verdict_html, verdict_json, verdict_junit,
    verdict_ktap, verdict_line, verdict_text, write_whole,
};
use dixtrap::runner::accel::AccelMode;
use dixtrap::runner::catalogue::Catalogue;
use dixtrap::runner::kernel::KernelSpec;
use dixtrap::runner::plan::Selection;
use dixtrap::runner::progress::for_stderr;
use dixtrap::runner::run::{Device, KernelRun, RunOptions, Runner};
use dixtrap::units::WindowSpec;
use dixtrap::verdict::{CellOutcome, Verdict};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::print;

/// Arguments of `dixtrap run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A bzImage, a built kernel tree, a kernel .deb, or debian:SUITE; without it the newest kernel
    /// in /boot that can be read, else Debian's
    #[arg(long, value_name = "K")]
    kernel: Option<String>,
    /// The modules of a bzImage: lib/modules/RELEASE, or a directory above it
    #[arg(long, value_name = "DIR")]
    modules: Option<PathBuf>,
    /// Only on this file system (repeatable): raw, ext4, …
    #[arg(long, value_name = "NAME")]
    fs: Vec<String>,
    /// Only these scenarios (repeatable): a glob over names, or the path of a script of your own
    #[arg(long, value_name = "GLOB|PATH")]
    scenario: Vec<String>,
    /// The device under test
    #[arg(long, value_enum, default_value_t = Device::Blk)]
    device: Device,
    /// What executes the guest: auto, kvm or tcg
    #[arg(long, default_value = "auto")]
    accel: AccelMode,
    /// How long after the doorbell a write's data is fetched: 0, 250us, uniform:0..5ms, exp:200us or
    /// bandwidth:200us+500MB/s
    #[arg(long, value_name = "SPEC", default_value = "1ms")]
    window: WindowSpec,
    /// How long each scenario writes; one that is expected to race ends at its first race
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// How often each scenario runs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repeat: u32,
    /// The seed of every random draw
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Keeps every boot's console log, race records and QEMU command line here
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Writes the verdict as JUnit XML
    #[arg(long, value_name = "F")]
    junit: Option<PathBuf>,
    /// Writes the verdict as KTAP
    #[arg(long, value_name = "F")]
    ktap: Option<PathBuf>,
    /// Writes the verdict as JSON
    #[arg(long, value_name = "F")]
    json: Option<PathBuf>,
    /// Writes the verdict as an HTML page
    #[arg(long, value_name = "F")]
    html: Option<PathBuf>,
}

/// How many of the worst blocks are shown.
const WORST: usize = 3;

/// Runs, tells, and exits with the verdict's status.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    ensure!(
        args.window != WindowSpec::Hold,
        "window 'hold' never ends by itself: use it with dixtrapd and 'dixtrap ctl release'"
    );
    let selection = Selection::new(Catalogue::embedded()?, &args.scenario, &args.fs)?;
    let kernel = KernelSpec::parse(args.kernel.as_deref(), args.modules.as_deref())?;
    check_folders(&args)?;
    let scratch = tempfile::Builder::new().prefix("dixtrap-run-").tempdir()?;
    let options = RunOptions {
        device: args.device,
        accel: args.accel,
        window: args.window,
        seconds: args.seconds,
        repeat: args.repeat,
        seed: args.seed,
        out: args.out.clone().unwrap_or_else(|| scratch.path().to_owned()),
    };
    let (started, clock) = (Utc::now(), Instant::now());
    let run = run_one(&options, &selection, &kernel, args.kernel.as_deref().unwrap_or("default"))?;
    let verdict = Verdict::over(run.cells.clone(), run.cut, started, clock.elapsed().as_secs_f64());
    // What was seen is told first, even where it cannot be written.
    tell(&args, &run, &verdict)?;
    write_reports(&args, &verdict)?;
    Ok(ExitCode::from(verdict.exit_status))
}

fn run_one(
    options: &RunOptions,
    selection: &Selection,
    kernel: &KernelSpec,
    asked: &str,
) -> anyhow::Result<KernelRun> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second signal ends us at once; QEMU and dixtrapd die with us.
        let status = i32::from(dixtrap::verdict::ExitStatus::Interrupted.code());
        let flag = Arc::clone(&interrupted);
        signal_hook::flag::register_conditional_shutdown(signal, status, flag)?;
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let progress = for_stderr();
    let runner =
        Runner { options, selection, progress: progress.as_ref(), interrupted: &interrupted };
    Ok(runner.run(kernel, asked))
}

/// Reports that could never be written are an error before the run, not after it.
fn check_folders(args: &Args) -> anyhow::Result<()> {
    for path in [&args.json, &args.junit, &args.ktap, &args.html].into_iter().flatten() {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        ensure!(
            folder.is_dir(),
            "cannot write {}: there is no folder {}",
            path.display(),
            folder.display()
        );
    }
    Ok(())
}

/// Writes every report that can be written; the first failure is the error.
fn write_reports(args: &Args, verdict: &Verdict) -> anyhow::Result<()> {
    let json = verdict_json(verdict)?;
    let junit = verdict_junit(verdict).context("cannot make JUnit XML")?;
    let kept = args.out.as_ref().map(|out| out.join("verdict.json"));
    let reports = [
        (kept.as_ref(), &json),
        (args.json.as_ref(), &json),
        (args.junit.as_ref(), &junit),
        (args.ktap.as_ref(), &verdict_ktap(verdict)),
        (args.html.as_ref(), &verdict_html(verdict)),
    ];
    let written = reports.map(|(path, text)| path.map_or(Ok(()), |path| write_whole(path, text)));
    Ok(written.into_iter().collect::<Result<(), _>>()?)
}

/// The worst blocks of the cells that failed; where none did, those that a control caught.
fn worst(session: &Session, verdict: &Verdict) -> Vec<Offender> {
    let failed: Vec<String> = verdict
        .cells
        .iter()
        .filter(|cell| cell.outcome == CellOutcome::Fail)
        .map(|cell| format!("{}#", cell.name()))
        .collect();
    session.offenders.worst(WORST, |label| {
        failed.is_empty() || failed.iter().any(|name| label.is_some_and(|l| l.starts_with(name)))
    })
}

/// The worst blocks, the verdict, and what went wrong. A kernel that was never booted has nothing to
/// show but the verdict's line.
fn tell(args: &Args, run: &KernelRun, verdict: &Verdict) -> anyhow::Result<()> {
    let colour = Colour::of_stdout();
    if let Some(trouble) = &run.trouble {
        eprintln!("dixtrap: {trouble}");
    }
    match &args.out {
        Some(out) if out.is_dir() => {
            eprintln!("dixtrap: the files of the boot are in {}", out.display());
        }
        None if verdict.exit_status != 0 && run.records.is_some() => {
            eprintln!("dixtrap: run again with --out DIR to keep the console and the records");
        }
        _ => {}
    }
    let Some(records) = &run.records else {
        return print(&verdict_line(verdict, colour));
    };
    let mut text = String::new();
    if let Ok(session) = Session::read(records) {
        text.push_str(&offenders_text(&worst(&session, verdict), colour));
        text.push('\n');
    }
    text.push_str(&verdict_text(verdict, colour));
    print(&text)
}
