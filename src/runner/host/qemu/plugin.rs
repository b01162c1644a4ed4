//! The plugin that watches stores, as QEMU is told of it.

use std::path::PathBuf;
use std::process::Command;

use super::files::doubled;

/// The plugin that watches stores (`plugin/`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// The library.
    pub library: PathBuf,
    /// The file that it shares with `dixtrapd --watch`.
    pub shared: PathBuf,
    /// The version of QEMU's interface that it has to be told.
    pub interface: Option<i32>,
}

impl Plugin {
    /// What the library is told the version by.
    const INTERFACE: &str = "DIXTRAP_PLUGIN_API";

    pub(super) fn words(&self, arguments: &str) -> String {
        format!("{},{arguments}", doubled(&self.library.display().to_string()))
    }

    pub(super) fn prepare(&self, command: &mut Command) {
        match self.interface {
            Some(version) => command.env(Self::INTERFACE, version.to_string()),
            None => command.env_remove(Self::INTERFACE),
        };
    }

    /// Has it loaded, and do nothing.
    pub fn add_probe_to(&self, command: &mut Command) {
        command.arg("-plugin").arg(self.words("probe=on"));
        self.prepare(command);
    }
}
