//! To come.
pub mod work;
