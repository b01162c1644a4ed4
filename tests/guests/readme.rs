//! Every command that a page shows is tried here, and comes to what the page says.
//!
//! A comment above each fenced `sh` block, and each `text` block that begins with a command, says how; the
//! comment does not show on the page, and a block without one fails the test:
//! `<!-- test: make -->`     each line is a target of the Makefile;
//! `<!-- test: flags -->`    every flag exists where it is used: `NOT_RUN` says why nothing here runs the block;
//! `<!-- test: install -->`  installs into a folder, and looks there for what the lines speak of;
//! `<!-- test: run -->`      the block is run, from a folder with the files it speaks of: `vmlinuz` and
//! `initrd.img` of a guest that writes to its disk, and what the blocks above it left;
//! `<!-- test: daemon -->`   it is run beside the daemon that it speaks to, or starts;
//! `<!-- test: boot … -->`   each line is run with these words behind it, which keep it short;
//! `<!-- test: shown -->`    the command is run, and comes to the verdict that is shown;
//! `<!-- test: guest -->`    the lines are run inside a guest that has guest-scripts/ and a disk;
//! `<!-- test: scenario NAME -->` it is a scenario: every cell comes to what it expects.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use tempfile::TempDir;

use crate::kit::commands::{OURS, unknown_flags};
use crate::pages::{Block, Page, blocks_of, pages, root, ways};

/// The blocks of which only the flags are checked, by page and first line, and why nothing here runs them.
const NOT_RUN: &[(&str, &str, &str)] = &[
    (
        "docs/bisecting.md",
        "git bisect start BAD GOOD",
        "builds a kernel a step; tests/guests/bisect.rs runs the other form over kernels that are built",
    ),
    (
        "docs/bisecting.md",
        "git bisect start --term-old=races --term-new=stable",
        "builds a kernel a step; tests/guests/bisect.rs runs it over kernels that are built",
    ),
    (
        "docs/running.md",
        "dixtrap run --kernel path/to/linux                     # a built tree, as it is",
        "kernels of the reader's; tests/commands/package_cases.rs gives such, tests/guests/run.rs boots one",
    ),
    (
        "docs/running.md",
        "dixtrap run --kernel path/to/debug-linux --memory 4G --timeout 20m --append 'kasan.fault=panic slub_debug=FZPU'",
        "a kernel and a QEMU of the reader's, and 8 GiB; tests/guests/run_flags.rs gives these flags",
    ),
    (
        "docs/running.md",
        "dixtrap run --kernel old.deb --kernel new.deb --fs 'ext4*' --shard 1/2 --json part1.json",
        "kernels of the reader's, on two machines; tests/guests/run_many.rs deals and merges",
    ),
    (
        "docs/running.md",
        "dixtrap run --kernel old.deb --kernel new.deb --fs 'ext4*' --resume part1.json --json all.json",
        "kernels and a verdict of the reader's; tests/guests/run_many.rs goes on with a run",
    ),
    (
        "docs/reading.md",
        "dixtrap report out --label 'metadata-churn/*' --owner 'inode table' --phase in-window",
        "the folder of a run of the reader's; tests/commands/report.rs gives these flags",
    ),
    (
        "docs/reading.md",
        "dixtrap report out --bug",
        "the folder of a run of the reader's; tests/commands/report.rs writes such mails",
    ),
    (
        "docs/running.md",
        "dixtrap run --kernel debian:trixie --root debian:trixie+postgresql --fs ext4 --fs btrfs --timeout 15m -- \\",
        "fetches a hundred packages, and takes an image of the reader's; tests/guests/roots.rs runs a command in a root",
    ),
    (
        "docs/by-hand.md",
        "dixtrap-guest owners /dev/vdb /mnt",
        "a guest and a file system of the reader's; tests/guests/run_flags.rs names owners by hand",
    ),
    (
        "docs/scsi.md",
        "dixtrap run --device scsi --kernel debian:bookworm",
        "every scenario there is, for many minutes; tests/guests/run_scsi.rs runs some of them",
    ),
];

/// The recipes that run elsewhere, and why not here; tests/commands/examples.rs checks their flags and their form.
const RECIPES: &[(&str, &str)] = &[
    ("github-actions.yml", "runs on a runner of GitHub's, with its KVM"),
    ("gitlab-ci.yml", "runs on runners of GitLab's"),
    ("virtme-ng.sh", "needs virtme-ng and a kernel tree"),
    ("xfstests.config", "is read by xfstests, inside a guest that has them"),
    ("blktests.config", "is read by blktests, inside a guest that has them"),
];

const WRITE_TO_THE_DISK: &str =
    "dd if=/bin/busybox of=/dev/vda bs=4k count=64 conv=fsync && echo guest: written
dixtrap-guest owners /dev/vda /dev/vda";

