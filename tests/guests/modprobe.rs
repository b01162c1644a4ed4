//! What modprobe would load for a stock kernel's modules.

use std::fs;
use std::path::Path;
use std::process::Command;

use dixtrap::runner::host::tools::{Tool, find_program};
use dixtrap::runner::kernel::modules::resolve;

use crate::booted;
use crate::kit::programs::text;

/// What modprobe would load for a module, by its files' names.
fn modprobe(base: &Path, release: &str, module: &str) -> Vec<String> {
    let output = Command::new(find_program("modprobe").unwrap())
        .args(["-C", "/dev/null", "-S", release, "--show-depends", module, "-d"])
        .arg(base)
        .output()
        .unwrap();
    let listed = text(&output.stdout);
    let paths = listed.lines().filter_map(|line| line.strip_prefix("insmod "));
    let name = |path: &str| {
        let name = path.trim().rsplit('/').next().unwrap().replace('-', "_");
        name.split(".ko").next().unwrap().to_owned()
    };
    let mut names: Vec<String> = paths.map(name).collect();
    names.sort();
    names.dedup();
    names
}

/// Whether a module among these has several lines of soft dependencies: modprobe takes the first only,
/// and btrfs is then without its other checksums.
fn has_several_soft_needs(base: &Path, release: &str, modules: &[String]) -> bool {
    let lines = |name: &String| {
        let tool = Tool::find("modinfo", "kmod").unwrap();
        let tool = tool.arg("-b").arg(base).args(["-k", release, "-F", "softdep"]).arg(name);
        tool.text().unwrap().lines().count()
    };
    modules.iter().any(|name| lines(name) > 1)
}

/// depmod's and modprobe's answers for a stock kernel, where kmod is installed: the same modules, and
/// each behind those it needs.
#[test]
fn modprobe_would_load_the_same() {
    if find_program("modprobe").is_none() {
        eprintln!("skipped: kmod is not installed");
        return;
    }
    let kernel = booted::kernel();
    let tree = kernel.modules.unwrap();
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("lib/modules").join(&kernel.release);
    fs::create_dir_all(&dir).unwrap();
    for name in ["kernel", "modules.order", "modules.builtin", "modules.builtin.modinfo"] {
        std::os::unix::fs::symlink(tree.dir().join(name), dir.join(name)).unwrap();
    }
    let depmod = Tool::find("depmod", "kmod").unwrap();
    depmod.arg("-b").arg(base.path()).arg(&kernel.release).output().unwrap();
    let always =
        ["virtio_pci", "virtio_scsi", "ext4", "xfs", "btrfs", "f2fs", "dm_crypt", "raid456"];
    let others = tree.names().enumerate().filter(|(number, _)| number % 9 == 0);
    let all: Vec<&str> = others.map(|(_, name)| name).chain(always).collect();
    let mut loaded = 0;
    for name in &all {
        let closure = resolve(Some(&tree), &[], &[(*name).to_owned()]).unwrap();
        let names = closure.modules.iter().map(|m| m.name.trim_end_matches(".ko").to_owned());
        let mut ours: Vec<String> = names.collect();
        ours.sort();
        loaded += ours.len();
        let theirs = modprobe(base.path(), &kernel.release, name);
        if ours != theirs {
            assert!(theirs.iter().all(|n| ours.contains(n)), "{name}: {ours:?}, not {theirs:?}");
            let known = has_several_soft_needs(base.path(), &kernel.release, &ours);
            assert!(known, "{name}: {ours:?}, not {theirs:?}");
        }
    }
    assert!(loaded > all.len(), "{loaded} modules for {} names", all.len());
}
