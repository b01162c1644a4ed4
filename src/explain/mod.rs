//! What the guest's kernel knew about a page that raced: read out of guest memory, without an agent.
//!
//! ```text
//! vmcoreinfo (found by its text) → page tables → BTF (found by its magic) → layout → struct page → inode
//!                                             └→ kallsyms, modules, ORC → symbols, callers, tasks
//! ```
//!
//! Everything here comes from the guest: each read may fail, each size is bounded, and a name is taken only
//! where it is a plain word. What cannot be read is not known, and never guessed.

mod btf;
mod coreinfo;
mod kernel;
mod layout;
mod modules;
mod orc;
mod page;
mod pages;
mod physical;
mod program;
mod symbols;
mod tables;
#[cfg(test)]
mod tests;
mod trace;

pub use orc::Copied;
pub use pages::{Found, Pages};
pub use physical::Physical;
pub use trace::{Named, Tasks, Tracer};
