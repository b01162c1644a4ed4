//! Sense data: why a command was not carried out (SPC-5 §4.5).

/// The sense key (SPC-5 table 49).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenseKey {
    /// There is nothing to report.
    NoSense,
    /// The unit cannot be reached.
    NotReady,
    /// Data on the medium cannot be read.
    MediumError,
    /// The unit itself failed.
    HardwareError,
    /// Something is wrong with the command.
    IllegalRequest,
    /// Something changed that the initiator has to know.
    UnitAttention,
    /// The medium must not be written.
    DataProtect,
    /// The command was stopped; trying again may help.
    AbortedCommand,
    /// Compared data differ.
    Miscompare,
    /// A key that only an injected fault has.
    Other(u8),
}

impl SenseKey {
    /// The key's number.
    pub const fn code(self) -> u8 {
        match self {
            SenseKey::NoSense => 0x0,
            SenseKey::NotReady => 0x2,
            SenseKey::MediumError => 0x3,
            SenseKey::HardwareError => 0x4,
            SenseKey::IllegalRequest => 0x5,
            SenseKey::UnitAttention => 0x6,
            SenseKey::DataProtect => 0x7,
            SenseKey::AbortedCommand => 0xB,
            SenseKey::Miscompare => 0xE,
            SenseKey::Other(code) => code & 0xF,
        }
    }

    /// The key with this number.
    pub const fn from_code(code: u8) -> SenseKey {
        match code {
            0x0 => SenseKey::NoSense,
            0x2 => SenseKey::NotReady,
            0x3 => SenseKey::MediumError,
            0x4 => SenseKey::HardwareError,
            0x5 => SenseKey::IllegalRequest,
            0x6 => SenseKey::UnitAttention,
            0x7 => SenseKey::DataProtect,
            0xB => SenseKey::AbortedCommand,
            0xE => SenseKey::Miscompare,
            other => SenseKey::Other(other),
        }
    }
}

/// Where the byte is that a command went wrong at (SPC-5 §4.5.2.4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldPointer {
    /// In the command descriptor block; else in the parameter list.
    pub in_cdb: bool,
    /// Which byte of the CDB or parameter list is at fault, from 0.
    pub byte: u16,
    /// The field's highest bit, where the field is a part of a byte.
    pub bit: Option<u8>,
}

impl FieldPointer {
    /// SENSE KEY SPECIFIC: SKSV, C/D, BPV, BIT POINTER, FIELD POINTER.
    fn bytes(self) -> [u8; 3] {
        let command = if self.in_cdb { 0x40 } else { 0 };
        let bit = self.bit.map_or(0, |bit| 0x08 | (bit & 0x07));
        let [high, low] = self.byte.to_be_bytes();
        [0x80 | command | bit, high, low]
    }
}

/// Why a command ended as it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sense {
    /// The sense key.
    pub key: SenseKey,
    /// The additional sense code.
    pub asc: u8,
    /// Its qualifier.
    pub ascq: u8,
    /// The INFORMATION field: for commands on blocks the address of the block at fault.
    pub information: Option<u64>,
    /// The field at fault.
    pub field: Option<FieldPointer>,
}

/// RESPONSE CODE of current information, fixed and descriptor format (SPC-5 table 44).
const FIXED: u8 = 0x70;
const DESCRIPTOR: u8 = 0x72;
/// The INFORMATION field is valid.
const VALID: u8 = 0x80;

impl Sense {
    /// Sense data of a key and a code alone.
    pub const fn new(key: SenseKey, asc: u8, ascq: u8) -> Sense {
        Sense { key, asc, ascq, information: None, field: None }
    }

    const fn illegal(asc: u8, ascq: u8) -> Sense {
        Sense::new(SenseKey::IllegalRequest, asc, ascq)
    }

    /// NO ADDITIONAL SENSE INFORMATION.
    pub const NONE: Sense = Sense::new(SenseKey::NoSense, 0x00, 0x00);
    /// INVALID COMMAND OPERATION CODE.
    pub const INVALID_OPCODE: Sense = Sense::illegal(0x20, 0x00);
    /// LOGICAL BLOCK ADDRESS OUT OF RANGE.
    pub const OUT_OF_RANGE: Sense = Sense::illegal(0x21, 0x00);
    /// LOGICAL UNIT NOT SUPPORTED.
    pub const NO_UNIT: Sense = Sense::illegal(0x25, 0x00);
    /// PARAMETER LIST LENGTH ERROR.
    pub const LIST_LENGTH: Sense = Sense::illegal(0x1A, 0x00);
    /// SAVING PARAMETERS NOT SUPPORTED.
    pub const NO_SAVING: Sense = Sense::illegal(0x39, 0x00);
    /// WRITE PROTECTED.
    pub const WRITE_PROTECTED: Sense = Sense::new(SenseKey::DataProtect, 0x27, 0x00);
    /// LOGICAL UNIT NOT READY, INITIALIZING COMMAND REQUIRED.
    pub const STOPPED: Sense = Sense::new(SenseKey::NotReady, 0x04, 0x02);
    /// MISCOMPARE DURING VERIFY OPERATION.
    pub const MISCOMPARE: Sense = Sense::new(SenseKey::Miscompare, 0x1D, 0x00);

