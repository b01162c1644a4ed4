//! The language read and written.

use proptest::prelude::*;

use super::*;
use crate::inject::HELP;

fn refused(text: &str) -> String {
    text.parse::<Spec>().expect_err(text).to_string()
}

#[test]
fn the_example_means_what_it_says() {
    let spec: Spec = "flip=guard,at=medium,op=write,lba=100..200,count=1".parse().unwrap();
    let flip = Fault::Flip { part: Part::Guard, place: Place::Medium, byte: 0 };
    let blocks = Some(LbaRange { first: Lba(100), end: Lba(200) });
    assert_eq!(spec, Spec { blocks, ..Spec::new(flip) });
    assert_eq!(spec.to_string(), "flip=guard,at=medium,lba=100..200");
}

#[test]
fn order_and_spaces_do_not_matter() {
    let one: Spec = "lba=7, op=read+write ,sense=3/11/0".parse().unwrap();
    let other: Spec = "sense=03/11/00,op=write+read,lba=7..8".parse().unwrap();
    assert_eq!(one, other);
    assert_eq!(one.to_string(), "sense=3/11/00,op=read+write,lba=7");
}

#[test]
fn every_fault_has_its_defaults() {
    for (text, canonical) in [
        ("flip=data", "flip=data,at=medium"),
        ("flip=ref,at=out", "flip=ref,at=out"),
        ("flip=app,at=in,op=write", "flip=app,at=in"),
        ("flip=data,byte=511,op=read", "flip=data,at=medium,byte=511,op=read"),
        ("misdirect=-8", "misdirect=-8"),
        ("lost,count=all", "lost,count=all"),
        ("torn=0,nth=3", "torn=0,nth=3"),
        ("medium-error,op=any,p=0.5", "medium-error,p=0.5"),
        ("busy,lun=2", "busy,lun=2"),
        ("no-answer,op=flush", "no-answer,op=flush"),
    ] {
        assert_eq!(text.parse::<Spec>().unwrap().to_string(), canonical);
    }
}

#[test]
fn mistakes_are_answered_with_what_would_be_right() {
    for (text, words) in [
        ("", "neither a fault"),
        ("op=write", "names no fault"),
        ("flip", "write flip=data"),
        ("flip=crc", "data, guard, app or ref"),
        ("flip=data,at=disk", "medium, in or out"),
        ("lost,busy", "'busy' is a second fault"),
        ("lost,lost", "second fault"),
        ("lost=1", "the word alone"),
        ("busy,", "neither a fault"),
        ("explode", "'explode' is neither"),
        ("busy,when=now", "'when=now' is neither"),
        ("busy,op=reads", "read, write, verify"),
        ("busy,op=", "read, write, verify"),
        ("busy,lba=9..9", "100 or 100..200"),
        ("busy,lba=9..", "100 or 100..200"),
        ("busy,lba=18446744073709551615", "100 or 100..200"),
        ("busy,lun=65536", "up to 65535"),
        ("busy,nth=0", "from 1 on"),
        ("busy,count=0", "from 1 on, or all"),
        ("busy,count=1,count=2", "'count=' is given twice"),
        ("busy,p=0", "above 0 and up to 1"),
        ("busy,p=NaN", "above 0 and up to 1"),
        ("busy,at=in", "'at=' belongs to flips"),
        ("flip=guard,byte=3", "'byte=' belongs to flip=data"),
        ("flip=data,byte=4096", "from 0 to 4095"),
        ("misdirect=8", "+8 or -8"),
        ("misdirect=+0", "+8 or -8"),
        ("sense=3/11", "3/11/00"),
        ("sense=10/11/00", "3/11/00"),
        ("sense=3/1g/00", "3/11/00"),
        ("lost,op=read", "lost cannot happen to op=read: it happens to op=write"),
        ("flip=data,at=out,op=any", "cannot happen to op=write: it happens to op=read"),
    ] {
        let message = refused(text);
        assert!(message.contains(words), "{text}: {message}");
    }
}

#[test]
fn the_help_names_everything() {
    for word in ["flip=", "misdirect=", "lost", "torn=", "sense=", "medium-error", "busy"] {
        assert!(HELP.contains(word), "{word}");
    }
    for op in Op::ALL {
        assert!(HELP.contains(op.name()), "{}", op.name());
    }
    for key in ["at=", "byte=", "op=", "lba=", "lun=", "nth=", "p=", "count=", "no-answer"] {
        assert!(HELP.contains(key), "{key}");
    }
}

fn faults() -> impl Strategy<Value = Fault> {
    let flip = (0..4usize, 0..3usize, 0u16..4096).prop_map(|(part, place, byte)| {
        let (part, place) = (Part::ALL[part], Place::ALL[place]);
        Fault::Flip { part, place, byte: if part == Part::Data { byte } else { 0 } }
    });
    let sense = (0u8..16, any::<u8>(), any::<u8>())
        .prop_map(|(key, asc, ascq)| Fault::Sense(Sense { key, asc, ascq }));
    prop_oneof![
        flip,
        any::<i64>().prop_filter("a distance", |by| *by != 0).prop_map(Fault::Misdirect),
        Just(Fault::Lost),
        any::<u64>().prop_map(Fault::Torn),
        sense,
        Just(Fault::MediumError),
        Just(Fault::Busy),
        Just(Fault::NoAnswer),
    ]
}

prop_compose! {
    fn specs()(
        fault in faults(),
        ops in 1u8..=0x7F,
        blocks in proptest::option::of((0..u64::MAX, 1u64..1000)),
        lun in proptest::option::of(any::<u16>()),
        nth in 1u64..,
        probability in prop_oneof![Just(1.0), 1e-9f64..1.0],
        count in proptest::option::of(1u64..),
    ) -> Spec {
        let chosen = Op::ALL.into_iter().enumerate().filter(|(i, _)| ops & (1 << i) != 0);
        let possible = chosen.filter(|(_, op)| possible_ops(fault).has(*op));
        let ops = possible.fold(OpSet::NONE, |set, (_, op)| set.with(op));
        let new = Spec::new(fault);
        let ops = if ops == OpSet::NONE { new.ops } else { ops };
        let blocks = blocks.map(|(first, len)| {
            LbaRange { first: Lba(first), end: Lba(first.saturating_add(len)) }
        });
        Spec { ops, blocks, lun, nth, probability, count, ..new }
    }
}

proptest! {
    #[test]
    fn printed_and_read_again_it_is_the_same(spec in specs()) {
        prop_assert_eq!(spec.to_string().parse::<Spec>().unwrap(), spec);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[a-z0-9=,./+-]{0,40}") {
        if let Ok(spec) = text.parse::<Spec>() {
            prop_assert_eq!(spec.to_string().parse::<Spec>().unwrap(), spec);
        }
    }
}
