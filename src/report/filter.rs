//! Which races a report is about: what was asked for on the command line, and what it leaves of records and
//! of a verdict. What is left out is said, and a filter changes no verdict.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use glob::Pattern;

use crate::record::{Culprit, Owner, OwnerKind, Phase, Race};
use crate::units::{parse_duration, parse_limit};
use crate::verdict::{Cell, CellOutcome, CulpritGroup, Filtered, OwnerGroup, Verdict};

/// A pattern of a shell: `*`, `?`, `[abc]`; a `*` spans slashes too.
#[derive(Debug, Clone)]
pub struct Glob(Pattern);

impl FromStr for Glob {
    type Err = String;

    fn from_str(text: &str) -> Result<Glob, String> {
        let wrong = |error: glob::PatternError| {
            format!("'{text}' is no pattern ({}): write name, 'name*', '?' or '[ab]'", error.msg)
        };
        Pattern::new(text).map(Glob).map_err(wrong)
    }
}

impl Glob {
    fn fits(&self, text: &str) -> bool {
        self.0.matches(text)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.as_str())
    }
}

/// A moment of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// So long after its first record.
    After(Duration),
    /// By the clock on the wall.
    At(DateTime<Utc>),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Ok(Moment::At(time.to_utc()));
        }
        let after =
            parse_duration(text).map_err(drop).or_else(|()| parse_limit(text).map_err(drop));
        after.map(Moment::After).map_err(|()| {
            format!(
                "'{text}' is no moment: write a time from the records' beginning (250ms, 90s, 10m), or a date \
                 (2026-01-31T12:00:00Z)"
            )
        })
    }
}

impl Moment {
    /// In microseconds from the first record, which was written at `unix_ms`; `None` where that is not known.
    fn micros(self, unix_ms: Option<u64>) -> Option<i128> {
        match self {
            Moment::After(time) => i128::try_from(time.as_micros()).ok(),
            Moment::At(time) => {
                Some(i128::from(time.timestamp_micros()) - i128::from(unix_ms?) * 1_000)
            }
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Moment::After(time) => f.write_str(&crate::units::format_duration(*time)),
            Moment::At(time) => f.write_str(&time.to_rfc3339()),
        }
    }
}

/// The phases by the names that records have for them.
pub const PHASES: [(&str, Phase); 4] = [
    ("before-doorbell", Phase::BeforeDoorbell),
    ("in-window", Phase::InWindow),
    ("after-fetch", Phase::AfterFetch),
    ("after-delivery", Phase::AfterDelivery),
];

/// Reads the name of a phase.
///
/// # Errors
/// In words, where it is none.
pub fn parse_phase(text: &str) -> Result<Phase, String> {
    let named = PHASES.iter().find(|(name, _)| *name == text);
    named.map(|(_, phase)| *phase).ok_or_else(|| {
        let names = PHASES.map(|(name, _)| name).join(", ");
        format!("'{text}' is no phase of a race: use one of {names}")
    })
}

/// What was asked for; everything, where nothing was.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The label, or the name of the cell that it is of.
    pub label: Option<Glob>,
    /// The owner's path.
    pub file: Option<Glob>,
    /// The owner's name or kind.
    pub owner: Option<Glob>,
    /// Who changed the bytes: the function, its module, the program's file or the task.
    pub culprit: Option<Glob>,
    /// Not before.
    pub since: Option<Moment>,
    /// Not after.
    pub until: Option<Moment>,
    /// Between which samples.
    pub phase: Option<Phase>,
}

