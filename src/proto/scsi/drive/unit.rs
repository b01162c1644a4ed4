//! One logical unit: a disk behind its trap, and what a client can set about it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::mode::Modes;
use super::sense::UnitAttention;
use crate::media::Geometry;
use crate::trap::Trap;

/// T10 VENDOR IDENTIFICATION, padded with spaces.
pub const VENDOR: &[u8; 8] = b"DIXTRAP ";
/// PRODUCT IDENTIFICATION, padded with spaces.
pub const PRODUCT: &[u8; 16] = b"DIX disk        ";

/// Names that tell this unit from every other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitIdentity {
    /// The serial number: printable ASCII, the same at every start.
    pub serial: String,
    /// A locally assigned NAA designator (SPC-5 §7.7.6.6.4): its upper four bits are 3h.
    pub naa: u64,
}

/// Names follow from the disk's own, so that a guest finds its disk again.
const NAME_HASH: crc::Crc<u64> = crc::Crc::<u64>::new(&crc::CRC_64_XZ);

impl UnitIdentity {
    /// The identity of the disk with this name.
    pub fn of(name: &str) -> Self {
        let hash = NAME_HASH.checksum(name.as_bytes());
        let naa = (0x3 << 60) | (hash & (u64::MAX >> 4));
        UnitIdentity { serial: format!("{hash:016X}"), naa }
    }
}

/// A logical unit. There is one initiator, so there is one set of attentions.
#[derive(Debug)]
pub struct Unit {
    /// The trap, with the disk behind it.
    pub trap: Arc<Trap>,
    /// What INQUIRY tells the unit's names to be.
    pub identity: UnitIdentity,
    modes: Mutex<Modes>,
    attentions: Mutex<BTreeSet<UnitAttention>>,
    stopped: AtomicBool,
    unplugged: AtomicBool,
    exclusive: RwLock<()>,
}

impl Unit {
    /// A unit that was just powered on.
    pub fn new(trap: Arc<Trap>, identity: UnitIdentity) -> Self {
        let modes = Modes::new(trap.geometry());
        Unit {
            trap,
            identity,
            modes: Mutex::new(modes),
            attentions: Mutex::new(BTreeSet::from([UnitAttention::PowerOn])),
            stopped: AtomicBool::new(false),
            unplugged: AtomicBool::new(false),
            exclusive: RwLock::new(()),
        }
    }

    /// The disk's shape.
    pub fn geometry(&self) -> Geometry {
        self.trap.geometry()
    }

    /// The mode pages.
    pub fn modes(&self) -> MutexGuard<'_, Modes> {
        self.modes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Back to the state after power on, except for what is on the medium (SAM-6 §6.3).
    pub fn reset(&self, why: UnitAttention) {
        *self.modes() = Modes::new(self.geometry());
        self.stopped.store(false, Ordering::Relaxed);
        self.attend(why);
    }

    /// Notes something that the next command is answered with.
    pub fn attend(&self, attention: UnitAttention) {
        let mut attentions = self.attentions();
        // SAM-6 §5.14.1: a reset makes what was noted before it meaningless.
        if attention <= UnitAttention::NexusLoss {
            attentions.clear();
        }
        attentions.insert(attention);
    }

    /// What the next command is answered with, if anything; it is told once.
    pub fn take_attention(&self) -> Option<UnitAttention> {
        self.attentions().pop_first()
    }

    fn attentions(&self) -> MutexGuard<'_, BTreeSet<UnitAttention>> {
        self.attentions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the medium can be reached.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Starts or stops the unit.
    pub fn set_stopped(&self, stopped: bool) {
        self.stopped.store(stopped, Ordering::Relaxed);
    }

    /// Whether the initiator can see it.
    pub fn is_plugged(&self) -> bool {
        !self.unplugged.load(Ordering::Relaxed)
    }

    /// Takes the unit away from the initiator, or gives it back; answers whether that changed anything.
    pub fn set_plugged(&self, plugged: bool) -> bool {
        self.unplugged.swap(!plugged, Ordering::Relaxed) == plugged
    }

    /// Holds off commands that have to be alone with the medium.
    pub fn share(&self) -> RwLockReadGuard<'_, ()> {
        self.exclusive.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Alone with the medium: no write in between what is compared and what is written.
    pub fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.exclusive.write().unwrap_or_else(PoisonError::into_inner)
    }
}
