//! This machine: its programs and folders, QEMU, `dixtrapd`, and the terminal.

pub mod accel;
pub mod again;
pub mod beneath;
pub mod blame;
pub mod child;
pub mod daemon;
pub mod device;
pub mod digest;
pub mod errors;
pub mod machine;
pub mod outdir;
pub mod progress;
pub mod qemu;
pub mod tools;
pub mod watching;
