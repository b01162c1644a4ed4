//! REPORT SUPPORTED OPERATION CODES and REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-5 §6.36,
//! §6.37): read off the table.

use super::command::{Call, Command, Parameters, Reply, Task};
use super::failure::Failure;
use super::sense::Sense;

/// RCTD: with timeouts descriptors.
const RCTD: u8 = 0x80;
/// SUPPORT 011b: as the standard says.
const SUPPORTED: u8 = 0b011;
/// SUPPORT 001b: no such command.
const UNSUPPORTED: u8 = 0b001;
/// CTDP of a command descriptor, SERVACTV, and CTDP of the one-command format.
const CTDP: u8 = 0x02;
const SERVACTV: u8 = 0x01;
const CTDP_ONE: u8 = 0x80;
/// A timeouts descriptor: its length, and no nominal or recommended time.
const TIMEOUTS: [u8; 12] = [0x00, 0x0A, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// REPORT SUPPORTED OPERATION CODES.
pub(super) fn report_opcodes(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let (options, timeouts) = (task.cdb.byte(2) & 0x07, task.cdb.bit(2, RCTD));
    let (opcode, action) = (task.cdb.byte(3), task.cdb.be16(4));
    let bytes = match options {
        0 => all(call.commands, timeouts),
        1..=3 => one(call.commands, (options, opcode, action), timeouts)?,
        _ => return Err(Sense::in_cdb_bit(2, 2).into()),
    };
    Ok(Reply::Parameters(Parameters { bytes, allocation: task.cdb.be32(6).into() }))
}

/// REPORTING OPTIONS 000b.
fn all(commands: &[Command], timeouts: bool) -> Vec<u8> {
    let list: Vec<u8> = commands
        .iter()
        .flat_map(|command| {
            let [high, low] = command.action.unwrap_or(0).to_be_bytes();
            let [l0, l1] = length_of(command).to_be_bytes();
            let has_action = if command.action.is_some() { SERVACTV } else { 0 };
            let flags = has_action | if timeouts { CTDP } else { 0 };
            let mut bytes = vec![command.opcode, 0, high, low, 0, flags, l0, l1];
            bytes.extend(timeouts.then_some(TIMEOUTS).into_iter().flatten());
            bytes
        })
        .collect();
    let mut bytes = u32::try_from(list.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    bytes.extend(list);
    bytes
}

/// REPORTING OPTIONS 001b (an operation code without service actions), 010b (one with) and 011b
/// (either).
fn one(
    commands: &[Command],
    (options, opcode, action): (u8, u8, u16),
    timeouts: bool,
) -> Result<Vec<u8>, Failure> {
    let has_actions = commands.iter().any(|c| c.opcode == opcode && c.action.is_some());
    let known = commands.iter().any(|c| c.opcode == opcode);
    match options {
        1 if has_actions => return Err(Sense::in_cdb(3).into()),
        2 if known && !has_actions => return Err(Sense::in_cdb(4).into()),
        _ => {}
    }
    let wanted = has_actions.then_some(action);
    let found = commands.iter().find(|c| c.opcode == opcode && c.action == wanted);
    // SPC-5 §6.36.4: without service actions, 011b wants a service action of zero.
    let found = found.filter(|_| options != 3 || has_actions || action == 0);
    let Some(command) = found else { return Ok(vec![0, UNSUPPORTED, 0, 0]) };
    let [l0, l1] = length_of(command).to_be_bytes();
    let mut bytes = vec![0, SUPPORTED | if timeouts { CTDP_ONE } else { 0 }, l0, l1];
    bytes.extend(command.usage);
    bytes.extend(timeouts.then_some(TIMEOUTS).into_iter().flatten());
    Ok(bytes)
}

fn length_of(command: &Command) -> u16 {
    u16::try_from(command.usage.len()).unwrap_or(0)
}

/// ATS, ATSS, CTSS, LURS, QTS; and ITNRS, QTSS of the next byte.
const FUNCTIONS: [u8; 2] = [0x80 | 0x40 | 0x10 | 0x08 | 0x01, 0x01 | 0x02];
/// REPD: extended parameter data.
const REPD: u8 = 0x80;

/// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS.
pub(super) fn report_functions(_: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let allocation = task.cdb.be32(6);
    // SPC-5 §6.37: "The allocation length should be at least four".
    if allocation < 4 {
        return Err(Sense::in_cdb(6).into());
    }
    let [first, second] = FUNCTIONS;
    let mut bytes = vec![first, second, 0, 0];
    if task.cdb.bit(2, REPD) {
        // REPORTED LENGTH, and no timeouts.
        bytes = vec![first, second, 0, 0x0C];
        bytes.resize(16, 0);
    }
    Ok(Reply::Parameters(Parameters { bytes, allocation: allocation.into() }))
}
