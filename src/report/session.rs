//! A records file read back: what each label counted, and the blocks that raced most.
//!
//! A daemon that was killed leaves a truncated last line and no `stop`; both are tolerated and
//! told. Anything else that is not a record is an error: half a report is no report.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::record::{
    Counters, Healed, Limit, Mark, MarkState, Race, RaceId, RaceOwner, Record, Start, Stop,
};
use crate::verdict::{CulpritGroup, OwnerGroup};

use super::culprits::Culprits;
use super::filter::Filter;
use super::incidents::Incidents;
use super::lines::{SessionError, each_record};
use super::offenders::Offenders;
use super::owners::Owners;
use super::pages::PageTally;
use super::picture::Picture;

/// What was counted while one label was open; of a label opened several times, the sum.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LabelSummary {
    /// What the daemon counted, from every `end` mark.
    pub counters: Vec<Counters>,
    /// Race records that carry the label and are no mere audit: fewer than there were, where the file had
    /// reached its limit.
    pub races: u64,
    /// How many of these a later clean write covered, be it after the label's end.
    pub healed: u64,
    /// Microseconds from the label's first begin to its first race.
    pub first_catch_us: Option<u64>,
    /// When it was opened first.
    pub began_us: Option<u64>,
    /// Whose blocks raced; empty where nobody found out.
    pub owners: Vec<OwnerGroup>,
    /// Who changed the bytes; nothing where nobody watched.
    pub culprits: Option<Vec<CulpritGroup>>,
    /// Races of this session were healed, or may have been, and no line says which: it may be these.
    pub healings_withheld: bool,
    /// Only some of its races were asked for: the daemon's own counts of races are of all of them.
    pub in_part: bool,
}

impl LabelSummary {
    /// A figure summed over the times the label was open; `None` where none of them has ended.
    pub fn sum(&self, figure: fn(&Counters) -> u64) -> Option<u64> {
        (!self.counters.is_empty()).then(|| all_of(self.counters.iter().map(figure)))
    }

    /// How many races there were: the daemon counted those that have no record too.
    pub fn known_races(&self) -> u64 {
        let counted = self.sum(|c| c.races.seen_by_hardware()).unwrap_or(0);
        if self.in_part { self.races } else { self.races.max(counted) }
    }

    /// Races that a later clean write covered, and those that nothing has; `None` where that is not known,
    /// and more of them may have been covered. The daemon's own figures end with the label, but know of
    /// races whose records were lost.
    pub fn healed_and_standing(&self) -> (u64, Option<u64>) {
        let healed = self.known_healings().min(self.known_races());
        let standing = self.known_races().saturating_sub(healed);
        (healed, Some(standing).filter(|races| *races == 0 || !self.healings_withheld))
    }

    fn known_healings(&self) -> u64 {
        let counted = self.sum(|c| c.healed).unwrap_or(0);
        if self.in_part { self.healed } else { self.healed.max(counted) }
    }
}

/// The sum of figures that a stranger may have made as large as he likes.
fn all_of(figures: impl Iterator<Item = u64>) -> u64 {
    figures.fold(0, u64::saturating_add)
}

/// The file that says whose the blocks were, beside records that are called `races.jsonl`.
pub const OWNERS: &str = "owners.jsonl";

/// What the records of a run are called.
const RECORDS: &str = "races.jsonl";

/// The same for any records: of those with a name of their own it is that name's, or the owners of one
/// session would be put to the races of another.
pub(super) fn beside(records: &Path, name: &str) -> PathBuf {
    match records.file_name() {
        Some(file) if file == RECORDS => records.with_file_name(name),
        _ => records.with_extension(name),
    }
}

/// The file that says who changed the bytes, as [`OWNERS`] says whose they are.
pub const CULPRITS: &str = "culprits.jsonl";

/// Where the culprits of these records are.
pub fn culprits_beside(records: &Path) -> PathBuf {
    beside(records, CULPRITS)
}

/// The label of races that have none.
pub const UNLABELLED: &str = "(no label)";

