//! What is chosen to run, for every command that speaks of cells.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use dixtrap::runner::host::device::Device;
use dixtrap::runner::kernel::KernelSpec;
use dixtrap::runner::run::campaign::Asked;
use dixtrap::runner::select::catalogue::Catalogue;
use dixtrap::runner::select::estimate::Pace;
use dixtrap::runner::select::knob::Knob;
use dixtrap::runner::select::selection::Selection;
use dixtrap::runner::select::shards::Shard;
use dixtrap::verdict::Expect;

/// Kernels, devices, file systems and scenarios.
#[derive(Debug, clap::Args)]
pub struct ChoiceArgs {
    /// A bzImage, a built kernel tree, a kernel's package (.deb, .rpm, .pkg.tar.zst) or the folder that one
    /// was unpacked to, or debian:SUITE (repeatable); without it the
    /// newest kernel in /boot that can be read, else Debian's
    #[arg(long, value_name = "K")]
    pub kernel: Vec<String>,
    /// The modules of an image: lib/modules/RELEASE, or a directory above it
    #[arg(long, value_name = "DIR")]
    modules: Option<PathBuf>,
    /// Only on these file systems (repeatable): a name or a glob, as in raw, ext4, 'ext4-*'; without it raw,
    /// ext4, xfs and btrfs, and what a scenario needs beyond them
    #[arg(long, value_name = "NAME")]
    fs: Vec<String>,
    /// Only these scenarios (repeatable): a glob over names, or the path of a script of your own
    #[arg(long, value_name = "GLOB|PATH")]
    scenario: Vec<String>,
    /// Judges every chosen cell by this, whatever is known of it: stable, race or survey. For a
    /// bisection, which asks the same question of every kernel
    #[arg(long, value_name = "WHAT")]
    expect: Option<Expect>,
    /// Only cells with the queue's stable_writes set so, and those that leave it alone: on, off or both
    #[arg(long, value_name = "on|off|both", default_value = "both")]
    stable_writes: Knob,
    /// The device under test (repeatable)
    #[arg(long, value_enum, default_value = "blk")]
    device: Vec<Device>,
    /// How long each scenario writes; one that is expected to race ends at its first race, and has
    /// four times as long to show one
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,
    /// How often each scenario runs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub repeat: u32,
    /// Only the I-th of N parts of it all, which take about equally long; 'dixtrap report' makes one
    /// verdict of the parts
    #[arg(long, value_name = "I/N", default_value = "1/1")]
    pub shard: Shard,
}

impl ChoiceArgs {
    /// The cells.
    pub fn selection(&self, catalogue: Catalogue) -> anyhow::Result<Selection> {
        let selection = Selection::new(catalogue, &self.scenario, &self.fs)?;
        let selection = selection.with_knob(self.stable_writes)?.expecting(self.expect);
        for device in self.devices() {
            ensure!(
                !selection.on(device).is_empty(),
                "none of the chosen scenarios runs on --device {}",
                device.name()
            );
        }
        Ok(selection)
    }

    /// Whether scenarios were named.
    pub fn names_scenarios(&self) -> bool {
        !self.scenario.is_empty()
    }

    /// The file systems that were named, else this one.
    pub fn file_systems_or(&self, usual: &str) -> String {
        if self.fs.is_empty() { usual.to_owned() } else { self.fs.join(" ") }
    }

    /// Runs this script instead of scenarios.
    pub fn run_script(&mut self, path: &Path) {
        self.scenario = vec![path.display().to_string()];
    }

    /// The devices, each once.
    pub fn devices(&self) -> Vec<Device> {
        let mut once = Vec::new();
        for device in &self.device {
            if !once.contains(device) {
                once.push(*device);
            }
        }
        once
    }

    /// How long cells write, and how often.
    pub fn pace(&self) -> Pace {
        Pace { seconds: self.seconds, repeat: self.repeat }
    }

    /// The kernels, each once.
    pub fn kernels(&self) -> anyhow::Result<Vec<Asked>> {
        let modules = self.modules.as_deref();
        if self.kernel.is_empty() {
            let spec = KernelSpec::parse(None, modules)?;
            return Ok(vec![Asked { name: "default".to_owned(), spec }]);
        }
        ensure!(
            modules.is_none() || self.kernel.len() == 1,
            "--modules goes with one --kernel: run the others by themselves"
        );
        let mut asked: Vec<Asked> = Vec::new();
        for name in &self.kernel {
            let spec = KernelSpec::parse(Some(name), modules)?;
            if !asked.iter().any(|known| known.spec == spec) {
                asked.push(Asked { name: name.clone(), spec });
            }
        }
        Ok(asked)
    }
}
