//! Which commands exist: the one place that says so. REPORT SUPPORTED OPERATION CODES reads it too.

use super::cdb::Cdb;
use super::command::Command;
use super::command::When::{Always, Everywhere, Reachable, Started};
use super::{capacity, inquiry, maintenance, mode, read_write, ready, unmap, verify, write_same};

/// The commands, in the order of their codes.
#[rustfmt::skip]
pub(super) static COMMANDS: [Command; 40] = [
    Command { name: "TEST UNIT READY", opcode: 0x00, action: None, when: Started, medium: false, run: ready::test_unit_ready,
        usage: &[0, 0, 0, 0, 0, 0] },
    Command { name: "REQUEST SENSE", opcode: 0x03, action: None, when: Everywhere(ready::sense_of_no_unit), medium: false, run: ready::request_sense,
        usage: &[0x03, 0x01, 0, 0, 0xFF, 0] },
    Command { name: "READ(6)", opcode: 0x08, action: None, when: Started, medium: true, run: read_write::read,
        usage: &[0x08, 0x1F, 0xFF, 0xFF, 0xFF, 0] },
    Command { name: "WRITE(6)", opcode: 0x0A, action: None, when: Started, medium: true, run: read_write::write,
        usage: &[0x0A, 0x1F, 0xFF, 0xFF, 0xFF, 0] },
    Command { name: "INQUIRY", opcode: 0x12, action: None, when: Everywhere(inquiry::absent), medium: false, run: inquiry::inquiry,
        usage: &[0x12, 0x01, 0xFF, 0xFF, 0xFF, 0] },
    Command { name: "MODE SELECT(6)", opcode: 0x15, action: None, when: Reachable, medium: false, run: mode::mode_select_6,
        usage: &[0x15, 0x11, 0, 0, 0xFF, 0] },
    Command { name: "MODE SENSE(6)", opcode: 0x1A, action: None, when: Reachable, medium: false, run: mode::mode_sense_6,
        usage: &[0x1A, 0x08, 0xFF, 0xFF, 0xFF, 0] },
    Command { name: "START STOP UNIT", opcode: 0x1B, action: None, when: Reachable, medium: false, run: ready::start_stop,
        usage: &[0x1B, 0x01, 0, 0x0F, 0xF7, 0] },
    Command { name: "PREVENT ALLOW MEDIUM REMOVAL", opcode: 0x1E, action: None, when: Reachable, medium: false, run: ready::prevent_allow,
        usage: &[0x1E, 0, 0, 0, 0x03, 0] },
    Command { name: "READ CAPACITY(10)", opcode: 0x25, action: None, when: Started, medium: false, run: capacity::read_capacity_10,
        usage: &[0x25, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0] },
    Command { name: "READ(10)", opcode: 0x28, action: None, when: Started, medium: true, run: read_write::read,
        usage: &[0x28, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0] },
    Command { name: "WRITE(10)", opcode: 0x2A, action: None, when: Started, medium: true, run: read_write::write,
        usage: &[0x2A, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0] },
    Command { name: "WRITE AND VERIFY(10)", opcode: 0x2E, action: None, when: Started, medium: true, run: read_write::write_and_verify,
        usage: &[0x2E, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0] },
    Command { name: "VERIFY(10)", opcode: 0x2F, action: None, when: Started, medium: true, run: verify::verify,
        usage: &[0x2F, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0] },
    Command { name: "SYNCHRONIZE CACHE(10)", opcode: 0x35, action: None, when: Started, medium: true, run: ready::synchronize_cache,
        usage: &[0x35, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0] },
    Command { name: "WRITE SAME(10)", opcode: 0x41, action: None, when: Started, medium: true, run: write_same::write_same,
        usage: &[0x41, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0] },
    Command { name: "UNMAP", opcode: 0x42, action: None, when: Started, medium: true, run: unmap::unmap,
        usage: &[0x42, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0] },
    Command { name: "MODE SELECT(10)", opcode: 0x55, action: None, when: Reachable, medium: false, run: mode::mode_select_10,
        usage: &[0x55, 0x11, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0] },
    Command { name: "MODE SENSE(10)", opcode: 0x5A, action: None, when: Reachable, medium: false, run: mode::mode_sense_10,
        usage: &[0x5A, 0x18, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0] },
    Command { name: "READ(32)", opcode: 0x7F, action: Some(0x09), when: Started, medium: true, run: read_write::read,
        usage: &[0x7F, 0, 0, 0, 0, 0, 0, 0x18, 0, 0x09, 0xF8, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF] },
    Command { name: "VERIFY(32)", opcode: 0x7F, action: Some(0x0A), when: Started, medium: true, run: verify::verify,
        usage: &[0x7F, 0, 0, 0, 0, 0, 0, 0x18, 0, 0x0A, 0xF6, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF] },
    Command { name: "WRITE(32)", opcode: 0x7F, action: Some(0x0B), when: Started, medium: true, run: read_write::write,
        usage: &[0x7F, 0, 0, 0, 0, 0, 0, 0x18, 0, 0x0B, 0xF8, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF] },
    Command { name: "WRITE AND VERIFY(32)", opcode: 0x7F, action: Some(0x0C), when: Started, medium: true, run: read_write::write_and_verify,
        usage: &[0x7F, 0, 0, 0, 0, 0, 0, 0x18, 0, 0x0C, 0xF6, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF] },
    Command { name: "WRITE SAME(32)", opcode: 0x7F, action: Some(0x0D), when: Started, medium: true, run: write_same::write_same,
        usage: &[0x7F, 0, 0, 0, 0, 0, 0, 0x18, 0, 0x0D, 0xF9, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF] },
    Command { name: "READ(16)", opcode: 0x88, action: None, when: Started, medium: true, run: read_write::read,
        usage: &[0x88, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] },
    Command { name: "COMPARE AND WRITE", opcode: 0x89, action: None, when: Started, medium: true, run: read_write::compare_and_write,
        usage: &[0x89, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0, 0] },
    Command { name: "WRITE(16)", opcode: 0x8A, action: None, when: Started, medium: true, run: read_write::write,
        usage: &[0x8A, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] },
    Command { name: "WRITE AND VERIFY(16)", opcode: 0x8E, action: None, when: Started, medium: true, run: read_write::write_and_verify,
        usage: &[0x8E, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] },
    Command { name: "VERIFY(16)", opcode: 0x8F, action: None, when: Started, medium: true, run: verify::verify,
        usage: &[0x8F, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] },
    Command { name: "SYNCHRONIZE CACHE(16)", opcode: 0x91, action: None, when: Started, medium: true, run: ready::synchronize_cache,
        usage: &[0x91, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] },
    Command { name: "WRITE SAME(16)", opcode: 0x93, action: None, when: Started, medium: true, run: write_same::write_same,
        usage: &[0x93, 0xF9, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] },
    Command { name: "READ CAPACITY(16)", opcode: 0x9E, action: Some(0x10), when: Started, medium: false, run: capacity::read_capacity_16,
        usage: &[0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] },
    Command { name: "GET LBA STATUS(16)", opcode: 0x9E, action: Some(0x12), when: Started, medium: false, run: capacity::get_lba_status,
        usage: &[0x9E, 0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] },
    Command { name: "REPORT LUNS", opcode: 0xA0, action: None, when: Always, medium: false, run: inquiry::report_luns,
        usage: &[0xA0, 0, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] },
    Command { name: "REPORT SUPPORTED OPERATION CODES", opcode: 0xA3, action: Some(0x0C), when: Reachable, medium: false, run: maintenance::report_opcodes,
        usage: &[0xA3, 0x0C, 0x87, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] },
    Command { name: "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", opcode: 0xA3, action: Some(0x0D), when: Reachable, medium: false, run: maintenance::report_functions,
        usage: &[0xA3, 0x0D, 0x80, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] },
    Command { name: "READ(12)", opcode: 0xA8, action: None, when: Started, medium: true, run: read_write::read,
        usage: &[0xA8, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] },
    Command { name: "WRITE(12)", opcode: 0xAA, action: None, when: Started, medium: true, run: read_write::write,
        usage: &[0xAA, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] },
    Command { name: "WRITE AND VERIFY(12)", opcode: 0xAE, action: None, when: Started, medium: true, run: read_write::write_and_verify,
        usage: &[0xAE, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] },
    Command { name: "VERIFY(12)", opcode: 0xAF, action: None, when: Started, medium: true, run: verify::verify,
        usage: &[0xAF, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] },
];

