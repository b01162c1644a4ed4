//! The hash of a plan: parts of one run have it in common, and runs that were asked for anything else
//! have another.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::runner::host::device::Device;
use crate::runner::host::digest::hex;
use crate::runner::host::machine::{DiskShape, Machine};
use crate::runner::run::campaign::Asked;
use crate::runner::run::options::RunOptions;
use crate::runner::select::catalogue::files_built_in;
use crate::runner::select::selection::Selection;

/// The hash of everything that a run, all its parts together, is asked to do: which kernels, devices,
/// cells and scripts, and how. Where it runs (accelerator, folders, guests side by side) is left out,
/// and so is where a kernel lies: machines that share a run have workspaces of their own.
pub fn plan_hash(
    kernels: &[Asked],
    devices: &[Device],
    selection: &Selection,
    options: &RunOptions,
) -> String {
    let mut hash = Words(Sha256::new());
    hash.add(env!("CARGO_PKG_VERSION"));
    for (path, contents) in files_built_in() {
        hash.add(path.as_os_str().as_encoded_bytes());
        hash.add(contents);
    }
    hash.add_options(options);
    hash.add_list(kernels.iter().map(|asked| last_name(&asked.name)));
    hash.add_list(devices.iter().map(|device| device.name()));
    hash.add_list(selection.asks().iter().map(ToString::to_string));
    hash.add_list(selection.chosen().iter().map(|spec| spec.name()));
    hash.add_list(selection.chosen().iter().map(|spec| spec.scenario.script.as_str()));
    for companion in selection.chosen().iter().flat_map(|spec| &spec.scenario.companions) {
        hash.add(&companion.place);
        hash.add(companion.mode.to_string());
        hash.add(&companion.contents);
    }
    hex(&hash.0.finalize())
}

/// The last component of a path; other names are their own.
fn last_name(name: &str) -> String {
    let last = Path::new(name).file_name();
    last.map_or_else(|| name.to_owned(), |last| last.to_string_lossy().into_owned())
}

/// A hash over words that cannot run into each other.
struct Words(Sha256);

impl Words {
    fn add(&mut self, word: impl AsRef<[u8]>) {
        let word = word.as_ref();
        self.0.update(u64::try_from(word.len()).unwrap_or(u64::MAX).to_le_bytes());
        self.0.update(word);
    }

    fn add_list<W: AsRef<[u8]>>(&mut self, words: impl Iterator<Item = W>) {
        let words: Vec<W> = words.collect();
        self.add(words.len().to_string());
        words.iter().for_each(|word| self.add(word));
    }

    fn add_options(&mut self, options: &RunOptions) {
        // Every field is named: a new one must not be forgotten.
        let RunOptions {
            accel: _,
            window,
            seconds,
            repeat,
            seed,
            out: _,
            machine: Machine { qemu: _, qemu_args, append, memory, cpus, boot_limit: _ },
            disk: DiskShape { block_size, pi_type, size },
            races_limit: _,
            culprit: _,
            timeout: _,
        } = options;
        self.add(window.to_string());
        self.add_list([u64::from(*seconds), u64::from(*repeat), *seed].iter().map(u64::to_string));
        self.add_list(qemu_args.iter());
        self.add_list([append.clone(), memory.to_string(), format!("{cpus:?}")].iter());
        self.add(format!("{block_size:?} {pi_type:?} {size}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::host::accel::AccelMode;
    use crate::runner::kernel::KernelSpec;
    use crate::runner::run::options::Culprit;
    use crate::runner::select::catalogue::Catalogue;
    use crate::verdict::Expect;

    fn options() -> RunOptions {
        RunOptions {
            accel: AccelMode::Auto,
            window: "1ms".parse().unwrap(),
            seconds: 5,
            repeat: 1,
            seed: 0,
            out: "out".into(),
            machine: Machine::default(),
            disk: DiskShape::default(),
            races_limit: crate::units::ByteSize(1 << 28),
            culprit: Culprit::Auto,
            timeout: None,
        }
    }

    fn asked(name: &str) -> Asked {
        Asked { name: name.to_owned(), spec: KernelSpec::Default }
    }

    #[test]
    fn what_is_asked_makes_the_plan_and_where_it_runs_does_not() {
        let selection = Selection::new(Catalogue::embedded().unwrap(), &[], &[]).unwrap();
        let cells = selection.len();
        let plan = |kernels: &[Asked], devices: &[Device], selection: &Selection, o: RunOptions| {
            plan_hash(kernels, devices, selection, &o)
        };
        let one = [asked("/runner/1/linux.deb")];
        let first = plan(&one, &[Device::Blk], &selection, options());
        assert_eq!(first.len(), 64);
        let elsewhere = RunOptions { accel: AccelMode::Tcg, out: "b".into(), ..options() };
        let there = [asked("../2/linux.deb")];
        assert_eq!(plan(&there, &[Device::Blk], &selection, elsewhere), first);
        let other_window = RunOptions { window: "2ms".parse().unwrap(), ..options() };
        let debug = Machine { append: "debug".into(), ..Machine::default() };
        let expecting = selection.clone().expecting(Some(Expect::Stable));
        for other in [
            plan(&one, &[Device::Blk], &selection, other_window),
            plan(&one, &[Device::Blk], &selection, RunOptions { seed: 1, ..options() }),
            plan(&one, &[Device::Blk], &selection, RunOptions { machine: debug, ..options() }),
            plan(&one, &[Device::Blk], &selection, RunOptions { repeat: 2, ..options() }),
            plan(&one, &[Device::Blk], &selection.part(1..cells), options()),
            plan(&one, &[Device::Blk], &expecting, options()),
            plan(&one, &[Device::Blk, Device::Scsi], &selection, options()),
            plan(&[asked("linux.deb"), asked(".")], &[Device::Blk], &selection, options()),
            plan(&[asked("debian:sid")], &[Device::Blk], &selection, options()),
        ] {
            assert_ne!(other, first);
        }
    }

    /// Machines that share a run have to mean the same program by the same name.
    #[test]
    fn what_lies_beside_a_script_is_asked_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sh");
        let script =
            "# description: d\n# fs: raw\n# stable-writes: any\n# expect: race\n# files: a\n";
        std::fs::write(&path, script).unwrap();
        let plan = |contents: &str| {
            std::fs::write(dir.path().join("a"), contents).unwrap();
            let catalogue = Catalogue::embedded().unwrap();
            let selection = Selection::new(catalogue, &[path.display().to_string()], &[]);
            plan_hash(&[asked(".")], &[Device::Blk], &selection.unwrap(), &options())
        };
        assert_eq!(plan("one"), plan("one"));
        assert_ne!(plan("one"), plan("two"));
    }
}
