//! A table of fields, and a field's value in words.

use chrono::DateTime;

use crate::owner::bytes::{be16, be32, be64, le16, le32, le64};

/// How a field's bytes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number, the low byte first.
    Little,
    /// A number, the high byte first.
    Big,
    /// A number of which the bits count, the low byte first.
    Bits,
    /// The same, the high byte first.
    BigBits,
    /// Seconds since 1970, the low byte first.
    Time,
    /// Just bytes.
    Bytes,
}

/// A row: offset, length, name, how it is read.
pub(super) type Row = (u64, u64, &'static str, Kind);

/// A field at its place in its structure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) at: u64,
    pub(super) len: u64,
    pub(super) name: String,
    pub(super) kind: Kind,
}

impl Field {
    /// The value that the bytes have; none where it is too long for a line.
    pub(super) fn value(&self, bytes: &[u8]) -> Option<String> {
        let number = |big: bool| match (self.len, big) {
            (1, _) => bytes.first().copied().map(u64::from),
            (2, false) => le16(bytes, 0).map(u64::from),
            (2, true) => be16(bytes, 0).map(u64::from),
            (4, false) => le32(bytes, 0).map(u64::from),
            (4, true) => be32(bytes, 0).map(u64::from),
            (8, false) => le64(bytes, 0),
            (8, true) => be64(bytes, 0),
            _ => None,
        };
        match self.kind {
            Kind::Little => number(false).map(|n| n.to_string()),
            Kind::Big => number(true).map(|n| n.to_string()),
            Kind::Bits => number(false).map(|n| format!("{n:#x}")),
            Kind::BigBits => number(true).map(|n| format!("{n:#x}")),
            Kind::Time => {
                let time = DateTime::from_timestamp(i64::try_from(number(false)?).ok()?, 0)?;
                Some(time.format("%Y-%m-%d %H:%M:%S").to_string())
            }
            Kind::Bytes => None,
        }
    }
}

/// The fields of a structure, by their offsets.
#[derive(Debug, Clone)]
pub(super) struct Fields(Vec<Field>);

impl Fields {
    pub(super) fn of(rows: &[Row]) -> Fields {
        let field = |(at, len, name, kind): &Row| Field {
            at: *at,
            len: *len,
            name: (*name).to_owned(),
            kind: *kind,
        };
        Fields(rows.iter().map(field).collect())
    }

    /// Every field that lies in `from..to`; bytes between two of them, or behind the last one up to `end`, are
    /// a field without a name of its own.
    pub(super) fn over(&self, from: u64, to: u64, end: u64) -> Vec<Field> {
        let mut all = Vec::new();
        let mut at = 0_u64;
        for field in &self.0 {
            all.extend(gap(at, field.at));
            all.push(field.clone());
            at = field.at.saturating_add(field.len);
        }
        all.extend(gap(at, end));
        all.retain(|field| field.at < to && from < field.at.saturating_add(field.len));
        all
    }
}

fn gap(from: u64, to: u64) -> Option<Field> {
    let len = to.checked_sub(from).filter(|len| *len > 0)?;
    let name = if to - from == 1 {
        format!("byte {from:#x}")
    } else {
        format!("bytes {from:#x} to {:#x}", to - 1)
    };
    Some(Field { at: from, len, name, kind: Kind::Bytes })
}
