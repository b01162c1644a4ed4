use super::*;
use crate::runner::host::machine::DiskShape;
use crate::runner::select::table::tests::guest;
use crate::units::{BlockSize, ByteSize};

fn select(scenarios: &[&str], fs: &[&str]) -> Result<Selection, PlanError> {
    let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    Selection::new(Catalogue::embedded().unwrap(), &owned(scenarios), &owned(fs))
}

fn around(programs: &[&str], drivers: &[&str]) -> Environment {
    let set = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
    Environment {
        device: Device::Blk,
        disk: DiskShape::default(),
        guest: Some(guest("6.1.0")),
        missing_programs: set(programs),
        missing_drivers: set(drivers),
        ..Environment::default()
    }
}

#[test]
fn a_scenario_unfolds_over_its_header() {
    let selection = select(&["mmap-rewrite"], &["ext4"]).unwrap();
    let cells = selection.plan(&around(&[], &[]));
    let told: Vec<(String, Expect, bool)> = cells
        .iter()
        .map(|c| (c.spec.name(), c.expectation.expect, c.expectation.control))
        .collect();
    assert_eq!(
        told,
        [
            ("mmap-rewrite/ext4/stable_writes=off".to_owned(), Expect::Race, true),
            ("mmap-rewrite/ext4/stable_writes=on".to_owned(), Expect::Stable, false),
        ]
    );
}

#[test]
fn a_choice_without_a_control_gets_one_that_needs_nothing() {
    let cells = select(&["metadata-churn"], &[]).unwrap().plan(&around(&[], &[]));
    assert!(cells[0].expectation.control);
    assert_eq!(cells[0].spec.name(), "direct-rewrite/raw/stable_writes=off");
    assert!(cells[1..].iter().all(|c| c.spec.scenario.name == "metadata-churn"));
}

#[test]
fn one_question_for_every_kernel_needs_a_control_of_its_own() {
    let selection = select(&["direct-rewrite"], &["ext4"]).unwrap();
    for expect in [Expect::Stable, Expect::Race, Expect::Survey] {
        let cells = selection.clone().expecting(Some(expect)).plan(&around(&[], &[]));
        assert!(cells[0].expectation.control && cells[0].spec.fs.name == "raw");
        assert_eq!(cells.len(), 3);
        assert!(
            cells[1..].iter().all(|c| c.expectation.expect == expect && !c.expectation.control)
        );
    }
    let cells = selection.expecting(None).plan(&around(&[], &[]));
    assert!(cells.iter().all(|c| c.spec.fs.name == "ext4"), "{cells:?}");
}

#[test]
fn a_control_is_never_the_cell_that_is_asked_about() {
    let selection = select(&["direct-rewrite"], &["raw"]).unwrap();
    let cells = selection.expecting(Some(Expect::Race)).plan(&around(&[], &[]));
    assert!(cells[0].expectation.control && cells.len() == 3);
    let mut names: Vec<_> = cells.iter().map(|cell| cell.spec.name()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn one_race_ends_a_cell_that_it_answers() {
    let ends = |expect| {
        let selection = select(&["metadata-churn"], &["ext4"]).unwrap().expecting(expect);
        let cells = selection.plan(&around(&[], &[]));
        assert!(cells[0].expectation.control && cells[0].ends_at_a_race() && !cells[0].asked);
        cells[1].ends_at_a_race()
    };
    assert!(ends(Some(Expect::Stable)) && ends(Some(Expect::Race)));
    // Without the question the figures are wanted as well.
    assert!(!ends(None) && !ends(Some(Expect::Survey)));
}

#[test]
fn the_knob_picks_its_cells_and_those_that_leave_it_alone() {
    let settings = |scenario: &str, knob: &str| -> Vec<Option<StableWrites>> {
        let chosen = select(&[scenario], &["ext4"]).unwrap();
        let chosen = chosen.with_knob(knob.parse().unwrap()).unwrap().chosen;
        chosen.into_iter().map(|spec| spec.stable_writes).collect()
    };
    let (on, off) = (Some(StableWrites::On), Some(StableWrites::Off));
    assert_eq!(settings("mmap-rewrite", "on"), [on]);
    assert_eq!(settings("mmap-rewrite", "off"), [off]);
    assert_eq!(settings("mmap-rewrite", "both"), [off, on]);
    assert_eq!(settings("dix-verify", "off"), [None]);
    let cells = select(&["metadata-churn"], &["ext4"]).unwrap().with_knob(Knob::Off).unwrap();
    assert!(cells.plan(&around(&[], &[]))[0].expectation.control);
    assert!("maybe".parse::<Knob>().unwrap_err().contains("on, off or both"));
}

#[test]
fn what_is_missing_skips_its_cells_and_says_what_would_help() {
    let selection = select(&[], &["ext4"]).unwrap();
    assert!(selection.programs().contains("mkfs.ext4"));
    let cells = selection.plan(&around(&["mkfs.ext4"], &[]));
    let reason = cells[1].skip.as_ref().unwrap();
    assert!(reason.contains("install the package e2fsprogs"), "{reason}");
    assert!(cells[0].skip.is_none(), "the control that was added");
    let cells = selection.plan(&around(&[], &["ext4"]));
    assert!(cells[1].skip.as_ref().unwrap().contains("no driver ext4"));
    let stranded = [("mkfs.ext4".to_owned(), "ruby is not here".to_owned())].into();
    let around = Environment { stranded_programs: stranded, ..around(&[], &[]) };
    let reason = selection.plan(&around)[1].skip.clone().unwrap();
    assert_eq!(reason, "mkfs.ext4 cannot come along into the guest: ruby is not here");
}

#[test]
fn what_does_not_fit_on_the_disk_is_skipped() {
    let selection = select(&["mmap-rewrite", "write-faults"], &["ext4*", "raw"]).unwrap();
    let skipped = |block_size, bytes| -> BTreeSet<String> {
        let disk = DiskShape { block_size, size: ByteSize(bytes), ..DiskShape::default() };
        let around = Environment { disk, ..around(&[], &[]) };
        let cells = selection.plan(&around).into_iter().filter(|cell| cell.skip.is_some());
        cells.map(|c| format!("{}/{}", c.spec.scenario.name, c.spec.fs.name)).collect()
    };
    let of = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(skipped(BlockSize::B512, 1 << 30), of(&[]));
    assert_eq!(skipped(BlockSize::B4096, 1 << 30), of(&["mmap-rewrite/ext4-1k"]));
    assert_eq!(skipped(BlockSize::B512, 512 << 20), of(&["write-faults/raw"]));
}

#[test]
fn file_systems_are_chosen_by_pattern_and_defaults() {
    let names = |fs: &[&str]| -> BTreeSet<String> {
        let chosen = select(&["mmap-rewrite"], fs).unwrap().chosen;
        chosen.into_iter().map(|spec| spec.fs.name).collect()
    };
    let of = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(names(&[]), of(&["raw", "ext4", "xfs", "btrfs"]));
    assert_eq!(names(&["btrfs*", "raw"]), of(&["raw", "btrfs", "btrfs-nodatasum"]));
    assert!(select(&[], &["["]).is_err());
}

#[test]
fn choices_of_nothing_are_errors_that_say_what_there_is() {
    assert!(select(&[], &["ntfs"]).unwrap_err().to_string().contains("raw, partition"));
    assert!(select(&["metadata-churn"], &["raw"]).is_err());
    assert!(select(&["nosuch"], &[]).is_err());
}
