//! What the figures were measured on, and how busy it was.

use std::fs;
use std::process::Command;

use serde::Serialize;

/// The machine, as it describes itself.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
    pub crc_backend: &'static str,
    pub qemu_storage_daemon: String,
    /// Of one, five and fifteen minutes, before the first turn; the benchmark itself adds to two.
    pub load_before: String,
    pub load_after: String,
}

impl Machine {
    /// The machine before the benchmark.
    pub fn describe() -> Machine {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Machine {
            cpu: cpu.map_or("unknown", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: line_of("/proc/sys/kernel/osrelease"),
            crc_backend: dixtrap::pi::CrcBackend::best().name(),
            qemu_storage_daemon: version_of("qemu-storage-daemon"),
            load_before: load(),
            load_after: String::new(),
        }
    }

    /// Notes the load at the end.
    pub fn finish(&mut self) {
        self.load_after = load();
    }
}

fn line_of(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn load() -> String {
    line_of("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn version_of(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    said.unwrap_or_default().lines().next().unwrap_or("not installed").to_owned()
}
