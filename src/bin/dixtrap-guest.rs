//! `dixtrap-guest`: the program inside the guest. As PID 1 it is the guest's init; as `agent` it does
//! what the host asks for.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dixtrap::clock::MonotonicClock;
use dixtrap::guest::{agent, attempt, facts, init, mapper, mirror, owners, tell, work};
use dixtrap::units::ByteSize;

/// dixtrap's helper inside a guest.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Brings a guest up as its PID 1
    #[command(hide = true)]
    Init,
    /// Serves the host over the virtio-serial port dixtrap.0
    Agent,
    /// Writes to a file, a disk or a directory in a way that stable pages have to withstand
    Work(work::Args),
    /// Tells whose the blocks of a disk are, as JSON lines
    Owners(owners::Args),
    /// Tells what this kernel made of a disk and can do, as one JSON line
    Facts(facts::Args),
    /// Reads or writes 4096 bytes once, and prints what this ended with: ok, or an error's name
    Attempt {
        /// How
        kind: attempt::Kind,
        /// The file or disk
        target: PathBuf,
        /// Where, in sectors of 512 bytes
        sector: u64,
    },
    /// Makes a linear device-mapper device over a part of a disk, and prints its node
    Map {
        /// The new device's name
        name: String,
        /// The disk
        disk: PathBuf,
        /// Where the part begins, in sectors of 512 bytes
        #[arg(long, default_value_t = 0)]
        start: u64,
        /// How long it is, in sectors of 512 bytes
        #[arg(long)]
        length: u64,
    },
    /// Removes a device that `map` made
    Unmap {
        /// The device's name
        name: String,
    },
    /// Compares the legs of a mirror and counts the blocks that differ
    Compare {
        /// A leg
        one: PathBuf,
        /// The other
        other: PathBuf,
        /// How much of them
        #[arg(long)]
        size: ByteSize,
    },
}

/// The status of a scenario that cannot do its work here.
const SKIPPED: u8 = 77;

fn main() -> ExitCode {
    // The kernel hands /init the words of its command line that it does not know.
    if std::process::id() == 1 {
        init::run();
        return ExitCode::FAILURE;
    }
    let result: anyhow::Result<()> = match Cli::parse().command {
        Command::Init => Err(anyhow::anyhow!("only PID 1 can bring a guest up")),
        Command::Agent => agent::run().map_err(Into::into),
        Command::Work(args) => work(&args),
        Command::Owners(args) => {
            owners::run(&args, &mut BufWriter::new(tell::output())).map_err(Into::into)
        }
        Command::Facts(args) => {
            facts::run(&args).map(|line| println!("{line}")).map_err(Into::into)
        }
        Command::Attempt { kind, target, sector } => attempt::attempt(kind, &target, sector)
            .map(|word| println!("{word}"))
            .map_err(Into::into),
        Command::Map { name, disk, start, length } => {
            mapper::create(&name, &disk, mapper::Part { start, length })
                .map(|node| println!("{}", node.display()))
                .map_err(Into::into)
        }
        Command::Unmap { name } => mapper::remove(&name).map_err(Into::into),
        Command::Compare { one, other, size } => mirror::compare(&one, &other, size)
            .map_err(Into::into)
            .and_then(|seen| tell::output().write_all(seen.words().as_bytes()).map_err(Into::into)),
    };
    result.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

/// What this kernel lacks is told in the words of lib.sh and skips the scenario.
fn failed(error: &anyhow::Error) -> ExitCode {
    let lacks = error.downcast_ref::<work::WorkError>().is_some_and(work::WorkError::is_lack)
        || error.downcast_ref::<mapper::MapError>().is_some_and(mapper::MapError::is_lack);
    if lacks {
        // Never the standard output: that of `map` is a node.
        let words = format!("dixtrap: skip: {error:#}\n");
        let told = tell::channel().map(|mut channel| channel.write_all(words.as_bytes()));
        if !matches!(told, Some(Ok(()))) {
            eprint!("{words}");
        }
        return ExitCode::from(SKIPPED);
    }
    eprintln!("dixtrap-guest: {error:#}");
    ExitCode::FAILURE
}

/// Works, and prints what was done as one JSON line.
fn work(args: &work::Args) -> anyhow::Result<()> {
    let summary = work::run(args, &MonotonicClock::new())?;
    println!("{}", serde_json::to_string(&summary)?);
    match &summary.first_error {
        Some(error) if !args.keep_going() => {
            anyhow::bail!("{} failed: {}", error.op, error.message)
        }
        _ => Ok(()),
    }
}
