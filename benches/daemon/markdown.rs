//! `BENCH.md`: the last full run, for readers.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::growth::Growth;
use super::report::{PROMISES, Report};

const METHOD: &str = "# Benchmarks

Written by `make bench`; do not edit. `make bench-quick` measures the same in a minute and leaves this
file alone. All figures are in `target/bench/bench.json`.

How it is measured:

- One client (the crate virtio-driver, EVENT_IDX, one queue, blocking on its eventfd after a look at the
  ring) talks to one server after the other. Servers take turns in short rounds, so that whatever else
  the machine does hits all alike; figures are medians of the rounds, and promises are ratios of medians
  of one run.
- Every server has a raw file of its own in /dev/shm, populated through the server itself.
- `dixtrapd` runs with a window of 0 and everything checked: two samples of every write, guards,
  comparison, protection information stored and, for reads, verified. `dixtrapd-unchecked` is the same
  program with `--benchmark-without-checks`: one copy out of guest memory, and straight to the medium.
- `qsd-threads` and `qsd-io_uring` are qemu-storage-daemon's vhost-user-blk export. They check nothing.
- The guest's figure is `dd bs=128k oflag=direct` over two disks of one guest under TCG, in turn.
";

/// Writes the file at the root of the repository.
pub fn write(report: &Report) -> anyhow::Result<()> {
    let mut text = METHOD.to_owned();
    machine(&mut text, report)?;
    promises(&mut text, report)?;
    servers(&mut text, report)?;
    if let Some(growth) = &report.growth {
        grown(&mut text, growth)?;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("BENCH.md");
    Ok(fs::write(path, text)?)
}

fn machine(text: &mut String, report: &Report) -> std::fmt::Result {
    let machine = &report.machine;
    writeln!(text, "\n## The machine\n")?;
    writeln!(text, "{}, {} cores, Linux {}.", machine.cpu, machine.cores, machine.kernel)?;
    writeln!(text, "CRC backend: {}. {}.", machine.crc_backend, machine.qemu_storage_daemon)?;
    let (before, after) = (&machine.load_before, &machine.load_after);
    writeln!(text, "Load before {before}, after {after}; the benchmark itself makes about 2.")
}

fn promises(text: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(text, "\n## Ratios\n\n| key | ratio | at least |\n|---|---|---|")?;
    for (key, ratio) in &report.ratios {
        let least = PROMISES.iter().find(|(name, _)| name == key);
        let least = least.map_or(String::new(), |(_, least)| least.to_string());
        writeln!(text, "| `{key}` | {ratio:.2} | {least} |")?;
    }
    Ok(())
}

fn servers(text: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(text, "\n## Servers\n")?;
    writeln!(text, "| work | server | IOPS | GB/s | p50 us | p99 us | CPU us a request |")?;
    writeln!(text, "|---|---|---|---|---|---|---|")?;
    for (work, servers) in &report.servers {
        for (server, f) in servers {
            writeln!(
                text,
                "| {work} | {server} | {:.0} | {:.2} | {:.1} | {:.1} | {:.2} |",
                f.iops, f.gb_per_s, f.p50_us, f.p99_us, f.cpu_us
            )?;
        }
    }
    Ok(())
}

fn grown(text: &mut String, growth: &Growth) -> std::fmt::Result {
    writeln!(text, "\n## Growth\n\n4k random writes; memory is the daemon's own (RssAnon).\n")?;
    writeln!(text, "| window | queues | depth | IOPS | p50 us | MiB |\n|---|---|---|---|---|---|")?;
    let held = growth.held_10ms.iter().map(|step| ("10ms", step));
    let now = growth.queues.iter().chain(&growth.depth).map(|step| ("0", step));
    for (window, step) in now.chain(held) {
        let (queues, depth, figures) = (step.queues, step.depth, &step.figures);
        let (iops, p50, mib) = (figures.iops, figures.p50_us, step.private_mib);
        writeln!(text, "| {window} | {queues} | {depth} | {iops:.0} | {p50:.1} | {mib:.1} |")?;
    }
    writeln!(text, "\n## Windows\n\nOne write at a time.\n")?;
    writeln!(text, "| asked us | `--poll` | median us | max us | blind, median us |")?;
    writeln!(text, "|---|---|---|---|---|")?;
    for w in &growth.windows {
        let poll = if w.poll { "10ms" } else { "0" };
        writeln!(
            text,
            "| {:.0} | {poll} | {:.1} | {:.1} | {:.1} |",
            w.asked_us, w.median_us, w.max_us, w.blind_median_us
        )?;
    }
    Ok(())
}
