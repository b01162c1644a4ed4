//! QEMU: which one there is, its command line, and its process.

mod arguments;
mod disk;
mod error;
mod files;
mod plugin;
mod program;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::runner::host::child::{ChildGuard, spawn_tied};

#[cfg(test)]
pub(crate) use arguments::tests;
pub use arguments::{Front, QemuConfig, arguments};
pub use disk::Disk;
pub use error::QemuError;
pub use files::{CONSOLE, INITRAMFS, KERNEL, LINK, MESSAGES};
pub use plugin::Plugin;
pub use program::{find, version};

/// QEMU, running; killed when dropped.
#[derive(Debug)]
pub struct Qemu {
    process: ChildGuard,
    messages: PathBuf,
}

impl Qemu {
    /// Starts QEMU in `dir`, where the kernel and the initramfs lie already.
    ///
    /// # Errors
    /// When QEMU is not installed, its files cannot be written or its process not be made.
    pub fn start(dir: &Path, config: &QemuConfig<'_>) -> Result<Qemu, QemuError> {
        let program = find(config.program)?;
        let args = arguments(config, Front::Agent);
        let messages = dir.join(MESSAGES);
        // Files of an earlier boot would be taken for this one's.
        for name in [CONSOLE, LINK] {
            match fs::remove_file(dir.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        let log = File::create(&messages)?;
        let mut command = Command::new(program);
        command.args(args).current_dir(dir);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if let Some(plugin) = config.plugin {
            plugin.prepare(&mut command);
        }
        Ok(Qemu { process: spawn_tied(command)?, messages })
    }

    /// QEMU's process.
    pub fn process(&mut self) -> &mut ChildGuard {
        &mut self.process
    }

    /// What QEMU said so far.
    pub fn messages(&self) -> String {
        let bytes = fs::read(&self.messages).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}
