//! The recipes in examples/: they parse, and every flag of ours that they use exists.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_yaml_ng::Value;

use crate::kit::commands::{commands_of, unknown_flags};
use crate::kit::programs::said;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn read(name: &str) -> String {
    fs::read_to_string(examples().join(name)).unwrap()
}

/// The flags that no program of ours has, among all commands of `script`; how many commands call one.
fn check(name: &str, script: &str) -> usize {
    let commands = commands_of(script);
    let wrong: Vec<String> = commands.iter().flat_map(|command| unknown_flags(command)).collect();
    assert!(wrong.is_empty(), "examples/{name}: {}", wrong.join("; "));
    let ours = |word: &String| matches!(word.rsplit('/').next(), Some("dixtrap" | "dixtrapd"));
    commands.iter().filter(|command| command.iter().any(ours)).count()
}

/// Every string below a key `run` or `script`, wherever it stands.
fn scripts(value: &Value, inside: bool, found: &mut Vec<String>) {
    match value {
        Value::String(text) if inside => found.push(text.clone()),
        Value::Sequence(values) => values.iter().for_each(|value| scripts(value, inside, found)),
        Value::Mapping(map) => {
            for (key, value) in map {
                let script = matches!(key.as_str(), Some("run" | "script"));
                scripts(value, inside || script, found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_workflows_parse_and_their_flags_exist() {
    for (name, calls) in [("github-actions.yml", 2), ("gitlab-ci.yml", 2)] {
        let value: Value = serde_yaml_ng::from_str(&read(name)).unwrap();
        let mut found = Vec::new();
        scripts(&value, false, &mut found);
        let script = found.join("\n");
        assert_eq!(check(name, &script), calls, "{name}: {script}");
        // The shell has the last word on each.
        for script in &found {
            let output = Command::new("sh").args(["-n", "-c", script]).output().unwrap();
            assert!(output.status.success(), "{name}: {script}: {}", said(&output));
        }
    }
}

/// The schemas of GitHub and GitLab, as `check-jsonschema` (PyPI) brings them along: no network.
#[test]
fn the_workflows_fit_their_schemas() {
    if Command::new("check-jsonschema").arg("--version").output().is_err() {
        eprintln!("skipped: check-jsonschema is not installed");
        return;
    }
    let valid = |schema: &str, file: &Path| {
        let output = Command::new("check-jsonschema")
            .args(["--builtin-schema", schema])
            .arg(file)
            .output()
            .unwrap();
        (output.status.success(), said(&output))
    };
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/workflows/ci.yml");
    for (schema, file) in [
        ("vendor.github-workflows", examples().join("github-actions.yml")),
        ("vendor.github-workflows", own),
        ("vendor.gitlab-ci", examples().join("gitlab-ci.yml")),
    ] {
        let (fits, words) = valid(schema, &file);
        assert!(fits, "{}: {words}", file.display());
    }
    // The check itself can fail.
    let wrong = tempfile::NamedTempFile::with_suffix(".yml").unwrap();
    fs::write(wrong.path(), "on: push\njobs:\n  build:\n    steps: 3\n").unwrap();
    assert!(!valid("vendor.github-workflows", wrong.path()).0);
}

#[test]
fn the_scenarios_feed_a_matrix() {
    let program = env!("CARGO_BIN_EXE_dixtrap");
    let output = Command::new(program).args(["list", "scenarios", "--json"]).output().unwrap();
    let rows: Value = serde_yaml_ng::from_slice(&output.stdout).unwrap();
    // What the workflow takes with jq: an array of objects that have a name.
    let rows = rows.as_sequence().unwrap();
    assert!(rows.len() > 4 && rows.iter().all(|row| row["name"].is_string()), "{rows:?}");
}

#[test]
fn the_shell_recipe_is_sound() {
    let script = read("virtme-ng.sh");
    // dixtrapd, dixtrap ctl, dixtrap report.
    assert_eq!(check("virtme-ng.sh", &script), 3);
    let output = Command::new("sh").arg("-n").arg(examples().join("virtme-ng.sh")).output();
    assert!(output.unwrap().status.success());
}

/// Both are read by bash, and have to name what xfstests and blktests ask for.
#[test]
fn the_suites_configurations_name_the_disks() {
    let xfstests = read("xfstests.config");
    for section in xfstests.split("\n[").skip(1) {
        for key in ["FSTYP=", "TEST_DEV=", "TEST_DIR=", "SCRATCH_DEV=", "SCRATCH_MNT="] {
            assert!(section.lines().any(|line| line.starts_with(key)), "{key} in {section}");
        }
    }
    let file = examples().join("blktests.config");
    let list = format!(". {} && echo ${{#TEST_DEVS[@]}}", file.display());
    let output = Command::new("bash").args(["-c", &list]).output().unwrap();
    assert_eq!(said(&output).trim(), "2");
}
