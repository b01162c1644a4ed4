//! `dixtrap list`: what there is to run.

use std::process::ExitCode;

use clap::Subcommand;
use dixtrap::runner::catalogue::Catalogue;
use dixtrap::runner::scenario::Scenario;
use dixtrap::verdict::StableWrites;
use serde::Serialize;

use crate::print;

/// Arguments of `dixtrap list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The scenarios that come with dixtrap
    Scenarios {
        /// As JSON, for a CI's matrix
        #[arg(long)]
        json: bool,
    },
}

/// A scenario as JSON.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    description: &'a str,
    fs: &'a [String],
    stable_writes: &'a [Option<StableWrites>],
    needs: &'a [String],
}

/// Lists.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let What::Scenarios { json } = args.what;
    let catalogue = Catalogue::embedded()?;
    let scenarios = catalogue.scenarios();
    let text = if json { as_json(scenarios)? } else { as_text(scenarios) };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn as_json(scenarios: &[Scenario]) -> anyhow::Result<String> {
    let rows: Vec<Row> = scenarios
        .iter()
        .map(|scenario| Row {
            name: &scenario.name,
            description: &scenario.description,
            fs: &scenario.fs,
            stable_writes: &scenario.stable_writes,
            needs: &scenario.needs,
        })
        .collect();
    Ok(serde_json::to_string_pretty(&rows)? + "\n")
}

fn as_text(scenarios: &[Scenario]) -> String {
    scenarios
        .iter()
        .map(|scenario| {
            format!(
                "{} ({})\n    {}\n",
                scenario.name,
                scenario.fs.join(", "),
                scenario.description
            )
        })
        .collect()
}
