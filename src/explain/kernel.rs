//! The kernel that runs in a guest, as far as its pages need it.

use super::btf::{self, Btf};
use super::coreinfo::CoreInfo;
use super::layout::Layout;
use super::physical::Physical;
use super::tables::Space;

/// `__START_KERNEL_map` (arch/x86/include/asm/page_64_types.h).
const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// How far behind the first byte of its text a kernel's image is searched for its types.
const IMAGE_BYTES: u64 = 128 << 20;
/// The largest BTF that is read; those of distributions have 4 to 8 MiB.
const MAX_BTF: usize = 32 << 20;
/// How many places that look like a BTF are tried.
const MAX_STARTS: u32 = 8;
const PAGE: usize = 4096;
/// The longest release (`__NEW_UTS_LEN`, include/uapi/linux/utsname.h), and where it stands behind the two
/// names before it.
const UTS_BYTES: usize = 64;
const RELEASE_AT: u64 = 2 * (UTS_BYTES as u64 + 1);

/// A kernel whose pages can be looked up.
#[derive(Debug)]
pub struct Kernel {
    pub(super) space: Space,
    pub(super) layout: Layout,
    sections: Sections,
    release: Vec<u8>,
    release_at: u64,
}

/// How `struct page` is found by a page's number: the sparse memory model (mm/sparse.c).
#[derive(Debug)]
struct Sections {
    roots: u64,
    root_count: u64,
    section_bytes: u64,
    map_at: u64,
    section_bits: u32,
}

/// What a kernel that runs says of itself.
#[derive(Debug)]
pub(super) struct Living {
    pub(super) info: CoreInfo,
    pub(super) space: Space,
    pub(super) types: Btf,
    release: Vec<u8>,
    release_at: u64,
}

impl Living {
    /// Finds the kernel that runs; a guest that was started again has the remains of others.
    pub(super) fn find(memory: &dyn Physical) -> Option<Living> {
        CoreInfo::find(memory).into_iter().find_map(|info| Living::of(memory, info))
    }

    fn of(memory: &dyn Physical, info: CoreInfo) -> Option<Living> {
        let space = space_of(&info)?;
        let release =
            info.release().filter(|release| release.len() <= UTS_BYTES)?.as_bytes().to_vec();
        let release_at = live_release(memory, &space, &info, &release)?;
        let types = Btf::parse(&types_of(memory, &space, info.symbol("_stext")?)?)?;
        Some(Living { info, space, types, release, release_at })
    }
}

impl Kernel {
    /// Finds the kernel that runs.
    pub fn learn(memory: &dyn Physical) -> Option<Kernel> {
        let living = Living::find(memory)?;
        let sections = Sections::of(&living.info)?;
        let Living { space, types, release, release_at, .. } = living;
        Some(Kernel { space, layout: Layout::of(&types)?, sections, release, release_at })
    }

    /// Whether it still runs, by its name in the place where it had it.
    pub fn is_there(&self, memory: &dyn Physical) -> bool {
        is_there(memory, self.release_at, &self.release)
    }

    /// The virtual address of the `struct page` of page number `pfn`.
    pub(super) fn page_at(&self, memory: &dyn Physical, pfn: u64) -> Option<u64> {
        let map = self.sections.map_of(memory, &self.space, pfn)?;
        map.checked_add(pfn.checked_mul(self.layout.page_bytes)?)
    }
}

/// Where the release stands in the running kernel's `init_uts_ns`; `None` where another one runs. Before 5.11
/// vmcoreinfo does not say where in it the names are: behind a reference count, or first of all.
fn live_release(
    memory: &dyn Physical,
    space: &Space,
    info: &CoreInfo,
    release: &[u8],
) -> Option<u64> {
    let names = info.number("OFFSET(uts_namespace.name)").map_or(vec![4, 0], |offset| vec![offset]);
    let place = |offset: i64| {
        let names = info.symbol("init_uts_ns")?.checked_add_signed(offset)?;
        space.translate(memory, names.checked_add(RELEASE_AT)?)
    };
    names.into_iter().filter_map(place).find(|at| is_there(memory, *at, release))
}

