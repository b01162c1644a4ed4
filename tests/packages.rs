//! Kernels as their users have them: packages of every kind, honest and hostile. No guest is booted:
//! what a package may do ends before that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod packing;
mod running;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use dixtrap::runner::guest::{BootRequest, Guest};
use dixtrap::runner::host::accel::Accel;
use dixtrap::runner::host::tools::{Tool, find_program};
use dixtrap::runner::kernel::KernelSpec;
use dixtrap::runner::kernel::modules::resolve;
use packing::{Item, KINDS, Kind, What, file, item, kernel, link};
use running::text;

/// A folder with a host's folders in it, and a cache of its own.
struct Place {
    dir: tempfile::TempDir,
    before: Vec<String>,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        for name in ["share/doc/canary", "lib/modules/6.6.6-evil/canary", "canary", "vmlinuz"] {
            let path = dir.path().join("host").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "alive").unwrap();
        }
        fs::create_dir(dir.path().join("cache")).unwrap();
        let before = listing(&dir.path().join("host"));
        Place { dir, before }
    }

    fn host(&self) -> String {
        self.dir.path().join("host").display().to_string()
    }

    fn package(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Runs as far as the daemon, which is none.
    fn run(&self, kernel: &Path) -> (i32, String) {
        self.run_with(kernel, None)
    }

    fn run_with(&self, kernel: &Path, modules: Option<&Path>) -> (i32, String) {
        let words = ["run", "--accel", "tcg", "--fs", "raw", "--scenario", "direct-rewrite"];
        let mut command = running::dixtrap(&words);
        command.arg("--kernel").arg(kernel).env("DIXTRAPD", "/bin/false");
        command.env("XDG_CACHE_HOME", self.dir.path().join("cache"));
        if let Some(modules) = modules {
            command.arg("--modules").arg(modules);
        }
        let output = command.output().unwrap();
        (output.status.code().unwrap(), text(&output.stderr))
    }

    /// Nothing of the host has changed, and the cache has plain files of its own only.
    fn check(&self, what: &str) {
        assert_eq!(listing(&self.dir.path().join("host")), self.before, "{what}");
        let mut folders = vec![self.dir.path().join("cache")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let (path, meta) = (entry.path(), entry.path().symlink_metadata().unwrap());
                let kind = meta.file_type();
                assert!(kind.is_file() || kind.is_dir(), "{what}: {}", path.display());
                assert!(!kind.is_symlink() && !kind.is_fifo() && !kind.is_block_device());
                assert_eq!(meta.permissions().mode() & 0o7000, 0, "{what}: {}", path.display());
                if kind.is_dir() {
                    folders.push(path);
                }
            }
        }
    }

    /// The entries of the cache, whole or half.
    fn entries(&self) -> Vec<PathBuf> {
        let cache = self.dir.path().join("cache/dixtrap/kernels");
        let entries = fs::read_dir(cache).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }
}

/// Every path below `dir` with what is there.
fn listing(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let meta = entry.path().symlink_metadata().unwrap();
            let contents = if meta.is_file() { fs::read(entry.path()).unwrap() } else { vec![] };
            // Inode, mode, links and times, but for that of the last look at it.
            let state = (meta.ino(), meta.mode(), meta.nlink(), meta.ctime(), meta.ctime_nsec());
            all.push(format!("{} {state:?} {}", entry.path().display(), text(&contents)));
            if meta.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    all.sort();
    all
}

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
    let alone = packing::deb(
        "kmod, linux-modules-6.6.6-evil (= 1)",
        &packing::gzip(&packing::tar(&honest()[..2])),
    );
    told(
        "linux-image-6.6.6-evil_1_amd64.deb",
        &alone,
        "needs the package linux-modules-6.6.6-evil, which is not beside it",
    );
    // It is put there, and the same command is run again.
    let modules = packing::deb("kmod", &packing::gzip(&packing::tar(&honest()[2..4])));
    place.package("linux-modules-6.6.6-evil_1_amd64.deb", &modules);
    told("linux-image-6.6.6-evil_1_amd64.deb", &alone, "booting 6.6.6-evil");
    let bzip2 = packing::deb("kmod", b"BZh91AY&SY");
    told("old.deb", &bzip2, "packed with bzip2");
}

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
    let kernel = running::kernel();
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

/// A case of tests/cases/kernels: what there is, what is given to --kernel, and what comes of it.
struct Case {
    name: String,
    items: Vec<Item>,
    given: String,
    modules: Option<String>,
    status: i32,
    says: String,
}

impl Case {
    fn read(path: &Path) -> Case {
        let text = fs::read_to_string(path).unwrap();
        let setting = |key: &str| {
            let mut values = text.lines().filter_map(|line| line.strip_prefix(key));
            values.next().map(|value| value.trim().to_owned())
        };
        let needed = |key: &str| setting(key).unwrap_or_else(|| panic!("{path:?}: no {key}"));
        Case {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            items: text.lines().filter_map(Case::item).collect(),
            given: needed("give:"),
            modules: setting("modules:"),
            status: needed("status:").parse().unwrap(),
            says: needed("says:"),
        }
    }

