//! Where a verdict comes from: what was called, on what, and how busy that was.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What somebody needs who wants to run it again, or doubts it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The command line, as a shell reads it.
    pub command: String,
    /// The seed of every random draw.
    pub seed: u64,
    /// What QEMU says of its version; `None` where there is none to be asked.
    pub qemu: Option<String>,
    /// By the word that asked for a kernel, the release that it was.
    #[serde(default)]
    pub kernels: BTreeMap<String, String>,
    /// By release, the SHA-256 of the image.
    pub kernel_sha256: BTreeMap<String, String>,
    /// By release, the configuration that it was built with, where that lies beside it.
    pub config: BTreeMap<String, KernelConfig>,
    /// The machine.
    pub host: Host,
    /// What executed the guests, `kvm` or `tcg`; `None` where none was booted.
    pub accel: Option<String>,
}

/// A kernel's configuration. `--out` keeps a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelConfig {
    /// Where it lay.
    pub path: String,
    /// Its SHA-256.
    pub sha256: String,
}

/// The machine that the guests ran on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// The CPU's name.
    pub cpu: Option<String>,
    /// How many of them.
    pub cpus: u32,
    /// Its own `uname -r`.
    pub kernel: Option<String>,
    /// How busy it was.
    pub load: Load,
}

/// How many programs wanted a CPU, on average over a minute; our own guests count as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// In the minute before the run.
    pub begin: Option<f64>,
    /// In its last minute.
    pub end: Option<f64>,
}
