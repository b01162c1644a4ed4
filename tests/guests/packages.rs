//! A stock kernel in the forms in which its users have it: in packages of every kind, and as an image.

use std::fs;

use dixtrap::runner::guest::BootRequest;
use dixtrap::runner::host::accel::Accel;
use dixtrap::runner::kernel::KernelSpec;
use dixtrap::runner::kernel::modules::resolve;

use crate::booted;
use crate::kit::packing::place::Place;
use crate::kit::packing::{KINDS, file, gzip, link, uki, vmlinux};

/// A stock kernel as other distributions would pack it: the same image and modules come out again.
#[test]
fn a_kernel_comes_out_of_every_package_as_it_went_in() {
    let stock = booted::kernel();
    let tree = stock.modules.unwrap();
    let image = fs::read(&stock.image).unwrap();
    let base = format!("usr/lib/modules/{}", stock.release);
    let modules = ["virtio_pci", "virtio_blk", "ext4"].map(str::to_owned);
    let before = resolve(Some(&tree), &modules, &[]).unwrap();
    let mut items = vec![file(&format!("{base}/vmlinuz"), &image)];
    for name in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
        let contents = fs::read(tree.dir().join(name)).unwrap();
        items.push(file(&format!("{base}/{name}"), &contents));
    }
    // Packed by gzip, which kmod may know nothing of.
    let all =
        tree.names().filter(|name| before.modules.iter().any(|m| m.name == format!("{name}.ko")));
    for name in all.map(str::to_owned).collect::<Vec<_>>() {
        let (module, _) = tree.load(&name).unwrap();
        let packed = gzip(&module.contents);
        items.push(file(&format!("{base}/kernel/{name}.ko.gz"), &packed));
    }
    items.push(link(&format!("{base}/build"), "/usr/src/linux"));
    for kind in KINDS {
        let place = Place::new();
        let (_, said) =
            place.run(&place.package(&format!("linux{}", kind.ending()), &kind.of(&items)));
        assert!(said.contains(&format!("booting {}", stock.release)), "{kind:?}: {said}");
        let [entry] = &place.entries()[..] else { panic!("{kind:?}: one entry") };
        assert_eq!(fs::read(entry.join(&base[4..]).join("vmlinuz")).unwrap(), image, "{kind:?}");
        let spec = KernelSpec::parse(entry.to_str(), None).unwrap();
        let kernel = spec.locate(&|_| ()).unwrap();
        assert_eq!(kernel.release, stock.release);
        assert_eq!(resolve(kernel.modules.as_ref(), &modules, &[]).unwrap(), before, "{kind:?}");
        place.check("a stock kernel");
    }
}

/// A vmlinux and a unified kernel image boot: made of the stock kernel, with its modules beside them.
#[test]
fn a_vmlinux_and_a_unified_image_boot() {
    let stock = booted::kernel();
    let modules = stock.modules.unwrap().dir().to_owned();
    let bzimage = fs::read(&stock.image).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let forms = [("vmlinux", vmlinux(&bzimage)), ("linux.efi", uki(&bzimage))];
    for (name, bytes) in forms {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let spec = KernelSpec::parse(path.to_str(), Some(&modules)).unwrap();
        let kernel = spec.locate(&|_| ()).unwrap();
        assert_eq!(kernel.release, stock.release, "{name}");
        let request =
            BootRequest::new(&kernel, Accel::Tcg, &dir.path().join(format!("{name}-boot")));
        let mut guest = dixtrap::runner::guest::boot(&request).unwrap();
        assert_eq!(guest.release(), stock.release, "{name}");
        guest.power_off().unwrap();
    }
}
