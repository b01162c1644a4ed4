//! The configuration space (VIRTIO 1.2 §5.6.4), little-endian.

/// Room for data descriptors that a driver should not exceed: what fits a ring of 128.
const SEG_MAX: u32 = 126;
/// Sectors of 512 bytes in one request that a driver should not exceed.
const MAX_SECTORS: u32 = 0xFFFF;
/// Commands that a driver should not exceed on one unit.
const COMMANDS_PER_UNIT: u32 = 128;
/// The length of an event.
const EVENT_BYTES: u32 = 16;
/// Where SENSE SIZE and CDB SIZE are: the only fields that a driver may write.
const SENSE_SIZE_AT: u32 = 20;
const CDB_SIZE_AT: u32 = 24;
/// The sizes after a reset.
const SENSE_SIZE: u32 = 96;
const CDB_SIZE: u32 = 32;
/// The largest sizes that are accepted: SPC-5 §4.5.1 limits sense data, §4.2.3.3 a command.
const MAX_SENSE_SIZE: u32 = 252;
const MAX_CDB_SIZE: u32 = 260;

/// The sizes that a driver may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of sense data behind a response.
    pub sense: u32,
    /// Bytes of a command in a header.
    pub cdb: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes { sense: SENSE_SIZE, cdb: CDB_SIZE }
    }
}

impl Sizes {
    /// The driver writes; `false` for anything but one whole size within its limits.
    pub fn write(&mut self, offset: u32, bytes: &[u8]) -> bool {
        let Ok(bytes) = <[u8; 4]>::try_from(bytes) else { return false };
        let size = u32::from_le_bytes(bytes);
        let (field, limit) = match offset {
            SENSE_SIZE_AT => (&mut self.sense, MAX_SENSE_SIZE),
            CDB_SIZE_AT => (&mut self.cdb, MAX_CDB_SIZE),
            _ => return false,
        };
        if size > limit {
            return false;
        }
        *field = size;
        true
    }
}

/// Everything that the space says.
#[derive(Debug, Clone, Copy)]
pub struct ConfigSpace {
    /// Request queues, control and event queue not counted.
    pub request_queues: u16,
    /// How many units there are.
    pub units: u16,
    /// What the driver chose.
    pub sizes: Sizes,
}

impl ConfigSpace {
    /// Exactly `size` bytes from `offset` on; what the space does not have reads as zero.
    pub fn read(&self, offset: u32, size: u32) -> Vec<u8> {
        let bytes = self.bytes();
        let at = |index: u32| usize::try_from(offset.checked_add(index)?).ok();
        (0..size)
            .map(|index| at(index).and_then(|at| bytes.get(at)).copied().unwrap_or(0))
            .collect()
    }

    fn bytes(&self) -> Vec<u8> {
        let max_lun = u32::from(self.units.saturating_sub(1));
        let words = [
            u32::from(self.request_queues),
            SEG_MAX,
            MAX_SECTORS,
            COMMANDS_PER_UNIT,
            EVENT_BYTES,
            self.sizes.sense,
            self.sizes.cdb,
            // MAX_CHANNEL and MAX_TARGET, two bytes each.
            0,
            max_lun,
        ];
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_standard_has_them() {
        let space = ConfigSpace { request_queues: 4, units: 3, sizes: Sizes::default() };
        let bytes = space.read(0, 40);
        assert_eq!(bytes.len(), 40);
        assert_eq!((bytes[0], bytes[20], bytes[24], bytes[32]), (4, 96, 32, 2));
        assert_eq!(bytes[36..], [0; 4]);
        assert_eq!(space.read(u32::MAX, 2), [0, 0]);
    }

    #[test]
    fn only_the_two_sizes_can_be_written() {
        let mut sizes = Sizes::default();
        assert!(sizes.write(20, &18u32.to_le_bytes()) && sizes.write(24, &16u32.to_le_bytes()));
        assert_eq!(sizes, Sizes { sense: 18, cdb: 16 });
        assert!(!sizes.write(0, &[1, 0, 0, 0]) && !sizes.write(20, &[1]));
        assert!(!sizes.write(20, &[0xFF; 4]));
    }
}
