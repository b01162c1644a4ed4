//! `dixtrap run`: kernels, devices, file systems and scenarios, one verdict.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use chrono::Utc;
use dixtrap::report::{
    BootStory, Colour, Filter, Offender, offenders_text, plain, plain_lines, verdict_line,
    verdict_text, worst_of,
};
use dixtrap::runner::host::accel::AccelMode;
use dixtrap::runner::host::daemon::RACES_LIMIT;
use dixtrap::runner::host::device::Device;
use dixtrap::runner::host::outdir::{OutDir, VERDICT};
use dixtrap::runner::host::progress::for_stderr;
use dixtrap::runner::kernel::suite_meant;
use dixtrap::runner::root::{MadeRoot, RootSpec, script};
use dixtrap::runner::run::boot::WORST;
use dixtrap::runner::run::campaign::{Asked, Campaign};
use dixtrap::runner::run::fingerprint::plan_hash;
use dixtrap::runner::run::kernel_run::KernelRun;
use dixtrap::runner::run::options::{Culprit, RunOptions};
use dixtrap::runner::run::provenance::Origin;
use dixtrap::runner::run::resume::Resume;
use dixtrap::runner::select::catalogue::Catalogue;
use dixtrap::runner::select::meant::meant;
use dixtrap::runner::select::selection::Selection;
use dixtrap::units::{ByteSize, WindowSpec};
use dixtrap::verdict::{Cell, CellOutcome, Verdict};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::choice::ChoiceArgs;
use crate::formats::Formats;
use crate::machine::MachineArgs;
use crate::report::verdict_in;
use crate::{print, say};

/// Arguments of `dixtrap run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    choice: ChoiceArgs,
    /// Asks again for kernels of debian:SUITE that are kept from an earlier run
    #[arg(long)]
    refresh: bool,
    /// What executes the guest: auto, kvm or tcg
    #[arg(long, default_value = "auto")]
    accel: AccelMode,
    /// How long after the doorbell a write's data is fetched: 0, 250us, uniform:0..5ms, exp:200us or
    /// bandwidth:200us+500MB/s
    #[arg(long, value_name = "SPEC", default_value = "1ms")]
    window: WindowSpec,
    /// How many guests run side by side, at most one a core; by default one for every two cores
    #[arg(long, value_name = "N", value_parser = guests)]
    jobs: Option<NonZeroU32>,
    /// The seed of every random draw
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Only count races once the records of a boot have this size; the first hundred of each cell are
    /// written all the same
    #[arg(long, value_name = "SIZE", default_value_t = RACES_LIMIT)]
    races_limit: ByteSize,
    /// When to find out who changed the bytes of races, where the guest is emulated (TCG): its stores are watched,
    /// which takes about twice as long
    #[arg(long, value_enum, default_value_t = Culprit::Auto)]
    culprit: Culprit,
    /// Runs only what this verdict, or the folder of its run, has no result for, and gives one over all: the same
    /// arguments as there, and the same --shard where it is of a part
    #[arg(long, value_name = "VERDICT")]
    resume: Option<PathBuf>,
    /// Keeps every boot's console log, race records and QEMU command line here: a folder of this run's
    /// own
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Runs COMMAND in this root file system, with the disk under test mounted: host (this machine's own /, which
    /// needs a kernel with 9p), a folder, an image (raw or qcow2), or debian:SUITE+PACKAGE,PACKAGE. None is written
    #[arg(long, value_name = "ROOT", requires = "command")]
    root: Option<RootSpec>,
    /// Taken only to say what was meant
    #[arg(hide = true, value_name = "WORD")]
    stray: Vec<String>,
    /// What runs in the root, in $DIXTRAP_MNT, on ext4 unless --fs says otherwise
    #[arg(last = true, value_name = "COMMAND", requires = "root")]
    command: Vec<String>,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    formats: Formats,
}

