//! The bzImage: x86's own format (Documentation/arch/x86/boot.rst).

use super::look::{Image, Look, release_in};

/// The magic of the boot header, and its place.
const MAGIC: (usize, &[u8]) = (0x202, b"HdrS");
/// The protocol's version.
const PROTOCOL: usize = 0x206;
/// Where the offset of the version's text stands, less [`VERSION_BASE`].
const VERSION_POINTER: usize = 0x20e;
const VERSION_BASE: usize = 0x200;
/// Flags, from protocol 2.12 on; the first says that there is a 64-bit entry.
const FLAGS: usize = 0x236;
const FLAGS_SINCE: u16 = 0x20c;
const KERNEL_64: u16 = 1;

/// What the kernel that begins with `head` is; nothing where it is no bzImage.
pub fn look(head: &[u8]) -> Option<Look> {
    let (place, magic) = MAGIC;
    if !head.get(place..)?.starts_with(magic) {
        return None;
    }
    let release = release(head)?;
    let only_32_bit = number(head, PROTOCOL)? >= FLAGS_SINCE
        && number(head, FLAGS).is_none_or(|flags| flags & KERNEL_64 == 0);
    if only_32_bit {
        return Some(Look::Foreign("32-bit x86".to_owned()));
    }
    Some(Look::Kernel(Image { release, part: None }))
}

fn release(head: &[u8]) -> Option<String> {
    let start = usize::from(number(head, VERSION_POINTER)?).checked_add(VERSION_BASE)?;
    release_in(head.get(start..)?.split(|byte| *byte == 0).next()?)
}

fn number(head: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*head.get(at..)?.first_chunk()?))
}

#[cfg(test)]
pub(in crate::runner::kernel) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The beginning of a kernel image of this release.
    pub fn head(release: &str) -> Vec<u8> {
        let mut head = vec![0; 0x400];
        head[0x202..0x206].copy_from_slice(b"HdrS");
        head[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
        head[0x20e..0x210].copy_from_slice(&0x180u16.to_le_bytes());
        head[0x236] = 1;
        let text = format!("{release} (a@b) #1 SMP\0");
        head[0x380..0x380 + text.len()].copy_from_slice(text.as_bytes());
        head
    }

    #[test]
    fn reads_the_version() {
        let image = Image { release: "6.1.0-x".into(), part: None };
        assert_eq!(look(&head("6.1.0-x")), Some(Look::Kernel(image)));
        assert_eq!(look(&head("../etc")), None);
        assert_eq!(look(b"not a kernel"), None);
    }

    #[test]
    fn a_32_bit_kernel_is_told_apart() {
        let mut image = head("6.1.0-686");
        image[0x236] = 0;
        assert_eq!(look(&image), Some(Look::Foreign("32-bit x86".into())));
        // Linux 3.7 did not say yet.
        image[0x206..0x208].copy_from_slice(&0x20b_u16.to_le_bytes());
        assert!(matches!(look(&image), Some(Look::Kernel(_))));
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0x200..0x300)) {
            if bytes.len() > 0x206 {
                bytes[0x202..0x206].copy_from_slice(b"HdrS");
            }
            look(&bytes);
        }
    }
}
