//! Boots kernels on `dixtrapd` and says what it saw. Knows the daemon by its command line, its
//! control socket and its records; imports none of the stages inside it.

pub mod accel;
pub mod blame;
pub mod campaign;
pub mod catalogue;
pub mod cell;
pub mod child;
pub mod console;
pub mod daemon;
pub mod deal;
pub mod device;
pub mod digest;
pub mod errors;
pub mod facts;
pub mod fate;
pub mod fingerprint;
pub mod guest;
pub mod initramfs;
pub mod kernel;
pub mod link;
pub mod luggage;
pub mod machine;
pub mod modules;
pub mod outdir;
pub mod owners;
pub mod plan;
pub mod probe;
pub mod progress;
pub mod qemu;
pub mod run;
pub mod scenario;
pub mod settle;
pub mod table;
pub mod tools;
pub mod trip;
