//! `--stable-writes`: which settings of the knob are wanted.

use std::str::FromStr;

use crate::verdict::StableWrites;

/// Which settings of `stable_writes` are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Knob {
    /// Only on.
    On,
    /// Only off.
    Off,
    /// Every setting that a scenario runs with.
    #[default]
    Both,
}

impl Knob {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Knob::On => "on",
            Knob::Off => "off",
            Knob::Both => "both",
        }
    }

    /// Whether a cell with this setting is wanted. One that leaves the knob alone always is.
    pub fn wants(self, setting: Option<StableWrites>) -> bool {
        match self {
            Knob::On => setting != Some(StableWrites::Off),
            Knob::Off => setting != Some(StableWrites::On),
            Knob::Both => true,
        }
    }
}

impl FromStr for Knob {
    type Err = String;

    fn from_str(text: &str) -> Result<Knob, String> {
        let known = [Knob::On, Knob::Off, Knob::Both].into_iter().find(|knob| knob.word() == text);
        known.ok_or_else(|| format!("'{text}' is no setting of stable_writes: use on, off or both"))
    }
}
