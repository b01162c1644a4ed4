//! A file of JSON lines, read one at a time: records, and what lies beside them.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::record::{Line, Record, SCHEMA};

use super::input::Input;
use super::told::ToldError;

/// Why a records file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The system will not give it.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// A FIFO that stayed without a writer.
    #[error("nobody writes to the FIFO {}: start its writer first", .0.display())]
    NoWriter(PathBuf),
    /// A line is not a record.
    #[error("{}, line {line}: not a record of dixtrapd", path.display())]
    NotARecord {
        /// Where the line stands.
        path: PathBuf,
        /// The line's number, counted from 1.
        line: usize,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A line of another schema.
    #[error("{}, line {line}: schema {schema}, and this build reads schema {SCHEMA}: use the dixtrap that wrote it", path.display())]
    Schema {
        /// Where the line stands.
        path: PathBuf,
        /// The line's number, counted from 1.
        line: usize,
        /// The schema it names.
        schema: u32,
    },
    /// A line without an end.
    #[error("{}, line {line}: longer than {} bytes, which no record of dixtrapd is", path.display(), LONGEST_LINE)]
    TooLong {
        /// Where the line stands.
        path: PathBuf,
        /// The line's number, counted from 1.
        line: usize,
    },
    /// A line of owners that makes no sense.
    #[error("{}, line {line}: neither a record of an owner nor a line of 'dixtrap-guest owners'", path.display())]
    NoOwner {
        /// Where the line stands.
        path: PathBuf,
        /// The line's number, counted from 1.
        line: usize,
        /// What is wrong with it.
        source: ToldError,
    },
    /// Dates are asked for, and no line says when the session was.
    #[error("{} has no 'start' line, and so no dates: give --since and --until as times from the records' beginning, such as 90s", .0.display())]
    NoDate(PathBuf),
    /// Not one line is in the file.
    #[error("{} holds no record: was it the file given to dixtrapd with --races?", .0.display())]
    Empty(PathBuf),
}

/// How long a line may be. The longest that dixtrapd writes has a few kilobytes and a label.
pub const LONGEST_LINE: u64 = 1 << 20;

/// What every line has, whatever its type.
#[derive(Deserialize)]
struct Versioned {
    schema: u32,
    #[serde(rename = "type", default)]
    kind: Option<Kind>,
}

/// The types of which a file has millions: they are read by themselves. All types together are read by way of a
/// copy of each line's fields, which takes several times as long.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Race,
    Healed,
    Owner,
    Culprit,
    #[serde(other)]
    Another,
}

/// Hands every record of the file at `path` over, in order; whether its last line was cut off.
///
/// # Errors
/// When it cannot be read, and when a line that is whole is no record.
pub fn each_record(path: &Path, take: &mut dyn FnMut(Record)) -> Result<bool, SessionError> {
    each_text(path, &mut |text| parse(text).map(&mut *take))
}

/// Hands every line of the file at `path` over, in order; whether its last one was cut off.
///
/// # Errors
/// When it cannot be read, and when a line that is whole is not taken.
pub fn each_text(
    path: &Path,
    take: &mut dyn FnMut(&[u8]) -> Result<(), Bad>,
) -> Result<bool, SessionError> {
    let failed = |error: io::Error| match error.kind() {
        // The system's own is of a file somewhere in a network.
        io::ErrorKind::TimedOut if error.raw_os_error().is_none() => {
            SessionError::NoWriter(path.to_owned())
        }
        _ => SessionError::Read(path.to_owned(), error),
    };
    let mut input = BufReader::new(Input::open(path).map_err(failed)?);
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let read = (&mut input)
            .take(LONGEST_LINE.saturating_add(1))
            .read_until(b'\n', &mut text)
            .map_err(failed)?;
        if read == 0 && line == 1 {
            return Err(SessionError::Empty(path.to_owned()));
        }
        if read == 0 {
            break;
        }
        if u64::try_from(read).unwrap_or(u64::MAX) > LONGEST_LINE {
            return Err(SessionError::TooLong { path: path.to_owned(), line });
        }
        match take(&text) {
            Ok(()) => {}
            // Cut off while it was written. A first line is no evidence of a records file.
            Err(Bad::Json(_) | Bad::Told(ToldError::Json(_)))
                if line > 1 && !text.ends_with(b"\n") =>
            {
                return Ok(true);
            }
            Err(bad) => return Err(bad.at(path, line)),
        }
    }
    Ok(false)
}

/// What is wrong with a line.
#[derive(Debug)]
pub enum Bad {
    /// It is no record.
    Json(serde_json::Error),
    /// It is one of another schema.
    Schema(u32),
    /// It tells no owner.
    Told(ToldError),
}

impl Bad {
    fn at(self, path: &Path, line: usize) -> SessionError {
        let path = path.to_owned();
        match self {
            Bad::Json(source) => SessionError::NotARecord { path, line, source },
            Bad::Told(source) => SessionError::NoOwner { path, line, source },
            Bad::Schema(schema) => SessionError::Schema { path, line, schema },
        }
    }
}

/// Reads one line. The schema comes first: a newer one may have types that this build lacks.
pub fn parse(text: &[u8]) -> Result<Record, Bad> {
    let versioned: Versioned = serde_json::from_slice(text).map_err(Bad::Json)?;
    if versioned.schema != SCHEMA {
        return Err(Bad::Schema(versioned.schema));
    }
    match versioned.kind {
        Some(Kind::Race) => serde_json::from_slice(text).map(Record::Race),
        Some(Kind::Healed) => serde_json::from_slice(text).map(Record::Healed),
        Some(Kind::Owner) => serde_json::from_slice(text).map(Record::Owner),
        Some(Kind::Culprit) => serde_json::from_slice(text).map(Record::Culprit),
        Some(Kind::Another) | None => serde_json::from_slice::<Line>(text).map(|l| l.record),
    }
    .map_err(Bad::Json)
}

#[cfg(test)]
mod tests {
    use super::super::offenders::tests::race;
    use super::*;
    use crate::record::{Healed, Owner, OwnerKind, RaceId, RaceOwner};

    /// Which way a line is read must not show.
    #[test]
    fn a_type_that_is_read_by_itself_is_read_as_all_are() {
        let owner = Owner { path: Some("/a".into()), ..Owner::new("file", OwnerKind::Data) };
        let culprit = r#"{"schema":1,"type":"culprit","race":1,"stores":[],"store_count":0,"submitter":null,"page":null,"unseen":"x"}"#;
        let records = [
            Record::Race(Box::new(race(1, 2))),
            Record::Healed(Healed { t_us: 1, race: RaceId(1), after_us: 2 }),
            Record::Owner(RaceOwner { race: RaceId(1), owner }),
        ];
        let mut texts: Vec<String> =
            records.map(|record| serde_json::to_string(&Line::from(record)).unwrap()).to_vec();
        texts.push(culprit.to_owned());
        for text in texts {
            let all: Line = serde_json::from_str(&text).unwrap();
            assert_eq!(parse(text.as_bytes()).unwrap(), all.record, "{text}");
        }
        for text in [
            "{}",
            "[]",
            r#"{"schema":1}"#,
            r#"{"schema":1,"type":"race"}"#,
            r#"{"schema":1,"type":"x"}"#,
            r#"{"schema":1,"type":7}"#,
        ] {
            assert!(matches!(parse(text.as_bytes()), Err(Bad::Json(_))), "{text}");
        }
        assert!(matches!(parse(br#"{"schema":2,"type":"x"}"#), Err(Bad::Schema(2))));
    }
}
