//! Boots kernels on `dixtrapd` and says what it saw. Knows the daemon by its command line, its
//! control socket and its records; imports none of the stages inside it.
//!
//! A room imports only from the rooms below it in this list (`tests/layers.rs` enforces the order):
//!
//! | room | what lives there |
//! |---|---|
//! | [`run`] | kernels × devices, the boots of each, and where a verdict comes from |
//! | [`cell`] | one cell on a running guest, and the cell of the verdict that it becomes |
//! | [`guest`] | a guest: what it takes along, its boot, its console, and the questions to its agent |
//! | [`root`] | what `--root` names, as a disk or a share, and the script that runs a command in it |
//! | [`kernel`] | what `--kernel` names, found, fetched and unpacked, and its modules |
//! | [`select`] | which cells there are, what is expected of each, and what the user's words choose |
//! | [`host`] | this machine: programs, folders, QEMU, `dixtrapd`, and the terminal |

pub mod cell;
pub mod guest;
pub mod host;
pub mod kernel;
pub mod root;
pub mod run;
pub mod select;
