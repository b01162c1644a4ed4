//! The programs and scripts without a guest: what they refuse, read and print.
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

mod ci;
mod configs;
mod examples;
mod fast;
mod lib_sh;
mod mirror;
mod package_cases;
mod packages;
mod report;
