//! Gathers where a verdict comes from: the command line, QEMU, the kernels' files, and the machine.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::runner::host::accel::Accel;
use crate::runner::host::again::quote;
use crate::runner::host::digest::sha256_of;
use crate::runner::host::qemu;
use crate::runner::kernel::{Kernel, configs};
use crate::verdict::{Host, KernelConfig, Load, Provenance};

/// How a configuration that is kept is called, before its release.
const KEPT_CONFIG: &str = "config-";

/// A kernel that was found for a word of the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedKernel {
    /// The word.
    pub asked: String,
    /// What its image says `uname -r` will be.
    pub release: String,
    /// The SHA-256 of its image; `None` where that cannot be read any more.
    pub sha256: Option<String>,
    /// Its configuration: the file and its SHA-256.
    pub config: Option<(PathBuf, String)>,
}

impl UsedKernel {
    /// Looks at the files of `kernel`.
    pub fn of(asked: &str, kernel: &Kernel) -> UsedKernel {
        let told = |path: &PathBuf| Some((path.clone(), sha256_of(path).ok()?));
        UsedKernel {
            asked: asked.to_owned(),
            release: kernel.release.clone(),
            sha256: sha256_of(&kernel.image).ok(),
            config: configs(kernel).iter().find_map(told),
        }
    }

    /// Copies the configuration into `out`, where there is one.
    ///
    /// # Errors
    /// The system's.
    pub fn keep_config(&self, out: &Path) -> io::Result<()> {
        let Some((path, _)) = &self.config else { return Ok(()) };
        // A release is the kernel's word: it must not lead out of the folder.
        let name: String = self.release.chars().filter(|c| *c != '/').collect();
        fs::copy(path, out.join(format!("{KEPT_CONFIG}{name}"))).map(drop)
    }
}

/// What is known when a run begins.
#[derive(Debug)]
pub struct Origin {
    command: String,
    seed: u64,
    load: Option<f64>,
}

impl Origin {
    /// Notes the command line and how busy the machine is before the run adds to it.
    pub fn now(command: impl Iterator<Item = OsString>, seed: u64) -> Origin {
        let words: Vec<String> = command.map(|word| quote(&word.to_string_lossy())).collect();
        Origin { command: words.join(" "), seed, load: load() }
    }

    /// The provenance of what ran since: on these kernels, under this QEMU or the one in PATH.
    pub fn end(
        self,
        (kernels, accel): (&[UsedKernel], Option<Accel>),
        qemu: Option<&Path>,
    ) -> Provenance {
        let each = || kernels.iter();
        let config = |kernel: &UsedKernel| {
            let (path, sha256) = kernel.config.clone()?;
            let path = path.display().to_string();
            Some((kernel.release.clone(), KernelConfig { path, sha256 }))
        };
        Provenance {
            command: self.command,
            seed: self.seed,
            qemu: qemu::find(qemu).and_then(|program| qemu::version(&program)).ok(),
            kernels: each().map(|k| (k.asked.clone(), k.release.clone())).collect(),
            kernel_sha256: each()
                .filter_map(|k| Some((k.release.clone(), k.sha256.clone()?)))
                .collect(),
            config: each().filter_map(config).collect(),
            host: Host {
                cpu: cpu(),
                cpus: cpus(),
                kernel: line_of("/proc/sys/kernel/osrelease"),
                load: Load { begin: self.load, end: load() },
            },
            accel: accel.map(|accel| accel.name().to_owned()),
        }
    }
}

fn line_of(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.lines().next()?.to_owned())
}

/// The average over the last minute.
fn load() -> Option<f64> {
    line_of("/proc/loadavg")?.split(' ').next()?.parse().ok()
}

fn cpu() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let (_, name) = text.lines().find(|line| line.starts_with("model name"))?.split_once(':')?;
    Some(name.trim().to_owned())
}

fn cpus() -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cpus).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::kernel::KernelSpec;

    #[test]
    fn a_kernels_files_are_told_by_their_contents() {
        let tree = tempfile::tempdir().unwrap();
        let image = tree.path().join("arch/x86/boot/bzImage");
        fs::create_dir_all(image.parent().unwrap()).unwrap();
        fs::write(tree.path().join("Kconfig"), "").unwrap();
        fs::write(&image, crate::runner::kernel::tests::image_of("6.9.0-x")).unwrap();
        let found = || {
            let word = tree.path().to_str().unwrap();
            let kernel = KernelSpec::parse(Some(word), None).unwrap().locate(&|_| ()).unwrap();
            UsedKernel::of(word, &kernel)
        };
        assert_eq!(found().config, None);
        fs::write(tree.path().join(".config"), "abc").unwrap();
        let used = found();
        let (path, hash) = used.config.clone().unwrap();
        assert_eq!((path.clone(), hash), (tree.path().join(".config"), sha256_of(&path).unwrap()));
        let before = used.sha256.clone().unwrap();
        used.keep_config(tree.path()).unwrap();
        assert_eq!(fs::read_to_string(tree.path().join("config-6.9.0-x")).unwrap(), "abc");
        let mut bytes = fs::read(&image).unwrap();
        bytes.push(0);
        fs::write(&image, bytes).unwrap();
        assert_ne!(found().sha256.unwrap(), before);
    }

    #[test]
    fn a_command_can_be_pasted_and_the_machine_has_a_name() {
        let words = ["dixtrap", "run", "--scenario", "mmap-*"].map(OsString::from);
        let told = Origin::now(words.into_iter(), 7).end((&[], Some(Accel::Tcg)), None);
        assert_eq!(told.command, "dixtrap run --scenario 'mmap-*'");
        assert_eq!((told.seed, told.accel.as_deref()), (7, Some("tcg")));
        assert!(told.host.cpus > 0 && told.host.load.end.is_some(), "{told:?}");
    }
}
