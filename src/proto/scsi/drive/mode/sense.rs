//! MODE SENSE(6) and (10) (SPC-5 §6.15, §6.16).

use super::pages::{PAGES, PageControl};
use crate::media::Geometry;
use crate::proto::scsi::drive::cdb::Cdb;
use crate::proto::scsi::drive::command::{Call, Parameters, Reply, Task};
use crate::proto::scsi::drive::failure::Failure;
use crate::proto::scsi::drive::sense::Sense;
use crate::proto::scsi::drive::unit::Unit;

/// DBD: no block descriptor, please.
const DBD: u8 = 0x08;
/// LLBAA: a block descriptor with eight bytes of address, please.
const LLBAA: u8 = 0x10;
/// All pages.
const ALL: u8 = 0x3F;
/// All pages and subpages; there are no subpages.
const ALL_SUBPAGES: u8 = 0xFF;
/// WP and DPOFUA of the DEVICE-SPECIFIC PARAMETER (SBC-4 §6.5.1).
const WP: u8 = 0x80;
const DPOFUA: u8 = 0x10;

/// MODE SENSE(6).
pub(in super::super) fn mode_sense_6(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let pages = pages(call.unit, &task.cdb)?;
    let descriptor = descriptor(call.unit.geometry(), &task.cdb, false);
    let length = 3usize.saturating_add(descriptor.len()).saturating_add(pages.len());
    let mut bytes = vec![
        u8::try_from(length).unwrap_or(u8::MAX),
        0,
        device_specific(call.unit),
        u8::try_from(descriptor.len()).unwrap_or(0),
    ];
    bytes.extend(descriptor);
    bytes.extend(pages);
    Ok(Reply::Parameters(Parameters { bytes, allocation: task.cdb.byte(4).into() }))
}

/// MODE SENSE(10).
pub(in super::super) fn mode_sense_10(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let long = task.cdb.bit(1, LLBAA);
    let pages = pages(call.unit, &task.cdb)?;
    let descriptor = descriptor(call.unit.geometry(), &task.cdb, long);
    let length = 6usize.saturating_add(descriptor.len()).saturating_add(pages.len());
    let mut bytes = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    let long = u8::from(long && !descriptor.is_empty());
    bytes.extend([0, device_specific(call.unit), long, 0]);
    bytes.extend(u16::try_from(descriptor.len()).unwrap_or(0).to_be_bytes());
    bytes.extend(descriptor);
    bytes.extend(pages);
    Ok(Reply::Parameters(Parameters { bytes, allocation: task.cdb.be16(7).into() }))
}

fn device_specific(unit: &Unit) -> u8 {
    let protected = unit.geometry().read_only || unit.modes().write_protect();
    DPOFUA | if protected { WP } else { 0 }
}

/// The pages that the command asks for.
fn pages(unit: &Unit, cdb: &Cdb) -> Result<Vec<u8>, Failure> {
    let (code, subpage) = (cdb.byte(2) & 0x3F, cdb.byte(3));
    let control = match cdb.byte(2) >> 6 {
        0 => PageControl::Current,
        1 => PageControl::Changeable,
        2 => PageControl::Default,
        _ => return Err(Sense::NO_SAVING.into()),
    };
    if subpage != 0 && subpage != ALL_SUBPAGES {
        return Err(Sense::in_cdb(3).into());
    }
    let modes = unit.modes();
    if code == ALL {
        return Ok(PAGES.iter().filter_map(|code| modes.page(*code, control)).flatten().collect());
    }
    modes.page(code, control).ok_or_else(|| Sense::in_cdb_bit(2, 5).into())
}

/// The block descriptor (SBC-4 §6.5.2).
fn descriptor(geometry: Geometry, cdb: &Cdb, long: bool) -> Vec<u8> {
    if cdb.bit(1, DBD) {
        return Vec::new();
    }
    let size = u32::from(geometry.block_size).to_be_bytes();
    if long {
        let mut bytes = geometry.blocks.0.to_be_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(size);
        return bytes;
    }
    // The highest byte of the block length is not part of the short descriptor.
    let mut bytes = u32::try_from(geometry.blocks.0).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    let [_, high, middle, low] = size;
    bytes.extend([0, high, middle, low]);
    bytes
}
