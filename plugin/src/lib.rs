//! QEMU's side of the watcher: a plugin for TCG that logs stores to pages which are on their way to a disk.
//!
//! `dixtrapd --watch FILE` arms the pages of a write in the shared file between doorbell and fetch; this library,
//! loaded by `qemu-system-x86_64 -plugin libdixtrap_watch.so,shared=FILE`, keeps for each block of an armed page
//! its first and last stores: the instruction, the task, the stack. Neither waits for the other.
//!
//! | file | what it knows |
//! |---|---|
//! | `install` | what QEMU calls, and the library's state |
//! | `qemu` | QEMU's functions, looked up by name: one library for every version |
//! | `decode` | which instructions need no looking at |
//! | `stores` | a store's way: armed or not, as fast as can be |
//! | `log` | what is kept of a store to an armed page |
//! | `task` | who runs on a CPU, by the guest's own structures |
//! | `ram` | the guest's memory, where QEMU has it mapped |
//! | `layout`, `shared` | the file in shared memory; the daemon has the same two |

mod decode;
mod install;
#[path = "../../src/watch/layout.rs"]
pub mod layout;
pub mod log;
mod qemu;
pub mod ram;
#[path = "../../src/watch/shared.rs"]
pub mod shared;
mod stores;
pub mod task;
