//! UEFI programs with a kernel in them: unified kernel images (the UAPI Group's specification UKI).

use std::fs::File;

use object::LittleEndian;
use object::pe::{ImageDosHeader, ImageNtHeaders64};
use object::read::ReadCache;
use object::read::pe::ImageNtHeaders;

use super::look::Part;

/// Where the offset of the PE header stands; the machine follows its magic.
const OFFSET: usize = 0x3c;
const MAGIC: &[u8] = b"PE\0\0";
/// The section that holds the kernel.
const LINUX: &[u8; 8] = b".linux\0\0";

/// For whom a program is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Machine {
    X86_64,
    Other(String),
}

/// For whom the program that begins with `head` is; nothing where it is none.
pub fn machine(head: &[u8]) -> Option<Machine> {
    let offset = u32::from_le_bytes(*head.get(OFFSET..)?.first_chunk()?);
    let header = head.get(usize::try_from(offset).ok()?..)?.strip_prefix(MAGIC)?;
    let number = u16::from_le_bytes(*header.first_chunk()?);
    let other = match number {
        0x8664 => return Some(Machine::X86_64),
        0xaa64 => "arm64".to_owned(),
        0x14c => "32-bit x86".to_owned(),
        0x1c2 => "arm".to_owned(),
        0x5064 => "riscv64".to_owned(),
        0x6264 => "loongarch64".to_owned(),
        _ => format!("another machine (PE number {number:#x})"),
    };
    Some(Machine::Other(other))
}

/// Where the kernel in the program lies.
pub fn linux(file: &File) -> Option<Part> {
    let cache = ReadCache::new(file);
    let mut offset = ImageDosHeader::parse(&cache).ok()?.nt_headers_offset().into();
    let (header, _) = ImageNtHeaders64::parse(&cache, &mut offset).ok()?;
    let sections = header.sections(&cache, offset).ok()?;
    let section = sections.iter().find(|section| section.name == *LINUX)?;
    let number = |field: object::U32<LittleEndian>| u64::from(field.get(LittleEndian));
    // What is behind the smaller of the two is padding.
    let size = number(section.virtual_size).min(number(section.size_of_raw_data));
    Some(Part { offset: number(section.pointer_to_raw_data), size })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    /// A UEFI program with these sections.
    pub fn pe(machine: u16, sections: &[(&[u8; 8], &[u8])]) -> Vec<u8> {
        let mut file = b"MZ".to_vec();
        file.resize(0x80, 0);
        file[OFFSET] = 0x80;
        file.extend(MAGIC);
        file.extend(machine.to_le_bytes());
        file.extend(u16::try_from(sections.len()).unwrap().to_le_bytes());
        file.extend([0; 12]);
        file.extend([240, 0, 0, 0]);
        let optional = file.len();
        file.resize(optional + 240, 0);
        file[optional..optional + 2].copy_from_slice(&0x20b_u16.to_le_bytes());
        file[optional + 108] = 16;
        let mut at = (file.len() + sections.len() * 40).next_multiple_of(512);
        for (name, contents) in sections {
            let raw = contents.len().next_multiple_of(512);
            file.extend(*name);
            for number in [contents.len(), 0, raw, at, 0, 0, 0, 0] {
                file.extend(u32::try_from(number).unwrap().to_le_bytes());
            }
            at += raw;
        }
        for (_, contents) in sections {
            file.resize(file.len().next_multiple_of(512), 0);
            file.extend(*contents);
        }
        file.resize(file.len().next_multiple_of(512), 0);
        file
    }

    #[test]
    fn machines_have_names() {
        assert_eq!(machine(&pe(0x8664, &[])), Some(Machine::X86_64));
        assert_eq!(machine(&pe(0xaa64, &[])), Some(Machine::Other("arm64".into())));
        assert!(matches!(machine(&pe(7, &[])), Some(Machine::Other(name)) if name.contains("0x7")));
        assert_eq!(machine(b"MZ"), None);
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(
            changes in prop::collection::vec((2..900_usize, any::<u8>()), 0..12), keep in 0..1024_usize,
        ) {
            let mut bytes = pe(0x8664, &[(LINUX, b"kernel")]);
            for (at, byte) in changes {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            bytes.truncate(keep);
            machine(&bytes);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            linux(&file);
        }
    }
}
