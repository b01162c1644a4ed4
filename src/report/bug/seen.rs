//! What was seen: the sentence, the machine, the block's owner, its page, its fate, and what hardware makes of it.

use crate::owner::fields::{Touched, touched};
use crate::record::{OnRace, Outcome, PageHost, Phase, Race};
use crate::report::owners::owner_words;
use crate::report::pages::page_words;
use crate::report::plain::plain;
use crate::report::words::{micros_words, whole_micros_words};
use crate::verdict::Provenance;

use super::case::Case;
use super::fold::paragraph;

/// How many fields are told.
const FIELDS: usize = 12;

pub(super) fn subject(case: &Case<'_>) -> String {
    let what = case
        .evidence
        .race
        .owner
        .as_ref()
        .map_or_else(|| "a block".to_owned(), |owner| plain(&owner.name));
    let fs = case.cell.map_or_else(String::new, |cell| format!("{}: ", plain(&cell.fs)));
    let kernel = case.kernel().map_or_else(String::new, |kernel| format!(" on Linux {kernel}"));
    format!("Subject: {fs}{what} changed while it was being written to the disk{kernel}")
}

/// What was seen, in one sentence.
pub(super) fn sentence(case: &Case<'_>) -> String {
    let race = &case.evidence.race;
    let kernel = case.kernel().map_or_else(String::new, |kernel| format!("On Linux {kernel}, "));
    let during = case.cell.map_or_else(
        || format!("under the label {}, ", plain(case.evidence.label())),
        |cell| format!("during {} on {}, ", plain(&cell.scenario), plain(&cell.fs)),
    );
    let bytes = if race.changed_bytes == 1 {
        "1 byte".to_owned()
    } else {
        format!("{} bytes", race.changed_bytes)
    };
    let window = micros_words(Some(race.window_us));
    let when = match race.phase {
        Phase::BeforeDoorbell => {
            "between the computation of its protection information and the doorbell".to_owned()
        }
        Phase::InWindow => {
            format!("between the doorbell and the fetch of the data by the disk, {window} later")
        }
        Phase::AfterFetch => format!(
            "after the disk had fetched it and before the write was completed, {window} later"
        ),
        Phase::AfterDelivery => {
            format!("in the guest's memory after the disk had delivered it, {window} later")
        }
    };
    let write = match race.outcome {
        Outcome::Delivered => "read",
        Outcome::Failed | Outcome::Stored => "write",
    };
    let changed = match race.changed_bytes {
        0 => "the content".to_owned(),
        _ => bytes,
    };
    let sentence = format!(
        "{kernel}{during}{changed} of block {} ({}) changed {when}: race {} of a {write} of {}.",
        race.lba,
        whose(race),
        race.id.0,
        many(race.request.blocks.0, "block")
    );
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn many(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn whose(race: &Race) -> String {
    race.owner.as_ref().map_or_else(|| "owner not on record".to_owned(), owner_words)
}

/// The kernel, where it is from, and what it ran on.
pub(super) fn kernel(case: &Case<'_>) -> String {
    let mut lines = String::new();
    if let Some(cell) = case.cell {
        let asked =
            case.verdict.and_then(|verdict| word_for(verdict.provenance.as_ref()?, &cell.kernel));
        let asked = asked.map_or_else(String::new, |word| format!(" ({})", plain(word)));
        lines.push_str(&paragraph(&format!("Linux {}{asked}", plain(&cell.kernel))));
        let provenance = case.verdict.and_then(|verdict| verdict.provenance.as_ref());
        if let Some(hash) = provenance.and_then(|known| known.kernel_sha256.get(&cell.kernel)) {
            lines.push_str(&paragraph(&format!("image sha256 {}", plain(hash))));
        }
        if let Some(config) = provenance.and_then(|known| known.config.get(&cell.kernel)) {
            lines.push_str(&paragraph(&format!("config sha256 {}", plain(&config.sha256))));
        }
        let knob = cell.ran_with.or(cell.stable_writes);
        let knob = knob.map_or_else(|| "not known".to_owned(), |knob| knob.to_string());
        lines
            .push_str(&paragraph(&format!("device {}, stable_writes {knob}", plain(&cell.device))));
        if let Some(known) = provenance {
            let qemu = known.qemu.as_deref().unwrap_or("QEMU's version is not on record");
            let accel = known.accel.as_deref().unwrap_or("accelerator not on record");
            lines.push_str(&paragraph(&format!("{}, {}", plain(qemu), plain(accel))));
        }
    } else {
        lines.push_str(&paragraph("Not on record: there is no verdict beside these records."));
    }
    if let Some(start) = &case.session.start {
        lines.push_str(&paragraph(&format!(
            "dixtrapd {}, {}-byte blocks, window {} from doorbell to fetch",
            plain(&start.version),
            start.block_size,
            start.window
        )));
    }
    lines
}

/// What a kernel was asked for by.
pub(super) fn word_for<'a>(provenance: &'a Provenance, release: &str) -> Option<&'a str> {
    provenance.kernels.iter().find(|(_, known)| *known == release).map(|(word, _)| word.as_str())
}

