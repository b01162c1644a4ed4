//! Which cells there are, what is expected of each, and what the user's words choose of them.

pub mod catalogue;
pub mod companion;
pub mod estimate;
pub mod faults;
pub mod meant;
pub mod plan;
pub mod scenario;
pub mod shards;
pub mod table;
