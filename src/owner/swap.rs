//! Swap space.

use crate::record::{Owner, OwnerKind};

use super::area::Area;
use super::bytes::{ReadAt, le32};
use super::layout::{Layout, LayoutError};

const PAGE: u64 = 4096;
const SIGNATURE: &[u8] = b"SWAPSPACE2";
const LAST_PAGE: usize = 1028;

/// A disk that is swap space.
#[derive(Debug)]
pub struct Swap {
    pages: u64,
}

impl Layout for Swap {
    /// Reads the header, which fills the first page.
    fn read(disk: &dyn ReadAt) -> Result<Option<Self>, LayoutError> {
        let header = disk.read_at(0, 4096)?;
        if !header.ends_with(SIGNATURE) {
            return Ok(None);
        }
        let last = le32(&header, LAST_PAGE).ok_or(LayoutError::Damaged("swap header"))?;
        Ok(Some(Swap { pages: last.into() }))
    }

    fn name(&self) -> &'static str {
        "swap"
    }

    fn areas(&self) -> Vec<Area> {
        let owner = Owner { offset: Some(PAGE), ..Owner::new("swap", OwnerKind::Data) };
        let bytes = self.pages.saturating_mul(PAGE);
        let pages = Area { start: PAGE, bytes, owner, born_us: None };
        vec![Area::metadata("swap header", 0, PAGE), pages]
    }
}
