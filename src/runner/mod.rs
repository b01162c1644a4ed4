//! Boots kernels on `dixtrapd` and says what it saw. Knows the daemon by its command line, its
//! control socket and its records; imports none of the stages inside it.

pub mod accel;
pub mod blame;
pub mod child;
pub mod console;
pub mod guest;
pub mod initramfs;
pub mod kernel;
pub mod link;
pub mod modules;
pub mod qemu;
pub mod tools;
