//! UNMAP (SBC-4 §5.37).

use super::blocks::MAX_CLEAR_BYTES;
use super::command::{Call, Reply, Task};
use super::failure::Failure;
use super::read_write::require_writable;
use super::sense::Sense;
use crate::media::Geometry;
use crate::units::{BlockCount, Lba};

/// The most descriptors of one command; said in the Block Limits page.
pub const MAX_DESCRIPTORS: u32 = 256;
/// The header of the parameter list, and a descriptor.
const HEADER_BYTES: usize = 8;
const DESCRIPTOR_BYTES: usize = 16;

/// A run of blocks to forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    lba: Lba,
    count: BlockCount,
}

/// UNMAP: all descriptors are checked before the first is carried out.
pub(super) fn unmap(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let length = u64::from(task.cdb.be16(7));
    if length == 0 {
        return Ok(Reply::Done);
    }
    if task.data_out.len() < length {
        return Err(Failure::Overrun);
    }
    let (list, _) = task.data_out.split_at(length);
    let mut bytes = vec![0; usize::from(task.cdb.be16(7))];
    list.copy_out(&mut bytes)?;
    let runs = parse(&bytes)?;
    check(&runs, call.unit.geometry())?;
    require_writable(call.unit)?;
    let _shared = call.unit.share();
    for run in runs {
        call.unit.trap.discard(run.lba, run.count)?;
    }
    if !call.unit.modes().write_cache() {
        call.unit.trap.persist()?;
    }
    Ok(Reply::Consumed(length))
}

/// Reads the parameter list; descriptors that are not there in full are ignored (SBC-4 §5.37.2).
fn parse(bytes: &[u8]) -> Result<Vec<Run>, Failure> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(Sense::LIST_LENGTH)?;
    let [_, _, d0, d1, ..] = *header;
    let said = usize::from(u16::from_be_bytes([d0, d1]));
    let described = rest.get(..said.min(rest.len())).unwrap_or_default();
    let (descriptors, _) = described.as_chunks::<DESCRIPTOR_BYTES>();
    Ok(descriptors.iter().map(run).collect())
}

fn run(bytes: &[u8; DESCRIPTOR_BYTES]) -> Run {
    let [l0, l1, l2, l3, l4, l5, l6, l7, n0, n1, n2, n3, ..] = *bytes;
    let lba = u64::from_be_bytes([l0, l1, l2, l3, l4, l5, l6, l7]);
    let count = u32::from_be_bytes([n0, n1, n2, n3]);
    Run { lba: Lba(lba), count: BlockCount(count.into()) }
}

/// SBC-4 §5.37.2: not more than the Block Limits page promises, and only blocks that exist.
fn check(runs: &[Run], geometry: Geometry) -> Result<(), Failure> {
    let most = BlockCount(MAX_CLEAR_BYTES / geometry.block_size.bytes_u64());
    let total = runs.iter().fold(0u64, |sum, run| sum.saturating_add(run.count.0));
    if u32::try_from(runs.len()).is_ok_and(|count| count > MAX_DESCRIPTORS) {
        return Err(Sense::in_list(2).into());
    }
    if total > most.0 {
        return Err(Sense::in_list(16).into());
    }
    let outside =
        |run: &&Run| run.lba.checked_add(run.count).is_none_or(|end| end.0 > geometry.blocks.0);
    match runs.iter().find(outside) {
        Some(_) => Err(Sense::OUT_OF_RANGE.into()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_end_where_either_length_says() {
        let mut list = vec![0, 38, 0, 32, 0, 0, 0, 0];
        list.extend([0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 0]);
        list.extend([0; 15]);
        let five = Run { lba: Lba(5), count: BlockCount(2) };
        assert_eq!(parse(&list).unwrap(), [five]);
        list.push(0);
        assert_eq!(parse(&list).unwrap().len(), 2);
        list[3] = 31;
        assert_eq!(parse(&list).unwrap(), [five]);
        assert!(parse(&list[..7]).is_err());
    }
}
