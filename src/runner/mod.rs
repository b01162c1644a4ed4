//! To come.

pub mod catalogue;
pub mod scenario;
pub mod table;