fn is_there(memory: &dyn Physical, at: u64, release: &[u8]) -> bool {
    let mut name = [0; UTS_BYTES + 1];
    let Some(name) = name.get_mut(..=release.len()) else { return false };
    // The zero behind it belongs to it.
    memory.read(at, name).is_some() && name.split_last() == Some((&0, release))
}

/// The address space; `None` for kernels that are not x86-64's, or whose tables are encrypted.
fn space_of(info: &CoreInfo) -> Option<Space> {
    let top = info.symbol("swapper_pg_dir").or_else(|| info.symbol("init_top_pgt"))?;
    let base = info.number("NUMBER(phys_base)")?;
    if info.number("NUMBER(sme_mask)").is_some_and(|mask| mask != 0) {
        return None;
    }
    let root = top.checked_sub(KERNEL_MAP)?.checked_add_signed(base)?;
    let is_deep = info.number("NUMBER(pgtable_l5_enabled)").is_some_and(|on| on != 0);
    Some(Space { root, levels: if is_deep { 5 } else { 4 } })
}

/// The kernel's BTF, by its first bytes: it lies in the image, and on no known place of it.
fn types_of(memory: &dyn Physical, space: &Space, text: u64) -> Option<Vec<u8>> {
    let first = text & !(PAGE as u64 - 1);
    let (mut page, mut left) = ([0; PAGE], MAX_STARTS);
    for at in (first..first.checked_add(IMAGE_BYTES)?).step_by(PAGE) {
        if space.read(memory, at, &mut page).is_none() {
            continue;
        }
        let starts =
            page.chunks_exact(4).enumerate().filter(|(_, word)| **word == [0x9f, 0xeb, 1, 0]);
        for (index, _) in starts {
            left = u32::checked_sub(left, 1)?;
            let found = types_at(memory, space, at.checked_add(index as u64 * 4)?);
            if found.is_some() {
                return found;
            }
        }
    }
    None
}

fn types_at(memory: &dyn Physical, space: &Space, at: u64) -> Option<Vec<u8>> {
    let mut header = [0; btf::HEADER];
    space.read(memory, at, &mut header)?;
    let length = btf::length(&header).filter(|length| *length <= MAX_BTF)?;
    let mut bytes = vec![0; length];
    space.read(memory, at, &mut bytes)?;
    Some(bytes)
}

impl Sections {
    fn of(info: &CoreInfo) -> Option<Sections> {
        let number = |key: &str| u64::try_from(info.number(key)?).ok();
        Some(Sections {
            roots: info.symbol("mem_section")?,
            root_count: number("LENGTH(mem_section)")?,
            section_bytes: number("SIZE(mem_section)")
                .filter(|size| (8..=PAGE as u64).contains(size))?,
            map_at: number("OFFSET(mem_section.section_mem_map)")?,
            section_bits: u32::try_from(number("NUMBER(SECTION_SIZE_BITS)")?)
                .ok()
                .filter(|bits| (12..64).contains(bits))?,
        })
    }

    /// Where the map of this page's section would begin with page number 0. Its low bits are flags
    /// (`SECTION_MAP_MASK`, include/linux/mmzone.h).
    fn map_of(&self, memory: &dyn Physical, space: &Space, pfn: u64) -> Option<u64> {
        let section = pfn >> (self.section_bits - 12);
        let per_root = PAGE as u64 / self.section_bytes;
        let root = (section / per_root < self.root_count).then_some(section / per_root)?;
        let list = space.number(memory, self.roots.checked_add(root * 8)?, 8)?;
        let entry = list
            .checked_add((section % per_root) * self.section_bytes)?
            .checked_add(self.map_at)?;
        let map = space.number(memory, entry, 8)?;
        // Bit 0: there is a map (SECTION_MARKED_PRESENT).
        (list != 0 && map & 1 != 0).then_some(map & !(PAGE as u64 - 1))
    }
}
