//! A kernel of our own in a small memory: every structure that is walked, in the places where its own words
//! say that they are.

use std::collections::BTreeMap;
use std::ops::Range;

use super::btf::Btf;
use super::coreinfo::CoreInfo;
use super::kernel::Kernel;
use super::page;
use super::physical::Physical;
use super::tables::Space;
use crate::record::{Page, PageHost};

const RELEASE: &str = "6.9.0-test";
const PHYS_BASE: u64 = 0x10_0000;
const MAP: u64 = 0xffff_ffff_8000_0000;
const ROOT: u64 = PHYS_BASE;
const TEXT: u64 = MAP + 0x20_0000;
const UTS: u64 = TEXT + 0x3000;
const SECTIONS: u64 = TEXT + 0x4000;
const TYPES: u64 = TEXT + 0x5010;
const STRUCTS: u64 = TEXT + 0x8000;
const INODE: u64 = STRUCTS + 0x100;
const MAPPING: u64 = STRUCTS + 0x200;
const SB: u64 = STRUCTS + 0x300;
/// Where the pages' structures are mapped, and how large one is.
const VMEMMAP: u64 = 0xffff_ea00_0000_0000;
const PAGE_BYTES: u64 = 64;

/// Bytes by address; what was never written is not there.
#[derive(Default)]
struct Memory {
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Physical for Memory {
    fn read(&self, at: u64, into: &mut [u8]) -> Option<()> {
        for (offset, byte) in into.iter_mut().enumerate() {
            let at = at.checked_add(offset as u64)?;
            *byte = self.pages.get(&(at >> 12))?[(at & 0xfff) as usize];
        }
        Some(())
    }

    fn populated(&self) -> Vec<Range<u64>> {
        self.pages.keys().map(|number| number << 12..(number + 1) << 12).collect()
    }
}

impl Memory {
    fn put(&mut self, at: u64, bytes: &[u8]) {
        for (offset, byte) in bytes.iter().enumerate() {
            let at = at + offset as u64;
            self.pages.entry(at >> 12).or_insert_with(|| vec![0; 4096])[(at & 0xfff) as usize] =
                *byte;
        }
    }

    fn put_number(&mut self, at: u64, number: u64) {
        self.put(at, &number.to_le_bytes());
    }

