//! The trap over real memory and a real (memory) disk.

mod dix;
mod injected;
mod never_found;
mod rig;