impl Filter {
    /// Nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.words().is_empty()
    }

    /// Whole labels are taken or left, and none in part.
    pub fn is_of_labels_alone(&self) -> bool {
        Filter { label: None, ..self.clone() }.is_empty()
    }

    /// Whether dates are asked for, which records without a beginning do not have.
    pub fn asks_for_dates(&self) -> bool {
        [self.since, self.until].iter().flatten().any(|moment| matches!(moment, Moment::At(_)))
    }

    /// The flags that ask for it.
    pub fn words(&self) -> String {
        let glob = |glob: &Option<Glob>| glob.as_ref().map(Glob::to_string);
        let moment = |moment: Option<Moment>| moment.map(|moment| moment.to_string());
        let phase = |asked: Phase| PHASES.iter().find(|(_, phase)| *phase == asked);
        let flags = [
            ("label", glob(&self.label)),
            ("file", glob(&self.file)),
            ("owner", glob(&self.owner)),
            ("culprit", glob(&self.culprit)),
            ("since", moment(self.since)),
            ("until", moment(self.until)),
            ("phase", self.phase.and_then(phase).map(|(name, _)| (*name).to_owned())),
        ];
        let given =
            flags.into_iter().filter_map(|(flag, value)| Some(format!("--{flag} {}", value?)));
        given.collect::<Vec<_>>().join(" ")
    }

    /// Whether a label is asked for.
    pub fn wants_label(&self, label: &str) -> bool {
        self.label.as_ref().is_none_or(|glob| glob.fits(label) || glob.fits(cell_of(label)))
    }

    /// Whether a race is, whose owner was written into it; `blamed` is what its culprit was found to be. Its
    /// label is asked for already.
    pub fn wants_race(&self, race: &Race, blamed: bool, unix_ms: Option<u64>) -> bool {
        self.phase.is_none_or(|phase| phase == race.phase)
            && self.wants_time(race.t_us, unix_ms)
            && self.wants_owner(race.owner.as_ref())
            && (self.culprit.is_none() || blamed)
    }

    fn wants_time(&self, t_us: u64, unix_ms: Option<u64>) -> bool {
        let at = i128::from(t_us);
        let moment = |moment: Moment| moment.micros(unix_ms);
        self.since.is_none_or(|since| moment(since).is_some_and(|since| since <= at))
            && self.until.is_none_or(|until| moment(until).is_some_and(|until| at <= until))
    }

    fn wants_owner(&self, owner: Option<&Owner>) -> bool {
        self.owner
            .as_ref()
            .is_none_or(|glob| owner.is_some_and(|owner| is_called(glob, &owner.name, owner.kind)))
            && self.file.as_ref().is_none_or(|glob| {
                owner.and_then(|owner| owner.path.as_deref()).is_some_and(|path| glob.fits(path))
            })
    }

    /// Whether the store that explains a race is one of those that are asked for.
    pub fn blames(&self, culprit: &Culprit) -> bool {
        let (Some(glob), Some(store)) = (&self.culprit, culprit.blamed()) else { return false };
        let name = store.name();
        let function = store.symbol.as_deref().map(function_of);
        let told =
            [function, store.module.as_deref(), store.path.as_deref(), store.comm.as_deref()];
        glob.fits(&name) || told.into_iter().flatten().any(|text| glob.fits(text))
    }

    /// The verdict with the cells that are asked for: its word and its exit status stay those of all.
    #[must_use]
    pub fn of_verdict(&self, verdict: Verdict) -> Verdict {
        if self.is_empty() {
            return verdict;
        }
        let of = verdict.cells.len();
        let (mut kept, mut bad) = (Vec::new(), 0);
        for cell in &verdict.cells {
            match self.of_cell(cell) {
                Some(cell) => kept.push(cell),
                None => {
                    bad +=
                        usize::from(matches!(cell.outcome, CellOutcome::Fail | CellOutcome::Error))
                }
            }
        }
        let filtered = Filtered { by: self.words(), of, bad_left_out: bad };
        Verdict { cells: kept, filtered: Some(filtered), ..verdict }
    }

    /// The cell with the owners and culprits that are asked for; nothing where there are none.
    fn of_cell(&self, cell: &Cell) -> Option<Cell> {
        let owners =
            cell.owner_groups.as_deref().map(|all| kept(all, |group| self.wants_group(group)));
        let culprits =
            cell.culprits.as_deref().map(|all| kept(all, |group| self.wants_store(group)));
        let has_owner = owners.as_ref().is_some_and(|left| !left.is_empty());
        let has_culprit = culprits.as_ref().is_some_and(|left| !left.is_empty());
        let wanted = self.wants_cell(cell)
            && (self.owner.is_none() && self.file.is_none() || has_owner)
            && (self.culprit.is_none() || has_culprit)
            && self.phase.is_none_or(|phase| raced_in(cell, phase));
        wanted.then(|| Cell { owner_groups: owners, culprits, ..cell.clone() })
    }

    /// By its name, or that of one of its repetitions.
    fn wants_cell(&self, cell: &Cell) -> bool {
        let name = cell.name();
        let times = cell.repeat.map_or(1, |repeat| repeat.n).clamp(1, 100);
        self.wants_label(&name)
            || (1..=times).any(|time| self.wants_label(&format!("{name}#{time}")))
    }

    fn wants_group(&self, group: &OwnerGroup) -> bool {
        self.owner.as_ref().is_none_or(|glob| is_called(glob, &group.name, group.kind))
            && self
                .file
                .as_ref()
                .is_none_or(|glob| group.path.as_deref().is_some_and(|path| glob.fits(path)))
    }

    /// A group has one text for instruction, module and task: `csum_set+0x7b [ext4], by dd`.
    fn wants_store(&self, group: &CulpritGroup) -> bool {
        let Some(glob) = &self.culprit else { return true };
        let (name, comm) = group.symbol.rsplit_once(", by ").unwrap_or((&group.symbol, ""));
        let (symbol, module) = name.rsplit_once(" [").unwrap_or((name, ""));
        let path = name.rsplit_once(" byte ").map_or("", |(path, _)| path);
        let told = [name, comm, function_of(symbol), module.trim_end_matches(']'), path];
        told.into_iter().any(|text| !text.is_empty() && glob.fits(text))
    }
}

