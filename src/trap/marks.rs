//! Labels: what was counted while one was open belongs to it.

use std::sync::Arc;

use super::service::Trap;
use super::tally::Span;
use crate::record::{Counters, Mark, MarkState, Record};

impl Trap {
    /// Opens or closes a label; on closing, answers what was counted under it.
    ///
    /// Opening a label closes the one that is open. Closing a label that is not open answers `None`
    /// and changes nothing.
    pub fn mark(&self, label: &str, state: MarkState) -> Option<Counters> {
        match state {
            MarkState::Begin => {
                self.close_label(self.tally.relabel(Some(label.to_owned())));
                self.emit_mark(label, state, None);
                None
            }
            MarkState::End if self.tally.open().label() != Some(label) => None,
            MarkState::End => self.close_label(self.tally.relabel(None)),
        }
    }

    /// Writes the closing mark of a span that has a label.
    fn close_label(&self, span: Arc<Span>) -> Option<Counters> {
        let label = span.label()?;
        let counters = span.counters();
        self.emit_mark(label, MarkState::End, Some(counters.clone()));
        Some(counters)
    }

    fn emit_mark(&self, label: &str, state: MarkState, counters: Option<Counters>) {
        let (t_us, label) = (self.now().micros(), label.to_owned());
        self.sink.emit(Record::Mark(Mark { t_us, label, state, counters }));
    }

    /// The label that is open.
    pub fn label(&self) -> Option<String> {
        self.tally.open().label().map(str::to_owned)
    }
}
