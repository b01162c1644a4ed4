//! What REPORT SUPPORTED OPERATION CODES answers is what the target does.

use super::rig::Rig;
use crate::pi::PiType;
use crate::proto::scsi::drive::table::COMMANDS;

/// The command itself: options, operation code, service action.
fn report(rig: &Rig, options: u8, opcode: u8, action: u16) -> Vec<u8> {
    let [high, low] = action.to_be_bytes();
    let cdb = [0xA3, 0x0C, options, opcode, high, low, 0, 0, 0xFF, 0xFF, 0, 0];
    let outcome = rig.ask(&cdb);
    assert!(outcome.is_good(), "{opcode:#x}/{action:#x}: {outcome:?}");
    outcome.data
}

#[test]
fn the_list_is_the_table() {
    let rig = Rig::new(PiType::Type1);
    let bytes = report(&rig, 0, 0, 0);
    let length = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
    assert_eq!(length, bytes.len() - 4);
    let listed: Vec<_> = bytes[4..]
        .chunks(8)
        .map(|one| {
            let action = u16::from_be_bytes([one[2], one[3]]);
            (one[0], (one[5] & 1 != 0).then_some(action), usize::from(one[7]))
        })
        .collect();
    let table: Vec<_> = COMMANDS.iter().map(|c| (c.opcode, c.action, c.usage.len())).collect();
    assert_eq!(listed, table);
}

#[test]
fn each_command_is_reported_alone_with_its_usage() {
    let rig = Rig::new(PiType::Type1);
    for command in &COMMANDS {
        let bytes = report(&rig, 3, command.opcode, command.action.unwrap_or(0));
        assert_eq!((bytes[1], &bytes[4..]), (0b011, command.usage), "{command:?}");
    }
}

/// Every operation code, and every service action of those that have some: exactly those that are
/// reported are not answered with INVALID COMMAND OPERATION CODE.
#[test]
fn exactly_the_reported_commands_exist() {
    let rig = Rig::new(PiType::None);
    let mut found = 0;
    for opcode in 0..=0xFFu8 {
        let has_actions = COMMANDS.iter().any(|c| c.opcode == opcode && c.action.is_some());
        for action in 0..=(if has_actions { 0x1F } else { 0 }) {
            let reported = report(&rig, 3, opcode, action)[1] == 0b011;
            let mut cdb = [0; 32];
            cdb[0] = opcode;
            match (opcode, has_actions) {
                (0x7F, _) => (cdb[7], cdb[9]) = (0x18, action as u8),
                (_, true) => cdb[1] = action as u8,
                _ => {}
            }
            let exists = rig.ask(&cdb).sense() != Some((5, 0x20, 0));
            // Without Type 2 the 32-byte commands are reported and do not exist (SBC-4 §4.21.2).
            assert_eq!(exists, reported && opcode != 0x7F, "{opcode:#x}/{action:#x}");
            found += usize::from(reported);
            // One of them stops the unit.
            assert!(rig.ask(&[0x1B, 0, 0, 0, 1]).is_good());
        }
    }
    assert_eq!(found, COMMANDS.len());
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let rig = Rig::new(PiType::Type1);
    for (options, opcode) in [(1, 0x9E), (2, 0x28), (4, 0x28)] {
        let cdb = [0xA3, 0x0C, options, opcode, 0, 0, 0, 0, 0, 64, 0, 0];
        assert_eq!(rig.ask(&cdb).sense(), Some((5, 0x24, 0)), "{options}");
    }
}
