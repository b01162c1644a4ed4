//! `dixtrap-guest`: the program inside the guest. As PID 1 it is the guest's init; as `agent` it does
//! what the host asks for.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dixtrap::clock::MonotonicClock;
use dixtrap::guest::{agent, init, work};

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
}

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
    };
    result.map_or_else(
        |error| {
            eprintln!("dixtrap-guest: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
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
