//! Where a verdict comes from, in words.

use crate::verdict::{Host, Part, Provenance, Verdict};

use super::plain::plain;

/// Names and values, one line each: those of the run, or of each part that went into the verdict.
pub fn provenance_rows(verdict: &Verdict) -> Vec<(String, String)> {
    let all = all_rows(verdict);
    all.into_iter().map(|(name, value)| (plain(&name), plain(&value))).collect()
}

fn all_rows(verdict: &Verdict) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> =
        filtered_words(verdict).map(|words| ("filter".to_owned(), words)).into_iter().collect();
    all.extend(origin_rows(verdict));
    all
}

/// What a report's flags left out, where they did: whatever is shown, the verdict is over all.
pub fn filtered_words(verdict: &Verdict) -> Option<String> {
    let filtered = verdict.filtered.as_ref()?;
    let bad = match filtered.bad_left_out {
        0 => String::new(),
        count => format!("; {count} of those left out failed or had no result"),
    };
    Some(format!(
        "only {}: {} of {} cells are shown{bad}; the verdict is over all of them",
        filtered.by,
        verdict.cells.len(),
        filtered.of
    ))
}

/// Why a verdict is no pass beside the cells that are shown: its own reason, or cells that were left out.
pub fn beside_the_cells(verdict: &Verdict) -> Option<String> {
    let left_out = verdict.filtered.as_ref().filter(|filtered| filtered.bad_left_out > 0);
    let reasons =
        verdict.reason.clone().into_iter().chain(left_out.and_then(|_| filtered_words(verdict)));
    let reasons: Vec<String> = reasons.collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn origin_rows(verdict: &Verdict) -> Vec<(String, String)> {
    if let Some(provenance) = &verdict.provenance {
        return rows(provenance);
    }
    let of_part = |(part, provenance): (String, &Provenance)| {
        let named = move |(name, value)| (format!("{part}: {name}"), value);
        rows(provenance).into_iter().map(named).collect::<Vec<_>>()
    };
    parts(verdict).flat_map(of_part).collect()
}

/// The parts that know where they come from, by their names.
fn parts(verdict: &Verdict) -> impl Iterator<Item = (String, &Provenance)> {
    let told = |(at, part): (usize, &'_ Part)| {
        let whole = || format!("verdict {}", at.saturating_add(1));
        part.shard.as_ref().filter(|shard| shard.of > 1).map_or_else(whole, ToString::to_string)
    };
    let parts = verdict.parts.iter().enumerate();
    parts.filter_map(move |(at, part)| Some((told((at, part)), part.provenance.as_ref()?)))
}

fn rows(provenance: &Provenance) -> Vec<(String, String)> {
    let row = |name: &str, value: String| (name.to_owned(), value);
    let mut rows = vec![
        row("command", provenance.command.clone()),
        row("seed", provenance.seed.to_string()),
        row("qemu", qemu(provenance)),
        row("accel", accel(provenance).to_owned()),
        row("host", host_words(&provenance.host)),
    ];
    for (asked, release) in &provenance.kernels {
        rows.push((format!("kernel {asked}"), release.clone()));
    }
    for (release, hash) in &provenance.kernel_sha256 {
        rows.push((format!("kernel_sha256 {release}"), hash.clone()));
    }
    for (release, config) in &provenance.config {
        let value = format!("{}, sha256 {}", config.path, config.sha256);
        rows.push((format!("config {release}"), value));
    }
    rows
}

fn qemu(provenance: &Provenance) -> String {
    provenance.qemu.clone().unwrap_or_else(|| "no QEMU".to_owned())
}

fn accel(provenance: &Provenance) -> &str {
    provenance.accel.as_deref().unwrap_or("no guest was booted")
}

fn host_words(host: &Host) -> String {
    let cpu = host.cpu.as_deref().unwrap_or("unknown CPU");
    let kernel = host.kernel.as_ref().map_or_else(String::new, |k| format!(", Linux {k}"));
    let load = match (host.load.begin, host.load.end) {
        (Some(begin), Some(end)) => format!(", load {begin:.1} to {end:.1}"),
        _ => String::new(),
    };
    format!("{} CPUs, {cpu}{kernel}{load}", host.cpus)
}

/// A line for each run, for the end of a report.
pub fn provenance_lines(verdict: &Verdict) -> Vec<String> {
    if let Some(provenance) = &verdict.provenance {
        return vec![format!("ran with {}", line(provenance))];
    }
    let told = parts(verdict).map(|(part, p)| format!("{part} ran with {}", line(p)));
    told.collect()
}

fn line(provenance: &Provenance) -> String {
    let (qemu, accel) = (qemu(provenance), accel(provenance));
    let (seed, host) = (provenance.seed, host_words(&provenance.host));
    plain(&format!("{qemu}, {accel}, seed {seed}, on {host}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{KernelConfig, Load, ShardOf};
    use chrono::DateTime;
    use std::collections::BTreeMap;

    fn provenance() -> Provenance {
        let one = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let config = KernelConfig { path: "/boot/config-6.1.0".into(), sha256: "cd".into() };
        Provenance {
            command: "dixtrap run --fs 'ext4*'".into(),
            seed: 7,
            qemu: Some("QEMU emulator version 7.2.22".into()),
            kernels: one("debian:bookworm", "6.1.0"),
            kernel_sha256: one("6.1.0", "ab"),
            config: BTreeMap::from([("6.1.0".to_owned(), config)]),
            host: Host {
                cpu: Some("AMD EPYC".into()),
                cpus: 2,
                kernel: None,
                load: Load { begin: Some(0.25), end: Some(2.0) },
            },
            accel: Some("tcg".into()),
        }
    }

    #[test]
    fn a_verdict_says_where_it_comes_from_and_a_merged_one_where_its_parts_do() {
        let verdict = Verdict::over(Vec::new(), None, DateTime::UNIX_EPOCH, 1.0);
        assert!(provenance_rows(&verdict).is_empty() && provenance_lines(&verdict).is_empty());
        let verdict = verdict.with_provenance(provenance());
        let line =
            "QEMU emulator version 7.2.22, tcg, seed 7, on 2 CPUs, AMD EPYC, load 0.2 to 2.0";
        assert_eq!(provenance_lines(&verdict), [format!("ran with {line}")]);
        let rows = provenance_rows(&verdict);
        for row in [
            ("command", "dixtrap run --fs 'ext4*'"),
            ("kernel debian:bookworm", "6.1.0"),
            ("kernel_sha256 6.1.0", "ab"),
            ("config 6.1.0", "/boot/config-6.1.0, sha256 cd"),
        ] {
            assert!(rows.contains(&(row.0.to_owned(), row.1.to_owned())), "{row:?} {rows:?}");
        }
        let part = |index| {
            let shard = ShardOf { index, of: 2, plan: "p".into() };
            (format!("{index}.json"), verdict.clone().of_shard(shard))
        };
        let merged = Verdict::merge(vec![part(1), part(2)]).unwrap();
        assert_eq!(provenance_lines(&merged)[1], format!("part 2 of 2 ran with {line}"));
        assert_eq!(provenance_rows(&merged).len(), 2 * rows.len());
        assert!(provenance_rows(&merged).iter().any(|(name, _)| name == "part 1 of 2: command"));
    }
}
