//! The ways in which a block is tested: what runs it, and what has to come of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use dixtrap::runner::host::tools::find_program;
use dixtrap::verdict::{CellOutcome, Verdict};
use tempfile::TempDir;

use super::{Block, Page, root};
use crate::kit::commands::{OURS, commands_of, unknown_flags};
use crate::kit::programs::put_plugin_beside_programs;
use crate::kit::programs::said;

/// Our programs' flags exist.
pub fn flags(block: &Block) {
    let syntax = Command::new("sh").args(["-n", "-c", &block.script]).output().unwrap();
    assert!(syntax.status.success(), "{}: {}", block.place, said(&syntax));
    let commands = commands_of(&block.script);
    let ours = |word: &String| OURS.iter().any(|(name, _)| word == name);
    assert!(commands.iter().flatten().any(ours), "{}: nothing to check", block.place);
    let wrong: Vec<_> = commands.iter().flat_map(|command| unknown_flags(command)).collect();
    assert!(wrong.is_empty(), "{}: {}", block.place, wrong.join("; "));
}

/// The targets of the Makefile exist.
pub fn make(block: &Block) {
    for command in commands_of(&block.script) {
        let [make, target] = &command[..] else { panic!("{}: {command:?}", block.place) };
        assert_eq!(make, "make");
        let output =
            Command::new("make").args(["-n", target]).current_dir(root()).output().unwrap();
        assert!(output.status.success(), "make {target}: {}", said(&output));
    }
}

/// Runs it in a folder as the reader has it: the project's own folders, and our programs in PATH.
pub fn shell(script: &str, dir: &Path) -> Output {
    put_plugin_beside_programs();
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

/// It runs to its end as it stands.
pub fn run(block: &Block, dir: &Path) {
    let output = shell(&block.script, dir);
    assert!(output.status.success(), "{}: {}", block.place, said(&output));
}

/// What there is besides programs and units.
const INSTALLED: [&str; 6] = [
    "share/man/man1/dixtrap.1",
    "share/man/man1/dixtrap-run.1",
    "share/man/man1/dixtrapd.1",
    "share/bash-completion/completions/dixtrap.bash",
    "share/zsh/site-functions/_dixtrap",
    "share/fish/vendor_completions.d/dixtrapd.fish",
];

/// Installs into a folder; a unit that is started and a file that is given have to be there then.
pub fn install(block: &Block) {
    put_plugin_beside_programs();
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
                for file in INSTALLED {
                    assert!(dir.path().join("usr/local").join(file).exists(), "{file}");
                }
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

/// The words that stand behind `word`, wherever it stands.
fn behind<'c>(commands: &'c [Vec<String>], word: &str) -> BTreeSet<&'c str> {
    let pairs = commands.iter().flat_map(|command| command.windows(2));
    pairs.filter(|pair| pair[0] == word).map(|pair| pair[1].as_str()).collect()
}

/// It runs beside a daemon, its own or another one; whoever it has asked or started answers in the end.
pub fn daemon(block: &Block) {
    let dir = TempDir::new().unwrap();
    let commands = commands_of(&block.script);
    let (asked, own) = (behind(&commands, "ctl"), behind(&commands, "--control"));
    let await_it = |control: &str| format!("until [ -S {control} ]; do sleep 0.1; done\n");
    // Whoever is left of a block that fails would hold our pipes open.
    let mut script = "trap 'kill $(jobs -p) 2>/dev/null || :' EXIT\n".to_owned();
    for control in asked.difference(&own) {
        let start = "dixtrapd --socket-path its.sock --size 64M --races races.jsonl --control";
        write!(script, "{start} {control} &\n{}", await_it(control)).unwrap();
    }
    script += &block.script;
    for control in asked.union(&own) {
        let end = "dixtrap ctl CONTROL stats\ndixtrap ctl CONTROL quit\n";
        script += &await_it(control);
        script += &end.replace("CONTROL", control);
    }
    script += "wait\n";
    let output = shell(&script, dir.path());
    assert!(output.status.success(), "{}: {}", block.place, said(&output));
    let stats = said(&output).matches("\"counters\"").count();
    assert!(stats >= asked.union(&own).count(), "{}: {}", block.place, said(&output));
}

/// Each of its commands boots a guest, with more words that keep it short, and has the status 0.
pub fn boot(block: &Block, more: &[&str]) {
    let dir = TempDir::new().unwrap();
    for command in commands_of(&block.script) {
        let line = format!("{} {}\n", command.join(" "), more.join(" "));
        let output = shell(&line, dir.path());
        assert!(output.status.success(), "{}: {line}: {}", block.place, said(&output));
    }
}

