//! dixtrapd against its peers, with one client and in one interleaved run.
//!
//! Prints as it goes, and writes `target/bench/bench.json` and the graphs beside it. `--quick` takes
//! a minute, the full run ten.
#![allow(
    missing_docs,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    reason = "a program that measures; figures are floating point"
)]

mod client;
mod duel;
mod server;
mod work;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use duel::Effort;
use server::Kind;

#[derive(Debug, Parser)]
struct Args {
    /// Take one minute instead of ten
    #[arg(long)]
    quick: bool,
    /// Only these servers
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only work whose name begins so
    #[arg(long, default_value = "")]
    work: String,
    /// Rounds of each kind of work
    #[arg(long)]
    rounds: Option<usize>,
    /// Where the disks are put
    #[arg(long, default_value = "/dev/shm")]
    disks: PathBuf,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let folder = tempfile::tempdir_in(&args.disks).context("cannot make a folder for the disks")?;
    let (rounds, turn) = if args.quick { (4, 500) } else { (25, 1000) };
    let effort =
        Effort { rounds: args.rounds.unwrap_or(rounds), turn: Duration::from_millis(turn) };
    let kinds = [Kind::Checked, Kind::Unchecked, Kind::Threads, Kind::Uring];
    let chosen = |kind: &Kind| args.only.is_empty() || args.only.iter().any(|o| o == kind.name());
    let kinds: Vec<Kind> = kinds.into_iter().filter(chosen).collect();
    let results = duel::fight(&kinds, folder.path(), effort, &args.work)?;
    for (key, ratio) in duel::ratios(&results) {
        println!("{key:24} {ratio:5.2}");
    }
    let _ = Path::new("");
    Ok(())
}
