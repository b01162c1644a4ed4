//! `dixtrap sweep`: one boot, one cell, once with every window, and what that says of a window that
//! nobody measured.

mod fit;
mod interval;
mod plot;
mod result;
mod run;
mod text;

pub use fit::{Fit, Sample, fit};
pub use interval::{Interval, wilson};
pub use plot::{PlotError, sweep_svg};
pub use result::{Estimate, Point, SCHEMA, Sweep};
pub use run::{SweepError, SweepOptions, sweep};
pub use text::sweep_text;
