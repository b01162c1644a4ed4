//! What of a package is a kernel, put where it belongs: `boot/` and `lib/modules/RELEASE/`. Every file
//! is written anew as a plain one; links, devices, owners and modes of a package go nowhere.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::archive::{Entry, PackageError, Told, each_entry};
use crate::runner::host::beneath::Root;

/// What is unpacked at least before it is called too much.
const ALWAYS: u64 = 2 << 30;
/// Modules with all their debug information pack to a tenth; zeroes to a thousandth.
const RATIO: u64 = 40;
/// What is never exceeded: 16 GiB.
const AT_MOST: u64 = 16 << 30;
/// Folders within folders; kernels have ten.
const DEPTH: usize = 32;

/// How much a package of `size` bytes may unpack to.
pub fn limit(size: u64) -> u64 {
    size.saturating_mul(RATIO).clamp(ALWAYS, AT_MOST)
}

/// Unpacks the kernel in `package`, which may hold at most `limit` bytes, into `root`.
///
/// # Errors
/// Where the package is broken, means harm, or cannot be written.
pub fn unpack(package: &Path, root: &Root, limit: u64) -> Result<Told, PackageError> {
    each_entry(package, limit, &mut |entry: Entry<'_>| {
        let Some(place) = place(entry.name)?.filter(|_| entry.is_file) else { return Ok(()) };
        let mut input = Watched { input: entry.contents, failed: None };
        let written = root.write(&place, &mut input);
        match input.failed {
            Some(error) => Err(error.into()),
            None => written.map(|_| ()).map_err(PackageError::from),
        }
    })
}

/// Keeps what reading failed with: writing fails with the same, and is not to blame.
struct Watched<R> {
    input: R,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer).map_err(|error| {
            let kind = error.kind();
            self.failed = Some(error);
            kind.into()
        })
    }
}

/// Where an entry goes; nowhere where no kernel needs it.
fn place(name: &[u8]) -> Result<Option<PathBuf>, PackageError> {
    let Ok(text) = std::str::from_utf8(name) else { return Ok(None) };
    let mut parts: Vec<&str> =
        text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(PackageError::LeadsOut(text.escape_debug().collect()));
    }
    if parts.starts_with(&["usr", "lib"]) {
        parts.remove(0);
    }
    let plain = parts.iter().all(|part| part.len() < 256 && !part.contains(char::is_control));
    let wanted = plain && parts.len() < DEPTH && is_wanted(&parts);
    Ok(wanted.then(|| parts.iter().collect()))
}

fn is_wanted(parts: &[&str]) -> bool {
    match parts {
        ["boot", name] => is_boot_file(name),
        ["lib", "modules", _, name] => is_boot_file(name) || name.starts_with("modules."),
        ["lib", "modules", _, "kernel" | "updates" | "extra", .., name] => is_module(name),
        _ => false,
    }
}

/// The image, and what tells more of it.
fn is_boot_file(name: &str) -> bool {
    ["vmlinuz", "bzImage", "vmlinux", "Image", "config", "System.map"]
        .iter()
        .any(|start| name.starts_with(start))
}

/// A module, packed or not.
pub fn is_module(name: &str) -> bool {
    [".ko", ".ko.gz", ".ko.xz", ".ko.zst"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_a_kernel_comes_out_of_a_package() {
        let at =
            |name: &str| place(name.as_bytes()).unwrap().map(|path| path.display().to_string());
        for (name, expected) in [
            ("./boot/vmlinuz-6.1.0", Some("boot/vmlinuz-6.1.0")),
            ("/boot//vmlinuz-6.1.0", Some("boot/vmlinuz-6.1.0")),
            ("usr/lib/modules/6.9/vmlinuz", Some("lib/modules/6.9/vmlinuz")),
            ("./lib/modules/6.9/kernel/fs/x.ko.xz", Some("lib/modules/6.9/kernel/fs/x.ko.xz")),
            ("lib/modules/6.9/extra/x.ko", Some("lib/modules/6.9/extra/x.ko")),
            ("lib/modules/6.9/modules.builtin", Some("lib/modules/6.9/modules.builtin")),
            ("lib/modules/6.9/build", None),
            ("lib/modules/6.9/build/Makefile", None),
            ("usr/share/doc/linux/copyright", None),
            ("usr/lib/systemd/x", None),
            ("etc/passwd", None),
            ("usr", None),
            ("", None),
            ("boot/grub/grub.cfg", None),
            ("lib/modules/6.9/kernel/fs/x\n.ko", None),
        ] {
            assert_eq!(at(name).as_deref(), expected, "{name}");
        }
        for name in ["../boot/vmlinuz", "boot/../../vmlinuz", "lib/modules/6/kernel/../../../x.ko"]
        {
            assert!(matches!(place(name.as_bytes()), Err(PackageError::LeadsOut(_))), "{name}");
        }
    }

    #[test]
    fn a_small_package_may_hold_a_kernel_and_not_a_disk() {
        assert_eq!((limit(1_000), limit(100 << 20)), (2 << 30, 4_000 << 20));
        assert_eq!(limit(u64::MAX), 16 << 30);
    }

    /// Three megabytes of zeroes pack to three kilobytes.
    #[test]
    fn a_bomb_is_stopped_where_it_grows_beyond_reason() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(
            Vec::new(),
            flate2::Compression::best(),
        ));
        for name in ["boot/vmlinuz-1", "boot/vmlinuz-2", "usr/share/x"] {
            let mut header = tar::Header::new_ustar();
            header.set_size(1 << 20);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, io::repeat(0).take(1 << 20)).unwrap();
        }
        let bomb = dir.path().join("bomb.tar.gz");
        std::fs::write(&bomb, archive.into_inner().unwrap().finish().unwrap()).unwrap();
        let error = unpack(&bomb, &root, 1_200_000).unwrap_err();
        assert!(matches!(error, PackageError::TooMuch), "{error}");
        let written = dir.path().join("boot/vmlinuz-2").metadata().unwrap().len();
        assert!(written < 200_000, "it stops there: {written}");
        // What is not kept takes its time too.
        unpack(&bomb, &root, 2 << 20).unwrap_err();
        unpack(&bomb, &root, 4 << 20).unwrap();
    }

    proptest! {
        #[test]
        fn no_name_leads_elsewhere(name in "(usr|lib|boot|modules|kernel|\\.\\.|\\.|/|x\\.ko|\u{0}){0,12}") {
            if let Ok(Some(place)) = place(name.as_bytes()) {
                prop_assert!(place.starts_with("boot") || place.starts_with("lib/modules"));
                let ordinary = |part| matches!(part, std::path::Component::Normal(_));
                prop_assert!(place.components().all(ordinary));
            }
        }
    }
}
