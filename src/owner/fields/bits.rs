//! Bitmaps: which bits changed.

use std::ops::Range;

use crate::record::{Holds, Structure};

use super::run::Run;

/// What a bit stands for, where the structure is made of bits.
pub(super) fn name(structure: Structure) -> Option<&'static str> {
    match structure {
        Structure::Ext4BlockBitmap => Some("blocks"),
        Structure::Ext4InodeBitmap => Some("inodes"),
        _ => None,
    }
}

/// The bits that differ, as ranges in the order in which they lie, counted from the bitmap's own first one;
/// one set, one cleared, and of bytes that are not on record nothing.
pub(super) fn changed(here: Holds, run: &Run, range: &Range<u64>) -> Vec<String> {
    let mut spans: Vec<(u64, u64, bool)> = Vec::new();
    for at in range.clone() {
        let Some((&[old], &[new])) = run.bytes(at, 1) else { break };
        for bit in 0..8_u32 {
            let (was, is) = (old >> bit & 1 == 1, new >> bit & 1 == 1);
            if was == is {
                continue;
            }
            let number =
                (here.skipped + (at - range.start)).saturating_mul(8).saturating_add(bit.into());
            match spans.last_mut() {
                Some((_, last, set)) if *set == is && last.checked_add(1) == Some(number) => {
                    *last = number
                }
                _ => spans.push((number, number, is)),
            }
        }
    }
    spans.into_iter().map(words).collect()
}

fn words((first, last, set): (u64, u64, bool)) -> String {
    let what = if set { "set" } else { "cleared" };
    if first == last { format!("{first} {what}") } else { format!("{first} to {last} {what}") }
}
