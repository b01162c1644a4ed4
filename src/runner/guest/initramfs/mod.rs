//! The guest's whole user space: our helper as `/init`, bash, busybox, the modules, the scenarios, and
//! programs of the host. Built without root, uncompressed: a guest under TCG unpacks slowly.

mod busybox;
mod carried;
mod cpio;
mod error;
mod library;
mod programs;

use std::env;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::runner::host::tools::{Tool, ToolError};
use crate::runner::kernel::modules::Module;
use cpio::Archive;
use error::HELPER;

pub use crate::runner::host::tools::find_program;
pub use carried::{Carried, HostFile, Library, Link, PROGRAMS};
pub use error::InitramfsError;
pub use programs::libraries;

/// The program that runs scripts, and the package that brings it.
const SHELL: &str = "bash";
/// Where it lies in the guest.
pub const SHELL_PLACE: &str = "/usr/local/bin/bash";

/// The file that names the modules to load, in order. [`crate::guest::init`] reads it.
const MODULE_LIST: &str = crate::guest::init::MODULE_LIST;

/// A file for the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFile {
    /// Its absolute path in the guest.
    pub path: String,
    /// Its permission bits.
    pub mode: u32,
    /// What is in it.
    pub contents: Vec<u8>,
}

/// What goes into an initramfs, besides the helper and busybox.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// Modules, each behind those it needs.
    pub modules: Vec<Module>,
    /// Programs of the host, and what they need.
    pub carried: Carried,
    /// Further files; each comes before one of [`Contents::carried`] at the same place.
    pub files: Vec<GuestFile>,
}

/// Writes the initramfs to `path`.
///
/// # Errors
/// When something that belongs into it is missing on the host, or the file cannot be written.
pub fn write(path: &Path, contents: &Contents) -> Result<(), InitramfsError> {
    let failed = |source| InitramfsError::File { path: path.to_owned(), source };
    let out = BufWriter::new(File::create(path).map_err(failed)?);
    let mut builder = Builder { archive: Archive::new(out), path: path.to_owned() };
    builder.skeleton()?;
    builder.shell()?;
    builder.program(&helper()?)?;
    builder.link("/init", &format!("{PROGRAMS}/{HELPER}"))?;
    for file in &contents.files {
        builder.file(&file.path, file.mode, &file.contents)?;
    }
    // What is needed of the host comes before busybox's applet at the same place.
    builder.carried(&contents.carried)?;
    builder.busybox()?;
    builder.modules(&contents.modules)?;
    builder.archive.finish().map(drop).map_err(failed)
}

/// The helper: `$DIXTRAP_GUEST`, or beside the running program (or above it: a test runs in `deps/`).
fn helper() -> Result<PathBuf, InitramfsError> {
    if let Some(path) = env::var_os("DIXTRAP_GUEST") {
        return Ok(path.into());
    }
    let program = env::current_exe()
        .map_err(|source| InitramfsError::File { path: "/proc/self/exe".into(), source })?;
    let beside = program.ancestors().skip(1).take(2).map(|dir| dir.join(HELPER));
    let mut found = beside.filter(|path| path.is_file());
    found.next().ok_or(InitramfsError::NoHelper { program })
}

struct Builder<W> {
    archive: Archive<W>,
    path: PathBuf,
}

impl<W: Write> Builder<W> {
    fn skeleton(&mut self) -> Result<(), InitramfsError> {
        // /init has a console to complain on before devtmpfs is there.
        let console = self.archive.character_device("/dev/console", 5, 1);
        self.written(console)?;
        for dir in ["/proc", "/sys", "/tmp", "/run", "/mnt", "/root", "/var", "/etc", PROGRAMS] {
            let made = self.archive.dir(dir);
            self.written(made)?;
        }
        self.link("/etc/mtab", "/proc/self/mounts")?;
        for host_file in ["/etc/ld.so.cache", "/etc/mke2fs.conf"] {
            // Both are a help where they exist, and needed by nobody where they do not.
            if let Ok(contents) = fs::read(host_file) {
                self.file(host_file, 0o644, &contents)?;
            }
        }
        self.file("/etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n")?;
        self.file("/etc/group", 0o644, b"root:x:0:\n")
    }