fn kept<T: Clone>(all: &[T], wanted: impl Fn(&T) -> bool) -> Vec<T> {
    all.iter().filter(|one| wanted(one)).cloned().collect()
}

fn is_called(glob: &Glob, name: &str, kind: OwnerKind) -> bool {
    glob.fits(name) || glob.fits(&kind.to_string())
}

fn raced_in(cell: &Cell, phase: Phase) -> bool {
    cell.phases.is_some_and(|phases| match phase {
        Phase::BeforeDoorbell => phases.before_doorbell > 0,
        Phase::InWindow => phases.in_window > 0,
        Phase::AfterFetch => phases.after_fetch > 0,
        Phase::AfterDelivery => phases.after_delivery.is_some_and(|races| races > 0),
    })
}

/// `ext4_inode_csum_set` of `ext4_inode_csum_set+0x7b`.
fn function_of(symbol: &str) -> &str {
    symbol.rsplit_once('+').map_or(symbol, |(function, _)| function)
}

/// The cell that a label of `dixtrap run` is of: without `#1`, the number of its repetition.
pub fn cell_of(label: &str) -> &str {
    match label.rsplit_once('#') {
        Some((cell, number))
            if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) =>
        {
            cell
        }
        _ => label,
    }
}

#[cfg(test)]
mod tests {
    use super::super::offenders::tests::race;
    use super::*;
    use crate::record::Phases;
    use crate::verdict::Repeat;
    use crate::verdict::tests::bare_cell;

    fn glob(text: &str) -> Option<Glob> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn wrong_values_say_what_can_be_written() {
        assert!("a[".parse::<Glob>().unwrap_err().contains("'[ab]'"));
        assert!("soon".parse::<Moment>().unwrap_err().contains("250ms"));
        assert!(parse_phase("window").unwrap_err().contains("in-window, after-fetch"));
        for text in ["0", "250ms", "90s", "10m", "2026-01-31T12:00:00Z"] {
            text.parse::<Moment>().unwrap();
        }
    }

    #[test]
    fn every_flag_is_said_again() {
        let filter = Filter {
            label: glob("a*"),
            file: glob("/x"),
            owner: glob("journal"),
            culprit: glob("ext4_*"),
            since: Some("90s".parse().unwrap()),
            until: Some("2026-01-31T12:00:00Z".parse().unwrap()),
            phase: Some(Phase::InWindow),
        };
        assert_eq!(
            filter.words(),
            "--label 'a*' --file '/x' --owner 'journal' --culprit 'ext4_*' --since 90s \
             --until 2026-01-31T12:00:00+00:00 --phase in-window"
        );
        assert!(Filter::default().is_empty() && filter.asks_for_dates());
    }

    #[test]
    fn a_label_is_asked_for_by_its_own_name_or_its_cells() {
        let filter = Filter { label: glob("mmap/ext4/stable_writes=on"), ..Filter::default() };
        for (label, wanted) in [
            ("mmap/ext4/stable_writes=on", true),
            ("mmap/ext4/stable_writes=on#12", true),
            ("mmap/ext4/stable_writes=on#1/setup", false),
            ("mmap/ext4/stable_writes=off#1", false),
        ] {
            assert_eq!(filter.wants_label(label), wanted, "{label}");
        }
    }

    #[test]
    fn times_count_from_the_first_record_or_by_the_clock() {
        let race = Race { t_us: 1_500_000, ..race(1, 1) };
        let wants = |since: Option<&str>, until: Option<&str>, unix_ms| {
            let moment = |text: Option<&str>| text.map(|text| text.parse().unwrap());
            let filter = Filter { since: moment(since), until: moment(until), ..Filter::default() };
            filter.wants_race(&race, false, unix_ms)
        };
        assert!(wants(Some("1500ms"), Some("1500ms"), None));
        assert!(!wants(Some("1501ms"), None, None) && !wants(None, Some("1499ms"), None));
        let (before, after) = ("1970-01-01T00:00:02Z", "1970-01-01T00:00:03Z");
        assert!(wants(Some(before), Some(after), Some(1_000)));
        assert!(!wants(Some(after), None, Some(1_000)));
        assert!(!wants(Some(before), None, None), "nobody knows when that was");
    }

