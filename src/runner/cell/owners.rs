//! Whose blocks raced: what the guest told of each run of a cell, put to the races in the records.
//!
//! The records stay as the daemon wrote them. The answers go beside them, one line a race.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::owner::{Map, TOLD, Told};
use crate::record::{Line, Owner, Race, RaceOwner, Record};
use crate::report::{OWNERS, WriteError, write_whole};

/// What the guest told at the end of one run of a cell.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    map: Map,
}

impl Answers {
    /// Takes a line of the guest's where it is about owners; `clock` is asked when the guest tells
    /// its own time.
    pub fn hear(&mut self, text: &str, clock: impl FnOnce() -> Option<u64>) {
        if !text.starts_with(TOLD) {
            return;
        }
        match Told::read(text.as_bytes()) {
            Ok(Told::Area(area)) => self.map.add(area),
            // We asked, and know of what.
            Ok(Told::Of { .. }) => {}
            Ok(Told::Clock { us }) => {
                if let Some(own) = clock() {
                    self.map.set_clock(us, own);
                }
            }
            Err(error) => log::warn!("the guest tells an owner that makes no sense: {error}"),
        }
    }
}

/// Why owners cannot be written down.
#[derive(Debug, thiserror::Error)]
pub enum OwnersError {
    /// The file for the answers.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The answers as text.
    #[error("cannot write owners as JSON")]
    Json(#[from] serde_json::Error),
}

/// Names the owners of races while their records are read, and keeps what it said.
#[derive(Debug)]
pub struct Naming<'a> {
    /// By label, what the guest told.
    answers: BTreeMap<&'a str, &'a Answers>,
    block_size: u64,
    lines: Result<String, serde_json::Error>,
}

impl<'a> Naming<'a> {
    /// By these answers.
    pub fn new(answers: BTreeMap<&'a str, &'a Answers>) -> Naming<'a> {
        Naming { answers, block_size: 512, lines: Ok(String::new()) }
    }

    /// Whose a race was, where the record is one.
    pub fn owner_of(&mut self, record: &Record) -> Option<RaceOwner> {
        match record {
            Record::Start(start) => self.block_size = start.block_size.bytes_u64(),
            Record::Race(race) => {
                let owner = owner(race, self.block_size, &self.answers);
                let found = RaceOwner { race: race.id, owner };
                self.keep(found.clone());
                return Some(found);
            }
            _ => {}
        }
        None
    }

    fn keep(&mut self, found: RaceOwner) {
        let Ok(lines) = &mut self.lines else { return };
        match serde_json::to_string(&Line::from(Record::Owner(found))) {
            Ok(line) => {
                lines.push_str(&line);
                lines.push('\n');
            }
            Err(error) => self.lines = Err(error),
        }
    }

    /// Writes `owners.jsonl` beside `records`: a line for every race. Nothing where nothing raced.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(self, records: &Path) -> Result<(), OwnersError> {
        let lines = self.lines?;
        if lines.is_empty() {
            return Ok(());
        }
        Ok(write_whole(&beside(records), &lines)?)
    }
}

fn beside(records: &Path) -> PathBuf {
    records.with_file_name(OWNERS)
}

fn owner(race: &Race, block_size: u64, answers: &BTreeMap<&str, &Answers>) -> Owner {
    let asked = race.label.as_deref().and_then(|label| answers.get(label));
    asked.map_or_else(Owner::unknown, |answers| {
        answers.map.owner(race.lba.0.saturating_mul(block_size), race.t_us)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_other_programs_are_left_alone() {
        let mut answers = Answers::default();
        answers.hear(r#"{"ops":1}"#, || panic!("not asked"));
        answers.hear(r#"{"owners":"nonsense"}"#, || panic!("not asked"));
        answers.hear("dixtrap: writing", || panic!("not asked"));
        assert!(answers.map.is_empty());
        answers.hear(r#"{"owners":"clock","us":5}"#, || Some(4));
        answers.hear(
            r#"{"owners":"area","start":512,"bytes":512,"name":"directory","kind":"metadata"}"#,
            || None,
        );
        assert_eq!(answers.map.owner(1023, 0).name, "directory");
    }
}
