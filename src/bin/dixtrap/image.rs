//! `dixtrap image create|check|adopt|dump`.

use std::fmt::Display;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use dixtrap::media::Geometry;
use dixtrap::media::image::{self, Adoption, CheckReport, Image};
use dixtrap::pi::PiType;
use dixtrap::units::{BlockCount, BlockSize, ByteSize, Lba};
use indicatif::{ProgressBar, ProgressStyle};

/// Arguments of `dixtrap image`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

/// Where the image is.
#[derive(Debug, clap::Args)]
struct Files {
    /// The data: a raw file or a block device
    path: PathBuf,
    /// The file with its protection information [default: PATH.pi]
    #[arg(long)]
    pi_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Makes a sparse image and its PI file
    Create {
        #[command(flatten)]
        files: Files,
        /// The disk's size, as in 512M or 1G
        #[arg(long)]
        size: ByteSize,
        /// Bytes a logical block: 512 or 4096
        #[arg(long, default_value = "512")]
        block_size: BlockSize,
        /// Protection type: 0, 1, 2 or 3
        #[arg(long, default_value = "1")]
        pi_type: PiType,
    },
    /// Verifies every block against its protection information; exit status 1 if one does not fit
    Check {
        #[command(flatten)]
        files: Files,
    },
    /// Makes the PI file of data that has none
    Adopt {
        #[command(flatten)]
        files: Files,
        /// Bytes a logical block: 512 or 4096 [default: as in the PI file replaced, else 512]
        #[arg(long)]
        block_size: Option<BlockSize>,
        /// Protection type: 1, 2 or 3 [default: as in the PI file replaced, else 1]
        #[arg(long)]
        pi_type: Option<PiType>,
        /// Replaces the PI file that is there: whatever the data is now, is right from then on
        #[arg(long)]
        replace: bool,
    },
    /// Prints the protection information of blocks, and whether their data fits it
    Dump {
        #[command(flatten)]
        files: Files,
        /// The first block's address
        lba: u64,
        /// How many blocks
        #[arg(long, default_value_t = 1)]
        count: u64,
    },
}

/// Exit status of a check that found blocks that do not fit.
const EXIT_MISMATCH: u8 = 1;

/// Carries one of them out.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::Create { files, size, block_size, pi_type } => {
            create(&files.into(), size, block_size, pi_type)
        }
        Action::Check { files } => check(&files.into()),
        Action::Adopt { files, block_size, pi_type, replace } => {
            adopt(&files.into(), Adoption { block_size, pi_type, replace })
        }
        Action::Dump { files, lba, count } => dump(&files.into(), Lba(lba), BlockCount(count)),
    }
}

fn create(
    image: &Image,
    size: ByteSize,
    block_size: BlockSize,
    pi_type: PiType,
) -> anyhow::Result<ExitCode> {
    let geometry = image::create(image, size, block_size, pi_type)?;
    print(format_args!("created {}: {}", image.path.display(), describe(geometry)))?;
    Ok(ExitCode::SUCCESS)
}

fn check(image: &Image) -> anyhow::Result<ExitCode> {
    let bar = progress_bar();
    let report = image::check(image, &mut |done, of| show(&bar, done, of))?;
    bar.finish_and_clear();
    print_report(image, &report)?;
    Ok(ExitCode::from(if report.mismatches.0 == 0 { 0 } else { EXIT_MISMATCH }))
}

fn print_report(image: &Image, report: &CheckReport) -> io::Result<()> {
    for bad in &report.first {
        print(bad)?;
    }
    let named = u64::try_from(report.first.len()).unwrap_or(u64::MAX);
    let more = report.mismatches.0.saturating_sub(named);
    if more > 0 {
        print(format_args!("and {more} more"))?;
    }
    if report.was_in_use {
        let now = if report.marked_clean { ": it is marked as clean now" } else { "" };
        print(format_args!("{} was not closed cleanly{now}", image.path.display()))?;
        if report.replayed > BlockCount(0) {
            print(format_args!("replayed {} blocks whose write was under way", report.replayed))?;
        }
    }
    print(format_args!(
        "{}: {}: {} verified, {} without tags, {} do not fit",
        image.path.display(),
        describe(report.geometry),
        report.verified,
        report.unwritten,
        report.mismatches,
    ))
}

fn adopt(image: &Image, how: Adoption) -> anyhow::Result<ExitCode> {
    let bar = progress_bar();
    let adopted = image::adopt(image, how, &mut |done, of| show(&bar, done, of))?;
    bar.finish_and_clear();
    print(format_args!(
        "adopted {} with {}: {}: {} protected, the others are holes",
        image.path.display(),
        image.pi_path().display(),
        describe(adopted.geometry),
        adopted.protected,
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn dump(image: &Image, lba: Lba, count: BlockCount) -> anyhow::Result<ExitCode> {
    let mut printed = Ok(());
    image::dump(image, lba, count, &mut |block| {
        printed = print(block);
        if printed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    match printed {
        // Who closes the pipe has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn describe(geometry: Geometry) -> String {
    let Geometry { blocks, block_size, pi_type, .. } = geometry;
    format!("{blocks} blocks of {block_size} bytes, protection type {pi_type}")
}

/// Prints a line; `println!` would panic where nobody reads on.
fn print(line: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// A bar on standard error, hidden where that is not a terminal.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} blocks, {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, done: BlockCount, of: BlockCount) {
    bar.set_length(of.0);
    bar.set_position(done.0);
}

impl From<Files> for Image {
    fn from(files: Files) -> Image {
        Image { path: files.path, pi_file: files.pi_file }
    }
}
