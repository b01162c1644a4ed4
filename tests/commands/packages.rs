//! Kernels' packages of every kind, honest and hostile. No guest is booted: what a package may do ends
//! before that.

use crate::kit::packing::place::Place;
use crate::kit::packing::{Item, KINDS, What, deb, file, gzip, item, kernel, link, tar};

const RELEASE: &str = "6.6.6-evil";

/// What an honest package has.
fn honest() -> Vec<Item> {
    vec![
        item("./boot", What::Folder),
        file("./boot/vmlinuz-6.6.6-evil", &kernel(RELEASE)),
        file("./lib/modules/6.6.6-evil/modules.order", b""),
        file("./lib/modules/6.6.6-evil/modules.builtin", b"kernel/virtio_blk.ko\n"),
        link("./lib/modules/6.6.6-evil/build", "/usr/src/linux-headers-6.6.6-evil"),
        file("./usr/share/doc/linux/copyright", b"nobody boots that"),
    ]
}

/// The honest package with these in front, as links would have to be to lead anything anywhere.
fn behind(first: Vec<Item>) -> Vec<Item> {
    [first, honest()].concat()
}

/// Attempts, by name. `up` leads from the package's place in the cache to the host.
fn attempts(host: &str) -> Vec<(&'static str, Vec<Item>)> {
    let up = "../../../../host";
    let vmlinuz = "boot/vmlinuz-6.6.6-evil";
    let canary = format!("{host}/canary");
    let mut setuid = file(vmlinuz, &kernel(RELEASE));
    setuid.mode = 0o6777;
    vec![
        ("usr is a link to the host", behind(vec![link("usr", host)])),
        ("usr is a link up", behind(vec![link("usr", up)])),
        ("lib is a link to the host", behind(vec![link("lib", &format!("{host}/lib"))])),
        ("lib is a link up", behind(vec![link("lib", &format!("{up}/lib"))])),
        ("boot is a link to the host", behind(vec![link("boot", host)])),
        ("boot is a link up", behind(vec![link("boot", up)])),
        (
            "the modules are a link",
            behind(vec![link("lib/modules", &format!("{host}/lib/modules"))]),
        ),
        (
            "the release is a link",
            behind(vec![
                item("lib/modules", What::Folder),
                link("lib/modules/6.6.6-evil", &format!("{up}/lib/modules/6.6.6-evil")),
            ]),
        ),
        (
            "kernel is a link",
            behind(vec![
                link("lib/modules/6.6.6-evil/kernel", host),
                file("lib/modules/6.6.6-evil/kernel/canary.ko", b"dead"),
            ]),
        ),
        ("only the link", vec![link("usr", host)]),
        (
            "the link behind the kernel",
            [honest(), vec![link("usr", host), link("lib", up)]].concat(),
        ),
        ("the image is a link, and then a file", behind(vec![link(vmlinuz, &canary)])),
        ("the image is a file, and then a link", [honest(), vec![link(vmlinuz, &canary)]].concat()),
        (
            "the image is the canary's other name",
            behind(vec![item(vmlinuz, What::Same(canary.clone()))]),
        ),
        (
            "the image is its other name",
            behind(vec![item(vmlinuz, What::Same(format!("{up}/canary")))]),
        ),
        ("names lead up", behind(vec![file(&format!("{up}/canary"), b"dead")])),
        ("names lead up from within", behind(vec![file(&format!("boot/../{up}/canary"), b"dead")])),
        (
            "names are absolute",
            behind(vec![file(&canary, b"dead"), file("/boot/config-6.6.6", b"x")]),
        ),
        ("a device", behind(vec![item("boot/vmlinuz-0", What::Device)])),
        ("a pipe", behind(vec![item("boot/vmlinuz-0", What::Pipe)])),
        ("a device instead", vec![item(vmlinuz, What::Device)]),
        ("set-user-ID", behind(vec![setuid])),
        ("boot is a file", behind(vec![file("boot", b"x")])),
        ("lib is a file", behind(vec![file("lib", b"x"), file("lib/modules", b"y")])),
        ("the release is a file", behind(vec![file("lib/modules/6.6.6-evil", b"x")])),
        (
            "a file is a folder",
            behind(vec![
                file("boot/vmlinuz-6.6.6-evil/x", b"x"),
                file("lib/modules/6.6.6-evil/modules.order/x", b"x"),
            ]),
        ),
        (
            "a module is a folder",
            behind(vec![
                file("lib/modules/6.6.6-evil/kernel/x.ko/y.ko", b"x"),
                file("lib/modules/6.6.6-evil/kernel/x.ko", b"x"),
            ]),
        ),
        (
            "a long name",
            behind(vec![
                file(&format!("lib/modules/6.6.6-evil/kernel/{}/x.ko", "d/".repeat(200)), b"x"),
                file(&format!("boot/vmlinuz-{}", "x".repeat(300)), b"x"),
            ]),
        ),
        ("nothing", vec![]),
    ]
}

