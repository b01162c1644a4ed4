//! `dixtrap-guest`: the program inside the guest. As PID 1 it is the guest's init; as `agent` it does
//! what the host asks for.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dixtrap::guest::{agent, init};

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
    };
    result.map_or_else(
        |error| {
            eprintln!("dixtrap-guest: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}
