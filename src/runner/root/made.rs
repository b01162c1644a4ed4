//! The disk or share that a guest gets of a root.

use std::path::{Path, PathBuf};

use super::debian::{self, DebianRoot};
use super::error::RootError;
use super::pack;
use super::spec::RootSpec;

/// The serial number of the disk, and the name of the share.
const NAME: &str = "dixtrap-root";

/// A root that is ready.
#[derive(Debug)]
pub struct MadeRoot {
    kind: Kind,
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
            RootSpec::Image(path) => Kind::Disk { image: path.clone(), format: format_of(path) },
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
        Ok(MadeRoot { kind, _debian: kept })
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

/// What an image is, by its first bytes; QEMU is never left to guess, which a guest could mislead.
fn format_of(path: &Path) -> &'static str {
    use std::io::Read;
    let mut magic = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    if read.is_ok() && magic == *b"QFI\xfb" { "qcow2" } else { "raw" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_can_only_read_it_and_a_comma_is_no_option() {
        let image = PathBuf::from("/tmp/a,readonly=off");
        let kind = Kind::Disk { image, format: "raw" };
        let words = MadeRoot { kind, _debian: None }.qemu_args();
        assert_eq!(
            words[1],
            "if=none,id=dixtrap-root,readonly=on,format=raw,file=/tmp/a,,readonly=off"
        );
        let words = MadeRoot { kind: Kind::Share("/".into()), _debian: None }.qemu_args();
        assert!(words[1].contains("readonly=on"), "{words:?}");
    }
}
