//! `dixtrap`: runs kernels on the trap and says what it saw.

use std::io::Write as _;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use dixtrap::cli::{commands_there, one_line, survive_file_limits};
use dixtrap::report::{plain, plain_lines};

mod bug;
mod choice;
mod ctl;
mod formats;
mod image;
mod list;
mod machine;
mod manual;
mod report;
mod run;
mod sweep;

/// Catches pages that change after their protection information was generated.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boots a kernel on the trap, runs the scenarios and gives a verdict.
    Run(Box<run::Args>),
    /// Runs one scenario with one window after the other, and tells the chance of a race for each.
    Sweep(Box<sweep::Args>),
    /// Tells what records and verdicts hold.
    Report(Box<report::Args>),
    /// Lists what there is to run.
    List(list::Args),
    /// Creates, checks and adopts disk images with protection information.
    Image(image::Args),
    /// Talks to a running dixtrapd over its control socket.
    Ctl(ctl::Args),
    /// Prints what completes the words of dixtrap in a shell.
    Completions(manual::CompletionArgs),
    /// Writes manual pages and completions, for `make install`.
    #[command(hide = true)]
    Manual(manual::ManualArgs),
}

/// Exit status for anything that is our fault or the user's: `git bisect run` stops at 128 and up.
const EXIT_ERROR: u8 = 129;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn"))
        .format(|out, record| {
            let said = plain(&record.args().to_string());
            writeln!(out, "dixtrap: {}: {said}", record.level().as_str().to_lowercase())
        })
        .init();
    blame_no_commit_for_a_panic();
    survive_file_limits();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let result = match cli.command {
        Command::Run(args) => run::run(*args),
        Command::Sweep(args) => sweep::run(*args),
        Command::Report(args) => report::run(*args),
        Command::List(args) => list::run(args),
        Command::Image(args) => image::run(args),
        Command::Ctl(args) => ctl::run(args),
        Command::Completions(args) => manual::completions(args),
        Command::Manual(args) => manual::manual(args),
    };
    result.unwrap_or_else(|error| {
        say(&plain(&format!("{error:#}")));
        ExitCode::from(EXIT_ERROR)
    })
}

/// Arguments that cannot be used, or a question about them.
fn refuse(error: &clap::Error) -> ExitCode {
    match one_line(error) {
        Some(line) => {
            say(&plain_lines(&format!("{line}{}", commands(error))));
            ExitCode::from(EXIT_ERROR)
        }
        None => {
            // Nothing is left to do when even the answer cannot be printed.
            let _ = error.print();
            ExitCode::SUCCESS
        }
    }
}

/// The commands that there are, where the error is that there is none or a wrong one.
fn commands(error: &clap::Error) -> String {
    let asked = [
        ErrorKind::InvalidSubcommand,
        ErrorKind::MissingSubcommand,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
    ];
    let there = commands_there(&Cli::command(), std::env::args_os().skip(1));
    if asked.contains(&error.kind()) && !there.is_empty() {
        return format!(" ({})", there.join(", "));
    }
    String::new()
}

/// A panic's own status is 101, which `git bisect run` would take for a bad commit.
fn blame_no_commit_for_a_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::exit(EXIT_ERROR.into());
    }));
}

/// Writes `text` to standard output. A reader that has gone away is no failure of ours.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::{ErrorKind, Write};
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("cannot write to standard output"))
        }
        _ => Ok(()),
    }
}

/// Writes `text` to standard error. Nobody may be there to read it: that is no reason to leave files behind,
/// as the panic of `eprintln!` would.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "dixtrap: {text}");
}
