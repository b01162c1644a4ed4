//! `dixtrap ctl SOCKET …`: one request to a running daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use dixtrap::control::{Client, Request};
use dixtrap::inject::HELP;
use dixtrap::record::MarkState;
use dixtrap::report::plain_json;
use dixtrap::units::WindowSpec;

use crate::print;

/// Arguments of `dixtrap ctl`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The socket that dixtrapd was given with --control
    socket: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Prints the counters so far
    Stats,
    /// Labels the races from here on
    Mark {
        /// The label
        label: String,
        /// Closes the label instead, and prints what was counted under it
        #[arg(long)]
        end: bool,
    },
    /// Sets the window of writes to come
    Window {
        /// As --window spells it
        spec: WindowSpec,
    },
    /// Adds a fault
    #[command(after_help = format!("SPEC is {HELP}"))]
    Inject {
        /// As --inject spells it: flip=guard,at=medium,lba=100..200; or none, which takes away all
        /// faults that are still to come
        spec: String,
    },
    /// Fetches every write that is held now
    Release,
    /// Takes a logical unit away from the guest (SCSI)
    Unplug {
        /// Its number
        lun: u16,
    },
    /// Gives a logical unit back
    Plug {
        /// Its number
        lun: u16,
    },
    /// Drains, flushes and ends the daemon
    Quit,
}

impl From<Action> for Request {
    fn from(action: Action) -> Request {
        match action {
            Action::Stats => Request::Stats,
            Action::Mark { label, end } => {
                Request::Mark { label, state: if end { MarkState::End } else { MarkState::Begin } }
            }
            Action::Window { spec } => Request::Window { spec },
            Action::Inject { spec } => Request::Inject { spec },
            Action::Release => Request::Release,
            Action::Unplug { lun } => Request::Unplug { lun },
            Action::Plug { lun } => Request::Plug { lun },
            Action::Quit => Request::Quit,
        }
    }
}

/// Asks, and prints the answer as one JSON line.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let reply = Client::connect(&args.socket)?.ask(&args.action.into())?;
    print(&(plain_json(&serde_json::to_string(&reply)?).to_string() + "\n"))?;
    Ok(ExitCode::SUCCESS)
}