/// The command with this operation code, service action and length.
pub(super) fn find(cdb: &Cdb) -> Option<&'static Command> {
    let (opcode, action) = (cdb.opcode(), cdb.service_action());
    COMMANDS.iter().find(|command| {
        command.opcode == opcode
            && command.action.is_none_or(|wanted| wanted == action)
            && cdb.length() == Some(command.usage.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::scsi::drive::command::check_usage;
    use crate::proto::scsi::drive::sense::Sense;

    #[test]
    fn every_row_agrees_with_itself() {
        for command in &COMMANDS {
            let cdb = Cdb::new(command.usage);
            assert_eq!(command.usage[0], command.opcode, "{command:?}");
            assert_eq!(cdb.length(), Some(command.usage.len()), "{command:?}");
            if let Some(action) = command.action {
                assert_eq!(cdb.service_action(), action, "{command:?}");
            }
            assert!(std::ptr::eq(find(&cdb).unwrap(), command), "{command:?} is found");
            assert_eq!(cdb.control(), 0, "{command:?} has no CONTROL bits");
        }
        let mut codes: Vec<_> = COMMANDS.iter().map(|c| (c.opcode, c.action)).collect();
        codes.dedup();
        assert_eq!(codes.len(), COMMANDS.len());
        assert!(codes.is_sorted());
    }

    #[test]
    fn stray_bits_are_pointed_at() {
        let write = find(&Cdb::new(&[0x2A])).unwrap();
        assert!(check_usage(write, &Cdb::new(&[0x2A, 0xF8, 1, 2, 3, 4, 0, 1, 2])).is_ok());
        let naca = Cdb::new(&[0x2A, 0, 0, 0, 0, 0, 0, 0, 0, 0x04]);
        let sense = check_usage(write, &naca).unwrap_err().sense().unwrap();
        assert_eq!(sense, Sense::in_cdb_bit(9, 2));
    }
}
