//! The record of one block of a read that is not as it was delivered.

use super::compare::Difference;
use super::evidence::address_of;
use super::tally::Span;
use crate::clock::Moment;
use crate::memory::Segments;
use crate::pi::GuardTag;
use crate::record::{Outcome, Phase, PiChange, Race, RaceId, RequestInfo};
use crate::units::{BlockCount, Lba, QueueIndex};

/// Which read it was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    /// The ring that it came by.
    pub(super) queue: QueueIndex,
    /// How records name its disk.
    pub(super) unit: Option<u16>,
    /// The first block.
    pub(super) lba: Lba,
    /// How many blocks it has.
    pub(super) blocks: BlockCount,
    /// How many bytes a block has.
    pub(super) size: usize,
    /// When the delivery had ended.
    pub(super) since: Moment,
}

/// A block that is not as it was delivered.
#[derive(Debug)]
pub(super) struct Finding {
    /// Its place in the read.
    pub(super) index: usize,
    /// The guard of what was delivered.
    pub(super) delivered: GuardTag,
    /// The guard of what stood there at the look.
    pub(super) now: GuardTag,
    /// The bytes that are others now.
    pub(super) difference: Difference,
    /// The tuple, where it is another one now.
    pub(super) pi_changed: Option<PiChange>,
    /// The same guest page stands more than once in the read.
    pub(super) overlap: bool,
    /// The look came after the completion.
    pub(super) after_completion: bool,
}

impl Reader {
    /// The record of a block of request number `request`, which was delivered `into` guest memory; the
    /// look at it was `at`.
    pub(super) fn race(
        &self,
        (id, at, device): (RaceId, Moment, &str),
        span: &Span,
        (request, into): (u64, &Segments),
        finding: Finding,
    ) -> Race {
        let (delivered, now) = (finding.delivered, finding.now);
        let op = "read".to_owned();
        Race {
            id,
            t_us: at.micros(),
            label: span.label().map(str::to_owned),
            device: device.to_owned(),
            lun: self.unit,
            queue: self.queue,
            request: RequestInfo::new(request, op, (self.lba, self.blocks)),
            lba: self.lba.offset(finding.index as u64),
            gpa: address_of(into, finding.index, self.size),
            phase: Phase::AfterDelivery,
            window_us: at.since(self.since).as_secs_f64() * 1e6,
            doorbell_guard: None,
            fetch_guard: None,
            delivered_guard: Some(delivered.0),
            look_guard: Some(now.0),
            submit_guard: None,
            guard_blind: finding.difference.bytes > 0 && delivered == now,
            pi_changed: finding.pi_changed,
            changed: finding.difference.runs,
            changed_bytes: finding.difference.bytes,
            overlap: finding.overlap,
            after_completion: finding.after_completion,
            outcome: Outcome::Delivered,
            page: None,
            owner: None,
        }
    }
}