/// All blocks of all pages that are tested in one of these ways.
fn each(wanted: &[&str], check: &mut dyn FnMut(&Page, &Block)) -> BTreeMap<String, usize> {
    let mut tried = BTreeMap::new();
    for page in pages() {
        for block in blocks_of(&page.name, &page.text) {
            let (way, _) = block.how();
            if wanted.contains(&way) {
                check(&page, &block);
                *tried.entry(way.to_owned()).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(tried.len(), wanted.len(), "each way is in use: {tried:?}");
    tried
}

const WAYS: [&str; 9] =
    ["make", "flags", "install", "run", "daemon", "boot", "shown", "guest", "scenario"];

#[test]
fn every_block_is_tested_in_some_way() {
    for page in pages() {
        for block in blocks_of(&page.name, &page.text) {
            let (way, _) = block.how();
            assert!(WAYS.contains(&way), "{}: how is this block tested?", block.place);
        }
    }
}

#[test]
fn what_is_installed_and_made_and_given_is_there() {
    each(&["make", "flags", "install", "daemon"], &mut |_, block| match block.how().0 {
        "make" => ways::make(block),
        "install" => ways::install(block),
        "daemon" => ways::daemon(block),
        _ => ways::flags(block),
    });
}

/// What is not run is listed with its reason, and nothing else is.
#[test]
fn what_is_not_run_has_a_reason() {
    let mut flags = BTreeSet::new();
    each(&["flags"], &mut |_, block| {
        let (page, first) = block.key();
        flags.insert((page.to_owned(), first.to_owned()));
    });
    let listed = NOT_RUN.iter().map(|(page, first, _)| ((*page).to_owned(), (*first).to_owned()));
    assert_eq!(flags, listed.collect());
    let recipes = fs::read_dir(root().join("examples")).unwrap().flatten();
    let recipes = recipes.map(|entry| entry.file_name().into_string().unwrap());
    let recipes: BTreeSet<String> = recipes.filter(|name| name != "README.md").collect();
    assert_eq!(recipes, RECIPES.iter().map(|(name, _)| (*name).to_owned()).collect());
}

/// What a page runs stands on what stands above it on the same page.
#[test]
fn what_a_page_runs_runs() {
    for page in pages() {
        let dir = TempDir::new().unwrap();
        let blocks = blocks_of(&page.name, &page.text);
        let blocks: Vec<_> = blocks.iter().filter(|block| block.how().0 == "run").collect();
        if !blocks.is_empty() {
            crate::booted::plain::write(dir.path(), WRITE_TO_THE_DISK);
        }
        blocks.iter().for_each(|block| ways::run(block, dir.path()));
    }
}

#[test]
fn what_boots_comes_to_the_verdict_that_is_shown() {
    each(&["boot", "shown", "guest"], &mut |_, block| match block.how() {
        ("boot", more) => ways::boot(block, &more),
        ("guest", _) => ways::guest(block),
        _ => ways::shown(block),
    });
}

#[test]
fn the_example_of_a_scenario_comes_to_what_it_expects() {
    each(&["scenario"], &mut |page, block| {
        if let Some(why) = ways::scenario(page, block, block.how().1[0]) {
            println!("skipped: {}: {why}", block.place);
        }
    });
}

/// What stands between the lines are flags and commands of ours too.
#[test]
fn what_is_named_in_the_text_exists() {
    let mut seen = 0;
    for page in pages() {
        for code in page.inline_code() {
            let words: Vec<String> = code.split_whitespace().map(str::to_owned).collect();
            if OURS.iter().any(|(name, _)| words.first().is_some_and(|word| word == name)) {
                let wrong = unknown_flags(&words);
                assert!(wrong.is_empty(), "{}: `{code}`: {}", page.name, wrong.join("; "));
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "only {seen}: the search itself is broken");
}

/// Links inside the project lead somewhere.
#[test]
fn every_file_that_a_page_names_is_there() {
    for page in pages() {
        let folder = root().join(&page.name).parent().unwrap().to_owned();
        let targets = page.text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
            let path = target.split('#').next().unwrap();
            assert!(
                folder.join(path).exists(),
                "{} links to {path}, which is not there",
                page.name
            );
        }
    }
}

/// The book's table of contents has every page, and the README leads to the others.
#[test]
fn every_page_can_be_found() {
    let contents = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    for page in
        pages().iter().filter(|p| p.name.starts_with("docs/") && !p.name.ends_with("/SUMMARY.md"))
    {
        let name = page.name.trim_start_matches("docs/");
        assert!(contents.contains(&format!("]({name})")), "docs/SUMMARY.md leaves out {name}");
    }
}

mod the_check_itself {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn finds_blocks_and_their_ways() {
        let page = "a\n<!-- test: run -->\n```sh\nb\nc\n```\n```json\n{}\n```\n\n```sh\nd\n```\n\
                    <!-- test: make -->\ntext between\n\n```sh\ne\n```\n";
        let block = |line: usize, way: Option<&str>, script: &str| Block {
            place: format!("page:{line}"),
            way: way.map(str::to_owned),
            script: script.to_owned(),
        };
        assert_eq!(
            blocks_of("page", page),
            [block(3, Some("run"), "b\nc\n"), block(11, None, "d\n"), block(17, None, "e\n")]
        );
    }

    #[test]
    fn a_flag_that_does_not_exist_is_found() {
        assert_eq!(unknown_flags(&words("dixtrapd --socket-path a --fd 3")), [""; 0]);
        assert_eq!(unknown_flags(&words("X=1 dixtrapd --socket a")).len(), 1);
        assert_eq!(unknown_flags(&words("dixtrap ctl a.sock mark x --end &")), [""; 0]);
        assert_eq!(unknown_flags(&words("dixtrap ctl a.sock stats --end")).len(), 1);
        assert_eq!(unknown_flags(&words("dixtrap ctl a.sock window 5parsecs")).len(), 1);
        assert_eq!(unknown_flags(&words("git bisect run dixtrap ctl --no-such x")).len(), 1);
        assert_eq!(unknown_flags(&words("dixtrap no-such-subcommand --x")).len(), 1);
    }

    #[test]
    fn a_block_that_fails_is_found() {
        let dir = TempDir::new().unwrap();
        assert!(ways::shell("dixtrap --version\n", dir.path()).status.success());
        assert!(!ways::shell("false\ntrue\n", dir.path()).status.success());
        assert!(!ways::shell("dixtrapd --no-such-flag\ntrue\n", dir.path()).status.success());
    }
}
