//! Vital product data (SPC-5 §7.7, SBC-4 §6.6).

use super::blocks::{MAX_CLEAR_BYTES, MAX_SAME_BYTES, MAX_TRANSFER_BYTES};
use super::unit::{PRODUCT, Unit, VENDOR};
use super::unmap::MAX_DESCRIPTORS;
use crate::pi::PiType;

/// The pages that exist.
const PAGES: [u8; 7] = [0x00, 0x80, 0x83, 0x86, 0xB0, 0xB1, 0xB2];
/// The optimal length of a transfer, and its granularity: what Linux sends by default, and a page.
const OPTIMAL_BYTES: u64 = 1 << 20;
const GRANULARITY_BYTES: u64 = 4096;
/// COMPARE AND WRITE counts its blocks in one byte.
pub const MAX_COMPARE_BLOCKS: u8 = 255;

/// A page, with its header; `None` for one that does not exist.
pub fn page(unit: &Unit, code: u8) -> Option<Vec<u8>> {
    let body = match code {
        0x00 => PAGES.to_vec(),
        0x80 => unit.identity.serial.as_bytes().to_vec(),
        0x83 => identification(unit),
        0x86 => extended_inquiry(unit),
        0xB0 => block_limits(unit),
        0xB1 => characteristics(),
        0xB2 => provisioning(unit),
        _ => return None,
    };
    // No page is longer than 255 bytes.
    let length = u16::try_from(body.len()).unwrap_or(0);
    let mut bytes = vec![0, code];
    bytes.extend(length.to_be_bytes());
    bytes.extend(body);
    Some(bytes)
}

/// Device Identification (SPC-5 §7.7.6): a T10 vendor ID based and an NAA designator of the unit.
fn identification(unit: &Unit) -> Vec<u8> {
    let mut name = VENDOR.to_vec();
    name.extend(PRODUCT);
    name.extend(unit.identity.serial.as_bytes());
    let mut bytes = designator(0x2, 0x1, &name);
    bytes.extend(designator(0x1, 0x3, &unit.identity.naa.to_be_bytes()));
    bytes
}

/// CODE SET, DESIGNATOR TYPE with ASSOCIATION 00b, and the designator.
fn designator(code_set: u8, kind: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![code_set, kind, 0, u8::try_from(value.len()).unwrap_or(0)];
    bytes.extend(value);
    bytes
}

/// Extended INQUIRY Data (SPC-5 §7.7.7).
fn extended_inquiry(unit: &Unit) -> Vec<u8> {
    let mut body = vec![0; 60];
    let pi = unit.geometry().pi_type;
    // SPT: the types that the unit can have; it cannot be formatted, so it is the one that it has.
    let spt = match pi {
        PiType::None | PiType::Type1 => 0b000,
        PiType::Type2 => 0b010,
        PiType::Type3 => 0b100,
    };
    // GRD_CHK, APP_CHK, REF_CHK: what is checked on reads and writes.
    let checks = if pi.is_protected() { 0b111 } else { 0 };
    // SIMPSUP; V_SUP, for there is a write cache; LUICLR: a reset's attention is told.
    for (at, value) in [(0, (spt << 3) | checks), (1, 0x01), (2, 0x01), (3, 0x01)] {
        if let Some(byte) = body.get_mut(at) {
            *byte = value;
        }
    }
    body
}

/// Block Limits (SBC-4 §6.6.4).
fn block_limits(unit: &Unit) -> Vec<u8> {
    let size = unit.geometry().block_size.bytes_u64();
    let blocks = |bytes: u64| u32::try_from(bytes / size).unwrap_or(u32::MAX);
    // WSNZ: a WRITE SAME of no blocks is refused.
    let mut body = vec![0x01, MAX_COMPARE_BLOCKS];
    body.extend(u16::try_from(GRANULARITY_BYTES / size).unwrap_or(1).to_be_bytes());
    let unmap = if unit.geometry().read_only { 0 } else { blocks(MAX_CLEAR_BYTES) };
    let descriptors = if unit.geometry().read_only { 0 } else { MAX_DESCRIPTORS };
    for value in [
        blocks(MAX_TRANSFER_BYTES),
        blocks(OPTIMAL_BYTES),
        // MAXIMUM PREFETCH LENGTH: there is no PRE-FETCH.
        0,
        unmap,
        descriptors,
        blocks(GRANULARITY_BYTES),
        // UGAVALID 0.
        0,
    ] {
        body.extend(value.to_be_bytes());
    }
    body.extend((MAX_SAME_BYTES / size).to_be_bytes());
    body.resize(60, 0);
    body
}

/// Block Device Characteristics (SBC-4 §6.6.2): not rotating; FUAB, for FUA and SYNCHRONIZE CACHE do
/// what the standard says; VBULS, for unmapped blocks can be compared.
fn characteristics() -> Vec<u8> {
    let mut body = vec![0x00, 0x01, 0x00, 0x00, 0x03];
    body.resize(60, 0);
    body
}

/// Logical Block Provisioning (SBC-4 §6.6.7): LBPU, LBPWS, LBPWS10, LBPRZ 001b; thin.
fn provisioning(unit: &Unit) -> Vec<u8> {
    if unit.geometry().read_only { vec![0, 0, 0, 0] } else { vec![0, 0b1110_0100, 0x02, 0] }
}
