//! `dixtrap list`: what there is to run.

use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::Subcommand;
use dixtrap::runner::kernel::{Known, known};
use dixtrap::runner::select::catalogue::Catalogue;
use dixtrap::runner::select::scenario::Scenario;
use dixtrap::runner::select::shards::deal;
use dixtrap::verdict::StableWrites;
use serde::Serialize;

use crate::choice::ChoiceArgs;
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
    /// The cells that 'dixtrap run' runs with the same words, and about how long each takes
    Cells {
        /// A JSON object a line, for a CI's matrix
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        choice: Box<ChoiceArgs>,
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
        What::Cells { json, choice } => cells(&choice, json)?,
        What::Kernels { json: true } => serde_json::to_string_pretty(&known())? + "\n",
        What::Kernels { json: false } => known().iter().map(kernel_line).collect(),
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// A cell as JSON.
#[derive(Serialize)]
struct CellRow<'a> {
    kernel: &'a str,
    device: &'static str,
    fs: &'a str,
    scenario: &'a str,
    stable_writes: Option<StableWrites>,
    /// About how long it takes; the boot is its own of the first cell of each kernel and device.
    seconds: f64,
}

/// The cells of this part of it all, in the order in which they run.
fn cells(choice: &ChoiceArgs, json: bool) -> anyhow::Result<String> {
    let selection = choice.selection(Catalogue::embedded()?)?;
    let (kernels, devices) = (choice.kernels()?, choice.devices());
    let part = (choice.shard, choice.pace());
    let dealt = deal(kernels.len(), &devices, &selection, part, NonZeroUsize::MIN)?;
    let (mut text, mut all) = (String::new(), 0.0);
    for assignment in &dealt {
        let kernel = kernels.get(assignment.kernel).map_or("", |asked| asked.name.as_str());
        for (spec, time) in assignment.selection.chosen().iter().zip(assignment.times(part.1)) {
            let device = assignment.device.name();
            let seconds = time.as_secs_f64();
            all += seconds;
            let row = CellRow {
                kernel,
                device,
                fs: &spec.fs.name,
                scenario: &spec.scenario.name,
                stable_writes: spec.stable_writes,
                seconds,
            };
            text.push_str(&match json {
                true => serde_json::to_string(&row)? + "\n",
                false => format!("{kernel} {device} {} ({seconds:.1} s)\n", spec.name()),
            });
        }
    }
    if !json {
        text.push_str(&format!("about {all:.0} s in all, one guest after the other\n"));
    }
    Ok(text)
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
