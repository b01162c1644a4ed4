//! The tables: what the runner knows about scenarios and file systems is data, read from the files
//! that the scenarios come with. Nothing else in the runner knows a file system's name.

mod expect;
mod filesystem;
mod guest;
mod numbers;

pub use expect::{CellKey, ExpectError, Expectation, Expectations, Rule};
pub use filesystem::{FileSystem, FileSystems, FileSystemsError};
pub use guest::{Guest, Word};
pub use numbers::{InRange, Numbers};

#[cfg(test)]
pub(crate) use guest::tests;
