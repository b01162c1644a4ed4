//! What to run and how.

use std::path::PathBuf;
use std::time::Duration;

use crate::runner::host::accel::AccelMode;
use crate::runner::host::machine::{DiskShape, Machine};
use crate::units::{ByteSize, WindowSpec};

/// When a guest's stores are watched, where it is emulated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Culprit {
    /// In a second look at cells that raced where none may
    #[default]
    Auto,
    /// In every cell
    On,
    /// In none
    Off,
}

/// What to run and how.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// KVM or TCG.
    pub accel: AccelMode,
    /// Doorbell to fetch.
    pub window: WindowSpec,
    /// How long a scenario writes.
    pub seconds: u32,
    /// How often every cell runs.
    pub repeat: u32,
    /// The seed of every random draw.
    pub seed: u64,
    /// Where the boots' files go.
    pub out: PathBuf,
    /// What the guests are given.
    pub machine: Machine,
    /// The disk under test.
    pub disk: DiskShape,
    /// How large the records of a boot become before races are only counted.
    pub races_limit: ByteSize,
    /// When stores to pages on their way to the disk are watched.
    pub culprit: Culprit,
    /// How long a cell may take in all; two minutes more than it writes where nothing is said.
    pub timeout: Option<Duration>,
}
