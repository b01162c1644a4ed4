//! Swap space.

use crate::record::{Owner, OwnerKind};

use super::area::Area;
use super::bytes::{ReadAt, le32};
use super::{Details, Layout, LayoutError};

const PAGE: u64 = 4096;
const SIGNATURE: &[u8] = b"SWAPSPACE2";
const LAST_PAGE: usize = 1028;

/// Reads the header, which fills the first page.
pub fn read(disk: &dyn ReadAt) -> Result<Option<Layout>, LayoutError> {
    let header = disk.read_at(0, 4096)?;
    if !header.ends_with(SIGNATURE) {
        return Ok(None);
    }
    let last = le32(&header, LAST_PAGE).ok_or(LayoutError::Damaged("swap header"))?;
    let owner = Owner { offset: Some(PAGE), ..Owner::new("swap", OwnerKind::Data) };
    let pages = Area { start: PAGE, bytes: u64::from(last) * PAGE, owner, born_us: None };
    let areas = vec![Area::metadata("swap header", 0, PAGE), pages];
    Ok(Some(Layout { name: "swap", areas, details: Details::None }))
}
