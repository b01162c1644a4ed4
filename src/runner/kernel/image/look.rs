//! What a look at a kernel's file comes to.

/// Names of releases are shorter (UTS_LEN).
pub(super) const RELEASE_LIMIT: usize = 64;

/// A kernel that QEMU can start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The release, as `uname -r` will say it.
    pub release: String,
    /// The part of the file that is the kernel, where the file is more than that.
    pub part: Option<Part>,
}

/// A part of a file: a kernel wrapped for UEFI, with an initrd and a command line of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where it begins.
    pub offset: u64,
    /// Its length.
    pub size: u64,
}

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    Kernel(Image),
    /// A kernel for another machine.
    Foreign(String),
    /// An x86-64 kernel's ELF file that QEMU cannot start.
    NoPvh,
    Unknown,
}

/// The release at the beginning of a version's text: "6.1.0-32-cloud-amd64 (builder@host) #1 SMP …".
/// It becomes part of paths.
pub(super) fn release_in(text: &[u8]) -> Option<String> {
    let release = std::str::from_utf8(text).ok()?.split_whitespace().next()?;
    let plain = release.chars().all(|c| c.is_ascii_alphanumeric() || "._+~-".contains(c));
    let short = release.len() <= RELEASE_LIMIT;
    (plain && short && !release.starts_with('.')).then(|| release.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_a_name_for_a_folder() {
        assert_eq!(release_in(b"6.1.0-x (a@b) #1").as_deref(), Some("6.1.0-x"));
        for bad in [&b"../etc"[..], b".", b"", b"6.1/../..", b"\xff", &[b'6'; 65]] {
            assert_eq!(release_in(bad), None);
        }
    }
}
