//! Kernels × devices: the boots of each, and one result of them all.

pub mod agenda;
pub mod boot;
pub mod boot_run;
pub mod campaign;
pub mod context;
pub mod error;
pub mod fingerprint;
pub mod kernel_run;
pub mod options;
pub mod provenance;
pub mod resume;
pub mod second_look;
pub mod start;