/// The owner of this block with its fields, and those of the label's other races.
pub(super) fn owner(case: &Case<'_>) -> String {
    let race = &case.evidence.race;
    let kind = race.owner.as_ref().map_or_else(String::new, |owner| format!("{}: ", owner.kind));
    let mut lines = paragraph(&format!("{kind}{}", whose(race)));
    let fields = touched(race);
    lines.extend(fields.iter().take(FIELDS).map(field));
    if fields.len() > FIELDS {
        lines.push_str(&paragraph(&format!("and {} more fields", fields.len() - FIELDS)));
    }
    let groups =
        case.session.labels.get(case.evidence.label()).map(|label| label.owners.as_slice());
    let groups = groups.unwrap_or_default();
    if groups.len() > 1 {
        let all: Vec<String> = groups
            .iter()
            .take(FIELDS)
            .map(|group| format!("{} {}", group.races, plain(&group.name)))
            .collect();
        lines.push_str(&paragraph(&format!("All races of this label: {}.", all.join(", "))));
    }
    lines
}

fn field(field: &Touched) -> String {
    let values =
        field.values.as_ref().map_or_else(String::new, |(old, new)| format!(" {old} -> {new}"));
    super::fold::fold(
        &format!("{}: {}{values}", plain(&field.whose), plain(&field.name)),
        "    ",
        "      ",
    )
}

/// The state of the page, and what follows where it is that of all of them.
pub(super) fn page(case: &Case<'_>) -> String {
    let Some(page) = &case.evidence.race.page else {
        return paragraph("Not on record: it could not be read from the guest's memory.");
    };
    let mut lines = paragraph(&page_words(page));
    let label = case.evidence.label();
    if let Some((host, races)) = case.session.pages.held_by_their_owner(label) {
        let all =
            if races == 1 { "The page was".to_owned() } else { format!("All {races} pages were") };
        let word = match host {
            PageHost::Device => format!(
                "{all} under writeback and belonged to the block device's inode: only the file system could have kept \
                 them stable (or a program that writes to the disk itself)."
            ),
            PageHost::File => format!(
                "{all} under writeback and belonged to a file: who stores there has to wait for the writeback \
                 (page_mkwrite, write_begin) where stable pages are asked for."
            ),
            PageHost::Anon | PageHost::None => String::new(),
        };
        lines.push_str(&paragraph(&word));
    } else {
        let text = case.session.pages.text(label);
        lines.extend(text.lines().skip(1).map(paragraph));
    }
    lines
}

/// Whether the disk still has it.
pub(super) fn fate(case: &Case<'_>) -> String {
    let mut words = match (case.evidence.race.outcome, case.evidence.healed_after_us) {
        (Outcome::Failed, _) => {
            "The write was refused, and the disk kept its old bytes.".to_owned()
        }
        (Outcome::Delivered, _) => "A read: the disk was right.".to_owned(),
        (Outcome::Stored, Some(us)) => format!(
            "The bytes as fetched were stored, and a later write covered them {} on.",
            whole_micros_words(us)
        ),
        (Outcome::Stored, None) => {
            "The bytes as fetched were stored, and no later write that is on record covered them."
                .to_owned()
        }
    };
    if let Some(summary) = case.session.labels.get(case.evidence.label()) {
        let (healed, standing) = summary.healed_and_standing();
        let standing = standing.map_or_else(
            || "how many of the others stand is not known".to_owned(),
            |races| format!("{races} stand"),
        );
        words.push_str(&format!(
            " Of the label's {} races {healed} were covered, {standing}.",
            summary.known_races()
        ));
    }
    paragraph(&words)
}

/// What a host adapter with T10 protection information, and one without, makes of such a write.
pub(super) fn hardware(case: &Case<'_>) -> String {
    let race = &case.evidence.race;
    if !race.phase.is_seen_by_hardware() {
        return paragraph("Nothing: what changes behind the transfer is seen by no adapter.");
    }
    let first = race.submit_guard.or(race.doorbell_guard);
    let with = match (race.guard_blind, first, race.fetch_guard.or(race.doorbell_guard)) {
        (true, Some(guard), _) => format!(
            "With T10 protection information (DIX): nothing, by bad luck. The guard is {guard:04x} before and after, and the \
             changed bytes are stored."
        ),
        (false, Some(first), Some(second)) => format!(
            "With T10 protection information (DIX): a guard tag error, sense 0B/10/01, for guard {first:04x} computed \
             and {second:04x} found over the data as fetched. The write fails, its submitter gets EILSEQ (a buffered one EIO from \
             fsync), and no log tells which bytes."
        ),
        _ => "With T10 protection information (DIX): a guard tag error, sense 0B/10/01.".to_owned(),
    };
    let mut lines = paragraph(&with);
    lines.push_str(&paragraph(
        "Without it: nothing. The disk gets the bytes as they are when it fetches them; a checksum that was computed \
         over them before does not fit them.",
    ));
    if case.session.start.as_ref().is_some_and(|start| start.on_race == OnRace::Report) {
        lines.push_str(&paragraph("Here it was stored, as on the latter (--on-race report)."));
    }
    lines
}

/// What fsck or a scrub said, where somebody ran one.
pub(super) fn checked(case: &Case<'_>) -> String {
    if case.checked.is_empty() {
        return paragraph("Not on record: the scenario ran none.");
    }
    case.checked.iter().map(|line| super::fold::fold(&plain(line), "    ", "      ")).collect()
}
