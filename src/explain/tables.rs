//! The kernel's own page tables. Document: Intel SDM vol. 3A, §4.5 (4-level and 5-level paging).

use super::physical::Physical;

const PAGE: u64 = 4096;
const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
/// Bits 51:12 of an entry.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Each level translates nine bits above the twelve of a page.
const LEVEL_BITS: u32 = 9;

/// The kernel's address space.
#[derive(Debug, Clone, Copy)]
pub struct Space {
    /// Where the top table lies in guest-physical memory.
    pub root: u64,
    /// 4 or 5.
    pub levels: u32,
}

impl Space {
    /// Where a virtual address lies.
    pub fn translate(&self, memory: &dyn Physical, address: u64) -> Option<u64> {
        let mut table = self.root;
        for level in (1..=self.levels).rev() {
            let shift = 12 + LEVEL_BITS * (level - 1);
            let index = (address >> shift) & 0x1ff;
            let entry = memory.number(table.checked_add(index * 8)?, 8)?;
            if entry & PRESENT == 0 {
                return None;
            }
            if level == 1 || (level <= 3 && entry & LARGE != 0) {
                let inside = (1_u64 << shift) - 1;
                return Some((entry & ADDRESS & !inside) | (address & inside));
            }
            table = entry & ADDRESS;
        }
        None
    }

    /// Copies out of virtual memory, page by page.
    pub fn read(&self, memory: &dyn Physical, address: u64, into: &mut [u8]) -> Option<()> {
        let mut at = address;
        let mut rest = into;
        while !rest.is_empty() {
            let room = usize::try_from(PAGE - at % PAGE).ok()?;
            let (now, later) = rest.split_at_mut(room.min(rest.len()));
            memory.read(self.translate(memory, at)?, now)?;
            at = at.checked_add(now.len() as u64)?;
            rest = later;
        }
        Some(())
    }

    /// A text that ends with a zero, and may not be longer than `most`.
    pub fn text(&self, memory: &dyn Physical, address: u64, most: usize) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        while text.len() <= most {
            let at = address.checked_add(text.len() as u64)?;
            let room = usize::try_from(PAGE - at % PAGE).ok()?.min(64);
            let mut part = vec![0; room];
            self.read(memory, at, &mut part)?;
            if let Some(end) = part.iter().position(|byte| *byte == 0) {
                text.extend(part.get(..end)?);
                return (text.len() <= most).then_some(text);
            }
            text.extend(part);
        }
        None
    }

    /// A little-endian number of up to eight bytes.
    pub fn number(&self, memory: &dyn Physical, address: u64, bytes: usize) -> Option<u64> {
        let mut buffer = [0; 8];
        self.read(memory, address, buffer.get_mut(..bytes)?)?;
        Some(u64::from_le_bytes(buffer))
    }
}
