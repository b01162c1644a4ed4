//! The daemon by its sockets, rings and files: a scripted guest of `tests/kit` is all that it needs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tests may state what they know"
)]

#[path = "../kit/mod.rs"]
mod kit;

mod blk_control;
mod blk_descriptors;
mod blk_direct;
mod blk_endless;
mod blk_full;
mod blk_fuzz;
mod blk_hostile;
mod blk_layout;
mod blk_lifecycle;
mod blk_medium;
mod blk_peer;
mod blk_protocol;
mod blk_refusals;
mod blk_rings;
mod blk_shrinking;
mod blk_storm;
mod blk_trap;
mod in_flight;
mod inject_blk;
mod inject_scsi;
mod lost;
mod messages;
#[cfg(target_arch = "x86_64")]
mod prisoner;
mod races_limit;
mod reads;
mod reads_audit;
mod records_pipe;
mod restart;
#[cfg(target_arch = "x86_64")]
mod sandbox;
mod scsi_compare;
mod scsi_device;
mod scsi_direct;
mod sockets;
mod watch;
