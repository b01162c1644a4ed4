//! Has the guest tell what it is before a cell is judged, and keeps that with the boot's files.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use crate::guest::facts::Facts;
use crate::guest::protocol::Stream;
use crate::runner::guest::{BootError, Exec, Guest, GuestError};
use crate::runner::kernel::Kernel;
use crate::runner::kernel::configs;
use crate::runner::select::table;

/// What the guest told, in the boot's directory.
pub const FACTS: &str = "guest.json";
/// The most of a configuration that is read; today's have 300 KB.
const MOST_CONFIG: u64 = 4 << 20;
/// How long it may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Asks the guest about itself and its disk.
///
/// # Errors
/// When the guest is lost, or tells nothing that can be read.
pub fn look_up(
    guest: &mut Guest,
    kernel: &Kernel,
    disk: &str,
    directory: &Path,
) -> Result<table::Guest, BootError> {
    let argv = ["dixtrap-guest", "facts", disk, "--try-knob"].map(str::to_owned).to_vec();
    let exec = Exec { argv, timeout: LIMIT, ..Exec::default() };
    let (mut told, mut said) = (String::new(), String::new());
    let result = guest.exec(&exec, &mut |line| match line.stream {
        Stream::Stdout => told = line.text,
        Stream::Stderr | Stream::Told => said = line.text,
    });
    let result = result.map_err(BootError::Kernel)?;
    let facts = serde_json::from_str::<Facts>(&told).ok().filter(|_| result.status.success());
    let Some(facts) = facts else {
        let line = format!("{told}{said}").chars().take(200).collect();
        return Err(BootError::Kernel(GuestError::Protocol { line }));
    };
    let path = directory.join(FACTS);
    // A disk that is full will say so where it matters, with the records.
    if let Err(error) = std::fs::write(&path, format!("{told}\n")) {
        log::warn!("cannot write {}: {error}", path.display());
    }
    Ok(table::Guest::new(facts, config_of(kernel).as_deref()))
}

/// The kernel's configuration, where it lies with the kernel.
fn config_of(kernel: &Kernel) -> Option<String> {
    let file = configs(kernel).iter().find_map(|path| File::open(path).ok())?;
    let mut bytes = Vec::new();
    file.take(MOST_CONFIG).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
