//! Text → specification.

use std::str::FromStr;

use super::fault::{Fault, Part, Place, Sense};
use super::ops::{Op, OpSet};
use super::spec::{LbaRange, Spec, possible_ops};
use crate::units::Lba;

/// The largest block; a byte of a flip lies inside it.
const MAX_BLOCK: u16 = 4096;

/// Why a text is not a specification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No fault in it.
    #[error(
        "'{0}' names no fault: give one of flip=, misdirect=, lost, torn=, sense=, medium-error, busy, no-answer"
    )]
    NoFault(String),
    /// More than one fault in one specification.
    #[error("'{0}' is a second fault: give one --inject for each")]
    TwoFaults(String),
    /// A word that is neither fault nor condition.
    #[error(
        "'{0}' is neither a fault (flip=, misdirect=, lost, torn=, sense=, medium-error, busy, no-answer) nor a condition (at=, byte=, op=, lba=, lun=, nth=, p=, count=)"
    )]
    Unknown(String),
    /// A condition that stands there twice.
    #[error("'{0}=' is given twice: give it once")]
    Twice(&'static str),
    /// A value that its key does not take.
    #[error("'{key}={value}' is not understood: {key}= takes {takes}")]
    Value {
        /// The key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        takes: &'static str,
    },
    /// A key without value, or a word with one.
    #[error("'{item}' is not understood: write {right}")]
    Shape {
        /// What was given.
        item: String,
        /// What would be right.
        right: &'static str,
    },
    /// A condition of flips, with another fault.
    #[error("'{key}=' belongs to {owner}: leave it out")]
    Stray {
        /// The condition.
        key: &'static str,
        /// The fault that has it.
        owner: &'static str,
    },
    /// A fault that cannot happen to such requests.
    #[error("{fault} cannot happen to op={op}: it happens to op={possible}")]
    Impossible {
        /// The fault.
        fault: String,
        /// The request class asked for.
        op: &'static str,
        /// What would do.
        possible: String,
    },
}

/// What was read so far.
#[derive(Default)]
struct Draft {
    fault: Option<Fault>,
    flip: Option<Part>,
    place: Option<Place>,
    byte: Option<u16>,
    ops: Option<OpSet>,
    blocks: Option<LbaRange>,
    lun: Option<u16>,
    nth: Option<u64>,
    probability: Option<f64>,
    count: Option<Option<u64>>,
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Spec, SpecError> {
        let mut draft = Draft::default();
        for item in text.split(',').map(str::trim) {
            match item.split_once('=') {
                Some((key, value)) => draft.pair(item, key.trim(), value.trim())?,
                None => draft.word(item)?,
            }
        }
        draft.finish(text)
    }
}

impl Draft {
    fn word(&mut self, item: &str) -> Result<(), SpecError> {
        let right = |right| Err(SpecError::Shape { item: item.to_owned(), right });
        match item {
            "lost" => self.set_fault(item, Fault::Lost),
            "medium-error" => self.set_fault(item, Fault::MediumError),
            "busy" => self.set_fault(item, Fault::Busy),
            "no-answer" => self.set_fault(item, Fault::NoAnswer),
            "flip" => right("flip=data, flip=guard, flip=app or flip=ref"),
            "misdirect" => right("misdirect=+8, with how many blocks"),
            "torn" => right("torn=1, with how many blocks are stored"),
            "sense" => right("sense=3/11/00, with key, ASC and ASCQ in hex"),
            _ => Err(SpecError::Unknown(item.to_owned())),
        }
    }

    fn pair(&mut self, item: &str, key: &str, value: &str) -> Result<(), SpecError> {
        match key {
            "flip" => {
                let part = named("flip", value, "data, guard, app or ref", &Part::ALL, Part::name)?;
                self.flip = Some(part);
                self.set_fault(item, Fault::Flip { part, place: Place::Medium, byte: 0 })
            }
            "misdirect" => self.set_fault(item, Fault::Misdirect(distance(value)?)),
            "torn" => {
                let takes = "the number of blocks that are stored";
                self.set_fault(item, Fault::Torn(number("torn", value, takes)?))
            }
            "sense" => self.set_fault(item, Fault::Sense(sense(value)?)),
            "lost" | "medium-error" | "busy" | "no-answer" => {
                let right = "the word alone, without '='";
                Err(SpecError::Shape { item: item.to_owned(), right })
            }
            _ => self.condition(item, key, value),
        }
    }

    fn condition(&mut self, item: &str, key: &str, value: &str) -> Result<(), SpecError> {
        match key {
            "at" => {
                let place = named("at", value, "medium, in or out", &Place::ALL, Place::name)?;
                once(&mut self.place, "at", place)
            }
            "byte" => once(&mut self.byte, "byte", byte(value)?),
            "op" => once(&mut self.ops, "op", ops(value)?),
            "lba" => once(&mut self.blocks, "lba", lba_range(value)?),
            "lun" => once(&mut self.lun, "lun", number("lun", value, "a number up to 65535")?),
            "nth" => once(&mut self.nth, "nth", positive("nth", value)?),
            "p" => once(&mut self.probability, "p", probability(value)?),
            "count" if value == "all" => once(&mut self.count, "count", None),
            "count" => once(&mut self.count, "count", Some(positive("count", value)?)),
            _ => Err(SpecError::Unknown(item.to_owned())),
        }
    }

