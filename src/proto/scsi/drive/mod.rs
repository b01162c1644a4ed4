//! A SCSI block target with one logical unit or more. It knows nothing of virtio: a task is a command
//! descriptor block and the buffers that came with it.
//!
//! | file | what it knows |
//! |---|---|
//! | `cdb` | the bytes of a command, by length |
//! | `command` | what a command is: its row, what its handler gets and gives |
//! | `table` | which commands exist |
//! | `run` | a task's way: unit attention, the table, the handler, the answer |
//! | `answer`, `status` | how a task ended |
//! | `held` | what a task does when its window ends |
//! | `target` | the logical units |
//! | `unit` | one logical unit and its state |
//! | `sense`, `failure` | sense data, and the one place that maps errors to it |
//! | `mode` | mode pages |
//! | `blocks` | the fields that commands on blocks share |
//! | `protect` | which protection information travels with a command |
//! | the others | the handlers, a family of commands a file |

mod answer;
mod blocks;
mod capacity;
mod cdb;
mod command;
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
mod target;
mod unit;
mod unmap;
mod verify;
mod vpd;
mod write_same;

#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use cdb::{Cdb, MAX_CDB_BYTES};
pub use command::Task;
pub use failure::Failure;
pub use held::{HeldTask, TaskInFlight};
pub use run::{TaskStage, run};
pub use sense::{Sense, SenseKey, UnitAttention};
pub use status::{ServiceResponse, Status};
pub use target::Target;
pub use unit::{Unit, UnitIdentity};