/// A records file, read.
#[derive(Debug, Default)]
pub struct Session {
    /// The first record.
    pub start: Option<Start>,
    /// The last record; `None` where the daemon did not end by itself.
    pub stop: Option<Stop>,
    /// The file reached its limit.
    pub limit: Option<Limit>,
    /// The last line ends in the middle.
    pub truncated: bool,
    /// By label, in the order of the alphabet.
    pub labels: BTreeMap<String, LabelSummary>,
    /// The blocks that raced.
    pub offenders: Offenders,
    /// What the guest's kernel knew of the pages that raced.
    pub pages: PageTally,
    /// What else there is on record.
    pub incidents: Incidents,
    owners: Owners,
    /// Who changed the bytes.
    pub culprits: Culprits,
    /// The label of every race that nothing has covered yet.
    standing: BTreeMap<RaceId, Arc<str>>,
    /// The last label that raced, shared by its races: there may be millions.
    name: Option<Arc<str>>,
    /// What was asked for.
    pub filter: Filter,
    /// How many races have a line, asked for or not.
    pub listed: u64,
    /// How many healings have one.
    healings: u64,
    /// What pictures are drawn from, by label, where they are asked for.
    pub pictures: Option<BTreeMap<String, Picture>>,
}

impl Session {
    /// A figure of the daemon's own: of the whole session once that has ended, else of its labels.
    pub fn counted(&self, figure: fn(&Counters) -> u64) -> u64 {
        match &self.stop {
            Some(stop) => figure(&stop.counters),
            None => all_of(self.labels.values().flat_map(|label| &label.counters).map(figure)),
        }
    }

    /// Reads the file at `path`, and the owners that lie beside it.
    pub fn read(path: &Path) -> Result<Session, SessionError> {
        Session::read_part(path, Filter::default())
    }

    /// The same with the races that `filter` asks for.
    ///
    /// # Errors
    /// Those of [`Session::read`], and where dates are asked for and the records have none.
    pub fn read_part(path: &Path, filter: Filter) -> Result<Session, SessionError> {
        let asked = Session { filter, ..Session::default() };
        Session::read_each(path, asked, &mut |_| None)
    }

    /// The same with what pictures are drawn from.
    ///
    /// # Errors
    /// Those of [`Session::read_part`].
    pub fn read_with_pictures(path: &Path, filter: Filter) -> Result<Session, SessionError> {
        let asked = Session { filter, pictures: Some(BTreeMap::new()), ..Session::default() };
        Session::read_each(path, asked, &mut |_| None)
    }

    /// As [`Session::read`], of records of which `ask` knows whose a race was: it is asked about each on the
    /// way.
    ///
    /// # Errors
    /// Those of [`Session::read`].
    pub fn read_asking(
        path: &Path,
        ask: &mut dyn FnMut(&Record) -> Option<RaceOwner>,
    ) -> Result<Session, SessionError> {
        Session::read_each(path, Session::default(), ask)
    }

    fn read_each(
        path: &Path,
        mut session: Session,
        ask: &mut dyn FnMut(&Record) -> Option<RaceOwner>,
    ) -> Result<Session, SessionError> {
        session.culprits = Culprits::asked(session.filter.clone());
        let beside = beside(path, OWNERS);
        if beside.is_file() && beside != path {
            session.owners.read(&beside)?;
        }
        if session.owners.were_told() {
            session.owners.date(path)?;
        }
        let culprits = culprits_beside(path);
        if culprits.is_file() && culprits != path {
            session.read_culprits(&culprits)?;
        }
        session.truncated = each_record(path, &mut |record| {
            if let Some(owner) = ask(&record) {
                session.owners.learn(owner);
            }
            session.add(record);
        })?;
        if session.filter.asks_for_dates() && session.start.is_none() {
            return Err(SessionError::NoDate(path.to_owned()));
        }
        session.finish();
        Ok(session)
    }

