//! What a module says of itself: the words of its section `.modinfo`.

use object::Endianness;
use object::elf::FileHeader64;
use object::read::ReadRef;
use object::read::elf::{FileHeader, SectionHeader};

/// The section has a few kilobytes; drivers of many devices have a few hundred.
const LIMIT: u64 = 8 << 20;

/// What one module says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info {
    /// The modules that it cannot be loaded without.
    pub depends: Vec<String>,
    /// What should be loaded before it, and may be missing.
    pub before: Vec<String>,
    /// What should be loaded after it, and may be missing.
    pub after: Vec<String>,
    /// Its other names; patterns are left out.
    pub aliases: Vec<String>,
}

/// Reads a module's words; nothing where it is no 64-bit module.
pub fn read<'data>(file: impl ReadRef<'data>) -> Option<Info> {
    let header = FileHeader64::<Endianness>::parse(file).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, file).ok()?;
    let (_, section) = sections.section_by_name(endian, b".modinfo")?;
    if section.sh_size(endian) > LIMIT {
        return None;
    }
    Some(parse(section.data(endian, file).ok()?))
}

/// Words of the form `key=value`, each ended by a zero.
fn parse(section: &[u8]) -> Info {
    let mut info = Info::default();
    for word in section.split(|byte| *byte == 0) {
        let Some((key, value)) = std::str::from_utf8(word).ok().and_then(|w| w.split_once('='))
        else {
            continue;
        };
        match key {
            "depends" => info.depends.extend(names(value.split(','))),
            "softdep" => soft(value, &mut info),
            "alias" if !is_pattern(value) => info.aliases.push(plain(value)),
            _ => {}
        }
    }
    info
}

/// "pre: a b post: c", as modprobe.d(5) has it. Some modules say neither; modprobe loads nothing then.
fn soft(value: &str, info: &mut Info) {
    let mut target = None;
    for word in value.split_whitespace() {
        match (word, &mut target) {
            ("pre:", _) => target = Some(&mut info.before),
            ("post:", _) => target = Some(&mut info.after),
            (name, Some(target)) => target.push(plain(name)),
            _ => {}
        }
    }
}

fn names<'t>(words: impl Iterator<Item = &'t str>) -> impl Iterator<Item = String> {
    words.map(str::trim).filter(|name| !name.is_empty()).map(plain)
}

/// An alias with a wildcard: those name devices, and nobody asks for a device here.
pub fn is_pattern(alias: &str) -> bool {
    alias.contains(['*', '?', '['])
}

/// Kbuild and people write `-` and `_` for the same.
pub fn plain(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A module with these words: an ELF file of three sections.
    pub fn module(words: &[&str]) -> Vec<u8> {
        let modinfo: Vec<u8> = words.iter().flat_map(|w| [w.as_bytes(), b"\0"].concat()).collect();
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(64, 0);
        let at = |file: &Vec<u8>| u64::try_from(file.len()).unwrap();
        let modinfo_at = at(&file);
        file.extend(&modinfo);
        let names_at = at(&file);
        file.extend(names);
        let table_at = at(&file);
        for (name, kind, offset, size) in [
            (0_u32, 0_u32, 0, 0),
            (1, 1, modinfo_at, u64::try_from(modinfo.len()).unwrap()),
            (10, 3, names_at, u64::try_from(names.len()).unwrap()),
        ] {
            file.extend(name.to_le_bytes());
            file.extend(kind.to_le_bytes());
            file.extend([0; 16]);
            file.extend(offset.to_le_bytes());
            file.extend(size.to_le_bytes());
            file.extend([0; 24]);
        }
        file[16..20].copy_from_slice(&[1, 0, 62, 0]);
        file[40..48].copy_from_slice(&table_at.to_le_bytes());
        file[52..64].copy_from_slice(&[64, 0, 0, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
        file
    }

    #[test]
    fn a_module_tells_what_it_needs() {
        let file = module(&[
            "license=GPL",
            "depends=virtio_ring,virtio-pci-modern-dev",
            "softdep=pre: crc32c post: b-c",
            "softdep=ccm",
            "alias=fs-ext4",
            "alias=pci:v00001AF4d*sv*",
        ]);
        let info = read(&file[..]).unwrap();
        assert_eq!(info.depends, ["virtio_ring", "virtio_pci_modern_dev"]);
        assert_eq!(
            (&info.before[..], &info.after[..]),
            (&["crc32c".into()][..], &["b_c".into()][..])
        );
        assert_eq!(info.aliases, ["fs_ext4"]);
        assert_eq!(read(&module(&["depends="])[..]).unwrap(), Info::default());
        assert_eq!(read(&b"no module"[..]), None);
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(
            changes in prop::collection::vec((0..400_usize, any::<u8>()), 0..12), keep in 0..400_usize,
        ) {
            let mut file = module(&["depends=a,b", "softdep=pre: c"]);
            for (at, byte) in changes {
                if let Some(place) = file.get_mut(at) {
                    *place = byte;
                }
            }
            file.truncate(keep);
            let _ = read(&file[..]);
        }
    }
}
