//! Which cells there are, what is expected of each, and what the user's words choose of them.

pub mod catalogue;
pub mod cell_spec;
pub mod companion;
pub mod environment;
pub mod estimate;
pub mod faults;
pub mod knob;
pub mod meant;
pub mod own;
pub mod plan;
pub mod scenario;
pub mod selection;
pub mod shards;
pub mod table;