    /// Reads what a watcher saw of each race.
    fn read_culprits(&mut self, path: &Path) -> Result<(), SessionError> {
        // A limit there is not the records'.
        let read = each_record(path, &mut |record| {
            if let Record::Culprit(_) = record {
                self.add(record);
            }
        });
        match read {
            // Nothing raced.
            Ok(_) | Err(SessionError::Empty(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Turns what was gathered by owner into each label's groups.
    fn finish(&mut self) {
        for (label, groups) in self.owners.groups() {
            if let Some(summary) = self.labels.get_mut(&label) {
                summary.owners = groups;
            }
        }
        for (label, summary) in &mut self.labels {
            summary.culprits = self.culprits.groups(label);
        }
        let withheld = self.healings_withheld();
        self.labels.values_mut().for_each(|summary| summary.healings_withheld = withheld);
    }

    /// Whether races were healed that are no label's by any line or count. Of a session without an end
    /// nobody knows, once its file reached its limit.
    fn healings_withheld(&self) -> bool {
        let Some(stop) = &self.stop else { return self.limit.is_some() };
        if !self.filter.is_empty() {
            return stop.counters.healed > self.healings;
        }
        stop.counters.healed > all_of(self.labels.values().map(LabelSummary::known_healings))
    }

    fn add(&mut self, record: Record) {
        match record {
            Record::Start(start) => self.start = Some(start),
            Record::Stop(stop) => self.stop = Some(stop),
            Record::Mark(mark) => self.add_mark(mark),
            Record::Race(race) => self.add_race(*race),
            Record::Healed(healed) => self.add_healed(&healed),
            Record::Window(change) => self.incidents.add_window(change),
            Record::Limit(limit) => self.limit = Some(limit),
            Record::Owner(owner) => self.owners.learn(owner),
            Record::Culprit(culprit) => self.culprits.learn(&culprit),
            Record::Inject(_) => self.incidents.injected += 1,
            Record::Medium(fault) => self.incidents.add_medium(fault),
            Record::Broken(broken) => self.incidents.add_broken(broken),
        }
    }

    fn add_mark(&mut self, mark: Mark) {
        if !self.filter.wants_label(&mark.label) {
            return;
        }
        let in_part = !self.filter.is_of_labels_alone();
        let summary = self.labels.entry(mark.label).or_default();
        summary.in_part = in_part;
        match mark.state {
            MarkState::Begin => {
                summary.began_us.get_or_insert(mark.t_us);
            }
            MarkState::End => summary.counters.extend(mark.counters),
        }
    }

    /// Whether a race is asked for; its owner is written into it where that has a say.
    fn wants(&self, race: &mut Race) -> bool {
        if self.filter.is_empty() {
            return true;
        }
        self.owners.tell(race);
        let unix_ms = self.start.as_ref().map(|start| start.unix_ms);
        self.filter.wants_label(race.label.as_deref().unwrap_or(UNLABELLED))
            && self.filter.wants_race(race, self.culprits.blames(race.id), unix_ms)
    }

    fn add_race(&mut self, mut race: Race) {
        self.listed += 1;
        if !self.wants(&mut race) {
            return;
        }
        if !race.phase.is_seen_by_hardware() {
            self.owners.tell(&mut race);
            return self.incidents.add_look(race);
        }
        let label = race.label.clone().unwrap_or_else(|| UNLABELLED.to_owned());
        self.owners.add(&label, &mut race);
        self.pages.add(&label, &race);
        self.culprits.add(&label, race.id);
        let known = self.name.take().filter(|name| **name == *label);
        let name = known.unwrap_or_else(|| label.as_str().into());
        self.standing.insert(race.id, Arc::clone(&name));
        self.name = Some(name);
        let in_part = !self.filter.is_of_labels_alone();
        let summary = self.labels.entry(label.clone()).or_default();
        summary.in_part = in_part;
        summary.races += 1;
        if let Some(pictures) = &mut self.pictures {
            let began_us = summary.began_us.unwrap_or(0);
            pictures.entry(label).or_default().add(&race, began_us);
        }
        let since = race.t_us.saturating_sub(summary.began_us.unwrap_or(0));
        summary.first_catch_us.get_or_insert(since);
        self.offenders.add(race);
    }

    fn add_healed(&mut self, healed: &Healed) {
        self.healings += 1;
        self.owners.healed(healed.race, healed.after_us);
        self.offenders.healed(healed.race, healed.after_us);
        let label = self.standing.remove(&healed.race);
        if let Some(summary) = label.and_then(|label| self.labels.get_mut(&*label)) {
            summary.healed += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::offenders::tests::race;
    use super::*;
    use crate::record::{Line, OwnerKind, Phase, RaceId, RaceOwner};

    fn line(record: Record) -> String {
        serde_json::to_string(&Line::from(record)).unwrap() + "\n"
    }

    fn mark(t_us: u64, state: MarkState) -> String {
        let counters =
            (state == MarkState::End).then(|| Counters { writes: 7, ..Counters::default() });
        line(Record::Mark(Mark { t_us, label: "a".into(), state, counters }))
    }

    fn read(text: &str) -> Result<Session, SessionError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("races.jsonl");
        std::fs::write(&path, text).unwrap();
        Session::read(&path)
    }

    #[test]
    fn owners_beside_the_records_are_joined_and_grouped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("races.jsonl");
        let labelled = |id, lba| Race { label: Some("a".into()), ..race(id, lba) };
        let healed = |race, after_us| {
            line(Record::Healed(crate::record::Healed { t_us: 9, race: RaceId(race), after_us }))
        };
        let races: String =
            (1..=4).map(|id| line(Record::Race(Box::new(labelled(id, id))))).collect();
        std::fs::write(
            &path,
            races
                + &healed(1, 40)
                + &healed(2, 30)
                + &healed(4, 1)
                + &mark(9, MarkState::End)
                + &healed(3, 50),
        )
        .unwrap();
        let owner = |race, name: &str, kind| {
            let owner = crate::record::Owner::new(name, kind);
            line(Record::Owner(RaceOwner { race: RaceId(race), owner }))
        };
        let owners: String =
            (1..=3).map(|id| owner(id, "inode table", OwnerKind::Metadata)).collect();
        std::fs::write(dir.path().join(OWNERS), owners).unwrap();
        let session = Session::read(&path).unwrap();
        let groups = &session.labels["a"].owners;
        let told: Vec<_> =
            groups.iter().map(|g| (g.name.as_str(), g.races, g.healed, g.healed_in_us)).collect();
        assert_eq!(told, [("inode table", 3, 3, Some(50)), ("unknown", 1, 1, Some(1))]);
        assert_eq!(
            session.labels["a"].healed_and_standing(),
            (4, Some(0)),
            "after its end as well"
        );
        let worst = session.offenders.worst(1, |_| true);
        assert_eq!(worst[0].worst.owner.as_ref().unwrap().name, "inode table");
    }

    /// A healing that was only counted may be of any label.
    #[test]
    fn where_healings_were_withheld_nobody_knows_what_stands() {
        let labelled = |id, label: &str| {
            line(Record::Race(Box::new(Race { label: Some(label.into()), ..race(id, id) })))
        };
        let healed = |race| {
            line(Record::Healed(crate::record::Healed { t_us: 9, race: RaceId(race), after_us: 1 }))
        };
        let limit = line(Record::Limit(Limit { t_us: 9, limit: crate::units::ByteSize(1) }));
        let stop = |healed, standing| {
            line(Record::Stop(Stop {
                t_us: 10,
                counters: Counters { healed, standing, ..Counters::default() },
            }))
        };
        let races =
            labelled(1, "a") + &labelled(2, "a") + &labelled(3, "b") + &healed(1) + &healed(3);
        let told = |end: &str| {
            let session = read(&(races.clone() + end)).unwrap();
            ["a", "b"].map(|label| session.labels[label].healed_and_standing())
        };
        assert_eq!(told(&stop(2, 1)), [(1, Some(1)), (1, Some(0))]);
        assert_eq!(told(&(limit.clone() + &stop(2, 1))), [(1, Some(1)), (1, Some(0))]);
        assert_eq!(told(&(limit.clone() + &stop(3, 0))), [(1, None), (1, Some(0))]);
        assert_eq!(told(&limit), [(1, None), (1, Some(0))], "killed beyond its limit");
        assert_eq!(told(""), [(1, Some(1)), (1, Some(0))]);
    }

    /// The lines of `dixtrap-guest owners`, saved by hand.
    #[test]
    fn owners_told_by_hand_are_joined_by_address() {
        let dir = tempfile::tempdir().unwrap();
        let start = line(Record::Start(super::super::told::tests::start(0)));
        let races: String =
            [(1, 7), (2, 8)].map(|(id, lba)| line(Record::Race(Box::new(race(id, lba))))).concat();
        let told = "{\"owners\":\"of\"}\r\n{\"owners\":\"clock\",\"us\":5}\n\
            {\"owners\":\"area\",\"start\":0,\"bytes\":4096,\"name\":\"inode table\",\"kind\":\"metadata\"}\n";
        let by_owner = |records: &str| {
            let session = Session::read(&dir.path().join(records)).unwrap();
            let groups = &session.labels[UNLABELLED].owners;
            groups.iter().map(|g| (g.name.clone(), g.races)).collect::<Vec<_>>()
        };
        for (records, owners) in [("races.jsonl", OWNERS), ("mine.jsonl", "mine.owners.jsonl")] {
            std::fs::write(dir.path().join(records), format!("{start}{races}")).unwrap();
            assert_eq!(by_owner(records), [], "{records}");
            for told in [told, &told[..told.len() - 1], &format!("{told}{{\"owners\":")] {
                std::fs::write(dir.path().join(owners), told).unwrap();
                assert_eq!(by_owner(records), [("inode table".into(), 1), ("unknown".into(), 1)]);
            }
        }
        // What else stands in the file makes no owner, and no report.
        std::fs::write(dir.path().join(OWNERS), format!("{told}dixtrap: done\n")).unwrap();
        let error = Session::read(&dir.path().join("races.jsonl")).unwrap_err();
        assert!(
            error.to_string().ends_with(
                "line 4: neither a record of an owner nor a line of 'dixtrap-guest owners'"
            ),
            "{error}"
        );
        std::fs::write(dir.path().join(OWNERS), "").unwrap();
        assert_eq!(by_owner("races.jsonl"), []);
    }

    #[test]
    fn no_figure_is_too_large_to_be_added() {
        let most = |counters: &mut Counters| {
            counters.writes = u64::MAX;
            counters.races.in_window = u64::MAX;
            counters.races.before_doorbell = u64::MAX;
        };
        let mut counters = Counters::default();
        most(&mut counters);
        let end = Mark {
            t_us: 1,
            label: "a".into(),
            state: MarkState::End,
            counters: Some(counters.clone()),
        };
        let text = line(Record::Mark(end)).repeat(2);
        let session = read(&text).unwrap();
        assert_eq!(session.labels["a"].known_races(), u64::MAX);
        assert_eq!(session.counted(|c| c.writes), u64::MAX);
        let session = read(&(text + &line(Record::Stop(Stop { t_us: 2, counters })))).unwrap();
        assert!(
            super::super::text::session_text(&session, 0, super::super::hexdiff::Colour::Never)
                .contains("18446744073709551615")
        );
    }

    #[test]
    fn labels_keep_their_counters_and_first_catch() {
        let first = Race { t_us: 1_500, label: Some("a".into()), ..race(1, 8) };
        let second = Race { t_us: 1_900, label: Some("a".into()), ..race(2, 9) };
        let audit = Race { phase: Phase::AfterFetch, ..race(3, 9) };
        let text = mark(1_000, MarkState::Begin)
            + &line(Record::Race(Box::new(first)))
            + &line(Record::Race(Box::new(second)))
            + &line(Record::Race(Box::new(audit)))
            + &mark(2_000, MarkState::End);
        let session = read(&text).unwrap();
        let label = &session.labels["a"];
        assert_eq!((label.races, label.first_catch_us), (2, Some(500)));
        assert_eq!(label.healed_and_standing(), (0, Some(2)), "an audited race is none");
        assert_eq!(label.counters[0].writes, 7);
        assert!(!session.labels.contains_key(UNLABELLED));
        assert!(session.stop.is_none() && !session.truncated);
    }

    #[test]
    fn a_line_without_an_end_is_given_up() {
        let long =
            mark(1, MarkState::Begin).replace("\"a\"", &format!("{:?}", "a".repeat(1 << 20)));
        let error = read(&(mark(1, MarkState::Begin) + &long)).unwrap_err();
        assert!(matches!(error, SessionError::TooLong { line: 2, .. }), "{error}");
        let error = Session::read(Path::new("/dev/zero")).unwrap_err();
        assert!(matches!(error, SessionError::TooLong { line: 1, .. }), "{error}");
    }

    #[test]
    fn only_the_last_line_may_be_cut_off() {
        let whole = mark(1, MarkState::Begin);
        let cut = &whole[..20];
        assert!(read(&format!("{whole}{cut}")).unwrap().truncated);
        let error = read(&format!("{whole}{cut}\n{whole}")).unwrap_err();
        assert!(matches!(error, SessionError::NotARecord { line: 2, .. }), "{error}");
        assert!(read(cut).is_err());
        assert!(matches!(read(""), Err(SessionError::Empty(_))));
        let newer = whole.replace("\"schema\":1", "\"schema\":2");
        assert!(matches!(read(&newer), Err(SessionError::Schema { schema: 2, .. })));
    }
}
