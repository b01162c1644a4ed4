//! Every command that the README and the pages under docs/ show is tried here.
//!
//! A comment above each fenced `sh` block says how; the comment does not show on the page, and a
//! block without one fails the test:
//! `<!-- test: make -->`   each line is a target of the Makefile;
//! `<!-- test: flags -->`  every flag exists where it is used, for what takes long or needs the reader's own files;
//! `<!-- test: install -->` installs into a folder, and looks there for what the lines speak of;
//! `<!-- test: run -->`    the block is run, from a folder with the files it speaks of: `vmlinuz` and
//! `initrd.img` of a guest that writes to its disk, and what the blocks above it left.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may state what they know"
)]

mod commands;
mod plain_guest;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use commands::{OURS, commands_of, said, unknown_flags};
use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A page that users read: its path from the root, and its text.
struct Page {
    name: String,
    text: String,
}

/// The README first, then what lies in docs/.
fn pages() -> Vec<Page> {
    let docs = fs::read_dir(root().join("docs")).unwrap().flatten();
    let names = docs.map(|entry| format!("docs/{}", entry.file_name().display()));
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".md")).collect();
    names.sort();
    names.insert(0, "README.md".to_owned());
    let page = |name: String| Page { text: fs::read_to_string(root().join(&name)).unwrap(), name };
    names.into_iter().map(page).collect()
}

/// A fenced `sh` block of a page.
#[derive(Debug, PartialEq)]
struct Block {
    /// `PAGE:LINE`.
    place: String,
    way: Option<String>,
    script: String,
}

/// All `sh` blocks of a page, each with the way it is to be tested.
fn blocks_of(name: &str, page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut way = None;
    let mut lines = page.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let comment = line.strip_prefix("<!-- test: ").and_then(|rest| rest.strip_suffix(" -->"));
        if let Some(word) = comment {
            way = Some(word.to_owned());
        } else if let Some(language) = line.strip_prefix("```") {
            let body: Vec<_> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            if language == "sh" {
                let script = body.join("\n") + "\n";
                let place = format!("{name}:{}", index + 1);
                blocks.push(Block { place, way: way.take(), script });
            }
        } else if !line.trim().is_empty() {
            // The comment stands directly above its block.
            way = None;
        }
    }
    blocks
}

fn check_flags(block: &Block) {
    let syntax = Command::new("sh").args(["-n", "-c", &block.script]).output().unwrap();
    assert!(syntax.status.success(), "{}: {}", block.place, said(&syntax));
    let commands = commands_of(&block.script);
    let ours = |word: &String| OURS.iter().any(|(name, _)| word == name);
    assert!(commands.iter().flatten().any(ours), "{}: nothing to check", block.place);
    let wrong: Vec<_> = commands.iter().flat_map(|command| unknown_flags(command)).collect();
    assert!(wrong.is_empty(), "{}: {}", block.place, wrong.join("; "));
}

const WRITE_TO_THE_DISK: &str =
    "dd if=/bin/busybox of=/dev/vda bs=4k count=64 conv=fsync && echo guest: written";

fn check_make(block: &Block) {
    for command in commands_of(&block.script) {
        let [make, target] = &command[..] else { panic!("{}: {command:?}", block.place) };
        assert_eq!(make, "make");
        let output =
            Command::new("make").args(["-n", target]).current_dir(root()).output().unwrap();
        assert!(output.status.success(), "make {target}: {}", said(&output));
    }
}

/// A folder as the reader has it: the project's own folders, and our programs in PATH.
fn run(script: &str, dir: &Path) -> Output {
    for folder in ["qemu", "guest-scripts", "docs"] {
        let link = dir.join(folder);
        if root().join(folder).exists() && !link.exists() {
            std::os::unix::fs::symlink(root().join(folder), link).unwrap();
        }
    }
    let programs = PathBuf::from(OURS[0].1).parent().unwrap().display().to_string();
    let path = format!("{programs}:{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    Command::new("timeout")
        .args(["--kill-after=5", "300", "sh", "-eu", "-c", script])
        .current_dir(dir)
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Installs into a folder; a unit that is started and a file that is given have to be there then.
fn check_install(block: &Block) {
    let dir = TempDir::new().unwrap();
    let programs = Path::new(OURS[0].1).parent().unwrap().display().to_string();
    for command in commands_of(&block.script) {
        let words: Vec<_> = command.iter().map(String::as_str).filter(|w| *w != "sudo").collect();
        match words[..] {
            ["make", "build"] => {}
            ["make", "install"] => {
                let output = Command::new("make")
                    .args(["install", &format!("BIN={programs}")])
                    .arg(format!("DESTDIR={}", dir.path().display()))
                    .current_dir(root())
                    .output()
                    .unwrap();
                assert!(output.status.success(), "{}", said(&output));
            }
            ["systemctl", "start", unit] => {
                let (name, rest) = unit.split_once('@').unwrap();
                let kind = rest.split('.').next_back().unwrap();
                let path = format!("etc/systemd/system/{name}@.{kind}");
                assert!(dir.path().join(&path).exists(), "{path} was not installed");
            }
            ["virsh", "define", file] => assert!(root().join(file).exists(), "{file}"),
            _ => panic!("{}: how is {command:?} tested?", block.place),
        }
    }
}

fn check_run(block: &Block, dir: &Path) {
    let output = run(&block.script, dir);
    assert!(output.status.success(), "{}: {}", block.place, said(&output));
}

#[test]
fn every_block_does_what_it_says() {
    let mut tried = BTreeMap::new();
    for page in pages() {
        // What a page runs stands on what stands above it on the same page.
        let dir = TempDir::new().unwrap();
        let blocks = blocks_of(&page.name, &page.text);
        if blocks.iter().any(|block| block.way.as_deref() == Some("run")) {
            plain_guest::write(dir.path(), WRITE_TO_THE_DISK);
        }
        for block in &blocks {
            match block.way.as_deref() {
                Some("make") => check_make(block),
                Some("flags") => check_flags(block),
                Some("install") => check_install(block),
                Some("run") => check_run(block, dir.path()),
                way => panic!("{}: how is this block tested? {way:?}", block.place),
            }
            *tried.entry(block.way.clone()).or_insert(0) += 1;
        }
    }
    assert_eq!(tried.len(), 4, "each way is in use: {tried:?}");
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
    for page in pages().iter().skip(1).filter(|page| page.name != "docs/SUMMARY.md") {
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
        assert!(run("dixtrap --version\n", dir.path()).status.success());
        assert!(!run("false\ntrue\n", dir.path()).status.success());
        assert!(!run("dixtrapd --no-such-flag\ntrue\n", dir.path()).status.success());
    }
}
