//! What the programs of a guest inherit, whoever starts them: control groups, limits, priority and CPUs.
//!
//! None of it is put back: what a group has throttled or a limit cut short nobody can tell afterwards.
//! Whoever finds it changed has to give the cells to come another guest.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::swept::Swept;

/// PID 1, whose children the orphans become, and the agent, whose children the scripts are.
const PROCESSES: [&str; 2] = ["1", "self"];
/// Which CPUs there are.
const ONLINE: &str = "sys/devices/system/cpu/online";
/// What of a process's status its children have too.
const OF_STATUS: [&str; 6] =
    ["Umask", "NoNewPrivs", "Seccomp", "CapBnd", "Cpus_allowed_list", "Mems_allowed_list"];
/// Fields of a process's `stat` behind its name, as proc(5) counts them less 3: nice, real-time priority,
/// policy.
const OF_STAT: [usize; 3] = [16, 37, 38];

/// It as it was.
#[derive(Debug)]
pub struct Inherited {
    root: PathBuf,
    was: BTreeMap<String, String>,
}

impl Inherited {
    /// Looks at it, with /proc and /sys below `root`.
    pub fn read(root: &Path) -> Inherited {
        Inherited { root: root.to_owned(), was: now(root) }
    }

    /// Tells what is not as it was.
    pub fn compare(&self, swept: &mut Swept) {
        let is = now(&self.root);
        for name in self.was.keys().chain(is.keys().filter(|name| !self.was.contains_key(*name))) {
            let word = |all: &BTreeMap<String, String>| {
                all.get(name).map_or_else(|| "nothing".to_owned(), Clone::clone)
            };
            let (was, is) = (word(&self.was), word(&is));
            if was != is {
                swept.add(name, Err(io::Error::other(format!("it is {is} and was {was}"))));
            }
        }
    }
}

fn now(root: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    if let Ok(online) = fs::read_to_string(root.join(ONLINE)) {
        all.insert("CPUs that are online".to_owned(), online.trim().to_owned());
    }
    for process in PROCESSES {
        let folder = root.join("proc").join(process);
        let who = if process == "1" { "process 1" } else { "the agent" };
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let mut add = |what: &str, value: String| all.insert(format!("{what} of {who}"), value);
        add("control group", groups(&read("cgroup")));
        for (name, limit) in limits(&read("limits")) {
            add(&format!("limit '{name}'"), limit);
        }
        add("oom_score_adj", read("oom_score_adj").trim().to_owned());
        for (key, value) in status(&read("status")) {
            add(&key, value);
        }
        add("priority", priority(&read("stat")));
    }
    all
}

/// The groups that are not a hierarchy's root: a hierarchy that was mounted meanwhile changes nothing.
fn groups(text: &str) -> String {
    let elsewhere: Vec<&str> = text.lines().filter(|line| !line.ends_with(":/")).collect();
    if elsewhere.is_empty() { "the root".to_owned() } else { elsewhere.join(", ") }
}

/// By name, soft and hard limit.
fn limits(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().skip(1);
    let limit = |line: &str| {
        let (name, values) = line.split_once("  ")?;
        let mut values = values.split_whitespace();
        Some((name.to_owned(), format!("{}/{}", values.next()?, values.next()?)))
    };
    lines.filter_map(limit).collect()
}

fn status(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let ours = lines.filter(|(key, _)| OF_STATUS.contains(key));
    ours.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
}

/// Nice, real-time priority and policy.
fn priority(text: &str) -> String {
    // A name may hold blanks and parentheses.
    let fields: Vec<&str> =
        text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let told: Vec<&str> = OF_STAT.iter().filter_map(|at| fields.get(*at).copied()).collect();
    told.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
                          Max cpu time              unlimited            unlimited            seconds   \n\
                          Max nice priority         0                    0                    \n";

    fn stat(nice: i32) -> String {
        let mut fields: Vec<String> = (3..=52).map(|field| format!("{}", field * 100)).collect();
        fields[16] = nice.to_string();
        format!("1 (a) b) {}\n", fields.join(" "))
    }

    #[test]
    fn what_a_cell_would_inherit_from_an_earlier_one_is_told() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put(ONLINE, "0-1\n");
        for process in PROCESSES {
            put(&format!("proc/{process}/cgroup"), "0::/\n");
            put(&format!("proc/{process}/limits"), LIMITS);
            put(&format!("proc/{process}/oom_score_adj"), "0\n");
            put(&format!("proc/{process}/status"), "Name:\tx\nUmask:\t0022\nVmRSS:\t7 kB\n");
            put(&format!("proc/{process}/stat"), &stat(0));
        }
        let was = Inherited::read(root.path());
        let told = || {
            let mut swept = Swept::default();
            was.compare(&mut swept);
            assert!(swept.undone.is_empty());
            swept.left
        };
        assert_eq!(told(), [""; 0]);
        // A hierarchy more, in the root of which everybody is, and memory in use.
        put("proc/1/cgroup", "5:cpu,cpuacct:/\n0::/\n");
        put("proc/self/status", "Name:\tx\nUmask:\t0022\nVmRSS:\t9 kB\n");
        assert_eq!(told(), [""; 0]);
        put("proc/1/cgroup", "0::/slow\n");
        put("proc/self/limits", &LIMITS.replacen("unlimited", "60       ", 1));
        put("proc/self/stat", &stat(19));
        put(ONLINE, "0\n");
        assert_eq!(
            told(),
            [
                "CPUs that are online: it is 0 and was 0-1",
                "control group of process 1: it is 0::/slow and was the root",
                "limit 'Max cpu time' of the agent: it is 60/unlimited and was unlimited/unlimited",
                "priority of the agent: it is 19 4000 4100 and was 0 4000 4100",
            ]
        );
    }

    #[test]
    fn this_machines_own_files_are_understood() {
        let all = now(Path::new("/"));
        for name in ["control group", "limit 'Max open files'", "Umask", "Cpus_allowed_list"] {
            let value = &all[&format!("{name} of the agent")];
            assert!(!value.is_empty(), "{name}");
        }
        assert_eq!(all["priority of the agent"].split(' ').count(), 3);
    }
}
