//! `dixtrap sweep` as its users run it: one boot, two windows, and figures that the records bear out.

use std::collections::BTreeSet;
use std::process::Output;

use dixtrap::sweep::Sweep;

use crate::booted::kernel_name;
use crate::kit::programs::{output, said};

fn sweep(words: &[&str]) -> Output {
    output(&[&["sweep"], words].concat())
}

#[test]
fn two_windows_give_two_points_a_curve_and_a_picture() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (out, json, svg) = (path("out"), path("sweep.json"), path("sweep.svg"));
    let kernel = kernel_name();
    let how = ["--kernel", &kernel, "--accel", "tcg", "--windows", "50us,5ms", "--repeat", "3"];
    let files = ["--out", &out, "--json", &json, "--svg", &svg];
    let output = sweep(&[&how[..], &files[..]].concat());
    let told = said(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let swept: Sweep = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(swept.points.len(), 2);
    // The windows were really set: a fetch never comes before its time.
    let medians: Vec<f64> =
        swept.points.iter().map(|point| point.figures.median_us.unwrap()).collect();
    assert!(medians[0] >= 50.0 && medians[1] >= 5_000.0, "{medians:?}");
    let records = std::fs::read_to_string(dir.path().join("out/boot-1/races.jsonl")).unwrap();
    let raced = |label: &str| {
        let races = records.lines().filter_map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            let ours = record["type"] == "race" && record["label"] == label;
            ours.then(|| record["request"]["id"].as_u64().unwrap())
        });
        u64::try_from(races.collect::<BTreeSet<u64>>().len()).unwrap()
    };
    for point in &swept.points {
        assert_eq!(point.repetitions.len(), 3, "{point:?}");
        for repetition in &point.repetitions {
            assert_eq!(repetition.figures.raced_writes, raced(&repetition.label), "{repetition:?}");
        }
        // Every window once a round: of two windows, 1 or 2, then 3 or 4, then 5 or 6.
        let numbers = point.repetitions.iter().map(|r| r.label.rsplit('#').next().unwrap());
        let round = |number: &str| number.parse::<u32>().unwrap().div_ceil(2);
        assert_eq!(numbers.map(round).collect::<Vec<_>>(), [1, 2, 3], "{point:?}");
        let sum: u64 =
            point.repetitions.iter().map(|repetition| repetition.figures.raced_writes).sum();
        assert_eq!(point.figures.raced_writes, sum);
        assert!(
            point.figures.raced_writes > 0 && point.figures.raced_writes <= point.figures.writes,
            "{point:?}"
        );
        let chance = point.chance.unwrap();
        assert_eq!(chance.repetitions, 3);
        assert!(chance.interval.low <= chance.share && chance.share <= chance.interval.high);
    }
    assert!(told.contains("2 windows, 3 repetitions of 3 s each: about"), "{told}");
    assert!(swept.fit.is_some() && told.contains("20 us after the doorbell"), "{told}");
    assert!(std::fs::read_to_string(svg).unwrap().starts_with("<svg"));
}

#[test]
fn what_cannot_be_swept_is_refused_before_a_boot() {
    for (words, message) in [
        (&["--windows", "hold"][..], "never ends"),
        (&["--windows", "soon"], "not known"),
        (&["--scenario", "nosuch"], "no scenario matches"),
        (&["--scenario", "*-rewrite", "--kernel", "debian:bookworm"], "takes one cell"),
        (&["--fetch", "20"], "20"),
        (&["--repeat", "1"], "not a number from 2 to 1000"),
        (&["--stable-writes", "maybe"], "neither on nor off"),
    ] {
        let output = sweep(words);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(129), "{words:?}: {told}");
        assert!(told.contains(message), "{words:?}: {told}");
    }
}
