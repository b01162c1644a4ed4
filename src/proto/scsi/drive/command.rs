//! What a command is: its row in the table, what its handler gets, and what the handler gives.

use std::sync::Arc;

use super::cdb::{Cdb, VARIABLE};
use super::failure::Failure;
use super::held::HeldTask;
use super::sense::Sense;
use super::target::Target;
use super::unit::Unit;
use crate::memory::Segments;
use crate::pi::Tuple;
use crate::trap::Arrival;
use crate::units::Lba;

/// A command and the buffers that came with it.
#[derive(Debug)]
pub struct Task {
    /// Where it comes from.
    pub arrival: Arrival,
    /// The command.
    pub cdb: Cdb,
    /// Data from the initiator.
    pub data_out: Segments,
    /// Room for data to the initiator.
    pub data_in: Segments,
    /// Protection information from the initiator, where it sent any.
    pub pi_out: Option<Segments>,
    /// Room for protection information, where the initiator wants it.
    pub pi_in: Option<Segments>,
}

/// What a handler works on.
pub(super) struct Call<'a> {
    pub(super) target: &'a Target,
    pub(super) unit: &'a Arc<Unit>,
    /// All commands that there are, for those that report them.
    pub(super) commands: &'static [Command],
}

/// Parameter data; as much of it as the allocation length allows is sent (SPC-5 §4.2.5.6).
#[derive(Debug)]
pub(super) struct Parameters {
    pub(super) bytes: Vec<u8>,
    pub(super) allocation: u64,
}

/// What a handler came to.
#[derive(Debug)]
pub(super) enum Reply {
    /// Nothing to transfer.
    Done,
    /// Parameter data.
    Parameters(Parameters),
    /// The blocks from `lba` on, and their tuples where the initiator gets them.
    Blocks { lba: Lba, data: Vec<u8>, tuples: Option<Vec<Tuple>> },
    /// So many bytes from the initiator were used.
    Consumed(u64),
    /// A write inside its window.
    Held(Box<HeldTask>),
}

/// In which states of a unit a command is carried out.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    /// In all, and where there is no unit: this answers there (SPC-5 §6.6.1, SAM-6 §5.11).
    Everywhere(fn(&Cdb) -> Parameters),
    /// In all, also with a unit attention that was not reported yet.
    Always,
    /// Whether it is started or not.
    Reachable,
    /// While it is started.
    Started,
}

/// Carries a command out.
type Handler = fn(&Call<'_>, Task) -> Result<Reply, Failure>;

/// A command that exists.
pub(super) struct Command {
    /// Its name in the standard.
    pub(super) name: &'static str,
    /// OPERATION CODE.
    pub(super) opcode: u8,
    /// SERVICE ACTION, where the operation code has some.
    pub(super) action: Option<u16>,
    /// CDB USAGE DATA (SPC-5 §6.36.3): operation code and service action, and for the rest a one for
    /// every bit that is looked at. Its length is the command's.
    pub(super) usage: &'static [u8],
    /// When it is carried out.
    pub(super) when: When,
    /// It reaches the medium by the trap, which asks for faults to inject by itself.
    pub(super) medium: bool,
    /// The function that carries the command out.
    pub(super) run: Handler,
}

/// Refuses bits that the command does not use: reserved ones, and fields that this unit does not
/// have, CONTROL's NACA among them (SPC-5 §4.2.5).
pub(super) fn check_usage(command: &Command, cdb: &Cdb) -> Result<(), Failure> {
    for (at, (used, sent)) in (0u16..).zip(command.usage.iter().zip(cdb.bytes())) {
        let stray = sent & !(used | code_bits(command, at));
        if stray != 0 {
            let bit = u8::try_from(stray.ilog2()).unwrap_or(7);
            return Err(Sense::in_cdb_bit(at, bit).into());
        }
    }
    Ok(())
}

/// The bits of operation code, service action and length, which are compared where the row is looked for.
fn code_bits(command: &Command, at: u16) -> u8 {
    match (at, command.opcode == VARIABLE) {
        (0, _) | (7..=9, true) => 0xFF,
        (1, false) if command.action.is_some() => 0x1F,
        _ => 0,
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
