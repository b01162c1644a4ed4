//! MODE SELECT(6) and (10) (SPC-5 §6.13, §6.14).

use super::pages::Modes;
use crate::media::Geometry;
use crate::proto::scsi::drive::command::{Call, Reply, Task};
use crate::proto::scsi::drive::failure::Failure;
use crate::proto::scsi::drive::sense::Sense;

/// PF: the list has pages. SP: save them, please.
const PF: u8 = 0x10;
const SP: u8 = 0x01;
/// LONGLBA of the ten-byte header.
const LONGLBA: u8 = 0x01;
/// PS, reserved in a page that is sent, and SPF, a page with a subpage.
const PS: u8 = 0x80;
const SPF: u8 = 0x40;

/// MODE SELECT(6).
pub(in super::super) fn mode_select_6(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let length = task.cdb.byte(4).into();
    select(call, task, length, false)
}

/// MODE SELECT(10).
pub(in super::super) fn mode_select_10(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let length = task.cdb.be16(7);
    select(call, task, length, true)
}

fn select(call: &Call<'_>, task: Task, length: u16, ten: bool) -> Result<Reply, Failure> {
    if !task.cdb.bit(1, PF) {
        return Err(Sense::in_cdb_bit(1, 4).into());
    }
    if task.cdb.bit(1, SP) {
        return Err(Sense::in_cdb_bit(1, 0).into());
    }
    if length == 0 {
        return Ok(Reply::Done);
    }
    if task.data_out.len() < u64::from(length) {
        return Err(Failure::Overrun);
    }
    let mut list = vec![0; usize::from(length)];
    task.data_out.split_at(length.into()).0.copy_out(&mut list)?;
    let mut modes = call.unit.modes();
    // All of the list is carried out, or nothing.
    let mut changed = *modes;
    apply(&mut changed, &list, call.unit.geometry(), ten)?;
    *modes = changed;
    Ok(Reply::Consumed(length.into()))
}

fn apply(modes: &mut Modes, list: &[u8], geometry: Geometry, ten: bool) -> Result<(), Failure> {
    let (header, descriptor, long) = header(list, ten)?;
    let rest = list.get(header..).unwrap_or_default();
    let sent = rest.get(..descriptor).ok_or(Sense::LIST_LENGTH)?;
    check_descriptor(sent, geometry, header, long)?;
    let mut at = header.saturating_add(descriptor);
    while let Some(page) = list.get(at..).filter(|page| !page.is_empty()) {
        at = at.saturating_add(apply_page(modes, page, at)?);
    }
    Ok(())
}

/// The header's length, the block descriptor's, and whether that is a long one.
fn header(list: &[u8], ten: bool) -> Result<(usize, usize, bool), Failure> {
    if ten {
        let [_, _, _, _, long, _, d0, d1] = *list.first_chunk::<8>().ok_or(Sense::LIST_LENGTH)?;
        return Ok((8, usize::from(u16::from_be_bytes([d0, d1])), long & LONGLBA != 0));
    }
    let [_, _, _, descriptor] = *list.first_chunk::<4>().ok_or(Sense::LIST_LENGTH)?;
    Ok((4, usize::from(descriptor), false))
}

/// A block descriptor must say what is: this disk cannot be formatted anew (SBC-4 §6.5.2).
fn check_descriptor(sent: &[u8], geometry: Geometry, at: usize, long: bool) -> Result<(), Failure> {
    let size = u32::from(geometry.block_size);
    let (blocks, length) = match *sent {
        [] => return Ok(()),
        [b0, b1, b2, b3, _, l1, l2, l3] if !long => {
            let blocks = u64::from(u32::from_be_bytes([b0, b1, b2, b3]));
            (blocks, u32::from_be_bytes([0, l1, l2, l3]))
        }
        [b0, b1, b2, b3, b4, b5, b6, b7, _, _, _, _, l0, l1, l2, l3] if long => {
            let blocks = u64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
            (blocks, u32::from_be_bytes([l0, l1, l2, l3]))
        }
        _ => return Err(in_list(if at == 8 { 6 } else { 3 })),
    };
    // Zero blocks, or as many as there are, leave the capacity alone.
    let whole = [0, geometry.blocks.0, u32::MAX.into()].contains(&blocks);
    if length == size && whole { Ok(()) } else { Err(in_list(at)) }
}

/// Takes one page over; its length with its header.
fn apply_page(modes: &mut Modes, page: &[u8], at: usize) -> Result<usize, Failure> {
    let [first, length, ..] = *page else { return Err(Sense::LIST_LENGTH.into()) };
    if first & (PS | SPF) != 0 {
        return Err(in_list(at));
    }
    let whole = usize::from(length).saturating_add(2);
    let sent = page.get(..whole).ok_or(Sense::LIST_LENGTH)?;
    let code = first & 0x3F;
    let expected = modes.page(code, super::pages::PageControl::Current);
    match expected {
        None => Err(in_list(at)),
        Some(expected) if expected.len() != whole => Err(in_list(at.saturating_add(1))),
        Some(_) => {
            modes.set(code, sent).map_err(|byte| in_list(at.saturating_add(byte)))?;
            Ok(whole)
        }
    }
}

fn in_list(byte: usize) -> Failure {
    Sense::in_list(u16::try_from(byte).unwrap_or(u16::MAX)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pi::PiType;
    use crate::units::{BlockCount, BlockSize};
    use proptest::prelude::*;

    const DISK: Geometry = Geometry {
        block_size: BlockSize::B512,
        blocks: BlockCount(100),
        pi_type: PiType::Type1,
        read_only: false,
    };

    /// A caching page with the write cache off.
    const CACHE_OFF: [u8; 20] = [0x08, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    fn applied(list: &[u8], ten: bool) -> Result<Modes, Option<u16>> {
        let mut modes = Modes::new(DISK);
        let outcome = apply(&mut modes, list, DISK, ten);
        outcome.map(|()| modes).map_err(|failure| {
            failure.sense().and_then(|sense| sense.field).map(|field| field.byte)
        })
    }

    #[test]
    fn a_list_with_and_without_a_block_descriptor() {
        let plain = [&[0, 0, 0, 0], &CACHE_OFF[..]].concat();
        assert!(!applied(&plain, false).unwrap().write_cache());
        let described = [&[0, 0, 0, 8, 0, 0, 0, 100, 0, 0, 2, 0], &CACHE_OFF[..]].concat();
        assert!(!applied(&described, false).unwrap().write_cache());
        let long = [&[0, 0, 0, 0, 1, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 100][..], &[0; 6], &[2, 0]];
        assert!(applied(&[&long.concat(), &CACHE_OFF[..]].concat(), true).is_ok());
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        let other_size = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 16, 0];
        assert_eq!(applied(&other_size, false), Err(Some(4)));
        let short = [&[0, 0, 0, 0], &CACHE_OFF[..10]].concat();
        assert_eq!(applied(&short, false), Err(None));
        let mut fixed = [&[0, 0, 0, 0], &CACHE_OFF[..]].concat();
        fixed[4 + 12] = 1;
        assert_eq!(applied(&fixed, false), Err(Some(16)));
    }

    proptest! {
        #[test]
        fn any_list_is_applied_or_refused(list in proptest::collection::vec(any::<u8>(), 0..80), ten: bool) {
            let _ = applied(&list, ten);
        }
    }
}
