//! ISA-L's CRC16 T10-DIF, when the library is installed (Debian: libisal2).

use libloading::{Library, Symbol};

type Crc = unsafe extern "C" fn(u16, *const u8, u64) -> u16;
type CopyCrc = unsafe extern "C" fn(u16, *mut u8, *const u8, u64) -> u16;

/// The two functions.
#[derive(Clone, Copy)]
pub struct Isal {
    crc: Crc,
    copy: CopyCrc,
}

impl Isal {
    /// Opens the library, and keeps it open for good.
    pub fn load() -> Option<Isal> {
        // SAFETY: the library's initialisation does nothing but choose functions, and their types
        // are those of crc.h.
        unsafe {
            let library = Box::leak(Box::new(Library::new("libisal.so.2").ok()?));
            let crc: Symbol<Crc> = library.get(b"crc16_t10dif\0").ok()?;
            let copy: Symbol<CopyCrc> = library.get(b"crc16_t10dif_copy\0").ok()?;
            Some(Isal { crc: *crc, copy: *copy })
        }
    }

    /// The guard of `data`.
    pub fn guard(self, data: &[u8]) -> u16 {
        // SAFETY: a borrow is readable.
        unsafe { (self.crc)(0, data.as_ptr(), data.len() as u64) }
    }

    /// Copies as much as fits, and returns its guard.
    pub fn copy_guard(self, dst: &mut [u8], src: &[u8]) -> u16 {
        let len = dst.len().min(src.len());
        // SAFETY: both borrows have the length.
        unsafe { (self.copy)(0, dst.as_mut_ptr(), src.as_ptr(), len as u64) }
    }
}
