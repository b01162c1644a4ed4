//! The device: a control queue, an event queue, and request queues (VIRTIO 1.2 §5.6.2).

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::config_space::{ConfigSpace, Sizes};
use super::event::{DeviceEvent, Events};
use super::features::{VIRTIO_SCSI_F_T10_PI, feature_bits, has};
use super::header::Layout;
use super::management;
use super::request::{self, CommandInFlight, HeldCommand};
use crate::media::Completion;
use crate::proto::scsi::drive::{Target, Unit, UnitAttention};
use crate::proto::{
    BeginOutcome, Completed, Device, DeviceRequest, Finished, PlugError, Unanswerable,
};
use crate::units::QueueIndex;

/// The queues that are not for requests.
const CONTROL: QueueIndex = QueueIndex(0);
const EVENT: QueueIndex = QueueIndex(1);
const FIXED_QUEUES: u16 = 2;

/// The queues of a device with so many request queues that requests come by.
pub fn request_queues(count: u16) -> Range<u16> {
    FIXED_QUEUES..count.saturating_add(FIXED_QUEUES)
}

/// A virtio-scsi device around a target.
#[derive(Debug)]
pub struct ScsiDevice {
    target: Arc<Target>,
    request_queues: u16,
    acknowledged: AtomicU64,
    sizes: Mutex<Sizes>,
    events: Mutex<Events>,
    event_fd: EventFd,
}

impl ScsiDevice {
    /// A device with these units and so many request queues.
    pub fn new(units: Vec<Unit>, request_queues: u16) -> io::Result<Self> {
        let units = units.into_iter().map(Arc::new).collect();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(ScsiDevice {
            target: Arc::new(Target::new(units)),
            request_queues,
            acknowledged: AtomicU64::new(0),
            sizes: Mutex::default(),
            events: Mutex::default(),
            event_fd: EventFd::from_value_and_flags(0, flags)?,
        })
    }

    fn tell(&self, lun: u16, event: DeviceEvent) {
        self.events().add(lun, event);
        // The counter cannot overflow: it is read whenever the event queue's thread wakes.
        let _ = self.event_fd.write(1);
    }

    fn layout(&self) -> Layout {
        let protection = has(self.acknowledged.load(Ordering::Relaxed), VIRTIO_SCSI_F_T10_PI);
        Layout { protection, sizes: *self.sizes() }
    }

    fn sizes(&self) -> MutexGuard<'_, Sizes> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn events(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Device for ScsiDevice {
    type Held = HeldCommand;
    type InFlight = CommandInFlight;

    fn queues(&self) -> u16 {
        request_queues(self.request_queues).end
    }

    fn features(&self) -> u64 {
        feature_bits()
    }

    fn acknowledge(&self, features: u64) {
        // The same features again come from a front end that paused; others from another driver.
        if self.acknowledged.swap(features, Ordering::Relaxed) != features {
            self.reset();
        }
    }

    /// The driver learns of it by event and by unit attention; the configuration space says nothing of
    /// units.
    fn notice_growth(&self) -> bool {
        for (unit, lun) in self.target.units().iter().zip(0u16..) {
            match unit.trap.grow() {
                Ok(true) => {
                    unit.attend(UnitAttention::Capacity);
                    self.tell(lun, DeviceEvent::Changed(UnitAttention::Capacity));
                }
                Ok(false) => {}
                Err(error) => log::warn!("unit {lun} has grown and cannot follow: {error}"),
            }
        }
        false
    }

    fn reset(&self) {
        *self.sizes() = Sizes::default();
        self.target.reset(UnitAttention::PowerOn);
    }

    fn config(&self, offset: u32, size: u32) -> Vec<u8> {
        let space = ConfigSpace {
            request_queues: self.request_queues,
            units: u16::try_from(self.target.units().len()).unwrap_or(u16::MAX),
            sizes: *self.sizes(),
        };
        space.read(offset, size)
    }

    fn set_config(&self, offset: u32, bytes: &[u8]) -> bool {
        self.sizes().write(offset, bytes)
    }

    fn begin(
        &self,
        request: DeviceRequest,
    ) -> Result<BeginOutcome<HeldCommand, CommandInFlight>, Unanswerable> {
        match request.arrival.queue {
            CONTROL => management::begin(&self.target, request),
            EVENT => Ok(BeginOutcome::EventBuffer(request.writable)),
            _ => request::begin(&self.target, self.layout(), request),
        }
    }

    fn finish(
        &self,
        held: HeldCommand,
    ) -> Result<Finished<HeldCommand, CommandInFlight>, Unanswerable> {
        held.finish()
    }

    fn conclude(
        &self,
        request: CommandInFlight,
        completion: Completion,
    ) -> Result<Completed, Unanswerable> {
        request.conclude(completion)
    }

    /// Only writes are ever held, and they come by request queues.
    fn holds(&self, queue: QueueIndex) -> bool {
        queue.0 >= FIXED_QUEUES
    }

    fn event_fd(&self) -> Option<(QueueIndex, RawFd)> {
        Some((EVENT, self.event_fd.as_fd().as_raw_fd()))
    }

    fn event(&self) -> Option<Vec<u8>> {
        // Nothing to read means that no event was told, which is as good.
        let _ = self.event_fd.read();
        self.events().next()
    }

    fn no_event(&self) -> Vec<u8> {
        Events::nothing()
    }

    fn plug(&self, lun: u16, plugged: bool) -> Result<(), PlugError> {
        let changed = self.target.plug(lun, plugged).ok_or(PlugError::NoUnit(lun))?;
        if changed {
            self.tell(lun, if plugged { DeviceEvent::Plugged } else { DeviceEvent::Unplugged });
        }
        Ok(())
    }
}
