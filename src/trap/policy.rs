//! How often the data of a write is looked at: chosen once for a trap.
//!
//! [`Checked`] is the trap. [`Unchecked`] is the benchmark's yardstick, what the same daemon does when it
//! checks nothing: one copy out of guest memory, at the end of the window, goes to the medium. There is no
//! doorbell sample, no guard, no comparison, and the disk has no protection information.

use super::error::TrapError;
use super::request::Write;
use super::sample::{Sample, copy};
use crate::memory::List;
use crate::pi::GuardTag;

/// The looks at a write.
pub trait Policy: Send + Sync + std::fmt::Debug {
    /// Takes the doorbell sample of a write.
    fn doorbell(&self, write: &Write) -> Result<Sample, TrapError>;

    /// Takes the fetch sample and the guards of its `blocks`; no sample where it is the doorbell's once
    /// more, bit by bit.
    fn fetch(
        &self,
        write: &Write,
        doorbell: &Sample,
        blocks: usize,
    ) -> Result<(Option<Sample>, List<GuardTag>), TrapError>;

    /// Whether samples are compared, so that there is a window to measure and blocks to count.
    fn compares(&self) -> bool;
}

/// Everything is checked.
#[derive(Debug)]
pub struct Checked;

/// Nothing is.
#[derive(Debug)]
pub struct Unchecked;

impl Policy for Checked {
    fn doorbell(&self, write: &Write) -> Result<Sample, TrapError> {
        Sample::take(write)
    }

    fn fetch(
        &self,
        write: &Write,
        doorbell: &Sample,
        blocks: usize,
    ) -> Result<(Option<Sample>, List<GuardTag>), TrapError> {
        let mut guards = List::of(GuardTag(0), blocks);
        let changed = doorbell.again(write, &mut guards)?;
        Ok((changed, guards))
    }

    fn compares(&self) -> bool {
        true
    }
}

impl Policy for Unchecked {
    fn doorbell(&self, _write: &Write) -> Result<Sample, TrapError> {
        Ok(Sample::none())
    }

    fn fetch(
        &self,
        write: &Write,
        _doorbell: &Sample,
        blocks: usize,
    ) -> Result<(Option<Sample>, List<GuardTag>), TrapError> {
        let sample = Sample { bytes: copy(&write.data)?, ..Sample::none() };
        Ok((Some(sample), List::of(GuardTag(0), blocks)))
    }

    fn compares(&self) -> bool {
        false
    }
}
