//! The features that the SCSI device offers (VIRTIO 1.2 §5.6.3, §6).

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

/// Events tell of units that come and go.
pub const VIRTIO_SCSI_F_HOTPLUG: u32 = 1;
/// Events tell of parameters that changed.
pub const VIRTIO_SCSI_F_CHANGE: u32 = 2;
/// Requests carry protection information.
pub const VIRTIO_SCSI_F_T10_PI: u32 = 3;

/// Bits and names. T10_PI is always among them: QEMU offers it to the guest whatever the back end
/// says, and a driver that takes a feature the device does not have would hang.
const OFFERED: [(u32, &str); 6] = [
    (VIRTIO_SCSI_F_HOTPLUG, "HOTPLUG"),
    (VIRTIO_SCSI_F_CHANGE, "CHANGE"),
    (VIRTIO_SCSI_F_T10_PI, "T10_PI"),
    (VIRTIO_RING_F_INDIRECT_DESC, "INDIRECT_DESC"),
    (VIRTIO_RING_F_EVENT_IDX, "EVENT_IDX"),
    (VIRTIO_F_VERSION_1, "VERSION_1"),
];

/// The features as bits.
pub fn feature_bits() -> u64 {
    OFFERED.iter().fold(0, |bits, (bit, _)| bits | 1 << bit)
}

/// The features as names, for the start record.
pub fn feature_names() -> Vec<String> {
    OFFERED.iter().map(|(_, name)| (*name).to_owned()).collect()
}

/// Whether a driver took a feature.
pub fn has(features: u64, bit: u32) -> bool {
    features & (1 << bit) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protection_is_offered_and_two_way_commands_are_not() {
        assert!(has(feature_bits(), VIRTIO_SCSI_F_T10_PI));
        assert!(!has(feature_bits(), 0), "INOUT");
        assert!(!has(feature_bits(), virtio_bindings::virtio_config::VIRTIO_F_RING_PACKED));
    }
}
