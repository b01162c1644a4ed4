//! `dixtrap`: runs kernels on the trap and says what it saw.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dixtrap::cli::one_line;

mod ctl;
mod image;

/// Catches pages that change after their protection information was generated.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Creates, checks and adopts disk images with protection information.
    Image(image::Args),
    /// Talks to a running dixtrapd over its control socket.
    Ctl(ctl::Args),
}

/// Exit status for anything that is our fault or the user's: `git bisect run` stops at 128 and up.
const EXIT_ERROR: u8 = 129;

fn main() -> ExitCode {
    env_logger::init();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let result = match cli.command {
        Command::Image(args) => image::run(args),
        Command::Ctl(args) => ctl::run(args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("dixtrap: {error:#}");
        ExitCode::from(EXIT_ERROR)
    })
}

/// Arguments that cannot be used, or a question about them.
fn refuse(error: &clap::Error) -> ExitCode {
    match one_line(error) {
        Some(line) => {
            eprintln!("dixtrap: {line}");
            ExitCode::from(EXIT_ERROR)
        }
        None => {
            // Nothing is left to do when even the answer cannot be printed.
            let _ = error.print();
            ExitCode::SUCCESS
        }
    }
}
