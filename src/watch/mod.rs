//! The watcher: which instruction of whose stored into a page between doorbell and fetch.
//!
//! ```text
//! doorbell: arm ─ sample ─ window ─ fetch ─ no race: disarm
//!                                         └ race: a moment ─ stores ─ which explains the bytes ─ culprits.jsonl
//! ```
//!
//! The other side is a plugin of QEMU's (`plugin/`): it logs the stores to armed pages into a file that both
//! share, and neither waits for the other. What it writes there is a stranger's, bounded and never believed
//! without a check. Where nothing is watched, nothing of this is on a request's way.

mod arms;
mod file;
mod join;
pub mod layout;
mod ram;
mod resolve;
mod shared;
mod tell;
mod watcher;

pub use resolve::begin;
pub use watcher::{Armed, Suspect, Watcher};