    /// Maps four levels of tables; each table has its own page behind the root, found again by its way.
    fn map(&mut self, virtual_page: u64, physical: u64, tables: &mut u64) {
        let mut table = ROOT;
        for level in (1..4_u32).rev() {
            let at = table + ((virtual_page >> (12 + 9 * level)) & 0x1ff) * 8;
            let mut entry = self.number(at, 8).unwrap_or(0);
            if entry & 1 == 0 {
                *tables += 0x1000;
                entry = *tables | 1;
                self.put(*tables, &[0; 8]);
                self.put_number(at, entry);
            }
            table = entry & !0xfff;
        }
        self.put_number(table + ((virtual_page >> 12) & 0x1ff) * 8, physical | 1);
    }
}

/// One member of a structure: its name and its offset.
type Member = (&'static str, u32);

/// BTF with named structures and the flags' names.
fn types(structures: &[(&'static str, u32, &[Member])], flags: &[(&'static str, u32)]) -> Vec<u8> {
    let mut strings = vec![0];
    let mut add = |name: &str| {
        let at = strings.len() as u32;
        strings.extend_from_slice(name.as_bytes());
        strings.push(0);
        at
    };
    let mut types: Vec<u32> = Vec::new();
    for (name, size, members) in structures {
        types.extend([add(name), 4 << 24 | members.len() as u32, *size]);
        for (name, offset) in *members {
            types.extend([add(name), 0, offset * 8]);
        }
    }
    types.extend([add("pageflags"), 6 << 24 | flags.len() as u32, 4]);
    for (name, bit) in flags {
        types.extend([add(name), *bit]);
    }
    let type_bytes = types.len() as u32 * 4;
    let header = [0x0001_eb9f, 24, 0, type_bytes, type_bytes, strings.len() as u32];
    let mut bytes: Vec<u8> =
        header.iter().chain(&types).flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend(strings);
    bytes
}

fn kernel_types() -> Vec<u8> {
    types(
        &[
            (
                "page",
                64,
                &[
                    ("flags", 0),
                    ("compound_head", 8),
                    ("mapping", 24),
                    ("index", 32),
                    ("_mapcount", 48),
                    ("_refcount", 52),
                ],
            ),
            ("address_space", 64, &[("host", 0)]),
            ("inode", 64, &[("i_mode", 0), ("i_sb", 8), ("i_ino", 16), ("i_rdev", 24)]),
            ("super_block", 64, &[("s_dev", 8)]),
        ],
        &[
            ("PG_locked", 0),
            ("PG_dirty", 4),
            ("PG_slab", 7),
            ("PG_owner_priv_1", 8),
            ("PG_checked", 8),
            ("PG_writeback", 15),
            ("PG_\u{1b}[31m", 20),
        ],
    )
}

/// A guest with one kernel, whose pages' structures for page numbers 0 to 63 are mapped.
fn guest() -> Memory {
    let (mut memory, mut tables) = (Memory::default(), ROOT);
    memory.put(ROOT, &[0; 8]);
    for page in 0..16_u64 {
        memory.map(TEXT + page * 0x1000, 0x80_0000 + page * 0x1000, &mut tables);
    }
    memory.map(VMEMMAP, 0x90_0000, &mut tables);
    memory.put(0x90_0000, &[0; 4096]);
    let at = |address: u64| address - TEXT + 0x80_0000;
    memory.put(at(TEXT), &[0x90; 16]);
    memory.put(at(UTS), &[0; 1]);
    memory.put(at(UTS) + 130, RELEASE.as_bytes());
    memory.put_number(at(SECTIONS), SECTIONS + 0x800);
    memory.put_number(at(SECTIONS) + 0x800, VMEMMAP | 1);
    memory.put(at(TYPES), &kernel_types());
    memory.put_number(at(MAPPING), INODE);
    memory.put_number(at(INODE), 0o100_644);
    memory.put_number(at(INODE) + 8, SB);
    memory.put_number(at(INODE) + 16, 12);
    memory.put_number(at(INODE) + 24, 254 << 20 | 16);
    memory.put_number(at(SB) + 8, 254 << 20);
    memory.put(0xa0_0000, core_info(RELEASE, PHYS_BASE).as_bytes());
    memory
}

fn core_info(release: &str, phys_base: u64) -> String {
    format!(
        "OSRELEASE={release}\nPAGESIZE=4096\nSYMBOL(init_uts_ns)={UTS:x}\nOFFSET(uts_namespace.name)=0\n\
         SYMBOL(_stext)={TEXT:x}\nSYMBOL(swapper_pg_dir)={MAP:x}\nSYMBOL(mem_section)={SECTIONS:x}\n\
         LENGTH(mem_section)=1\nSIZE(mem_section)=16\nOFFSET(mem_section.section_mem_map)=0\n\
         NUMBER(SECTION_SIZE_BITS)=27\nNUMBER(phys_base)={phys_base}\nNUMBER(pgtable_l5_enabled)=0\n"
    )
}

/// Gives page number `pfn` its state.
fn set(
    memory: &mut Memory,
    pfn: u64,
    (flags, mapping): (u64, u64),
    (index, mapcount, refcount): (u64, i32, i32),
) {
    let at = 0x90_0000 + pfn * PAGE_BYTES;
    memory.put_number(at, flags);
    memory.put_number(at + 24, mapping);
    memory.put_number(at + 32, index);
    memory.put(at + 48, &mapcount.to_le_bytes());
    memory.put(at + 52, &refcount.to_le_bytes());
}

fn look(memory: &Memory, pfn: u64) -> Option<Page> {
    page::read(&Kernel::learn(memory).expect("a kernel"), memory, pfn << 12)
}

#[test]
fn a_page_of_a_file_under_writeback() {
    let mut memory = guest();
    set(&mut memory, 5, (1 << 15 | 1 << 4 | 1 << 8 | 1 << 20 | 1 << 60, MAPPING), (7, 0, 3));
    let page = look(&memory, 5).unwrap();
    assert_eq!(page.flags, ["dirty", "owner_priv_1", "writeback"]);
    assert_eq!(
        (page.pfn, page.host, page.inode, page.index),
        (5, PageHost::File, Some(12), Some(7))
    );
    assert_eq!((page.device.as_deref(), page.mapcount, page.refcount), (Some("254:0"), 1, 3));
}

#[test]
fn a_block_device_is_named_by_itself() {
    let mut memory = guest();
    memory.put_number(INODE - TEXT + 0x80_0000, 0o060_660);
    set(&mut memory, 6, (1 << 15, MAPPING), (9, -1, 2));
    let page = look(&memory, 6).unwrap();
    assert_eq!(
        (page.host, page.device.as_deref(), page.mapcount),
        (PageHost::Device, Some("254:16"), 0)
    );
}

#[test]
fn programs_memory_and_nobodys_have_no_inode() {
    let mut memory = guest();
    set(&mut memory, 1, (0, 0xffff_8880_0000_0001), (3, 0, 1));
    set(&mut memory, 2, (0, 0), (3, -1, 1));
    // A page that has a type has something else where others have a mapping.
    set(&mut memory, 3, (0, 0xdead), (3, -0x0a00_0001, 1));
    set(&mut memory, 4, (1 << 7, 0xdead), (3, -1, 1));
    let host =
        |pfn| look(&memory, pfn).map(|page| (page.host, page.inode, page.index, page.mapcount));
    assert_eq!(host(1), Some((PageHost::Anon, None, None, 1)));
    for pfn in 2..=4 {
        assert_eq!(host(pfn), Some((PageHost::None, None, None, 0)), "{pfn}");
    }
}

#[test]
fn a_part_of_a_folio_tells_what_the_folio_is() {
    for info in [(VMEMMAP + 8 * PAGE_BYTES) | 1, !(8 * PAGE_BYTES - 1) | 1] {
        let mut memory = guest();
        set(&mut memory, 8, (1 << 15, MAPPING), (40, -1, 5));
        set(&mut memory, 11, (0, 0), (0, -1, 0));
        memory.put_number(0x90_0000 + 11 * PAGE_BYTES + 8, info);
        let page = look(&memory, 11).unwrap();
        assert_eq!(page.flags, ["writeback"], "{info:#x}");
        assert_eq!((page.host, page.index, page.refcount), (PageHost::File, Some(43), 5));
    }
}

#[test]
fn what_an_earlier_boot_left_is_not_believed() {
    let mut memory = guest();
    // Both stand before the live one; one was another kernel, one was elsewhere in memory.
    memory.put(0x1000, core_info("5.0.0-old", PHYS_BASE).as_bytes());
    memory.put(0x2000, core_info(RELEASE, 0x50_0000).as_bytes());
    set(&mut memory, 5, (1, 0), (0, -1, 1));
    assert_eq!(CoreInfo::find(&memory).len(), 3);
    let kernel = Kernel::learn(&memory).unwrap();
    assert_eq!(page::read(&kernel, &memory, 0x5000).unwrap().flags, ["locked"]);
    assert!(kernel.is_there(&memory));
    let silent = core_info(RELEASE, PHYS_BASE).replace("OFFSET(uts", "(uts");
    memory.put(0xa0_0000, silent.as_bytes());
    assert!(Kernel::learn(&memory).is_some(), "before 5.11");
    memory.put(UTS - TEXT + 0x80_0000 + 130, b"7");
    assert!(!kernel.is_there(&memory) && Kernel::learn(&memory).is_none());
}

#[test]
fn a_page_that_has_no_structure_is_not_known() {
    let memory = guest();
    let kernel = Kernel::learn(&memory).unwrap();
    for address in [64 << 12, 1 << 27, 1 << 40, u64::MAX] {
        assert_eq!(page::read(&kernel, &memory, address), None, "{address:#x}");
    }
}

#[test]
fn memory_at_the_end_of_all_addresses_is_searched_like_any_other() {
    struct Last;
    impl Physical for Last {
        fn read(&self, _: u64, _: &mut [u8]) -> Option<()> {
            None
        }
        fn populated(&self) -> Vec<Range<u64>> {
            vec![u64::MAX - 9..u64::MAX, u64::MAX - 0x2fff..u64::MAX]
        }
    }
    assert_eq!(CoreInfo::find(&Last), []);
    assert!(Kernel::learn(&Last).is_none());
}

#[test]
fn tables_that_lead_to_themselves_end() {
    let mut memory = Memory::default();
    memory.put(0x1000, &[0; 4096]);
    for index in 0..512 {
        memory.put_number(0x1000 + index * 8, 0x1001);
    }
    let space = Space { root: 0x1000, levels: 5 };
    assert_eq!(space.translate(&memory, 0x123), Some(0x1123));
    assert_eq!(Space { root: u64::MAX - 7, levels: 4 }.translate(&memory, u64::MAX), None);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]

    /// Whatever a guest has in place of its types and of its vmcoreinfo: an answer, and no panic.
    #[test]
    fn nonsense_is_no_kernel(changes in proptest::collection::vec((0_usize..600, proptest::num::u8::ANY), 0..12)) {
        let mut bytes = kernel_types();
        let mut memory = guest();
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(at) { *place = byte; }
            memory.put(0xa0_0000 + 10 + at as u64, &[byte]);
        }
        let _ = Btf::parse(&bytes).map(|btf| (btf.offset("page", "index"), btf.values("pageflags").map(|v| v.len())));
        memory.put(TYPES - TEXT + 0x80_0000, &bytes);
        let _ = Kernel::learn(&memory).and_then(|kernel| page::read(&kernel, &memory, 0x5000));
    }
}
