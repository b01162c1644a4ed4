//! Everything that boots a guest, or needs a stock kernel: QEMU, and the network where the kernel is not
//! cached yet.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tests may state what they know"
)]

#[path = "../kit/booted/mod.rs"]
mod booted;
#[path = "../kit/mod.rs"]
mod kit;

mod bisect;
mod boot;
mod by_hand;
mod cases;
mod culprits;
mod early;
mod modprobe;
mod owner;
mod packages;
mod pages;
mod readme;
mod roots;
mod run;
mod run_flags;
mod run_many;
mod run_scsi;
mod scsi_boot;
mod scsi_conformance;
mod sweep;