/// Guests side by side unless more are asked for: each may need close to 2 GiB.
const MOST_GUESTS: NonZeroU32 = NonZeroU32::MIN.saturating_add(7);

/// Runs, tells, and exits with the verdict's status.
pub fn run(mut args: Args) -> anyhow::Result<ExitCode> {
    ensure!(
        args.window != WindowSpec::Hold,
        "window 'hold' never ends by itself: use it with dixtrapd and 'dixtrap ctl release'"
    );
    let catalogue = Catalogue::embedded()?;
    if let Some(word) = args.stray.first() {
        bail!("{}", stray(word, &catalogue));
    }
    let scratch = tempfile::Builder::new()
        .prefix("dixtrap-run-")
        .tempdir()
        .context("cannot make a temporary folder: set TMPDIR to one that you may write to")?;
    let (machine, disk) = (args.machine.machine()?, args.machine.disk()?);
    // Kept from being replaced until the end.
    let root = make_root(&args, scratch.path())?;
    if let Some(root) = &root {
        let path = scratch.path().join("command.sh");
        let text = script(root, &args.choice.file_systems_or("ext4"), &args.command);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        args.choice.run_script(&path);
    }
    let selection = args.choice.selection(catalogue)?;
    let devices = args.choice.devices();
    let timeout = args.machine.timeout(args.choice.seconds)?;
    let kernels = args.choice.kernels()?;
    args.formats.check_folders()?;
    let mut options = RunOptions {
        accel: args.accel,
        window: args.window,
        seconds: args.choice.seconds,
        repeat: args.choice.repeat,
        seed: args.seed,
        out: args.out.clone().unwrap_or_else(|| scratch.path().to_owned()),
        machine,
        disk,
        races_limit: args.races_limit,
        culprit: args.culprit,
        timeout,
    };
    let plan = plan_hash(&kernels, &devices, &selection, &options);
    // Where the root lies is no part of the plan; which one it is stands in the script.
    options.machine.qemu_args.extend(root.iter().flat_map(MadeRoot::qemu_args));
    let resume = args.resume.as_deref().map(|path| resume_from(path, &plan)).transpose()?;
    let taken = OutDir::take(&options.out)?;
    taken.promise_verdict()?;
    let (started, clock) = (Utc::now(), Instant::now());
    let origin = Origin::now(std::env::args_os(), args.seed);
    let asked = (kernels.as_slice(), devices.as_slice());
    let mut run = run_all(&args, &options, &selection, asked, resume.as_ref())?;
    if args.out.is_none() {
        // The files go with the temporary folder.
        run.cells.iter_mut().for_each(|cell| cell.log = None);
        run.told.iter_mut().for_each(|boot| boot.directory = None);
    }
    let Resume { boots, seconds, .. } = resume.unwrap_or_default();
    let seconds = seconds + clock.elapsed().as_secs_f64();
    let verdict = Verdict::over(run.cells.clone(), run.cut, started, seconds)
        .with_boots([boots, run.told.clone()].concat())
        .of_shard(args.choice.shard.of_plan(plan))
        .with_provenance(origin.end((&run.kernels, run.accel), options.machine.qemu.as_deref()));
    if let Some(out) = &args.out {
        keep_configs(&run, out);
    }
    // What was seen is told first, even where it cannot be written.
    tell(&args, &run, &verdict)?;
    let kept = args.out.as_ref().map(|out| out.join(VERDICT));
    args.formats.write(&verdict, kept.as_deref(), || Ok(boots_in(&options.out)))?;
    Ok(ExitCode::from(verdict.exit_status))
}

/// The root that was asked for.
fn make_root(args: &Args, scratch: &Path) -> anyhow::Result<Option<MadeRoot>> {
    let Some(spec) = &args.root else { return Ok(None) };
    ensure!(
        !args.choice.names_scenarios(),
        "--root runs the command, not scenarios: leave --scenario out"
    );
    Ok(Some(MadeRoot::make(spec, scratch, &|line| say(line))?))
}

