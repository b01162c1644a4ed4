//! A SCSI block target with one logical unit or more. It knows nothing of virtio: a task is a command
//! descriptor block and the buffers that came with it.
//!
//! | file | what it knows |
//! |---|---|
//! | `cdb` | the bytes of a command, by length |
//! | `table` | which commands exist |
//! | `run` | a task's way: unit attention, the table, the handler, the answer |
//! | `held` | what a task does when its window ends |
//! | `unit` | one logical unit and its state |
//! | `sense`, `failure` | sense data, and the one place that maps errors to it |
//! | `mode` | mode pages |
//! | `blocks` | the fields that commands on blocks share |
//! | `protect` | which protection information travels with a command |
//! | the others | the handlers, a family of commands a file |

mod blocks;
mod capacity;
mod cdb;
mod failure;
mod held;
mod inquiry;
mod maintenance;
mod mode;
mod protect;
mod read_write;
mod ready;
mod run;
mod sense;
mod status;
mod table;
mod unit;
mod unmap;
mod verify;
mod vpd;
mod write_same;

#[cfg(test)]
mod tests;

pub use cdb::{Cdb, MAX_CDB_BYTES};
pub use failure::Failure;
pub use held::{HeldTask, TaskInFlight};
pub use run::{Answer, Ending, Progress, Target, Task};
pub use sense::{Attention, Sense, SenseKey};
pub use status::Status;
pub use unit::{Unit, UnitIdentity};