    /// The guest's sh is the host's bash. Busybox's own would run its applets before any program of the
    /// host, wherever PATH has that, and could not tell which part of a pipeline failed.
    fn shell(&mut self) -> Result<(), InitramfsError> {
        let (program, package) = (SHELL.to_owned(), SHELL.to_owned());
        let path = find_program(SHELL).ok_or(ToolError::Missing { program, package })?;
        self.program(&path)?;
        for name in ["/bin/sh", "/bin/bash", "/usr/bin/bash", "/usr/local/bin/sh"] {
            self.link(name, SHELL_PLACE)?;
        }
        // Busybox's does not split what follows it in a script's first line (env -S).
        match find_program("env") {
            Some(path) => self.carry(&path, "/usr/bin/env"),
            None => self.link("/usr/bin/env", "/bin/busybox"),
        }
    }

    /// Programs of the host, with what they need. What a library has for programs that this machine does
    /// not have is left out.
    fn carried(&mut self, carried: &Carried) -> Result<(), InitramfsError> {
        for file in &carried.files {
            self.carry(&file.host, &file.place)?;
        }
        for link in &carried.links {
            self.link(&link.place, &link.target)?;
        }
        for library in &carried.libraries {
            for path in library::files_of(library)? {
                match self.carry(&path, &path.to_string_lossy()) {
                    Err(InitramfsError::Library { .. }) => {}
                    result => result?,
                }
            }
        }
        Ok(())
    }

    fn busybox(&mut self) -> Result<(), InitramfsError> {
        let path = busybox::find()?;
        self.host_file(&path, "/bin/busybox")?;
        let applets = Tool::at(&path).arg("--list").text()?;
        for applet in applets.lines().filter(|name| !name.contains('/') && *name != "busybox") {
            self.link(&format!("/bin/{applet}"), "busybox")?;
        }
        Ok(())
    }

    fn program(&mut self, path: &Path) -> Result<(), InitramfsError> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        self.carry(path, &format!("{PROGRAMS}/{}", name.unwrap_or_default()))
    }

    /// A file of the host, with the libraries that it needs where it is a program or a library.
    fn carry(&mut self, path: &Path, place: &str) -> Result<(), InitramfsError> {
        let contents = fs::read(path)
            .map_err(|source| InitramfsError::File { path: path.to_owned(), source })?;
        if contents.starts_with(b"\x7fELF") {
            for library in programs::libraries(path)? {
                // The loader looks where it would on the host.
                self.host_file(&library, &library.to_string_lossy())?;
            }
        }
        self.file(place, 0o755, &contents)
    }

    fn modules(&mut self, modules: &[Module]) -> Result<(), InitramfsError> {
        let mut list = String::new();
        for (index, module) in modules.iter().enumerate() {
            // Numbered: modules of one name may lie in different directories.
            let place = format!("/modules/{index:03}-{}", module.name);
            self.file(&place, 0o644, &module.contents)?;
            list.push_str(&place);
            list.push('\n');
        }
        self.file(MODULE_LIST, 0o644, list.as_bytes())
    }

    fn host_file(&mut self, path: &Path, place: &str) -> Result<(), InitramfsError> {
        let contents = fs::read(path)
            .map_err(|source| InitramfsError::File { path: path.to_owned(), source })?;
        self.file(place, 0o755, &contents)
    }

    fn file(&mut self, place: &str, mode: u32, contents: &[u8]) -> Result<(), InitramfsError> {
        let added = self.archive.file(place, mode, contents);
        self.written(added)
    }

    fn link(&mut self, place: &str, target: &str) -> Result<(), InitramfsError> {
        let added = self.archive.link(place, target);
        self.written(added)
    }

    fn written(&self, result: io::Result<()>) -> Result<(), InitramfsError> {
        result.map_err(|source| InitramfsError::File { path: self.path.clone(), source })
    }
}
