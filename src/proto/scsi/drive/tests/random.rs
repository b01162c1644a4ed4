//! Whatever bytes come, there is an answer.

use proptest::prelude::*;

use super::rig::Rig;
use crate::pi::{PiType, Tuple};
use crate::proto::scsi::drive::Status;
use crate::proto::scsi::drive::table::COMMANDS;
use crate::record::OnRace;
use crate::units::BlockSize;

fn pi_types() -> impl Strategy<Value = PiType> {
    (0u8..4).prop_map(|number| PiType::from_number(number).unwrap())
}

/// Random bytes, or a command that exists with random bits in its fields.
fn cdbs() -> impl Strategy<Value = Vec<u8>> {
    let anything = proptest::collection::vec(any::<u8>(), 0..=40);
    let known = (0..COMMANDS.len(), any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(
        |(index, bits, thin)| {
            let usage = COMMANDS[index].usage;
            let code = if usage.len() == 32 { 10 } else { 1 };
            // Sparse bits keep many fields in range.
            let field = |at: usize| usage[at] & bits[at] & thin[at] & bits[(at + 7) % 32];
            let rest = (code..usage.len()).map(|at| match (usage[0], at) {
                (0x9E | 0xA3, 1) => usage[1],
                _ => field(at),
            });
            usage[..code].iter().copied().chain(rest).collect()
        },
    );
    prop_oneof![anything, known]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_command_is_answered(
        pi_type in pi_types(),
        big: bool,
        commands in proptest::collection::vec(
            (cdbs(), proptest::collection::vec(any::<u8>(), 0..3000), 0u32..70_000, 0u32..200, any::<bool>()),
            1..8,
        ),
    ) {
        let size = if big { BlockSize::B4096 } else { BlockSize::B512 };
        let rig = Rig::with(pi_type, size, OnRace::Report);
        for (cdb, out, room, tuples, with_tuples) in commands {
            let sent = vec![Tuple::ESCAPE; tuples as usize];
            let sent = with_tuples.then_some(&sent[..]);
            let outcome = rig.run(&cdb, &out, room, sent, tuples);
            let answer = &outcome.answer;
            let has_sense = !answer.sense.is_empty();
            prop_assert_eq!(answer.status == Status::CheckCondition, has_sense);
            prop_assert!(answer.sense.len() <= 96);
            prop_assert!(!has_sense || outcome.sense().is_some());
            prop_assert!(answer.moved <= u64::from(room).max(out.len() as u64));
        }
    }
}
