//! What the daemon gives up once everything is open.
//!
//! A guest that breaks into the daemon should find itself with the disk it had anyway. The parts hold
//! each on its own, so that a kernel that lacks one still has the others:
//!
//! | file | what it knows |
//! |---|---|
//! | `enter` | the way in, for the process and for each thread |
//! | `thread` | the kinds of threads |
//! | `calls` | which system calls each kind of thread may make, and why: no path, no process, no network |
//! | `filter` | the same as programs for the kernel (seccomp) |
//! | `refused` | what becomes of a call that is not in the table |
//! | `files` | no files, addresses and other processes (Landlock) |
//! | `process` | no privileges, no core dumps; one thread |
//! | `janitor` | who removes the sockets at the end, and connects to the private one |
//!
//! Landlock holds for a thread and those that it starts, and threads share their memory: one that is
//! outside lets all of them out. So [`enter()`] comes before any other thread, and looks.

mod calls;
mod enter;
mod files;
mod filter;
mod janitor;
mod process;
mod refused;
mod thread;

pub use enter::{confine, enter};
pub use filter::Needs;
pub use janitor::{Door, Janitor, Porter};
pub use process::SandboxError;
pub use refused::EXIT_STATUS;
pub use thread::Thread;
