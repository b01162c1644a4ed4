//! Whose blocks raced: what the guest told of each run of a cell, put to the races in the records.
//!
//! The records stay as the daemon wrote them. The answers go beside them, one line a race.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::owner::{Map, TOLD, Told};
use crate::record::{Line, Owner, Race, RaceOwner, Record};
use crate::report::{OWNERS, SessionError, WriteError, each_record, write_whole};

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

/// Why owners cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum OwnersError {
    /// The records.
    #[error(transparent)]
    Records(#[from] SessionError),
    /// The file for the answers.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The answers as text.
    #[error("cannot write owners as JSON")]
    Json(#[from] serde_json::Error),
}

/// Writes `owners.jsonl` beside `records`: a line for every race of the labels in `answers`.
/// Nothing is written where nothing raced.
pub fn write_owners(records: &Path, answers: &BTreeMap<&str, &Answers>) -> Result<(), OwnersError> {
    let mut block_size = 512;
    let mut found = Vec::new();
    each_record(records, &mut |record| match record {
        Record::Start(start) => block_size = start.block_size.bytes_u64(),
        Record::Race(race) => {
            found.push(RaceOwner { race: race.id, owner: owner(&race, block_size, answers) })
        }
        _ => {}
    })?;
    if found.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for owner in found {
        text.push_str(&serde_json::to_string(&Line::from(Record::Owner(owner)))?);
        text.push('\n');
    }
    Ok(write_whole(&beside(records), &text)?)
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