/// What the verdict at `path`, or in that folder, has of this plan.
fn resume_from(path: &Path, plan: &str) -> anyhow::Result<Resume> {
    let file = if path.is_dir() { path.join(VERDICT) } else { path.to_owned() };
    let told = |error: std::io::Error| {
        format!("cannot resume {}: it cannot be read ({error})", file.display())
    };
    std::fs::metadata(&file).map_err(|error| anyhow::anyhow!(told(error)))?;
    let verdict = verdict_in(&file)?
        .with_context(|| format!("cannot resume {}: it is no verdict", file.display()))?;
    Resume::new(verdict, plan).with_context(|| format!("cannot resume {}", file.display()))
}

/// What each boot left; of one whose records cannot be read a page has the verdict alone.
fn boots_in(out: &Path) -> Vec<BootStory> {
    let entries = std::fs::read_dir(out).into_iter().flatten().flatten();
    let mut records: Vec<PathBuf> = entries
        .map(|entry| entry.path().join("races.jsonl"))
        .filter(|file| file.is_file())
        .collect();
    records.sort();
    let read = |file: &PathBuf| match BootStory::read(file, &Filter::default()) {
        Ok(boot) => Some(boot),
        Err(error) => {
            say(&plain(&format!("the page has nothing of {}: {error}", file.display())));
            None
        }
    };
    records.iter().filter_map(read).collect()
}

/// What to say of a word that belongs to no flag: the flag that it may have been meant for.
fn stray(word: &str, catalogue: &Catalogue) -> String {
    let scenarios = || catalogue.scenarios().iter().map(|scenario| scenario.name.as_str());
    let systems = || catalogue.file_systems.iter().map(|system| system.name.as_str());
    let path = Path::new(word);
    let meant = if word.ends_with(".sh") || scenarios().any(|name| name == word) {
        Some(format!("--scenario {word}"))
    } else if systems().any(|name| name == word) {
        Some(format!("--fs {word}"))
    } else if let Some(device) = Device::named(word) {
        Some(format!("--device {}", device.name()))
    } else if word.parse::<AccelMode>().is_ok() {
        Some(format!("--accel {word}"))
    } else if word.starts_with("debian:") || path.exists() {
        Some(format!("--kernel {word}"))
    } else if let Some(suite) = suite_meant(word) {
        Some(format!("--kernel {suite}"))
    } else if let Some(name) = meant(word, scenarios().chain(systems())) {
        let flag = if scenarios().any(|known| known == name) { "scenario" } else { "fs" };
        Some(format!("--{flag} {name}"))
    } else {
        None
    };
    let meant = meant.map_or_else(
        || "; --help lists the flags, 'dixtrap list scenarios' what there is to run".to_owned(),
        |flag| format!(", did you mean {flag}?"),
    );
    format!("'{word}' belongs to no flag{meant}")
}

/// Keeps the kernels' configurations with the run's files. A disk too full for them is no reason to
/// lose the verdict.
fn keep_configs(run: &KernelRun, out: &Path) {
    for kernel in &run.kernels {
        if let Err(error) = kernel.keep_config(out) {
            say(&format!("cannot keep the configuration of {}: {error}", plain(&kernel.release)));
        }
    }
}

fn run_all(
    args: &Args,
    options: &RunOptions,
    selection: &Selection,
    (kernels, devices): (&[Asked], &[Device]),
    resume: Option<&Resume>,
) -> anyhow::Result<KernelRun> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second signal ends us at once; QEMU and dixtrapd die with us.
        let status = i32::from(dixtrap::verdict::ExitStatus::Interrupted.code());
        let flag = Arc::clone(&interrupted);
        signal_hook::flag::register_conditional_shutdown(signal, status, flag)?;
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let board = for_stderr();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = u32::try_from(cores).unwrap_or(1);
    let campaign = Campaign {
        options,
        kernels,
        refresh: args.refresh,
        devices,
        selection,
        shard: args.choice.shard,
        resume,
        jobs: jobs(args.jobs, cores),
        cores,
        board: board.as_ref(),
        interrupted: &interrupted,
    };
    Ok(campaign.run()?)
}

