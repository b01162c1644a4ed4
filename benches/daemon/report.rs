//! `target/bench/bench.json` and the graphs beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;

use super::duel::Results;
use super::growth::Growth;
use super::machine::Machine;

/// Everything that is kept of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    pub schema: u32,
    pub version: &'static str,
    pub quick: bool,
    pub machine: Machine,
    pub ratios: BTreeMap<String, f64>,
    pub servers: Results,
    pub growth: Option<Growth>,
    /// GB/s of the guard kernels and their peers.
    pub guards: Value,
}

/// Where reports are written.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench")
}

impl Report {
    /// Takes in what `guard_ratios` has written, if it ran.
    pub fn add_guards(&mut self) -> anyhow::Result<()> {
        let path = folder().join("guards.json");
        let Ok(text) = fs::read_to_string(&path) else {
            println!("{} is not there: no figures of the guard kernels", path.display());
            return Ok(());
        };
        let guards: Value = serde_json::from_str(&text).context("guards.json cannot be read")?;
        for (key, ratio) in guards["ratios"].as_object().into_iter().flatten() {
            if let Some(ratio) = ratio.as_f64() {
                self.ratios.insert(key.clone(), ratio);
            }
        }
        self.guards = guards["gb_per_s"].clone();
        Ok(())
    }

    /// Writes the report, and says how each promise was kept.
    pub fn write(&self) -> anyhow::Result<()> {
        let path = folder().join("bench.json");
        fs::create_dir_all(folder())?;
        fs::write(&path, serde_json::to_string_pretty(self)? + "\n")?;
        println!();
        for (key, ratio) in &self.ratios {
            match PROMISES.iter().find(|(name, _)| name == key) {
                Some((_, least)) if ratio >= least => {
                    println!("{key:26} {ratio:6.2}  at least {least}")
                }
                Some((_, least)) => println!("{key:26} {ratio:6.2}  MISSES {least}"),
                None => println!("{key:26} {ratio:6.2}"),
            }
        }
        println!("\n{}", path.display());
        Ok(())
    }
}

/// What the project promises, as ratios of medians of one run.
pub const PROMISES: [(&str, f64); 12] = [
    ("guard_512_isal", 0.95),
    ("guard_4096_isal", 0.95),
    ("guard_4096_crc", 5.0),
    ("copy_guard_hot_isal", 2.0),
    ("copy_guard_cold_isal", 1.4),
    ("write4k_qd32_threads", 2.5),
    ("write4k_qd32_uring", 1.6),
    ("write128k_qd8_threads", 1.0),
    ("read128k_qd8_threads", 1.2),
    ("checks_4k", 0.85),
    ("checks_128k", 0.7),
    ("guest_write_qemu", 1.0),
];
