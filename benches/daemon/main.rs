//! dixtrapd against its peers, with one client and in one interleaved run.
//!
//! Prints as it goes, and writes `target/bench/bench.json` and the graphs beside it. `--quick` takes
//! a minute, the full run ten; the full run writes `BENCH.md` as well.
#![allow(
    missing_docs,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a program that measures; figures are floating point"
)]

mod client;
mod duel;
mod graph;
mod growth;
mod guest;
mod machine;
mod markdown;
mod report;
mod server;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use duel::Effort;
use machine::Machine;
use report::Report;
use serde_json::Value;
use server::Kind;

#[derive(Debug, Parser)]
struct Args {
    /// Take one minute instead of ten
    #[arg(long)]
    quick: bool,
    /// Only these servers; nothing is written
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only work whose name begins so; nothing is written
    #[arg(long, default_value = "")]
    work: String,
    /// Only the tables of growth; nothing is written
    #[arg(long)]
    growth: bool,
    /// Only the guest; nothing is written
    #[arg(long)]
    guest: bool,
    /// Past the page cache, on the file system of --disks; nothing is written
    #[arg(long)]
    direct: bool,
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

impl Args {
    fn effort(&self) -> Effort {
        let (rounds, turn) = if self.quick { (4, 400) } else { (25, 1000) };
        Effort { rounds: self.rounds.unwrap_or(rounds), turn: Duration::from_millis(turn) }
    }

    fn kinds(&self) -> Vec<Kind> {
        let kinds = if self.direct {
            [Kind::Checked, Kind::Direct, Kind::DirectThreads, Kind::DirectUring]
        } else {
            [Kind::Checked, Kind::Unchecked, Kind::Threads, Kind::Uring]
        };
        let chosen =
            |kind: &Kind| self.only.is_empty() || self.only.iter().any(|only| only == kind.name());
        kinds.into_iter().filter(chosen).collect()
    }

    /// A part of the run is for who looks at it now.
    fn is_partial(&self) -> bool {
        self.growth || self.direct || !self.only.is_empty() || !self.work.is_empty()
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let folder = tempfile::tempdir_in(&args.disks).context("cannot make a folder for the disks")?;
    let time = Duration::from_millis(if args.quick { 500 } else { 4000 });
    if args.growth {
        return growth::grow(folder.path(), time).map(drop);
    }
    if args.guest {
        println!("guest_write_qemu {:.2}", guest::write_ratio(folder.path())?);
        return Ok(());
    }
    let mut machine = Machine::describe();
    let servers = duel::fight(&args.kinds(), folder.path(), args.effort(), &args.work)?;
    let mut ratios: BTreeMap<String, f64> =
        duel::ratios(&servers).into_iter().map(|(key, ratio)| (key.to_owned(), ratio)).collect();
    if args.is_partial() {
        ratios.iter().for_each(|(key, ratio)| println!("{key:26} {ratio:6.2}"));
        return Ok(());
    }
    let growth = growth::grow(folder.path(), time)?;
    if !args.quick {
        ratios.insert("guest_write_qemu".to_owned(), guest::write_ratio(folder.path())?);
    }
    machine.finish();
    let mut report = Report {
        schema: 1,
        version: env!("CARGO_PKG_VERSION"),
        quick: args.quick,
        machine,
        ratios,
        servers,
        growth: Some(growth),
        guards: Value::Null,
    };
    report.add_guards()?;
    report.write()?;
    if !args.quick {
        markdown::write(&report)?;
    }
    graph::servers(&report.servers, &report::folder().join("servers.svg"))?;
    report.growth.as_ref().map_or(Ok(()), |growth| graph::growth(growth, &report::folder()))
}
