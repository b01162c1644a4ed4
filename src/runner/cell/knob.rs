//! What the queue's `stable_writes` was while a script wrote.

use super::end::End;
use crate::verdict::StableWrites;

/// Where it is, seen from the disk's folder in sysfs.
pub(super) const KNOB: &str = "queue/stable_writes";

/// The values that were seen of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Knob {
    /// The script never wrote, or there is no such knob.
    Unknown,
    /// It stayed like that.
    Was(StableWrites),
    /// It did not stay as it was.
    Changed,
}

impl Knob {
    /// From the different values of the file.
    pub(super) fn of(values: &[String]) -> Knob {
        match values {
            [value] if value == "1" => Knob::Was(StableWrites::On),
            [value] if value == "0" => Knob::Was(StableWrites::Off),
            [] | [_] => Knob::Unknown,
            _ => Knob::Changed,
        }
    }

    /// The one value that it had.
    pub(super) fn value(self) -> Option<StableWrites> {
        match self {
            Knob::Was(value) => Some(value),
            Knob::Unknown | Knob::Changed => None,
        }
    }

    /// A cell of one setting that ran with another is no evidence of either.
    pub(super) fn check(self, asked: Option<StableWrites>, end: End) -> End {
        match (self, asked, end) {
            (Knob::Was(was), Some(asked), End::Done) if was != asked => {
                End::Trouble(format!("stable_writes was {was} while it wrote, not {asked}"))
            }
            (Knob::Changed, Some(asked), End::Done) => {
                End::Trouble(format!("stable_writes did not stay {asked} while it wrote"))
            }
            (_, _, end) => end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_knob_has_to_stay_as_it_was_set() {
        let of =
            |values: &[&str]| Knob::of(&values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>());
        let on = Some(StableWrites::On);
        assert_eq!((of(&["1"]).value(), of(&["0", "1"]).value()), (on, None));
        assert_eq!((of(&[]).value(), of(&[""]).value()), (None, None));
        for (values, asked, well) in [
            (&["1"][..], on, true),
            (&["0"], on, false),
            (&["1", "0"], on, false),
            (&["1", "0"], None, true),
            (&["0"], None, true),
            // A kernel without the knob has skipped the cell, where that matters.
            (&[""], on, true),
        ] {
            let end = of(values).check(asked, End::Done);
            assert_eq!(matches!(end, End::Done), well, "{values:?} {asked:?}");
        }
        assert!(matches!(of(&["0"]).check(on, End::Hung("x".into())), End::Hung(_)));
    }
}