/// Reads how many guests run side by side.
fn guests(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| format!("'{text}' is no number of guests side by side: use 1 or more"))
}

/// Guests side by side: never more than cores. A guest with one CPU races far less than one with two,
/// and two guests on two cores are no faster than one after the other; so there is a guest for every
/// two cores, as long as memory is likely to do.
fn jobs(asked: Option<NonZeroU32>, cores: u32) -> NonZeroU32 {
    let cores = NonZeroU32::new(cores).unwrap_or(NonZeroU32::MIN);
    match asked {
        Some(jobs) if jobs > cores => {
            say(&format!("{cores} guests side by side, not {jobs}: there are {cores} cores"));
            cores
        }
        Some(jobs) => jobs,
        None => NonZeroU32::new(cores.get() / 2).unwrap_or(NonZeroU32::MIN).min(MOST_GUESTS),
    }
}

/// The labels of the cells of `kernel` that failed.
fn failed(verdict: &Verdict, kernel: &str) -> Vec<String> {
    let failed = |cell: &&Cell| cell.kernel == kernel && cell.outcome == CellOutcome::Fail;
    verdict.cells.iter().filter(failed).map(|cell| format!("{}#", cell.name())).collect()
}

/// The worst blocks of the cells that failed, boot by boot; where none did, what the first boot's
/// controls caught.
fn worst_blocks(run: &KernelRun, verdict: &Verdict, colour: Colour) -> String {
    let mut text = String::new();
    let any_failed = verdict.count(CellOutcome::Fail) > 0;
    for boot in &run.boots {
        let failed = failed(verdict, &boot.kernel);
        if any_failed && failed.is_empty() {
            continue;
        }
        let wanted = |label: Option<&str>| {
            !any_failed
                || failed.iter().any(|name| {
                    label.is_some_and(|l| l.starts_with(name) && !l.ends_with("/setup"))
                })
        };
        let worst: Vec<Offender> =
            worst_of(&boot.worst, WORST, wanted).into_iter().cloned().collect();
        if run.boots.len() > 1 && !worst.is_empty() {
            text.push_str(&format!("\nLinux {}:\n", plain(&boot.kernel)));
        }
        text.push_str(&offenders_text(&worst, colour));
        if !any_failed {
            break;
        }
    }
    text
}

/// The worst blocks, the verdict, and what went wrong. Kernels of which none was booted have nothing to
/// show but the verdict's line, and why their cells were skipped.
fn tell(args: &Args, run: &KernelRun, verdict: &Verdict) -> anyhow::Result<()> {
    let colour = Colour::of_stdout();
    for trouble in &run.troubles {
        say(&plain_lines(trouble));
    }
    let full = run.boots.iter().filter(|boot| boot.limit_reached).count();
    if full > 0 {
        say(&format!(
            "the records of {full} of {} boots reached --races-limit {}: beyond it races are counted, and their \
             bytes, owners and healings are not told",
            run.boots.len(),
            args.races_limit
        ));
    }
    match &args.out {
        Some(out) if out.is_dir() => {
            say(&format!("the files of each boot are in {}", out.display()));
        }
        None if verdict.exit_status != 0 && !run.boots.is_empty() => {
            say("run again with --out DIR to keep the console and the records");
        }
        _ => {}
    }
    if run.boots.is_empty() && verdict.count(CellOutcome::Skip) == 0 {
        return print(&verdict_line(verdict, colour));
    }
    print(&format!("{}\n{}", worst_blocks(run, verdict, colour), verdict_text(verdict, colour)))
}
