//! The trap over real memory and a real (memory) disk.

mod delivered;
mod dix;
mod in_flight;
mod injected;
mod never_found;
mod rig;
