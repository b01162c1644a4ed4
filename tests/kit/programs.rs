//! The programs of this project as child processes, and what they say.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Once;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub const DIXTRAP: &str = env!("CARGO_BIN_EXE_dixtrap");
pub const DIXTRAPD: &str = env!("CARGO_BIN_EXE_dixtrapd");
pub const DIXTRAP_GUEST: &str = env!("CARGO_BIN_EXE_dixtrap-guest");

/// Puts the plugin of QEMU's beside the programs, as `cargo build` does; a test's build leaves it in a folder below.
pub fn put_plugin_beside_programs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let folder = Path::new(DIXTRAP).parent().unwrap();
        let name = "libdixtrap_watch.so";
        // Whole at any moment: other tests may load it.
        let new = folder.join(format!("{name}.{}", std::process::id()));
        fs::copy(folder.join("deps").join(name), &new).unwrap();
        fs::rename(new, folder.join(name)).unwrap();
    });
}

/// `dixtrap`, which finds the daemon and the helper that were built with it.
pub fn dixtrap(words: &[&str]) -> Command {
    let mut command = Command::new(DIXTRAP);
    command.args(words).env("DIXTRAPD", DIXTRAPD).env("DIXTRAP_GUEST", DIXTRAP_GUEST);
    command.stdin(Stdio::null());
    command
}

/// What `dixtrap` made of it.
pub fn output(words: &[&str]) -> Output {
    dixtrap(words).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Everything that a program said, standard output first.
pub fn said(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

/// A child that outlives no test, not even one that fails.
pub struct Guarded(pub Child);

impl Guarded {
    pub fn signal(&self, signal: Signal) {
        // It may have ended before.
        let _ = kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal);
    }
}

impl Deref for Guarded {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
