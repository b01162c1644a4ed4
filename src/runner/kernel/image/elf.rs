//! The ELF file of a kernel, `vmlinux`: QEMU starts one that has a note for it
//! (include/xen/interface/elfnote.h: XEN_ELFNOTE_PHYS32_ENTRY; CONFIG_PVH).

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};

use object::elf::FileHeader64;
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, elf};

use super::look::{Image, Look, RELEASE_LIMIT, release_in};

/// The note's owner and type.
const PVH: (&[u8], elf::NoteType) = (b"Xen", elf::NoteType(18));
/// Notes have a few kilobytes.
const NOTES_LIMIT: u64 = 1 << 20;
/// What the kernel's own words about itself begin with.
const BANNER: &[u8] = b"Linux version ";
/// They lie before the debug information.
const BANNER_LIMIT: u64 = 1 << 30;

/// What the ELF file is.
pub fn look(file: &File) -> io::Result<Look> {
    let (mut ident, mut input) = ([0; 20], file);
    input.rewind()?;
    if input.read_exact(&mut ident).is_err() {
        return Ok(Look::Unknown);
    }
    let cache = ReadCache::new(file);
    let is_64 = FileHeader64::<Endianness>::parse(&cache).is_ok();
    let Some(release) = release(file)? else { return Ok(Look::Unknown) };
    if !is_64 || machine(&ident) != elf::EM_X86_64 {
        return Ok(Look::Foreign(name(machine(&ident), is_64)));
    }
    if !has_entry(&cache) {
        return Ok(Look::NoPvh);
    }
    Ok(Look::Kernel(Image { release, part: None }))
}

/// e_machine, in the order of bytes that the file says it has.
fn machine(ident: &[u8; 20]) -> elf::Machine {
    let [.., low, high] = *ident;
    let little = ident.get(5) == Some(&elf::ELFDATA2LSB.0);
    elf::Machine(if little {
        u16::from_le_bytes([low, high])
    } else {
        u16::from_be_bytes([low, high])
    })
}

fn name(machine: elf::Machine, is_64: bool) -> String {
    match machine {
        elf::EM_AARCH64 => "arm64".to_owned(),
        elf::EM_ARM => "arm".to_owned(),
        elf::EM_386 => "32-bit x86".to_owned(),
        elf::EM_X86_64 => "x32".to_owned(),
        elf::EM_RISCV if is_64 => "riscv64".to_owned(),
        elf::EM_PPC64 => "ppc64".to_owned(),
        elf::EM_S390 => "s390x".to_owned(),
        elf::EM_LOONGARCH => "loongarch64".to_owned(),
        elf::Machine(other) => format!("another machine (ELF number {other})"),
    }
}

/// There is a note that says where to start.
fn has_entry(cache: &ReadCache<&File>) -> bool {
    let entry = || -> object::Result<bool> {
        let header = FileHeader64::<Endianness>::parse(cache)?;
        let endian = header.endian()?;
        for segment in header.program_headers(endian, cache)? {
            if segment.p_filesz(endian) > NOTES_LIMIT {
                continue;
            }
            let Some(mut notes) = segment.notes(endian, cache)? else { continue };
            while let Some(note) = notes.next()? {
                if (note.name(), note.n_type(endian)) == PVH {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    };
    entry().unwrap_or(false)
}

/// The release in the kernel's words about itself.
fn release(mut file: &File) -> io::Result<Option<String>> {
    file.rewind()?;
    let mut input = BufReader::with_capacity(1 << 20, file).take(BANNER_LIMIT);
    let keep = BANNER.len().saturating_add(RELEASE_LIMIT);
    let (mut seen, mut chunk) = (Vec::new(), vec![0; 1 << 20]);
    loop {
        let read = input.read(&mut chunk)?;
        seen.extend_from_slice(chunk.get(..read).unwrap_or_default());
        // The last bytes may be the beginning of it: they are looked at again with more behind them.
        let whole = if read == 0 { seen.len() } else { seen.len().saturating_sub(keep) };
        if let Some(release) = first_release(&seen, whole) {
            return Ok(Some(release));
        }
        if read == 0 {
            return Ok(None);
        }
        seen.drain(..whole);
    }
}

/// The first release that a banner beginning before `end` names.
fn first_release(bytes: &[u8], end: usize) -> Option<String> {
    let starts = bytes.windows(BANNER.len()).take(end).enumerate();
    let mut banners = starts.filter(|(_, window)| *window == BANNER);
    banners.find_map(|(at, _)| {
        let text = bytes.get(at.checked_add(BANNER.len())?..)?;
        let text = text.get(..RELEASE_LIMIT.saturating_add(1)).unwrap_or(text);
        let text = text.split(|byte| !byte.is_ascii_graphic()).next()?;
        let begins = text.first().is_some_and(u8::is_ascii_digit);
        release_in(text).filter(|_| begins)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    /// A kernel's ELF file with one segment of notes, and its words behind it.
    fn kernel(machine: u16, note: Option<(&[u8; 4], u32)>, banner: &str) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(64, 0);
        file[16] = 2;
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[32] = 64;
        file[52..60].copy_from_slice(&[64, 0, 56, 0, 1, 0, 64, 0]);
        let mut notes = Vec::new();
        if let Some((owner, kind)) = note {
            for number in [4, 4, kind] {
                notes.extend(number.to_le_bytes());
            }
            notes.extend(owner);
            notes.extend([0; 4]);
        }
        let size = u64::try_from(notes.len()).unwrap();
        file.extend(4_u32.to_le_bytes());
        file.extend(0_u32.to_le_bytes());
        for number in [120, 0, 0, size, size, 4] {
            file.extend(u64::to_le_bytes(number));
        }
        file.extend(notes);
        file.extend(banner.as_bytes());
        file
    }

    fn looked(bytes: &[u8]) -> Look {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        look(&file).unwrap()
    }

    const WORDS: &str = "\0Linux version %s (x)\0Linux version 6.9.0-pvh (a@b) #1 SMP\n\0";

    #[test]
    fn a_kernel_with_the_note_can_be_started() {
        let image = Image { release: "6.9.0-pvh".into(), part: None };
        let entry = Some((b"Xen\0", 18));
        assert_eq!(looked(&kernel(62, entry, WORDS)), Look::Kernel(image));
        for note in [None, Some((b"Xen\0", 6)), Some((b"GNU\0", 18))] {
            assert_eq!(looked(&kernel(62, note, WORDS)), Look::NoPvh, "{note:?}");
        }
        assert_eq!(looked(&kernel(183, None, WORDS)), Look::Foreign("arm64".into()));
        // A program is no kernel, and half of one is nothing.
        assert_eq!(looked(&kernel(62, entry, "\0a program\0")), Look::Unknown);
        assert_eq!(looked(b"\x7fELF"), Look::Unknown);
    }

    #[test]
    fn the_words_are_found_wherever_they_lie() {
        for padding in [0, (1 << 20) - 160, (1 << 20) - 130, (1 << 20) + 5] {
            let words = format!("{}{WORDS}", "x".repeat(padding));
            let look = looked(&kernel(62, None, &words));
            assert_eq!(look, Look::NoPvh, "{padding}");
        }
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(
            changes in prop::collection::vec((4..200_usize, any::<u8>()), 0..12), keep in 0..300_usize,
        ) {
            let mut file = kernel(62, Some((b"Xen\0", 18)), WORDS);
            for (at, byte) in changes {
                if let Some(place) = file.get_mut(at) {
                    *place = byte;
                }
            }
            file.truncate(keep);
            looked(&file);
        }
    }
}
