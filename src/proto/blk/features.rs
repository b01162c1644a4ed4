//! The features that the block device offers (VIRTIO 1.2 §5.2.3, §6).

use virtio_bindings::virtio_blk as blk;
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

/// Bits and names, in the order of the bits.
const ALWAYS: [(u32, &str); 10] = [
    (blk::VIRTIO_BLK_F_SIZE_MAX, "SIZE_MAX"),
    (blk::VIRTIO_BLK_F_SEG_MAX, "SEG_MAX"),
    (blk::VIRTIO_BLK_F_BLK_SIZE, "BLK_SIZE"),
    (blk::VIRTIO_BLK_F_FLUSH, "FLUSH"),
    (blk::VIRTIO_BLK_F_TOPOLOGY, "TOPOLOGY"),
    (blk::VIRTIO_BLK_F_CONFIG_WCE, "CONFIG_WCE"),
    (blk::VIRTIO_BLK_F_MQ, "MQ"),
    (VIRTIO_RING_F_INDIRECT_DESC, "INDIRECT_DESC"),
    (VIRTIO_RING_F_EVENT_IDX, "EVENT_IDX"),
    (VIRTIO_F_VERSION_1, "VERSION_1"),
];
const WRITABLE: [(u32, &str); 2] =
    [(blk::VIRTIO_BLK_F_DISCARD, "DISCARD"), (blk::VIRTIO_BLK_F_WRITE_ZEROES, "WRITE_ZEROES")];
const READ_ONLY: [(u32, &str); 1] = [(blk::VIRTIO_BLK_F_RO, "RO")];

fn offered(read_only: bool) -> impl Iterator<Item = (u32, &'static str)> {
    let by_mode: &[(u32, &str)] = if read_only { &READ_ONLY } else { &WRITABLE };
    ALWAYS.iter().chain(by_mode).copied()
}

/// The features as bits.
pub fn feature_bits(read_only: bool) -> u64 {
    offered(read_only).fold(0, |bits, (bit, _)| bits | 1 << bit)
}

/// The features as names, for the start record.
pub fn feature_names(read_only: bool) -> Vec<String> {
    offered(read_only).map(|(_, name)| name.to_owned()).collect()
}

/// Whether a driver took a feature.
pub fn has(features: u64, bit: u32) -> bool {
    features & (1 << bit) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_only_disk_says_so_and_takes_nothing_away() {
        assert!(has(feature_bits(true), blk::VIRTIO_BLK_F_RO));
        assert!(!has(feature_bits(true), blk::VIRTIO_BLK_F_DISCARD));
        assert!(!has(feature_bits(false), blk::VIRTIO_BLK_F_RO));
    }

    #[test]
    fn packed_rings_are_not_offered() {
        assert!(!has(feature_bits(false), virtio_bindings::virtio_config::VIRTIO_F_RING_PACKED));
    }
}
