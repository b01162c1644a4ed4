//! SBC's tables, written out in full, against the code. The numbers are those of the SBC-5 draft that
//! goes with SPC-6; each row was read there.

use super::*;

/// A row: code, formatted with protection information, transferred, then what is checked of guard,
/// application and reference tag. `known` is "if the device server has knowledge of it"; `may` leaves
/// it to the device server, and this one checks what it may and can.
type Row = (u8, bool, Result<bool, Refusal>, [&'static str; 3]);

const ERROR: Result<bool, Refusal> = Err(Refusal::InvalidField);
const NONE: [&str; 3] = ["no", "no", "no"];

/// READ (10): table 79, "RDPROTECT field".
const RDPROTECT: &[Row] = &[
    (0b000, true, Ok(false), ["yes", "known", "known"]),
    (0b000, false, Ok(false), NONE),
    (0b001, true, Ok(true), ["yes", "known", "known"]),
    (0b001, false, ERROR, NONE),
    (0b010, true, Ok(true), ["no", "known", "known"]),
    (0b010, false, ERROR, NONE),
    (0b011, true, Ok(true), NONE),
    (0b011, false, ERROR, NONE),
    (0b100, true, Ok(true), ["yes", "no", "no"]),
    (0b100, false, ERROR, NONE),
    (0b101, true, Ok(true), ["yes", "known", "known"]),
    (0b101, false, ERROR, NONE),
    (0b110, true, ERROR, NONE),
    (0b110, false, ERROR, NONE),
    (0b111, true, ERROR, NONE),
    (0b111, false, ERROR, NONE),
];

/// WRITE (10): table 133, "WRPROTECT field". With RWWP zero the application tag may be checked
/// (§5.40.2). 010b's reference tag is a "may" whose note j makes it a "shall" for types 1 and 2.
const WRPROTECT: &[Row] = &[
    (0b000, true, Ok(false), NONE),
    (0b000, false, Ok(false), NONE),
    (0b001, true, Ok(true), ["yes", "may", "known"]),
    (0b001, false, ERROR, NONE),
    (0b010, true, Ok(true), ["no", "may", "known"]),
    (0b010, false, ERROR, NONE),
    (0b011, true, Ok(true), NONE),
    (0b011, false, ERROR, NONE),
    (0b100, true, Ok(true), ["yes", "no", "no"]),
    (0b100, false, ERROR, NONE),
    (0b101, true, Ok(true), ["yes", "may", "may"]),
    (0b101, false, ERROR, NONE),
    (0b110, true, ERROR, NONE),
    (0b110, false, ERROR, NONE),
    (0b111, true, ERROR, NONE),
    (0b111, false, ERROR, NONE),
];

/// VERIFY (10): table 125, "VRPROTECT field with the BYTCHK field set to 00b", medium. Nothing is transferred.
const VRPROTECT_MEDIUM: &[Row] = &[
    (0b000, true, Ok(false), ["yes", "known", "known"]),
    (0b000, false, Ok(false), NONE),
    (0b001, true, Ok(false), ["yes", "known", "known"]),
    (0b001, false, ERROR, NONE),
    (0b010, true, Ok(false), ["no", "known", "known"]),
    (0b010, false, ERROR, NONE),
    (0b011, true, Ok(false), NONE),
    (0b011, false, ERROR, NONE),
    (0b100, true, Ok(false), ["yes", "no", "no"]),
    (0b100, false, ERROR, NONE),
    (0b101, true, Ok(false), ["yes", "known", "known"]),
    (0b101, false, ERROR, NONE),
    (0b110, true, ERROR, NONE),
    (0b110, false, ERROR, NONE),
    (0b111, true, ERROR, NONE),
    (0b111, false, ERROR, NONE),
];

/// VERIFY (10): table 126, "VRPROTECT field with the BYTCHK field set to 01b or 11b", medium.
const VRPROTECT_COMPARE_MEDIUM: &[Row] = &[
    (0b000, true, Ok(false), ["yes", "known", "known"]),
    (0b000, false, Ok(false), NONE),
    (0b001, true, Ok(false), NONE),
    (0b001, false, ERROR, NONE),
    (0b010, true, Ok(false), NONE),
    (0b010, false, ERROR, NONE),
    (0b011, true, Ok(false), NONE),
    (0b011, false, ERROR, NONE),
    (0b100, true, Ok(false), NONE),
    (0b100, false, ERROR, NONE),
    (0b101, true, Ok(false), NONE),
    (0b101, false, ERROR, NONE),
    (0b110, true, ERROR, NONE),
    (0b110, false, ERROR, NONE),
    (0b111, true, ERROR, NONE),
    (0b111, false, ERROR, NONE),
];

/// The same, Data-Out Buffer: table 127; ORWRITE's Data-Out Buffer, table 68, has the same rows.
const VRPROTECT_DATA_OUT: &[Row] = &[
    (0b000, true, Ok(false), NONE),
    (0b000, false, Ok(false), NONE),
    (0b001, true, Ok(true), ["yes", "known", "known"]),
    (0b001, false, ERROR, NONE),
    (0b010, true, Ok(true), ["no", "known", "known"]),
    (0b010, false, ERROR, NONE),
    (0b011, true, Ok(true), NONE),
    (0b011, false, ERROR, NONE),
    (0b100, true, Ok(true), ["yes", "no", "no"]),
    (0b100, false, ERROR, NONE),
    (0b101, true, Ok(true), ["yes", "may", "may"]),
    (0b101, false, ERROR, NONE),
    (0b110, true, ERROR, NONE),
    (0b110, false, ERROR, NONE),
    (0b111, true, ERROR, NONE),
    (0b111, false, ERROR, NONE),
];

/// Each table, and whether what it speaks of comes from the medium, where escapes count.
const TABLES: &[(Source, &[Row], bool)] = &[
    (Source::Read, RDPROTECT, true),
    (Source::Write, WRPROTECT, false),
    (Source::VerifyMedium, VRPROTECT_MEDIUM, true),
    (Source::CompareMedium, VRPROTECT_COMPARE_MEDIUM, true),
    (Source::CompareDataOut, VRPROTECT_DATA_OUT, false),
    (Source::OrMedium, VRPROTECT_MEDIUM, true),
    (Source::OrDataOut, VRPROTECT_DATA_OUT, false),
];

const EXPECTED: Expected = Expected::new(0x0BAD_CAFE, 0x1234, 0xFF00);
const LBA: Lba = Lba(0x7_0000_0005);

/// What a device can know: of the application tag what a 32-byte CDB says while ATO is one; of the
/// reference tag the address (Type 1) or what the CDB says (Type 2).
fn known(kind: u8, ato: bool, long: bool) -> (Option<ExpectedApp>, Option<RefTag>) {
    let reference = match (kind, long) {
        (1, _) => Some(RefTag(5)),
        (2, true) => Some(RefTag(0x0BAD_CAFE)),
        _ => None,
    };
    ((ato && long).then_some(EXPECTED.app), reference)
}

#[test]
fn every_row_of_every_table_for_every_type() {
    let mut rows = 0;
    for (source, table, medium) in TABLES {
        assert_eq!(table.len(), 16);
        for (field, formatted, transferred, [guard, app, reference]) in *table {
            for (kind, ato, long) in settings(*formatted) {
                let what = format!("{source:?} {field:03b} type {kind} ATO {ato} 32-byte {long}");
                let protect = protect(*field, kind, ato, long);
                let got = protect.transfer(*source);
                rows += 1;
                if long != (kind == 2) && (long || *field != 0) && (long || kind == 2) {
                    assert_eq!(got, Err(Refusal::InvalidOpcode), "{what}");
                    continue;
                }
                let Ok(carries_pi) = transferred else {
                    assert_eq!(got, Err(Refusal::InvalidField), "{what}");
                    continue;
                };
                let (known_app, known_reference) = known(kind, ato, long);
                let checks = Checks {
                    kind: PiType::from_number(kind).unwrap(),
                    guard: *guard == "yes",
                    app: known_app.filter(|_| *app != "no"),
                    reference: known_reference.filter(|_| *reference != "no"),
                    escapes: *medium,
                };
                assert_eq!(got, Ok(Transfer { carries_pi: *carries_pi, checks }), "{what}");
            }
        }
    }
    // 7 tables, 8 codes, 4 types, ATO, CDB length.
    assert_eq!(rows, 7 * 8 * 4 * 2 * 2);
}

fn settings(formatted: bool) -> impl Iterator<Item = (u8, bool, bool)> {
    let kinds = if formatted { 1..=3 } else { 0..=0 };
    kinds.flat_map(|kind| {
        [(false, false), (false, true), (true, false), (true, true)]
            .map(|(ato, long)| (kind, ato, long))
    })
}

fn protect(field: u8, kind: u8, ato: bool, long: bool) -> Protect {
    let kind = PiType::from_number(kind).unwrap();
    Protect { field, kind, ato, lba: LBA, expected: long.then_some(EXPECTED) }
}

/// VERIFY (10): table 128, "… compare operation requirements": code, guard, application tag with ATO
/// one, reference tag with types 1 and 2, with Type 3 and ATO zero, with Type 3 and ATO one.
const COMPARED: &[(u8, [bool; 5])] = &[
    (0b000, [false, false, false, false, false]),
    (0b001, [true, true, true, false, true]),
    (0b010, [false, true, true, false, true]),
    (0b011, [true, true, true, false, true]),
    (0b100, [true, true, true, false, true]),
    (0b101, [true, true, false, false, false]),
];

#[test]
fn what_is_compared_byte_by_byte() {
    for (field, [guard, app, typed, free, owned]) in COMPARED {
        for (kind, ato) in [(1, false), (1, true), (2, false), (2, true), (3, false), (3, true)] {
            let reference = match (kind, ato) {
                (3, true) => *owned,
                (3, false) => *free,
                _ => *typed,
            };
            let wanted = Compared { guard: *guard, app: *app && ato, reference };
            let got = protect(*field, kind, ato, kind == 2).compared();
            assert_eq!(got, Ok(wanted), "{field:03b} type {kind} ATO {ato}");
        }
    }
    assert_eq!(protect(6, 1, false, false).compared(), Err(Refusal::InvalidField));
    assert_eq!(protect(1, 0, false, false).compared(), Err(Refusal::InvalidField));
}
