//! `dixtrap sweep`: the chance of a race against the window's length.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::ensure;
use dixtrap::report::{plain_lines, write_whole};
use dixtrap::runner::host::accel::AccelMode;
use dixtrap::runner::host::blame::Blame;
use dixtrap::runner::host::device::Device;
use dixtrap::runner::host::errors::whole_text;
use dixtrap::runner::host::outdir::{OutDir, make_boot_directory};
use dixtrap::runner::host::progress::for_stderr;
use dixtrap::runner::kernel::KernelSpec;
use dixtrap::runner::run::context::cpus_each;
use dixtrap::runner::select::catalogue::Catalogue;
use dixtrap::runner::select::selection::Selection;
use dixtrap::sweep::{SweepOptions, sweep, sweep_svg, sweep_text};
use dixtrap::units::{WindowSpec, parse_duration};
use dixtrap::verdict::{ExitStatus, StableWrites};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::machine::MachineArgs;
use crate::{print, say};

/// Arguments of `dixtrap sweep`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The windows, separated by commas
    #[arg(
        long,
        value_name = "SPEC,…",
        value_delimiter = ',',
        default_value = "0,50us,200us,1ms,5ms"
    )]
    windows: Vec<WindowSpec>,
    /// A kernel, as 'dixtrap run' takes it
    #[arg(long, value_name = "K")]
    kernel: Option<String>,
    /// The modules of an image: lib/modules/RELEASE, or a directory above it
    #[arg(long, value_name = "DIR")]
    modules: Option<PathBuf>,
    /// The scenario: its name, or the path of a script of your own
    #[arg(long, value_name = "NAME|PATH", default_value = "direct-rewrite")]
    scenario: String,
    /// The file system
    #[arg(long, value_name = "NAME", default_value = "raw")]
    fs: String,
    /// How the queue's stable_writes is set, where the scenario sets it
    #[arg(long, value_name = "on|off", default_value = "off", value_parser = stable_writes)]
    stable_writes: StableWrites,
    /// The window of the hardware that the estimate is for
    #[arg(long, value_name = "TIME", default_value = "20us", value_parser = micros)]
    fetch: f64,
    /// The device under test
    #[arg(long, value_enum, default_value_t = Device::Blk)]
    device: Device,
    /// What executes the guest: auto, kvm or tcg
    #[arg(long, default_value = "auto")]
    accel: AccelMode,
    /// How long the scenario writes with each window, in all repetitions together; each of them writes for a
    /// second at least
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// In how many repetitions; intervals rest on how much they differ, so 8 to 12 are good
    #[arg(long, value_name = "N", default_value = "8", value_parser = repeat)]
    repeat: NonZeroU32,
    /// The seed of every random draw
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    machine: MachineArgs,
    /// Keeps the boot's console log, race records and QEMU command line here: a folder of this run's
    /// own
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Writes the points and the curve as a picture
    #[arg(long, value_name = "F")]
    svg: Option<PathBuf>,
    /// Writes the points and the fit as JSON
    #[arg(long, value_name = "F")]
    json: Option<PathBuf>,
}

fn stable_writes(text: &str) -> Result<StableWrites, String> {
    match text {
        "on" => Ok(StableWrites::On),
        "off" => Ok(StableWrites::Off),
        _ => Err(format!("'{text}' is neither on nor off")),
    }
}

/// One repetition tells no interval.
fn repeat(text: &str) -> Result<NonZeroU32, String> {
    let fits = |number: &NonZeroU32| (2..=1_000).contains(&number.get());
    text.parse().ok().filter(fits).ok_or_else(|| format!("'{text}' is not a number from 2 to 1000"))
}

fn micros(text: &str) -> Result<f64, String> {
    let time = parse_duration(text).map_err(|error| error.to_string())?;
    Ok(time.as_secs_f64() * 1e6)
}

/// Sweeps, tells, and exits with 0 where something was measured.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    ensure!(
        !args.windows.contains(&WindowSpec::Hold),
        "window 'hold' never ends by itself: a sweep needs windows that do"
    );
    let selection = selection(&args)?;
    let (machine, disk) = (args.machine.machine()?, args.machine.disk()?);
    let timeout = args.machine.timeout(args.seconds.div_ceil(args.repeat.get()))?;
    let kernel = KernelSpec::parse(args.kernel.as_deref(), args.modules.as_deref())?;
    let scratch = tempfile::Builder::new().prefix("dixtrap-sweep-").tempdir()?;
    let out = args.out.clone().unwrap_or_else(|| scratch.path().to_owned());
    let _ours = OutDir::take(&out)?;
    let directory = make_boot_directory(&out)?;
    let interrupted = interruption()?;
    let board = for_stderr();
    let progress = board.lane(None);
    let options = SweepOptions {
        windows: &args.windows,
        fetch_us: args.fetch,
        accel: args.accel,
        seconds: args.seconds,
        repeat: args.repeat,
        cpus: cpus(),
        machine: &machine,
        disk,
        timeout,
        seed: args.seed,
        directory: &directory,
        progress: progress.as_ref(),
        interrupted: &interrupted,
    };
    let kernel = match kernel.locate(&|line| progress.note(line)) {
        Ok(kernel) => kernel,
        Err(error) => return Ok(failed(&error, error.blame())),
    };
    let swept = match sweep(&options, (&kernel, args.device), &selection) {
        Ok(swept) => swept,
        Err(error) => return Ok(failed(&error, error.blame())),
    };
    print(&sweep_text(&swept))?;
    if let Some(path) = &args.json {
        write_whole(path, &(serde_json::to_string_pretty(&swept)? + "\n"))?;
    }
    if let Some(path) = &args.svg {
        write_whole(path, &sweep_svg(&swept)?)?;
    }
    let status = match (interrupted.load(Ordering::Relaxed), swept.fit) {
        (true, _) => ExitStatus::Interrupted,
        (false, None) => ExitStatus::Untestable,
        (false, Some(_)) => ExitStatus::AsExpected,
    };
    Ok(ExitCode::from(status.code()))
}

/// The cell: where the scenario sets the knob both ways, the one that was asked for.
fn selection(args: &Args) -> anyhow::Result<Selection> {
    let chosen = Selection::new(
        Catalogue::embedded()?,
        std::slice::from_ref(&args.scenario),
        std::slice::from_ref(&args.fs),
    )?;
    let wanted = Some(args.stable_writes);
    let cells = chosen.chosen();
    let at = cells.iter().position(|spec| spec.stable_writes == wanted);
    match (cells.len(), at) {
        (1, _) | (_, None) => Ok(chosen),
        (2, Some(at)) => Ok(chosen.part(at..at + 1)),
        // More than one scenario or file system: the sweep says so.
        _ => Ok(chosen),
    }
}

/// CPUs of the only guest.
fn cpus() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cpus_each(u32::try_from(cores).unwrap_or(1), NonZeroU32::MIN)
}

fn interruption() -> anyhow::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second signal ends us at once; QEMU and dixtrapd die with us.
        let status = i32::from(ExitStatus::Interrupted.code());
        signal_hook::flag::register_conditional_shutdown(signal, status, Arc::clone(&interrupted))?;
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}

/// Tells what went wrong; the status says whose fault it was.
fn failed(error: &dyn std::error::Error, blame: Blame) -> ExitCode {
    say(&plain_lines(&whole_text(error)));
    let status = match blame {
        Blame::Kernel => ExitStatus::Untestable,
        Blame::Host => ExitStatus::Fault,
    };
    ExitCode::from(status.code())
}
