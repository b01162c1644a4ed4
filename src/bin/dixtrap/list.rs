//! `dixtrap list`: what there is to run.

use std::process::ExitCode;

use clap::Subcommand;
use dixtrap::runner::catalogue::Catalogue;
use dixtrap::runner::kernel::{Known, known};
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
    /// The kernels that can be run here
    Kernels {
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
    devices: Vec<&'static str>,
    needs: &'a [String],
}

/// Lists.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let text = match args.what {
        What::Scenarios { json } => {
            let catalogue = Catalogue::embedded()?;
            let scenarios = catalogue.scenarios();
            if json { as_json(scenarios)? } else { as_text(scenarios) }
        }
        What::Kernels { json: true } => serde_json::to_string_pretty(&known())? + "\n",
        What::Kernels { json: false } => known().iter().map(kernel_line).collect(),
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn kernel_line(kernel: &Known) -> String {
    let modules = kernel
        .modules
        .as_ref()
        .map_or_else(String::new, |directory| format!(" --modules {}", directory.display()));
    let state = match &kernel.release {
        Some(release) => format!("Linux {release}"),
        None => "fetched when it is asked for".to_owned(),
    };
    format!("{}{modules} ({state})\n", kernel.kernel)
}

fn as_json(scenarios: &[Scenario]) -> anyhow::Result<String> {
    let rows: Vec<Row> = scenarios
        .iter()
        .map(|scenario| Row {
            name: &scenario.name,
            description: &scenario.description,
            fs: &scenario.fs,
            stable_writes: &scenario.stable_writes,
            devices: scenario.devices.iter().map(|device| device.name()).collect(),
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
