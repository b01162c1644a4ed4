//! `dixtrap image create|check|adopt|dump`.

use std::process::ExitCode;

/// Arguments of `dixtrap image`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Carries one of them out.
pub fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not here yet")
}
