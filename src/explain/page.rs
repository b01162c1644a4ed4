//! One page, by its `struct page` and the inode that it belongs to.

use super::kernel::Kernel;
use super::physical::Physical;
use crate::record::{Page, PageHost};

/// `PAGE_MAPPING_ANON` and the bit beside it (include/linux/page-flags.h).
const ANON: u64 = 1;
const MAPPING_FLAGS: u64 = 3;
/// `S_IFMT` and `S_IFBLK` (include/uapi/linux/stat.h).
const FORMAT: u64 = 0o170_000;
const BLOCK_DEVICE: u64 = 0o060_000;
/// `MINORBITS` (include/linux/kdev_t.h).
const MINOR_BITS: u32 = 20;

/// A `struct page` and the one of the folio that it is a part of.
struct Pages {
    own: u64,
    head: u64,
}

/// Reads the page of a guest-physical address. What the guest stores meanwhile may be mixed in: it runs.
pub fn read(kernel: &Kernel, memory: &dyn Physical, address: u64) -> Option<Page> {
    let (pfn, layout) = (address >> 12, &kernel.layout);
    let number = |at: u64, offset: u64, bytes: usize| {
        kernel.space.number(memory, at.checked_add(offset)?, bytes)
    };
    let own = kernel.page_at(memory, pfn)?;
    let pages = Pages { own, head: head_of(own, number(own, layout.compound, 8)?) };
    let flags = layout.spell(number(pages.head, layout.flags, 8)?);
    let mapcount = signed(number(pages.own, layout.mapcount, 4)?)?;
    let refcount = signed(number(pages.head, layout.refcount, 4)?)?;
    // A count below the one of a page that is nowhere mapped is no count: the page has a type, such as
    // the allocator's, and no mapping (`page_has_type`).
    let is_typed = mapcount < -1 || flags.iter().any(|flag| flag == "slab");
    let mapping = number(pages.head, layout.mapping, 8)?;
    let host = if is_typed { Host::none() } else { host_of(kernel, memory, mapping)? };
    let index =
        number(pages.head, layout.index, 8)?.wrapping_add(pages.distance(layout.page_bytes));
    Some(Page {
        pfn,
        flags,
        host: host.kind,
        inode: host.inode,
        device: host.device,
        index: host.inode.map(|_| index),
        mapcount: if is_typed { 0 } else { mapcount.saturating_add(1) },
        refcount,
        read_us: 0.0,
    })
}

/// The inode whose page has a guest-physical address, by its address, and which of its bytes that is.
pub fn file_of(kernel: &Kernel, memory: &dyn Physical, address: u64) -> Option<(u64, u64)> {
    let layout = &kernel.layout;
    let number = |at: u64, offset: u64| kernel.space.number(memory, at.checked_add(offset)?, 8);
    let own = kernel.page_at(memory, address >> 12)?;
    let pages = Pages { own, head: head_of(own, number(own, layout.compound)?) };
    let mapping = number(pages.head, layout.mapping)?;
    let inode =
        (mapping & MAPPING_FLAGS == 0 && mapping != 0).then(|| number(mapping, layout.host))??;
    let index = number(pages.head, layout.index)?.wrapping_add(pages.distance(layout.page_bytes));
    (inode != 0).then_some((inode, (index << 12).wrapping_add(address & 0xfff)))
}

impl Pages {
    /// How many pages lie before this one in its folio.
    fn distance(&self, page_bytes: u64) -> u64 {
        self.own.checked_sub(self.head).and_then(|bytes| bytes.checked_div(page_bytes)).unwrap_or(0)
    }
}

/// The first page of a folio. Bit 0 marks the others; what stands in the bits above is the address of the
/// first one, or since 7.1 may be the mask that makes it (`_compound_head`, include/linux/page-flags.h).
fn head_of(page: u64, info: u64) -> u64 {
    if info & 1 == 0 {
        return page;
    }
    let rest = info & !1;
    if (!rest).wrapping_add(1).is_power_of_two() { page & rest } else { rest }
}

struct Host {
    kind: PageHost,
    inode: Option<u64>,
    device: Option<String>,
}

impl Host {
    fn none() -> Host {
        Host { kind: PageHost::None, inode: None, device: None }
    }
}

/// Whose the page is; `None` where that cannot be read.
fn host_of(kernel: &Kernel, memory: &dyn Physical, mapping: u64) -> Option<Host> {
    if mapping & ANON != 0 {
        return Some(Host { kind: PageHost::Anon, ..Host::none() });
    }
    if mapping == 0 {
        return Some(Host::none());
    }
    let layout = &kernel.layout;
    let number = |at: u64, offset: u64, bytes: usize| {
        kernel.space.number(memory, at.checked_add(offset)?, bytes)
    };
    let inode = number(mapping & !MAPPING_FLAGS, layout.host, 8)?;
    if inode == 0 {
        return Some(Host::none());
    }
    let is_device = number(inode, layout.mode, 2)? & FORMAT == BLOCK_DEVICE;
    let device = if is_device {
        number(inode, layout.rdev, 4)?
    } else {
        number(number(inode, layout.sb, 8)?, layout.dev, 4)?
    };
    Some(Host {
        kind: if is_device { PageHost::Device } else { PageHost::File },
        inode: Some(number(inode, layout.ino, 8)?),
        device: Some(format!("{}:{}", device >> MINOR_BITS, device & ((1 << MINOR_BITS) - 1))),
    })
}

/// A C `int`.
fn signed(number: u64) -> Option<i32> {
    Some(u32::try_from(number).ok()?.cast_signed())
}
