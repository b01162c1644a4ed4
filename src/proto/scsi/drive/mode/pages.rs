//! The pages and their state.

use crate::media::Geometry;

/// Caching (SBC-4 §6.5.5).
pub const CACHING: u8 = 0x08;
/// Control (SPC-5 §7.5.10).
pub const CONTROL: u8 = 0x0A;
/// Informational Exceptions Control (SBC-4 §6.5.8).
pub const EXCEPTIONS: u8 = 0x1C;
/// The pages, in the order in which page 3Fh returns them (SPC-5 §7.5.1).
pub const PAGES: [u8; 3] = [CACHING, CONTROL, EXCEPTIONS];

// Bits by page: (byte, mask).
const WCE: (usize, u8) = (2, 0x04);
const D_SENSE: (usize, u8) = (2, 0x04);
const ATO: (usize, u8) = (5, 0x80);
/// SWP, software write protect.
const SWP: (usize, u8) = (4, 0x08);

/// Which values of a page (PC, SPC-5 table 387).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageControl {
    /// The values in force now.
    Current,
    /// One for every bit that can be changed.
    Changeable,
    /// As they are after power on.
    Default,
}

/// What can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Settings {
    write_cache: bool,
    descriptor_sense: bool,
    client_owns_app_tag: bool,
    write_protect: bool,
}

/// The pages of one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modes {
    now: Settings,
    default: Settings,
    protected: bool,
}

impl Modes {
    /// The pages of a unit after power on.
    pub fn new(geometry: Geometry) -> Self {
        let default = Settings {
            write_cache: true,
            // Fixed format sense data cannot name a block past 2^32.
            descriptor_sense: geometry.blocks.0 > u64::from(u32::MAX),
            client_owns_app_tag: geometry.pi_type.is_protected(),
            write_protect: false,
        };
        Modes { now: default, default, protected: geometry.pi_type.is_protected() }
    }

    /// WCE: writes may end before they are on stable storage.
    pub fn write_cache(&self) -> bool {
        self.now.write_cache
    }

    /// D_SENSE: sense data has descriptor format.
    pub fn descriptor_sense(&self) -> bool {
        self.now.descriptor_sense
    }

    /// ATO: the application tag belongs to the client, and the unit must not change it.
    pub fn client_owns_app_tag(&self) -> bool {
        self.now.client_owns_app_tag
    }

    /// SWP: the client wants no writes.
    pub fn write_protect(&self) -> bool {
        self.now.write_protect
    }

    /// A page with its header; `None` for one that does not exist.
    pub fn page(&self, code: u8, control: PageControl) -> Option<Vec<u8>> {
        let mut page = blank(code)?;
        match control {
            PageControl::Current => put(&mut page, code, self.now),
            PageControl::Default => put(&mut page, code, self.default),
            PageControl::Changeable => {
                if let Some(body) = page.get_mut(2..) {
                    body.fill(0);
                }
                put(&mut page, code, self.changeable());
            }
        }
        Some(page)
    }

    fn changeable(&self) -> Settings {
        Settings {
            write_cache: true,
            descriptor_sense: true,
            client_owns_app_tag: self.protected,
            write_protect: true,
        }
    }

    /// Takes over a page that a client sent. The byte that cannot be changed, where there is one.
    pub fn set(&mut self, code: u8, sent: &[u8]) -> Result<(), usize> {
        let current = self.page(code, PageControl::Current).ok_or(0usize)?;
        let mask = self.page(code, PageControl::Changeable).ok_or(0usize)?;
        let bytes = sent.iter().zip(&current).zip(&mask).enumerate().skip(2);
        for (at, ((sent, current), mask)) in bytes {
            if (sent ^ current) & !mask != 0 {
                return Err(at);
            }
        }
        let bit = |(at, mask): (usize, u8)| sent.get(at).is_some_and(|byte| byte & mask != 0);
        match code {
            CACHING => self.now.write_cache = bit(WCE),
            CONTROL => {
                self.now.descriptor_sense = bit(D_SENSE);
                self.now.write_protect = bit(SWP);
                self.now.client_owns_app_tag = bit(ATO);
            }
            _ => {}
        }
        Ok(())
    }
}

/// A page without the bits that can be set: code, length, and what never changes.
fn blank(code: u8) -> Option<Vec<u8>> {
    let (length, fixed): (u8, &[(usize, u8)]) = match code {
        CACHING => (0x12, &[]),
        // QUEUE ALGORITHM MODIFIER 1: commands may be reordered. BUSY TIMEOUT PERIOD unlimited.
        CONTROL => (0x0A, &[(3, 0x10), (8, 0xFF), (9, 0xFF)]),
        EXCEPTIONS => (0x0A, &[]),
        _ => return None,
    };
    let mut page = vec![0; usize::from(length) + 2];
    for (at, value) in [(0, code), (1, length)].iter().chain(fixed) {
        if let Some(byte) = page.get_mut(*at) {
            *byte = *value;
        }
    }
    Some(page)
}

/// Puts the settings that a page has into it.
fn put(page: &mut [u8], code: u8, settings: Settings) {
    let mut set = |(at, mask): (usize, u8), on: bool| {
        if let Some(byte) = page.get_mut(at)
            && on
        {
            *byte |= mask;
        }
    };
    match code {
        CACHING => set(WCE, settings.write_cache),
        CONTROL => {
            set(D_SENSE, settings.descriptor_sense);
            set(SWP, settings.write_protect);
            set(ATO, settings.client_owns_app_tag);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pi::PiType;
    use crate::units::{BlockCount, BlockSize};

    fn modes(pi_type: PiType) -> Modes {
        let blocks = BlockCount(100);
        Modes::new(Geometry { block_size: BlockSize::B512, blocks, pi_type, read_only: false })
    }

    #[test]
    fn the_write_cache_is_on_and_can_be_switched_off() {
        let mut modes = modes(PiType::Type1);
        let mut page = modes.page(CACHING, PageControl::Current).unwrap();
        assert_eq!((page[0], page[1], page[2], page.len()), (0x08, 0x12, 0x04, 20));
        page[2] = 0;
        modes.set(CACHING, &page).unwrap();
        assert!(!modes.write_cache());
        assert_eq!(modes.page(CACHING, PageControl::Default).unwrap()[2], 0x04);
    }

    #[test]
    fn what_cannot_be_changed_is_named() {
        let mut modes = modes(PiType::None);
        let mut page = modes.page(CONTROL, PageControl::Current).unwrap();
        page[5] |= 0x80;
        assert_eq!(modes.set(CONTROL, &page), Err(5), "no ATO without protection");
        assert_eq!(modes.set(0x3E, &page), Err(0));
    }

    #[test]
    fn protected_disks_leave_the_application_tag_to_the_client() {
        assert!(modes(PiType::Type1).client_owns_app_tag());
        assert!(!modes(PiType::None).client_owns_app_tag());
    }
}
