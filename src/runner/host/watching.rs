//! How a guest's stores are watched: QEMU's plugin, and the file that it shares with `dixtrapd`.

use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::runner::host::accel::Accel;
use crate::runner::host::child::spawn_tied;
use crate::runner::host::qemu::{self, Plugin};

/// The library's name.
const LIBRARY: &str = "libdixtrap_watch.so";
/// Where it is installed, seen from the folder of the programs.
const INSTALLED: &str = "../lib/dixtrap";
/// Memory that is a file.
const MEMORY: &str = "/dev/shm";
/// How long QEMU may take to load it.
const LIMIT: Duration = Duration::from_secs(20);
/// From this version on QEMU takes no older plugin interface than this one.
const NEWER: (u32, i32) = (11, 7);

/// A plugin that this QEMU loads, and a place for its file, which goes with this.
#[derive(Debug)]
pub struct Watching {
    plugin: Plugin,
    shared: PathBuf,
    _folder: TempDir,
}

impl Watching {
    /// What QEMU is to load.
    pub fn plugin(&self) -> Plugin {
        self.plugin.clone()
    }

    /// The file that the daemon makes.
    pub fn shared(&self) -> &Path {
        &self.shared
    }
}

/// Finds the plugin and tries it.
///
/// # Errors
/// Why nothing can be watched, in words.
pub fn watching(qemu: Option<&Path>, accel: Accel) -> Result<Watching, String> {
    if !accel.is_emulated() {
        return Err("stores are seen only where the CPU is emulated: add --accel tcg".to_owned());
    }
    let library = find()
        .ok_or_else(|| format!("{LIBRARY} is not beside this program: build the whole package"))?;
    let program = qemu::find(qemu).map_err(|error| error.to_string())?;
    let version = qemu::version(&program).map_err(|error| error.to_string())?;
    let interface = major(&version).filter(|major| *major >= NEWER.0).map(|_| NEWER.1);
    let memory = Path::new(MEMORY);
    let folder = tempfile::Builder::new();
    let folder = if memory.is_dir() { folder_in(folder, memory) } else { TempDir::new() }
        .map_err(|error| format!("no folder for its file can be made: {error}"))?;
    let shared = folder.path().join("watch");
    let plugin = Plugin { library, shared: shared.clone(), interface };
    if !loads(&program, &plugin) {
        return Err(format!(
            "{} loads no plugins, or not {}",
            program.display(),
            plugin.library.display()
        ));
    }
    Ok(Watching { plugin, shared, _folder: folder })
}

fn folder_in(mut folder: tempfile::Builder<'_, '_>, memory: &Path) -> std::io::Result<TempDir> {
    folder.prefix("dixtrap-watch-").tempdir_in(memory)
}

/// Beside this program, where a build puts it, or where it is installed. A test program lies one folder below.
fn find() -> Option<PathBuf> {
    let ours = std::env::current_exe().ok()?;
    let near = ours.ancestors().skip(1).take(2);
    let mut places =
        near.flat_map(|folder| [folder.join(LIBRARY), folder.join(INSTALLED).join(LIBRARY)]);
    places.find(|path| path.is_file())
}

/// Whether QEMU takes it: one without a machine, which ends at once.
fn loads(program: &Path, plugin: &Plugin) -> bool {
    let mut command = Command::new(program);
    command.args([
        "-machine",
        "none",
        "-accel",
        "tcg",
        "-nodefaults",
        "-display",
        "none",
        "-monitor",
        "stdio",
    ]);
    // Without its file it would refuse: that it is asked for is enough.
    plugin.add_probe_to(&mut command);
    let Ok(quit) = quit() else { return false };
    command.stdin(quit).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = spawn_tied(command) else { return false };
    matches!(child.wait_at_most(LIMIT), Ok(Some(status)) if status.success())
}

/// What its monitor is told.
fn quit() -> std::io::Result<std::fs::File> {
    let mut words = tempfile::tempfile()?;
    words.write_all(b"quit\n")?;
    words.rewind()?;
    Ok(words)
}

/// `QEMU emulator version 7.2.22 (…)`.
fn major(version: &str) -> Option<u32> {
    version.split(' ').find_map(|word| word.split_once('.')?.0.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_distributions_are_understood() {
        assert_eq!(
            major("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)"),
            Some(7)
        );
        assert_eq!(major("QEMU emulator version 11.1.0"), Some(11));
        assert_eq!(major("QEMU"), None);
    }

    #[test]
    fn what_loads_no_plugins_is_not_taken_for_a_qemu_that_does() {
        let plugin = Plugin {
            library: "/nowhere/lib.so".into(),
            shared: "/nowhere/shared".into(),
            interface: None,
        };
        assert!(
            !loads(Path::new("/bin/false"), &plugin) && !loads(Path::new("/nowhere/qemu"), &plugin)
        );
    }

    #[test]
    fn where_a_cpu_is_real_nobody_is_named() {
        assert!(watching(None, Accel::Kvm).unwrap_err().contains("--accel tcg"));
    }
}
