//! INQUIRY and REPORT LUNS: who is there (SPC-5 §6.6, §6.34).

use super::cdb::Cdb;
use super::command::{Call, Parameters, Reply, Task};
use super::failure::Failure;
use super::sense::Sense;
use super::unit::{PRODUCT, VENDOR};
use super::vpd;

/// PRODUCT REVISION LEVEL.
const REVISION: &[u8; 4] = b"0100";

/// SPC-5 in the VERSION field.
const VERSION: u8 = 0x07;
/// HISUP and RESPONSE DATA FORMAT 2.
const FORMAT: u8 = 0x12;
/// CMDQUE: full task management.
const CMDQUE: u8 = 0x02;
/// SAM-6, SPC-5 and SBC-4, no version claimed (SPC-5 table 148), and their predecessors SPC-4 and
/// SBC-3, which initiators look for.
const VERSION_DESCRIPTORS: [u16; 5] = [0x00C0, 0x05C0, 0x0600, 0x0460, 0x04C0];
/// The length of standard INQUIRY data with all eight version descriptors.
const STANDARD_BYTES: usize = 74;
/// PERIPHERAL QUALIFIER 011b and type 1Fh: no unit can be there.
const ABSENT: u8 = 0x7F;

/// EVPD.
const EVPD: u8 = 0x01;

/// INQUIRY.
pub(super) fn inquiry(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let (page, allocation) = (task.cdb.byte(2), task.cdb.be16(3).into());
    if task.cdb.bit(1, EVPD) {
        let bytes = vpd::page(call.unit, page).ok_or(Sense::in_cdb(2))?;
        return Ok(Reply::Parameters(Parameters { bytes, allocation }));
    }
    // SPC-5 §6.6.1: a page code without EVPD makes no sense.
    if page != 0 {
        return Err(Sense::in_cdb(2).into());
    }
    let protect = call.unit.geometry().pi_type.is_protected();
    Ok(Reply::Parameters(Parameters { bytes: standard(0, protect), allocation }))
}

/// What INQUIRY says about a unit that does not exist.
pub(super) fn absent(cdb: &Cdb) -> Parameters {
    Parameters { bytes: standard(ABSENT, false), allocation: cdb.be16(3).into() }
}

fn standard(peripheral: u8, protect: bool) -> Vec<u8> {
    // ADDITIONAL LENGTH counts from byte 5 on.
    let additional = u8::try_from(STANDARD_BYTES - 5).unwrap_or(0);
    let mut bytes = vec![peripheral, 0, VERSION, FORMAT, additional, u8::from(protect), 0, CMDQUE];
    bytes.extend(VENDOR);
    bytes.extend(PRODUCT);
    bytes.extend(REVISION);
    bytes.resize(58, 0);
    bytes.extend(VERSION_DESCRIPTORS.iter().flat_map(|code| code.to_be_bytes()));
    bytes.resize(STANDARD_BYTES, 0);
    bytes
}

/// SELECT REPORT: 0 and 2 list units, 1 well-known units (there are none), 11h and 12h subsidiary
/// units (SPC-5 table 310).
const ALL_LISTS: [u8; 4] = [0x00, 0x02, 0x10, 0x12];
const EMPTY_LISTS: [u8; 2] = [0x01, 0x11];

/// REPORT LUNS.
pub(super) fn report_luns(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let (select, allocation) = (task.cdb.byte(2), task.cdb.be32(6));
    // SPC-5 §6.34: "The allocation length should be at least 16".
    if allocation < 16 {
        return Err(Sense::in_cdb(6).into());
    }
    let listed = match select {
        _ if ALL_LISTS.contains(&select) => usize::MAX,
        _ if EMPTY_LISTS.contains(&select) => 0,
        _ => return Err(Sense::in_cdb(2).into()),
    };
    let luns = call.target.luns().take(listed);
    let luns: Vec<u8> = luns.flat_map(|lun| lun_address(lun).to_be_bytes()).collect();
    let mut bytes = u32::try_from(luns.len()).unwrap_or(0).to_be_bytes().to_vec();
    bytes.extend([0; 4]);
    bytes.extend(luns);
    Ok(Reply::Parameters(Parameters { bytes, allocation: allocation.into() }))
}

/// A unit's number as eight bytes: peripheral device addressing up to 255, flat space addressing
/// above (SAM-6 §4.7.7).
fn lun_address(lun: u16) -> u64 {
    let method = if lun < 256 { 0 } else { 0x4000 };
    u64::from(method | (lun & 0x3FFF)) << 48
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_data_has_its_fields_in_their_places() {
        let bytes = standard(0, true);
        assert_eq!((bytes.len(), bytes[4], bytes[5]), (74, 69, 1));
        assert_eq!(&bytes[8..36], b"DIXTRAP DIX disk        0100");
        assert_eq!(bytes[58..64], [0x00, 0xC0, 0x05, 0xC0, 0x06, 0x00]);
    }

    #[test]
    fn unit_numbers_use_both_methods() {
        assert_eq!(lun_address(3), 0x0003_0000_0000_0000);
        assert_eq!(lun_address(300), 0x412C_0000_0000_0000);
    }
}
