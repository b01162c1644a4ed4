//! The target as a whole: commands in, data, status and sense out, over a real disk in memory.

mod commands;
mod opcodes;
mod protection;
mod random;
mod rig;
mod state;
