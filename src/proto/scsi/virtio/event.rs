//! What the device tells of its own accord (VIRTIO 1.2 §5.6.6.3).

use std::collections::VecDeque;

use super::address::Address;
use crate::proto::scsi::drive::UnitAttention;

/// The length of an event.
const EVENT_BYTES: usize = 16;
/// Events that wait for a buffer; further ones are lost, and the driver is told so.
const MAX_WAITING: usize = 16;

const NO_EVENT: u32 = 0;
const TRANSPORT_RESET: u32 = 1;
const PARAM_CHANGE: u32 = 3;

/// Reasons of a transport reset.
const RESCAN: u32 = 1;
const REMOVED: u32 = 2;
/// Set where events were lost.
const EVENTS_MISSED: u32 = 0x8000_0000;

/// Events that were not told yet.
#[derive(Debug, Default)]
pub struct Events {
    waiting: VecDeque<(u16, DeviceEvent)>,
    missed: bool,
}

/// What happened to a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceEvent {
    /// A parameter changed, as this attention says.
    Changed(UnitAttention),
    /// The unit is there anew: the guest may scan for it.
    Plugged,
    /// The unit is gone, and the guest has to forget it.
    Unplugged,
}

impl DeviceEvent {
    /// The event and its reason.
    fn codes(self) -> (u32, u32) {
        match self {
            DeviceEvent::Changed(attention) => {
                let (asc, ascq) = attention.codes();
                (PARAM_CHANGE, u32::from(asc) | (u32::from(ascq) << 8))
            }
            DeviceEvent::Plugged => (TRANSPORT_RESET, RESCAN),
            DeviceEvent::Unplugged => (TRANSPORT_RESET, REMOVED),
        }
    }
}

impl Events {
    /// Notes what happened to a unit.
    pub fn add(&mut self, lun: u16, event: DeviceEvent) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back((lun, event));
        } else {
            self.missed = true;
        }
    }

    /// The next event as bytes.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        let missed = std::mem::take(&mut self.missed);
        match self.waiting.pop_front() {
            Some((lun, event)) => {
                let (kind, reason) = event.codes();
                Some(event_bytes(kind, missed, Address::of_unit(lun), reason))
            }
            None if missed => Some(event_bytes(NO_EVENT, true, [0; 8], 0)),
            None => None,
        }
    }

    /// What a buffer comes back with when there is nothing to tell and the ring stops.
    pub fn nothing() -> Vec<u8> {
        event_bytes(NO_EVENT, false, [0; 8], 0)
    }
}

fn event_bytes(kind: u32, missed: bool, lun: [u8; 8], reason: u32) -> Vec<u8> {
    let kind = kind | if missed { EVENTS_MISSED } else { 0 };
    let mut bytes = Vec::with_capacity(EVENT_BYTES);
    bytes.extend(kind.to_le_bytes());
    bytes.extend(lun);
    bytes.extend(reason.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_names_its_unit_and_reason() {
        let mut events = Events::default();
        events.add(2, DeviceEvent::Changed(UnitAttention::Capacity));
        assert_eq!(events.next().unwrap(), [3, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 0x2A, 0x09, 0, 0]);
        assert_eq!(events.next(), None);
    }

    #[test]
    fn units_that_come_and_go_are_transport_resets() {
        let mut events = Events::default();
        events.add(1, DeviceEvent::Unplugged);
        events.add(1, DeviceEvent::Plugged);
        let expected = |reason| vec![1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, reason, 0, 0, 0];
        assert_eq!(events.next(), Some(expected(2)));
        assert_eq!(events.next(), Some(expected(1)));
    }

    #[test]
    fn lost_events_are_owned_up_to() {
        let mut events = Events::default();
        for _ in 0..=MAX_WAITING {
            events.add(0, DeviceEvent::Changed(UnitAttention::Capacity));
        }
        assert_eq!(events.next().unwrap()[3], 0x80);
        assert_eq!(events.next().unwrap()[3], 0);
    }
}