/// It comes to the same verdict as the page shows, all but the time that it took.
pub fn shown(block: &Block) {
    let dir = TempDir::new().unwrap();
    let command = block.script.lines().next().unwrap().strip_prefix("$ ").unwrap();
    let output = shell(command, dir.path());
    let said = said(&output);
    let last = block.script.lines().next_back().unwrap();
    let (verdict, _seconds) = last.rsplit_once(", ").unwrap();
    assert!(verdict.starts_with("verdict: "), "{}: {last}", block.place);
    assert!(said.contains(verdict), "{}: not '{verdict}': {said}", block.place);
    let status = format!("exit status {}", output.status.code().unwrap());
    assert!(verdict.ends_with(&status), "{}: {status}: {said}", block.place);
}

/// The script is a scenario: run by the command that its page names, every cell is as it expects, and
/// none is left out. Nothing where this machine lacks a program of its header: then why.
pub fn scenario(page: &Page, block: &Block, name: &str) -> Option<String> {
    let needs = block.script.lines().find_map(|line| line.strip_prefix("# needs: ")).unwrap_or("");
    if let Some(program) = needs.split_whitespace().find(|name| find_program(name).is_none()) {
        return Some(format!("{program} is not on this machine"));
    }
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join(name), &block.script).unwrap();
    let command = format!("dixtrap run --scenario ./{name}");
    assert!(page.inline_code().contains(&&*command), "{}: no '{command}'", page.name);
    let line = format!("{command} --kernel debian:bookworm --seconds 5 --json v.json\n");
    let output = shell(&line, dir.path());
    let verdict = fs::read_to_string(dir.path().join("v.json")).unwrap_or_else(|_| String::new());
    let verdict: Verdict = serde_json::from_str(&verdict).unwrap();
    let as_expected = |outcome: &CellOutcome| *outcome == CellOutcome::Pass;
    let outcomes = verdict.cells.iter().map(|cell| cell.outcome);
    assert!(outcomes.clone().all(|one| as_expected(&one)), "{}: {}", page.name, said(&output));
    assert!(outcomes.count() > 1 && output.status.success(), "{}: {}", page.name, said(&output));
    None
}

/// Its commands run inside a guest that has the scripts' folder and the disk that they name, one after
/// the other, and do their work.
pub fn guest(block: &Block) {
    let dir = TempDir::new().unwrap();
    let mut files = Vec::new();
    for entry in fs::read_dir(root().join("guest-scripts")).unwrap().flatten() {
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        files.push(entry.file_name().into_string().unwrap());
    }
    let commands = commands_of(&block.script).len();
    let header =
        "# description: A page's commands.\n# fs: raw\n# stable-writes: any\n# expect: survey";
    let script = format!(
        "{header}\n# needs: mkfs.ext4\n# drivers: ext4\n# files: {}\n\
         . \"$DIXTRAP_LIB/lib.sh\"\nprepare \"$@\"\nsay writing\n(\n\
         unset $(env | sed -n 's/^\\(DIXTRAP_[A-Z]*\\)=.*/\\1/p')\nexport DIXTRAP_SECONDS=2\n{}\n)\nfinish\n",
        files.join(" "),
        block.script.replace("/dev/vdb ", "\"$1\" ").replace("/dev/vdb\n", "\"$1\"\n"),
    );
    fs::write(dir.path().join("by-hand.sh"), script).unwrap();
    let line =
        "dixtrap run --scenario ./by-hand.sh --kernel debian:bookworm --json v.json --out out\n";
    let told = said(&shell(line, dir.path()));
    let verdict =
        fs::read_to_string(dir.path().join("v.json")).unwrap_or_else(|_| panic!("{told}"));
    let verdict: Verdict = serde_json::from_str(&verdict).unwrap();
    let cell = verdict.cells.iter().find(|cell| cell.scenario == "by-hand").unwrap();
    let log = fs::read_to_string(dir.path().join("out").join(cell.log.as_ref().unwrap())).unwrap();
    assert_eq!(cell.outcome, CellOutcome::Pass, "{}: {log}{told}", block.place);
    assert!(cell.races.is_some_and(|races| races > 0), "{}: {log}{told}", block.place);
    // By hand it is printed what `dixtrap run` hears otherwise.
    assert_eq!(log.matches("out  dixtrap: done").count(), commands, "{}: {log}", block.place);
}
