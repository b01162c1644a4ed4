//! The records file, read strictly: every line has to be whole and of the schema.

use std::fs;
use std::path::Path;

use dixtrap::record::{
    Broken, Counters, Healed, Inject, Line, Mark, MediumFault, Race, Record, SCHEMA, Start,
};

/// The records of one daemon, in order.
#[derive(Debug)]
pub struct Records(pub Vec<Record>);

impl Records {
    /// Reads every complete line; a line that is not of the schema fails the test.
    pub fn read(path: &Path) -> Records {
        let text = fs::read_to_string(path).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        Records(whole.lines().map(parse).collect())
    }

    pub fn races(&self) -> Vec<&Race> {
        self.pick(|record| if let Record::Race(race) = record { Some(&**race) } else { None })
    }

    /// The one race there is.
    pub fn race(&self) -> &Race {
        let races = self.races();
        assert_eq!(races.len(), 1, "one race expected: {races:#?}");
        races[0]
    }

    pub fn healed(&self) -> Vec<&Healed> {
        self.pick(|record| if let Record::Healed(healed) = record { Some(healed) } else { None })
    }

    pub fn marks(&self) -> Vec<&Mark> {
        self.pick(|record| if let Record::Mark(mark) = record { Some(mark) } else { None })
    }

    pub fn broken(&self) -> Vec<&Broken> {
        self.pick(|record| if let Record::Broken(broken) = record { Some(broken) } else { None })
    }

    pub fn medium_faults(&self) -> Vec<&MediumFault> {
        self.pick(|record| if let Record::Medium(fault) = record { Some(fault) } else { None })
    }

    pub fn injections(&self) -> Vec<&Inject> {
        self.pick(|record| if let Record::Inject(inject) = record { Some(inject) } else { None })
    }

    /// The start record, which has to be the first line.
    pub fn start(&self) -> &Start {
        match self.0.first() {
            Some(Record::Start(start)) => start,
            other => panic!("the first record is not a start: {other:?}"),
        }
    }

    /// The counters of the stop record, which has to be the last line.
    pub fn stop(&self) -> &Counters {
        match self.0.last() {
            Some(Record::Stop(stop)) => &stop.counters,
            other => panic!("the last record is not a stop: {other:?}"),
        }
    }

    fn pick<'a, T>(&'a self, choose: impl Fn(&'a Record) -> Option<T>) -> Vec<T> {
        self.0.iter().filter_map(choose).collect()
    }
}

fn parse(line: &str) -> Record {
    let parsed: Line = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    assert_eq!(parsed.schema, SCHEMA);
    parsed.record
}