    fn item(line: &str) -> Option<Item> {
        let (what, rest) = line.split_once(' ')?;
        let (path, value) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut image = kernel(value);
        match what {
            "text" => Some(file(path, value.as_bytes())),
            "link" => Some(link(path, value)),
            "bzimage" => Some(file(path, &image)),
            "bzimage32" => {
                image[0x236] = 0;
                Some(file(path, &image))
            }
            "arm64" => {
                image[0x38..0x3c].copy_from_slice(b"ARM\x64");
                image[0x202] = 0;
                Some(file(path, &image))
            }
            _ => None,
        }
    }

    /// Makes it in `place`; what --kernel and --modules are given.
    fn make(&self, place: &Place) -> (PathBuf, Option<PathBuf>) {
        let kinds = [("deb", Kind::Deb), ("rpm", Kind::Rpm), ("pacman", Kind::Pacman)];
        if let Some((_, kind)) = kinds.iter().find(|(name, _)| *name == self.given) {
            let name = format!("{}{}", self.name, kind.ending());
            return (place.package(&name, &kind.of(&self.items)), None);
        }
        let folder = place.dir.path().join(&self.name);
        for item in &self.items {
            let path = folder.join(&item.name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match &item.what {
                What::File(contents) => fs::write(path, contents).unwrap(),
                What::Link(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                other => panic!("{other:?}"),
            }
        }
        let given = if self.given == "folder" { folder.clone() } else { folder.join(&self.given) };
        (given, self.modules.as_ref().map(|modules| folder.join(modules)))
    }
}

/// Kernels that were blamed or refused, or did harm, once, or could.
#[test]
fn every_case_comes_to_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/kernels");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 12, "{paths:?}");
    let place = Place::new();
    for path in paths {
        let case = Case::read(&path);
        let (given, modules) = case.make(&place);
        let (status, said) = place.run_with(&given, modules.as_deref());
        assert_eq!(status, case.status, "{}: {said}", case.name);
        assert!(said.contains(&case.says), "{}: {said}", case.name);
        place.check(&case.name);
    }
}

/// A stock kernel as other distributions would pack it: the same image and modules come out again.
#[test]
fn a_kernel_comes_out_of_every_package_as_it_went_in() {
    let stock = running::kernel();
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
        let packed = packing::gzip(&module.contents);
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
    let stock = running::kernel();
    let modules = stock.modules.unwrap().dir().to_owned();
    let bzimage = fs::read(&stock.image).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let forms = [("vmlinux", packing::vmlinux(&bzimage)), ("linux.efi", packing::uki(&bzimage))];
    for (name, bytes) in forms {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let spec = KernelSpec::parse(path.to_str(), Some(&modules)).unwrap();
        let kernel = spec.locate(&|_| ()).unwrap();
        assert_eq!(kernel.release, stock.release, "{name}");
        let request =
            BootRequest::new(&kernel, Accel::Tcg, &dir.path().join(format!("{name}-boot")));
        let mut guest = Guest::boot(&request).unwrap();
        assert_eq!(guest.release(), stock.release, "{name}");
        guest.power_off().unwrap();
    }
}

/// A mirror on this machine that has nothing, as one has nothing of a release that was archived; its
/// address.
fn empty_mirror() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer_not_found(stream));
        }
    });
    format!("http://127.0.0.1:{port}/debian")
}

/// Answers every request of a connection.
fn answer_not_found(mut stream: TcpStream) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    while lines.by_ref().any(|line| line.is_empty()) {
        let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        if stream.write_all(answer.as_bytes()).is_err() {
            break;
        }
    }
}

/// The network is up, and the mirror has moved the release away.
#[test]
fn a_release_that_the_mirror_no_longer_has_is_told() {
    if find_program("apt-get").is_none() {
        eprintln!("skipped: this machine has no apt");
        return;
    }
    let place = Place::new();
    let at = |name: &str| place.dir.path().join(name);
    fs::write(at("sources.list"), format!("deb {} bookworm main\n", empty_mirror())).unwrap();
    let config = format!(
        "Dir::Etc::sourcelist \"{}\";\nDir::Etc::sourceparts \"/dev/null\";\n\
         Acquire::http::Proxy \"DIRECT\";\n",
        at("sources.list").display()
    );
    fs::write(at("apt.conf"), config).unwrap();
    let words = ["run", "--accel", "tcg", "--kernel", "debian:wheezy"];
    let mut command = running::dixtrap(&words);
    command.env("APT_CONFIG", at("apt.conf")).env("XDG_CACHE_HOME", at("cache"));
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(129), "{said}");
    assert!(said.contains("does not have wheezy"), "{said}");
    assert!(said.contains("Debian's archive") && !said.contains("is the network up"), "{said}");
    assert_eq!(place.entries(), Vec::<PathBuf>::new());
}