    #[test]
    fn owners_go_by_name_kind_and_path() {
        let owned = |name: &str, kind, path: Option<&str>| {
            let owner = Owner { path: path.map(Into::into), ..Owner::new(name, kind) };
            Race { owner: Some(owner), ..race(1, 1) }
        };
        let table = owned("inode table", OwnerKind::Metadata, None);
        let file = owned("file", OwnerKind::Data, Some("/a/b"));
        for (filter, of_table, of_file) in [
            (Filter { owner: glob("inode*"), ..Filter::default() }, true, false),
            (Filter { owner: glob("metadata"), ..Filter::default() }, true, false),
            (Filter { file: glob("/a/*"), ..Filter::default() }, false, true),
            (Filter { file: glob("*"), owner: glob("journal"), ..Filter::default() }, false, false),
        ] {
            let wants = |race: &Race| filter.wants_race(race, false, None);
            assert_eq!((wants(&table), wants(&file)), (of_table, of_file), "{filter:?}");
        }
        assert!(!Filter { owner: glob("*"), ..Filter::default() }.wants_race(
            &race(1, 1),
            true,
            None
        ));
    }

    #[test]
    fn no_filter_makes_a_verdict_pass() {
        let raced = |scenario: &str, outcome, symbol: &str| Cell {
            phases: Some(Phases { in_window: 3, ..Phases::default() }),
            repeat: Some(Repeat { k: 1, n: 2 }),
            culprits: Some(vec![CulpritGroup { symbol: symbol.into(), races: 3, stack: vec![] }]),
            ..bare_cell(scenario, outcome)
        };
        let cells = vec![
            raced("a", CellOutcome::Pass, "ext4_inode_csum_set+0x7b [ext4], by dd"),
            raced("b", CellOutcome::Fail, "/bin/w byte 0x10, by w"),
        ];
        let whole = Verdict::over(cells, None, DateTime::UNIX_EPOCH, 1.0);
        let shown = |filter: Filter| {
            let verdict = filter.of_verdict(whole.clone());
            assert_eq!((verdict.exit_status, verdict.verdict), (1, whole.verdict), "{filter:?}");
            let names: Vec<String> =
                verdict.cells.iter().map(|cell| cell.scenario.clone()).collect();
            (names.concat(), verdict.filtered.map(|filtered| filtered.bad_left_out))
        };
        let by = |culprit: &str| Filter { culprit: glob(culprit), ..Filter::default() };
        assert_eq!(shown(Filter::default()), ("ab".into(), None));
        for name in ["ext4_inode_csum_set", "ext4", "dd", "ext4_inode_csum_set+0x7b*"] {
            assert_eq!(shown(by(name)), ("a".into(), Some(1)), "{name}");
        }
        assert_eq!(shown(by("/bin/w")), ("b".into(), Some(0)));
        let label = |text: &str| Filter { label: glob(text), ..Filter::default() };
        assert_eq!(shown(label("a/*")), ("a".into(), Some(1)));
        assert_eq!(shown(label("b/ext4/stable_writes=off#2")), ("b".into(), Some(0)));
        let phase = |phase| Filter { phase: Some(phase), ..Filter::default() };
        assert_eq!(shown(phase(Phase::InWindow)).0, "ab");
        assert_eq!(shown(phase(Phase::AfterDelivery)).0, "");

        let part = label("a/*").of_verdict(whole);
        let error = Verdict::merge(vec![("a.json".into(), part.clone())]).unwrap_err().to_string();
        assert!(error.contains("a.json has 1 of its 2 cells (--label 'a/*')"), "{error}");
        for format in &super::super::FORMATS {
            let text = (format.make)(&part).unwrap();
            let said = text.contains("--label") && !text.contains("b/ext4");
            assert!(said, "{}: {text}", format.flag);
        }
        let ktap = (super::super::ktap::FORMAT.make)(&part).unwrap();
        assert!(
            ktap.ends_with("the verdict is over all of them\n")
                && ktap.contains("not ok 2 verdict")
        );
        let junit = (super::super::junit::FORMAT.make)(&part).unwrap();
        assert!(junit.contains("<error") && junit.contains("of those left out failed"), "{junit}");
    }
}
