//! Root file systems for a user's own command: where the software is that an initramfs has no room for.
//!
//! | file | what it knows |
//! |---|---|
//! | `spec` | what a user names |
//! | `made` | the disk or share that the guest gets of it |
//! | `debian` | a root of Debian packages, kept |
//! | `pack` | a folder, or an archive, as one read-only image |
//! | `script` | the scenario that runs the command in it |
//!
//! Whatever it comes from is never written: the guest has it read-only, below a layer in its memory.

mod debian;
mod error;
mod made;
mod pack;
mod script;
mod spec;

pub use error::RootError;
pub use made::MadeRoot;
pub use script::script;
pub use spec::RootSpec;
