//! The disk or share that a guest gets of a root.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::debian::{self, DebianRoot};
use super::error::RootError;
use super::pack;
use super::spec::RootSpec;
use crate::runner::host::digest::sha256_of;

/// The serial number of the disk, and the name of the share.
const NAME: &str = "dixtrap-root";

/// A root that is ready.
#[derive(Debug)]
pub struct MadeRoot {
    kind: Kind,
    /// Which root it is: two that are alike have the same.
    identity: String,
    /// Kept from being replaced.
    _debian: Option<DebianRoot>,
}

#[derive(Debug)]
enum Kind {
    Share(PathBuf),
    Disk { image: PathBuf, format: &'static str },
}

impl MadeRoot {
    /// Makes what is missing: an image of a folder in `scratch`, packages in the cache.
    ///
    /// # Errors
    /// Where a program is missing, or fails.
    pub fn make(
        spec: &RootSpec,
        scratch: &Path,
        say: &dyn Fn(&str),
    ) -> Result<MadeRoot, RootError> {
        let mut kept = None;
        let kind = match spec {
            RootSpec::Host => Kind::Share(PathBuf::from("/")),
            RootSpec::Image(path) => {
                // Else QEMU may take its name for an address.
                let image = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                Kind::Disk { format: format_of(&image)?, image }
            }
            RootSpec::Folder(path) => {
                let image = scratch.join("root.squashfs");
                say(&format!("packing {}", path.display()));
                pack::folder(path, &image)?;
                Kind::Disk { image, format: "raw" }
            }
            RootSpec::Debian { suite, packages } => {
                let root = debian::locate(suite, packages, say)?;
                let image = root.image();
                kept = Some(root);
                Kind::Disk { image, format: "raw" }
            }
        };
        let identity = match &kind {
            Kind::Share(_) => "host".to_owned(),
            Kind::Disk { image, .. } => {
                sha256_of(image).map_err(|source| RootError::Image(image.clone(), source))?
            }
        };
        Ok(MadeRoot { kind, identity, _debian: kept })
    }

    /// Words for QEMU.
    pub fn qemu_args(&self) -> Vec<String> {
        match &self.kind {
            Kind::Share(path) => vec![
                "-virtfs".to_owned(),
                format!(
                    "local,path={},mount_tag={NAME},security_model=none,readonly=on,multidevs=remap",
                    value(path)
                ),
            ],
            Kind::Disk { image, format } => vec![
                "-drive".to_owned(),
                format!("if=none,id={NAME},readonly=on,format={format},file={}", value(image)),
                "-device".to_owned(),
                format!("virtio-blk-pci,drive={NAME},serial={NAME}"),
            ],
        }
    }

    /// Drivers that the guest needs to reach it.
    pub(super) fn drivers(&self) -> &'static str {
        match &self.kind {
            Kind::Share(_) => "overlay 9p 9pnet_virtio",
            // What dixtrap packs, and what most images are.
            Kind::Disk { image, .. } if image.ends_with("root.squashfs") => "overlay squashfs",
            Kind::Disk { .. } => "overlay ext4",
        }
    }

    /// Which root it is, for a plan: where it lies is left out, what is in it is not.
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// What the script is told of it.
    pub(super) fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Share(_) => "share",
            Kind::Disk { .. } => "disk",
        }
    }
}

/// A path in one of QEMU's lists: a comma is doubled.
fn value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// What an image is, by its first bytes; QEMU is never left to guess, which a guest could mislead. One that
/// names other files of the host is refused (QEMU's docs/interop/qcow2.txt): a guest would read those.
fn format_of(path: &Path) -> Result<&'static str, RootError> {
    const EXTERNAL_DATA: u64 = 1 << 2;
    let mut head = Vec::new();
    let file = File::open(path).and_then(|file| file.take(80).read_to_end(&mut head));
    file.map_err(|source| RootError::Image(path.to_owned(), source))?;
    if !head.starts_with(b"QFI\xfb") {
        return Ok("raw");
    }
    let number = |at: usize| head.get(at..at + 8).and_then(|word| word.try_into().ok());
    let number = |at| number(at).map_or(u64::MAX, u64::from_be_bytes);
    let version =
        head.get(4..8).and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes);
    let has_data_file = version >= 3 && number(72) & EXTERNAL_DATA != 0;
    if number(8) != 0 || has_data_file {
        return Err(RootError::LeadsElsewhere(path.to_owned()));
    }
    Ok("qcow2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_can_only_read_it_and_a_comma_is_no_option() {
        let image = PathBuf::from("/tmp/a,readonly=off");
        let kind = Kind::Disk { image, format: "raw" };
        let made = |kind| MadeRoot { kind, identity: String::new(), _debian: None };
        let words = made(kind).qemu_args();
        assert_eq!(
            words[1],
            "if=none,id=dixtrap-root,readonly=on,format=raw,file=/tmp/a,,readonly=off"
        );
        let words = made(Kind::Share("/".into())).qemu_args();
        assert!(words[1].contains("readonly=on"), "{words:?}");
    }

    #[test]
    fn an_image_that_names_files_of_the_host_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let image = |name: &str, version: u32, backing: u64, features: u64| {
            let mut head = Vec::from(*b"QFI\xfb");
            head.extend(version.to_be_bytes());
            head.extend(backing.to_be_bytes());
            head.resize(72, 0);
            head.extend(features.to_be_bytes());
            let path = dir.path().join(name);
            std::fs::write(&path, head).unwrap();
            format_of(&path)
        };
        assert_eq!(image("plain", 3, 0, 0).unwrap(), "qcow2");
        assert_eq!(image("old", 2, 0, u64::MAX).unwrap(), "qcow2");
        assert!(matches!(image("backed", 3, 104, 0), Err(RootError::LeadsElsewhere(_))));
        assert!(matches!(image("data", 3, 0, 4), Err(RootError::LeadsElsewhere(_))));
        std::fs::write(dir.path().join("raw"), "ext4").unwrap();
        assert_eq!(format_of(&dir.path().join("raw")).unwrap(), "raw");
    }
}
