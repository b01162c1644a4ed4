//! What became of a request that no honest driver makes.

use super::{Daemon, Draft, Guest, Piece, eventually};

/// What the daemon made of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered with this status.
    Status(u8),
    /// It used the chain and wrote no status.
    Silent,
    /// It gave the ring up, and wrote down why.
    Broken(String),
}

impl Verdict {
    /// An error, by status or by a broken ring.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Verdict::Status(super::IOERR) | Verdict::Broken(_))
    }
}

/// Exposes a chain on a ring and waits for what comes of it. A broken ring is started afresh, so
/// that the next case finds it working.
pub fn verdict(
    daemon: &Daemon,
    guest: &mut Guest,
    queue: usize,
    head: u16,
    draft: &Draft,
) -> Verdict {
    guest.rings[queue].expose(head);
    doorbell(daemon, guest, queue, draft)
}

/// The same for a plain chain of pieces.
pub fn verdict_on(daemon: &Daemon, guest: &mut Guest, draft: &Draft, pieces: &[Piece]) -> Verdict {
    let head = guest.rings[0].place(pieces);
    verdict(daemon, guest, 0, head, draft)
}

/// Rings, and waits for a completion or a broken ring.
pub fn doorbell(daemon: &Daemon, guest: &mut Guest, queue: usize, draft: &Draft) -> Verdict {
    let before = daemon.records().broken().len();
    guest.rings[queue].kick();
    let verdict = eventually("an answer or a broken ring", || {
        if !guest.rings[queue].harvest().is_empty() {
            return Some(match draft.status() {
                super::request::UNTOUCHED => Verdict::Silent,
                status => Verdict::Status(status),
            });
        }
        let records = daemon.records();
        let broken = records.broken();
        (broken.len() > before).then(|| Verdict::Broken(broken[before].reason.clone()))
    });
    if matches!(verdict, Verdict::Broken(_)) {
        let last = daemon.records();
        assert_eq!(last.broken()[before].queue.map(|q| usize::from(q.0)), Some(queue));
        guest.rings[queue].stays_silent();
        guest.restart_ring(queue);
    }
    verdict
}
