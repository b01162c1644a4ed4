//! Mode pages: what a client can ask and set about a unit (SPC-5 §7.5, SBC-4 §6.5).

mod pages;
mod select;
mod sense;

pub use pages::Modes;
pub(super) use select::{mode_select_6, mode_select_10};
pub(super) use sense::{mode_sense_6, mode_sense_10};