    /// INVALID FIELD IN CDB.
    pub const fn in_cdb(byte: u16) -> Sense {
        let field = Some(FieldPointer { in_cdb: true, byte, bit: None });
        Sense { field, ..Sense::illegal(0x24, 0x00) }
    }

    /// INVALID FIELD IN CDB, in a field that ends at `bit`.
    pub const fn in_cdb_bit(byte: u16, bit: u8) -> Sense {
        let field = Some(FieldPointer { in_cdb: true, byte, bit: Some(bit) });
        Sense { field, ..Sense::illegal(0x24, 0x00) }
    }

    /// INVALID FIELD IN PARAMETER LIST.
    pub const fn in_list(byte: u16) -> Sense {
        let field = Some(FieldPointer { in_cdb: false, byte, bit: None });
        Sense { field, ..Sense::illegal(0x26, 0x00) }
    }

    /// The same with an INFORMATION field.
    pub const fn at(self, information: u64) -> Sense {
        Sense { information: Some(information), ..self }
    }

    /// The bytes, in descriptor format where D_SENSE asks for it.
    pub fn to_bytes(self, descriptor: bool) -> Vec<u8> {
        if descriptor { self.descriptors() } else { self.fixed().to_vec() }
    }

    /// SPC-5 §4.5.3. An INFORMATION field that does not fit four bytes is not valid here.
    fn fixed(self) -> [u8; 18] {
        let short = self.information.and_then(|value| u32::try_from(value).ok());
        let [i0, i1, i2, i3] = short.unwrap_or(0).to_be_bytes();
        let [s0, s1, s2] = self.field.map_or([0; 3], FieldPointer::bytes);
        let code = FIXED | if short.is_some() { VALID } else { 0 };
        let (key, rest) = (self.key.code(), 10);
        [code, 0, key, i0, i1, i2, i3, rest, 0, 0, 0, 0, self.asc, self.ascq, 0, s0, s1, s2]
    }

    /// SPC-5 §4.5.2.
    fn descriptors(self) -> Vec<u8> {
        let mut list = Vec::new();
        if let Some(information) = self.information {
            list.extend([0x00, 0x0A, VALID, 0]);
            list.extend(information.to_be_bytes());
        }
        if let Some(field) = self.field {
            list.extend([0x02, 0x06, 0, 0]);
            list.extend(field.bytes());
            list.push(0);
        }
        // At most the two descriptors above: 20 bytes.
        let length = u8::try_from(list.len()).unwrap_or(0);
        let mut bytes = vec![DESCRIPTOR, self.key.code(), self.asc, self.ascq, 0, 0, 0, length];
        bytes.append(&mut list);
        bytes
    }
}

/// Something that happened to a unit, told with the next command (SAM-6 §5.14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnitAttention {
    /// POWER ON, RESET, OR BUS DEVICE RESET OCCURRED.
    PowerOn,
    /// BUS DEVICE RESET FUNCTION OCCURRED: a logical unit reset.
    Reset,
    /// I_T NEXUS LOSS OCCURRED.
    NexusLoss,
    /// CAPACITY DATA HAS CHANGED.
    Capacity,
    /// REPORTED LUNS DATA HAS CHANGED: another unit came or went (SPC-5 §6.34).
    Luns,
}

impl UnitAttention {
    /// ADDITIONAL SENSE CODE and qualifier.
    pub const fn codes(self) -> (u8, u8) {
        match self {
            UnitAttention::PowerOn => (0x29, 0x00),
            UnitAttention::Reset => (0x29, 0x03),
            UnitAttention::NexusLoss => (0x29, 0x07),
            UnitAttention::Capacity => (0x2A, 0x09),
            UnitAttention::Luns => (0x3F, 0x0E),
        }
    }

    /// The sense data that tells it.
    pub const fn sense(self) -> Sense {
        let (asc, ascq) = self.codes();
        Sense::new(SenseKey::UnitAttention, asc, ascq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LOGICAL BLOCK GUARD CHECK FAILED, as an example of a code.
    const GUARD: Sense = Sense::new(SenseKey::AbortedCommand, 0x10, 0x01);

    #[test]
    fn fixed_format_carries_four_bytes_of_information() {
        let bytes = GUARD.at(0x0102_0304).to_bytes(false);
        assert_eq!(bytes[..9], [0xF0, 0, 0x0B, 1, 2, 3, 4, 10, 0]);
        assert_eq!((bytes[12], bytes[13], bytes.len()), (0x10, 0x01, 18));
        let too_far = GUARD.at(1 << 32).to_bytes(false);
        assert_eq!(too_far[..7], [0x70, 0, 0x0B, 0, 0, 0, 0]);
    }

    #[test]
    fn descriptor_format_carries_eight() {
        let bytes = GUARD.at(0x01_0000_0002).to_bytes(true);
        assert_eq!(bytes[..8], [0x72, 0x0B, 0x10, 0x01, 0, 0, 0, 12]);
        assert_eq!(bytes[8..], [0, 0x0A, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
    }

    #[test]
    fn the_field_pointer_says_where() {
        assert_eq!(Sense::in_cdb(2).to_bytes(false)[15..], [0xC0, 0, 2]);
        assert_eq!(Sense::in_cdb_bit(1, 4).to_bytes(false)[15..], [0xCC, 0, 1]);
        let list = Sense::in_list(260).to_bytes(true);
        assert_eq!(list[7..], [8, 0x02, 0x06, 0, 0, 0x80, 1, 4, 0]);
    }
}
