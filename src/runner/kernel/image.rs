//! What an x86 kernel image says of itself.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::KernelError;

/// Documentation/arch/x86/boot.rst: the magic of the boot header, and its place.
const MAGIC: (usize, &[u8]) = (0x202, b"HdrS");
/// Where the offset of the version's text stands, less [`VERSION_BASE`].
const VERSION_POINTER: usize = 0x20e;
const VERSION_BASE: usize = 0x200;
/// The real-mode part, which the version lies in, has at most 64 sectors.
const HEAD: u64 = 32 << 10;

/// The release, as `uname -r` will say it, of the bzImage at `path`.
///
/// # Errors
/// When the file cannot be read or is not an x86 kernel.
pub fn release(path: &Path) -> Result<String, KernelError> {
    let file = File::open(path).map_err(KernelError::file(path))?;
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head).map_err(KernelError::file(path))?;
    parse(&head).ok_or_else(|| KernelError::NotAnImage { path: path.to_owned() })
}

fn parse(head: &[u8]) -> Option<String> {
    let (place, magic) = MAGIC;
    if !head.get(place..)?.starts_with(magic) {
        return None;
    }
    let pointer = head.get(VERSION_POINTER..)?.first_chunk::<2>()?;
    let start = usize::from(u16::from_le_bytes(*pointer)).checked_add(VERSION_BASE)?;
    let text = head.get(start..)?.split(|byte| *byte == 0).next()?;
    // "6.1.0-32-cloud-amd64 (builder@host) #1 SMP …"
    let release = std::str::from_utf8(text).ok()?.split_whitespace().next()?;
    let plain = release.chars().all(|c| c.is_ascii_alphanumeric() || "._+~-".contains(c));
    (plain && !release.starts_with('.')).then(|| release.to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The beginning of a kernel image of this release.
    pub fn head(release: &str) -> Vec<u8> {
        let mut head = vec![0; 0x400];
        head[0x202..0x206].copy_from_slice(b"HdrS");
        head[0x20e..0x210].copy_from_slice(&0x180u16.to_le_bytes());
        let text = format!("{release} (a@b) #1 SMP\0");
        head[0x380..0x380 + text.len()].copy_from_slice(text.as_bytes());
        head
    }

    #[test]
    fn reads_the_version() {
        assert_eq!(parse(&head("6.1.0-x")).as_deref(), Some("6.1.0-x"));
        assert_eq!(parse(&head("../etc")), None);
        assert_eq!(parse(b"not a kernel"), None);
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0x200..0x300)) {
            if bytes.len() > 0x206 {
                bytes[0x202..0x206].copy_from_slice(b"HdrS");
            }
            parse(&bytes);
        }
    }
}
