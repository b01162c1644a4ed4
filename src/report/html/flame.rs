//! Who changed the bytes, as a flame graph that hangs: the system call above, the store below, each as wide as
//! its share of the races.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::report::plain::plain;
use crate::verdict::CulpritGroup;

use super::chart::{real, short, shortened};

const WIDE: f64 = 960.0;
const ROW: f64 = 17.0;
/// How many groups are drawn, and how deep; a frame narrower than this has no box.
const GROUPS: usize = 200;
const DEPTH: usize = 48;
const NARROW: f64 = 0.8;
/// About the width of a letter.
const LETTER: f64 = 6.4;

/// A frame with those that it called.
#[derive(Default)]
struct Frame {
    races: u64,
    called: BTreeMap<String, Frame>,
}

/// A box of the picture.
struct Box {
    name: String,
    races: u64,
    left: f64,
    wide: f64,
    depth: u32,
    leaf: bool,
}

/// The picture of these groups; nothing where none of them has callers.
pub fn graph(name: &str, groups: &[CulpritGroup]) -> Markup {
    if groups.iter().all(|group| group.stack.is_empty()) {
        return html! {};
    }
    let mut root = Frame::default();
    for group in groups.iter().take(GROUPS) {
        add(&mut root, group);
    }
    let mut boxes = Vec::new();
    lay(&root, (0.0, WIDE), 0, &mut boxes);
    let deep = boxes.iter().map(|one| one.depth).max().unwrap_or(0);
    let high = ROW * (f64::from(deep) + 1.0);
    let words = format!(
        "{}: {} races by the ways to their stores, callers above; the same is told as text below.",
        plain(name),
        root.races
    );
    html! {
        figure {
            figcaption { "The ways to the stores: callers above, the store that changed the bytes at the end, as wide as its share of the races." }
            div.scroll.flame tabindex="0" role="region" aria-label=(plain(name)) {
            svg role="img" aria-label=(words) viewBox=(format!("0 0 {WIDE} {high}")) {
                @for one in &boxes {
                    g class=(if one.leaf { "frame leaf" } else { "frame" }) {
                        title { (plain(&one.name)) ": " (one.races) " races" }
                        rect x=(short(one.left)) y=(short(ROW * f64::from(one.depth))) width=(short(one.wide)) height=(short(ROW - 1.0)) {}
                        @if let Some(text) = fitting(one) {
                            text x=(short(one.left + 3.0)) y=(short(ROW * f64::from(one.depth) + 12.0)) { (text) }
                        }
                    }
                }
            }
            }
        }
    }
}

fn add(root: &mut Frame, group: &CulpritGroup) {
    root.races = root.races.saturating_add(group.races);
    let mut at = root;
    let store = std::iter::once(&group.symbol);
    for name in group.stack.iter().take(DEPTH).rev().chain(store) {
        at = at.called.entry(name.clone()).or_default();
        at.races = at.races.saturating_add(group.races);
    }
}

/// No deeper than a stack may be: a record of strangers has no say in that.
fn lay(frame: &Frame, (left, wide): (f64, f64), depth: u32, boxes: &mut Vec<Box>) {
    let mut at = left;
    for (name, called) in &frame.called {
        let share = wide * real(called.races) / real(frame.races.max(1));
        if share >= NARROW {
            let (name, leaf) = (name.clone(), called.called.is_empty());
            boxes.push(Box { name, races: called.races, left: at, wide: share, depth, leaf });
            lay(called, (at, share), depth.saturating_add(1), boxes);
        }
        at += share;
    }
}

/// As much of the name as there is room for.
fn fitting(one: &Box) -> Option<String> {
    let name = shortened(&one.name);
    let mut end = 0.0;
    let text: String = name
        .chars()
        .take_while(|_| {
            end += LETTER;
            end < one.wide - 4.0
        })
        .collect();
    (text.chars().count() > 3).then_some(text)
}
