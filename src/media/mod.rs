//! The medium: where blocks and their protection information are kept.
//!
//! | file | what it knows |
//! |---|---|
//! | `disk` | blocks and tuples, read and written under the locks of their range |
//! | `pair` | the two files that they are in, and the order of what is done to them |
//! | `open` | which files make a disk, and every way in which they may not fit |
//! | `backing` | bytes of a raw file, a block device or a memory file |
//! | `losses` | what is known to be lost of a file, until it is opened again |
//! | `mapped`, `copy` | a file whose pages are memory, through a mapping |
//! | `direct` | past the page cache, with several transfers under way |
//! | `pi_file` | tuples of a PI file, and its header's life |
//! | `header` | the header page of a PI file |
//! | `intent` | what is being written, for whoever opens the image after a kill |
//! | `replay` | what is done with the records that a killed process left |
//! | `note` | what one process leaves in it for the next |
//! | `geometry` | the shape of a disk |
//! | `locks` | who may touch which blocks at the same time |
//! | `image` | `dixtrap image`: create, check, adopt, dump |

mod backing;
mod copy;
mod direct;
mod disk;
mod error;
mod geometry;
mod header;
pub mod image;
mod intent;
mod locks;
mod losses;
mod mapped;
mod note;
mod open;
mod pair;
mod pi_file;
mod replay;

pub use direct::{Blocks, Completion, IoQueues, QueueIo, TransferId};
pub use disk::{Allocation, Disk, Started};
pub use error::{MediaError, OpenError};
pub use geometry::Geometry;
pub use open::{DEFAULT_SIZE, DiskSpec};

#[cfg(test)]
mod tests;
