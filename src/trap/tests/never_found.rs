//! Whatever is injected, nothing of it is ever counted as found.

use proptest::prelude::*;

use super::rig::{BLOCKS, LBA, Rig};
use crate::pi::{PiType, Source, Tuple};
use crate::record::OnRace;
use crate::trap::{TrapError, read};
use crate::units::{BlockCount, BlockSize};

#[derive(Debug, Clone)]
enum Step {
    Inject(String),
    Write(u8),
    Read(u8),
    Verify,
    Discard(u64),
    Zero(u64),
}

fn specs() -> impl Strategy<Value = String> {
    let flip = ("data|guard|app|ref", "medium|in|out|medium,op=read|medium,op=read\\+write")
        .prop_map(|(part, place)| format!("flip={part},at={place}"));
    let fault = prop_oneof![
        4 => flip,
        1 => (1i64..9).prop_map(|by| format!("misdirect={by:+}")),
        1 => (-8i64..0).prop_map(|by| format!("misdirect={by}")),
        1 => Just("lost".to_owned()),
        1 => (0u64..4).prop_map(|blocks| format!("torn={blocks}")),
        1 => Just("medium-error".to_owned()),
        1 => Just("busy,op=read+write+discard".to_owned()),
    ];
    (fault, 8u64..12, 1u64..4, 1u64..3)
        .prop_map(|(fault, lba, nth, count)| format!("{fault},lba={lba},nth={nth},count={count}"))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => specs().prop_map(Step::Inject),
        4 => (0u8..6).prop_map(Step::Write),
        3 => (0u8..6).prop_map(Step::Read),
        1 => Just(Step::Verify),
        1 => (0..BLOCKS).prop_map(Step::Discard),
        1 => (0..BLOCKS).prop_map(Step::Zero),
    ];
    proptest::collection::vec(step, 1..40)
}

fn take(rig: &Rig, step: Step, salt: u8) -> Result<(), TrapError> {
    match step {
        Step::Inject(spec) => {
            rig.inject(&spec);
            Ok(())
        }
        Step::Write(wrprotect) => {
            rig.prepare(salt);
            rig.fetch(rig.submit_or_fail(wrprotect)?)
        }
        Step::Read(rdprotect) => {
            let mut data = vec![0; rig.size() * BLOCKS as usize];
            let mut tuples = vec![Tuple::ESCAPE; BLOCKS as usize];
            let checks = rig.checks(Source::Read, rdprotect);
            read::protected(&rig.trap, LBA, &mut data, &mut tuples, &checks)
        }
        Step::Verify => {
            let checks = rig.checks(Source::VerifyMedium, 1);
            read::verify(&rig.trap, LBA, BlockCount(BLOCKS), &checks)
        }
        Step::Discard(block) => rig.trap.discard(LBA.offset(block), BlockCount(2)),
        Step::Zero(block) => rig.trap.write_zeroes(LBA.offset(block), BlockCount(2), false),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn what_was_injected(kind in 1u8..4, on_race in any::<bool>(), steps in steps()) {
        let on_race = if on_race { OnRace::Fail } else { OnRace::Report };
        let rig = Rig::new(PiType::from_number(kind).unwrap(), BlockSize::B512, on_race);
        for (step, salt) in steps.into_iter().zip(1u8..) {
            if let Err(error) = take(&rig, step, salt) {
                prop_assert!(error.is_counted_elsewhere(), "{error:?}");
            }
        }
        let counters = rig.counters();
        prop_assert_eq!((counters.all_races(), counters.medium_faults, counters.errors), (0, 0, 0));
        prop_assert_eq!(counters.injected, rig.injections().len() as u64);
        prop_assert!(rig.medium_faults().iter().all(|fault| fault.injected));
    }
}
