//! `dixtrap sweep`: one boot, one cell, with every window in many short repetitions, and what that says of a
//! window that nobody measured.

mod fit;

mod order;
mod plot;
mod point;
mod result;
mod run;
mod share;
mod text;

pub use crate::report::interval::Interval;
pub use fit::{Fit, Sample, fit};
pub use plot::{PlotError, sweep_svg};
pub use point::{Figures, Point, Repetition};
pub use result::{Estimate, SCHEMA, Sweep};
pub use run::{SweepError, SweepOptions, sweep};
pub use share::{Count, Method, Share, share};
pub use text::sweep_text;
