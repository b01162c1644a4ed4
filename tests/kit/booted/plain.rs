//! A guest as a reader of the README would boot it: a stock kernel and a small initramfs of its own,
//! made with none of the runner's machinery inside the guest.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use dixtrap::runner::host::tools::find_program;
use dixtrap::runner::kernel::modules;

use super::kernel;

/// Writes `vmlinuz` and `initrd.img` into `dir`. The guest loads its disk's driver, runs `script`
/// with busybox and powers off.
pub fn write(dir: &Path, script: &str) {
    let kernel = kernel();
    fs::copy(&kernel.image, dir.join("vmlinuz")).unwrap();
    let root = tempfile::tempdir().unwrap();
    for folder in ["bin", "dev", "proc", "sys", "modules"] {
        fs::create_dir(root.path().join(folder)).unwrap();
    }
    fs::copy(find_program("busybox").unwrap(), root.path().join("bin/busybox")).unwrap();
    let drivers = ["virtio_pci", "virtio_blk"].map(str::to_owned);
    let closure = modules::resolve(kernel.modules.as_ref(), &drivers, &[]).unwrap();
    for (index, module) in closure.modules.iter().enumerate() {
        let place = root.path().join("modules").join(format!("{index:03}-{}", module.name));
        fs::write(place, &module.contents).unwrap();
    }
    take_the_helper_along(root.path());
    let init = root.path().join("init");
    fs::write(&init, format!("{PROLOGUE}{script}\npoweroff -f\n")).unwrap();
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
    pack(root.path(), &dir.join("initrd.img"));
}

/// The helper, and where this build of it needs some, its libraries.
fn take_the_helper_along(root: &Path) {
    let helper = env!("CARGO_BIN_EXE_dixtrap-guest");
    fs::copy(helper, root.join("bin/dixtrap-guest")).unwrap();
    let needs = Command::new("ldd").arg(helper).output().unwrap().stdout;
    let needs = String::from_utf8(needs).unwrap();
    for library in needs.split_whitespace().filter(|word| word.starts_with('/')) {
        let place = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(library, place).unwrap();
    }
}

const PROLOGUE: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod $module; done
";

fn pack(root: &Path, archive: &Path) {
    let status = Command::new("sh")
        .args(["-c", "find . | busybox cpio -o -H newc >\"$1\" 2>/dev/null", "sh"])
        .arg(archive)
        .current_dir(root)
        .status()
        .unwrap();
    assert!(status.success());
}