    fn set_fault(&mut self, item: &str, fault: Fault) -> Result<(), SpecError> {
        match self.fault.replace(fault) {
            None => Ok(()),
            Some(_) => Err(SpecError::TwoFaults(item.to_owned())),
        }
    }

    fn finish(self, text: &str) -> Result<Spec, SpecError> {
        let fault = self.fault.ok_or_else(|| SpecError::NoFault(text.to_owned()))?;
        let new = Spec::new(self.with_place(fault)?);
        let spec = Spec {
            ops: self.ops.unwrap_or(new.ops),
            blocks: self.blocks,
            lun: self.lun,
            nth: self.nth.unwrap_or(new.nth),
            probability: self.probability.unwrap_or(new.probability),
            count: self.count.unwrap_or(new.count),
            ..new
        };
        let possible = possible_ops(spec.fault);
        match spec.ops.first_not_in(possible) {
            None => Ok(spec),
            Some(op) => Err(SpecError::Impossible {
                fault: spec.fault.to_string(),
                op: op.name(),
                possible: possible.to_string(),
            }),
        }
    }

    fn with_place(&self, fault: Fault) -> Result<Fault, SpecError> {
        if self.byte.is_some() && self.flip != Some(Part::Data) {
            return Err(SpecError::Stray { key: "byte", owner: "flip=data" });
        }
        match (fault, self.place) {
            (Fault::Flip { part, place, .. }, given) => Ok(Fault::Flip {
                part,
                place: given.unwrap_or(place),
                byte: self.byte.unwrap_or(0),
            }),
            (_, Some(_)) => Err(SpecError::Stray { key: "at", owner: "flips" }),
            (fault, None) => Ok(fault),
        }
    }
}

fn once<T>(slot: &mut Option<T>, key: &'static str, value: T) -> Result<(), SpecError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(SpecError::Twice(key)),
    }
}

fn wrong(key: &'static str, value: &str, takes: &'static str) -> SpecError {
    SpecError::Value { key, value: value.to_owned(), takes }
}

fn named<T: Copy>(
    key: &'static str,
    value: &str,
    takes: &'static str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<T, SpecError> {
    all.iter().copied().find(|item| name(*item) == value).ok_or_else(|| wrong(key, value, takes))
}

fn number<T: FromStr>(key: &'static str, value: &str, takes: &'static str) -> Result<T, SpecError> {
    value.parse().map_err(|_| wrong(key, value, takes))
}

fn positive(key: &'static str, value: &str) -> Result<u64, SpecError> {
    let takes = if key == "count" { "a number from 1 on, or all" } else { "a number from 1 on" };
    match number(key, value, takes)? {
        0 => Err(wrong(key, value, takes)),
        number => Ok(number),
    }
}

fn distance(value: &str) -> Result<i64, SpecError> {
    let takes = "a number of blocks with its sign, not 0: +8 or -8";
    let blocks: i64 = number("misdirect", value, takes)?;
    let signed = value.starts_with(['+', '-']);
    if signed && blocks != 0 { Ok(blocks) } else { Err(wrong("misdirect", value, takes)) }
}

fn byte(value: &str) -> Result<u16, SpecError> {
    let takes = "the number of a byte of the block, from 0 to 4095";
    let byte = number("byte", value, takes)?;
    if byte < MAX_BLOCK { Ok(byte) } else { Err(wrong("byte", value, takes)) }
}

fn probability(value: &str) -> Result<f64, SpecError> {
    let takes = "a probability above 0 and up to 1, as 0.01";
    let probability: f64 = number("p", value, takes)?;
    if probability > 0.0 && probability <= 1.0 {
        Ok(probability)
    } else {
        Err(wrong("p", value, takes))
    }
}

fn ops(value: &str) -> Result<OpSet, SpecError> {
    let takes =
        "read, write, verify, discard, zeroes, flush, other, several of them with +, or any";
    if value == "any" {
        return Ok(OpSet::ANY);
    }
    value.split('+').try_fold(OpSet::NONE, |ops, name| {
        Op::from_name(name).map(|op| ops.with(op)).ok_or_else(|| wrong("op", value, takes))
    })
}

fn lba_range(value: &str) -> Result<LbaRange, SpecError> {
    let takes = "a block or a range of them, 100 or 100..200, the last one not included";
    let refuse = || wrong("lba", value, takes);
    let (first, end) = match value.split_once("..") {
        None => {
            let first: u64 = number("lba", value, takes)?;
            (first, first.checked_add(1).ok_or_else(refuse)?)
        }
        Some((first, end)) => {
            (first.parse().map_err(|_| refuse())?, end.parse().map_err(|_| refuse())?)
        }
    };
    if first < end { Ok(LbaRange { first: Lba(first), end: Lba(end) }) } else { Err(refuse()) }
}

fn sense(value: &str) -> Result<Sense, SpecError> {
    let takes = "key, ASC and ASCQ in hex: 3/11/00";
    let refuse = || wrong("sense", value, takes);
    let parts: Vec<u8> = value
        .split('/')
        .map(|part| u8::from_str_radix(part, 16).ok().filter(|_| !part.starts_with('+')))
        .collect::<Option<_>>()
        .ok_or_else(refuse)?;
    match parts.as_slice() {
        [key @ 0..=0xF, asc, ascq] => Ok(Sense { key: *key, asc: *asc, ascq: *ascq }),
        _ => Err(refuse()),
    }
}

#[cfg(test)]
mod tests;
