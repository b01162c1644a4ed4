//! dixtrap: a disk for QEMU that sees memory the way a host adapter does.
//!
//! The map of the house. Folders are the stages of the data's way; a module imports only from the
//! modules below it in this list (`tests/layers.rs` enforces the order):
//!
//! | module | what lives there |
//! |---|---|
//! | [`cli`] | what both programs do with arguments they cannot use |
//! | [`sweep`] | one cell with one window after the other, and the curve through what raced |
//! | [`runner`] | boots kernels on `dixtrapd` and gives a verdict; knows the contract, none of the stages |
//! | [`guest`] | the helper program that runs inside the guest: agent and writers |
//! | [`config`] | the daemon's arguments, checked once |
//! | [`control`] | the control socket: counters, marks, window, release |
//! | [`transport`] | vhost-user: listener, connections, rings and the worker of each queue |
//! | [`queue`] | a descriptor chain walked once into checked segments, and the completion token |
//! | [`proto`] | request bytes → command, outcome → status bytes (virtio-blk, virtio-scsi) |
//! | [`trap`] | samples of guest memory, the window between them, comparison, races |
//! | [`watch`] | pages armed between doorbell and fetch, and which store explains a race |
//! | [`explain`] | what the guest's kernel knew about a page that raced, read out of its memory |
//! | [`inject`] | the language of faults, and which request gets which |
//! | [`media`] | where blocks and their protection information are kept |
//! | [`report`] | one sink or format a file |
//! | [`verdict`] | what a run came to: cells, their judgement, the exit status; pure |
//! | [`owner`] | file systems' layouts: disk address → file or metadata structure; pure |
//! | [`record`] | the schema of the JSON lines that every figure derives from |
//! | [`memory`] | guest memory as checked segments, copied, never borrowed |
//! | [`pi`] | T10 protection information: tuple, guard, generate, verify; pure |
//! | [`messages`] | what the daemon says on standard error, without ever waiting for it |
//! | [`sandbox`] | what the daemon gives up once everything is open |
//! | [`patient`] | writing to a descriptor whose reader may have stopped |
//! | [`ancillary`] | bytes with descriptors over a Unix socket |
//! | [`made`] | files that a start has made, taken away again where it is refused |
//! | [`descriptor`] | what can be asked of an open descriptor without a path |
//! | [`clock`] | time, passed in |
//! | [`units`] | numbers that must not mix |

#![cfg_attr(test, allow(clippy::cast_possible_truncation, clippy::cast_sign_loss))]

pub mod ancillary;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod descriptor;
pub mod explain;
pub mod guest;
pub mod inject;
pub mod made;
pub mod media;
pub mod memory;
pub mod messages;
pub mod owner;
pub mod patient;
pub mod pi;
pub mod proto;
pub mod queue;
pub mod record;
pub mod report;
pub mod runner;
pub mod sandbox;
pub mod sweep;
pub mod transport;
pub mod trap;
pub mod units;
pub mod verdict;
pub mod watch;