/// Whatever a package holds, nothing outside of the cache changes, and nothing but plain files is in it.
/// `usr -> /host` once had `share` removed there; `lib -> …` once had depmod write there.
#[test]
fn a_package_reaches_nothing_of_the_host() {
    let place = Place::new();
    let mut taken = 0;
    for kind in KINDS {
        for (number, (name, items)) in attempts(&place.host()).into_iter().enumerate() {
            let what = format!("{kind:?}: {name}");
            let file = format!("evil-{number}{}", kind.ending());
            let (status, said) = place.run(&place.package(&file, &kind.of(&items)));
            assert_eq!(status, 129, "{what}: {said}");
            assert!(!said.contains("panicked"), "{what}: {said}");
            // With the links left aside there is a kernel in most of them.
            taken += u32::from(said.contains("booting 6.6.6-evil"));
            place.check(&what);
        }
    }
    let half: Vec<_> = place
        .entries()
        .into_iter()
        .filter(|p| p.display().to_string().contains(".part-"))
        .collect();
    assert!(half.is_empty(), "{half:?}");
    // Some 20 of 29 attempts, in four kinds of packages; the rest say what is wrong with them.
    assert!(taken >= 60, "{taken}");
}

#[test]
fn what_is_wrong_with_a_package_is_told() {
    let place = Place::new();
    let host = place.host();
    let told = |name: &str, bytes: &[u8], words: &str| {
        let (status, said) = place.run(&place.package(name, bytes));
        assert_eq!(status, 129, "{said}");
        assert!(said.contains(words), "{name}: {said}");
        place.check(name);
    };
    for kind in KINDS {
        let of = |items: &[Item]| kind.of(items);
        let name = |word: &str| format!("{word}{}", kind.ending());
        let up = behind(vec![file("../../../../host/canary\u{1b}[2J", b"dead")]);
        told(
            &name("up"),
            &of(&up),
            "an entry named ../../../../host/canary\\u{1b}[2J, which leads out",
        );
        told(&name("empty"), &of(&[link("usr", &host)]), "has no kernel in it");
        let mut arm64 = vec![0; 0x1000];
        arm64[0x38..0x3c].copy_from_slice(b"ARM\x64");
        told(&name("arm"), &of(&[file("boot/vmlinuz-6.6", &arm64)]), "is a kernel for arm64");
        let two =
            [file("boot/vmlinuz-1", &kernel("6.1-a")), file("boot/vmlinuz-2", &kernel("6.2-b"))];
        told(&name("two"), &of(&two), "several kernels in it (6.1-a, 6.2-b)");
        let whole = of(&honest());
        told(&name("half"), &whole[..whole.len() / 2], "it is not a whole package:");
    }
    let alone = deb("kmod, linux-modules-6.6.6-evil (= 1)", &gzip(&tar(&honest()[..2])));
    told(
        "linux-image-6.6.6-evil_1_amd64.deb",
        &alone,
        "needs the package linux-modules-6.6.6-evil, which is not beside it",
    );
    // It is put there, and the same command is run again.
    let modules = deb("kmod", &gzip(&tar(&honest()[2..4])));
    place.package("linux-modules-6.6.6-evil_1_amd64.deb", &modules);
    told("linux-image-6.6.6-evil_1_amd64.deb", &alone, "booting 6.6.6-evil");
    let bzip2 = deb("kmod", b"BZh91AY&SY");
    told("old.deb", &bzip2, "packed with bzip2");
}
