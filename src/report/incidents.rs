//! What a session has on record beside its races: a line each, where there is any.

use super::owners::owner_words;
use super::plain::plain;
use crate::record::{Broken, Counters, MediumFault, Phase, Race, WindowChange};

/// What was met on the way.
#[derive(Debug, Default)]
pub struct Incidents {
    /// Faults that were injected.
    pub injected: u64,
    after_fetch: u64,
    after_delivery: u64,
    after_completion: u64,
    /// How many of these were in reads with the same page twice.
    repeated: u64,
    first_delivered: Option<Box<Race>>,
    medium: u64,
    spoiled: u64,
    first_bad: Option<MediumFault>,
    broken: u64,
    last_broken: Option<Broken>,
    windows: u64,
    last_window: Option<WindowChange>,
}

impl Incidents {
    /// Counts a block that did not fit its protection information.
    pub fn add_medium(&mut self, fault: MediumFault) {
        if fault.injected {
            self.spoiled += 1;
            return;
        }
        self.medium += 1;
        self.first_bad.get_or_insert(fault);
    }

    /// Counts a change that hardware cannot see: after the fetch of a write, after the delivery of a read.
    pub fn add_look(&mut self, race: Race) {
        if race.after_completion {
            self.after_completion += 1;
        } else if race.phase == Phase::AfterDelivery {
            self.after_delivery += 1;
            self.repeated += u64::from(race.overlap);
            self.first_delivered.get_or_insert_with(|| Box::new(race));
        } else {
            self.after_fetch += 1;
        }
    }

    /// Counts a change of the window.
    pub fn add_window(&mut self, change: WindowChange) {
        self.windows += 1;
        self.last_window = Some(change);
    }

    /// How often the window was changed, in words that follow it; nothing where it was not.
    pub fn window_words(&self) -> String {
        let times =
            if self.windows == 1 { "once".into() } else { format!("{} times", self.windows) };
        let last = |change: &WindowChange| format!(" (changed {times}, last to {})", change.spec);
        self.last_window.as_ref().map_or_else(String::new, last)
    }

    /// Counts a ring or connection that could not be followed.
    pub fn add_broken(&mut self, broken: Broken) {
        self.broken += 1;
        self.last_broken = Some(broken);
    }

    /// What more is known of reads that changed.
    fn delivered_words(&self) -> String {
        let repeated = match self.repeated {
            0 => String::new(),
            count => format!("; {count} in reads that have a page twice"),
        };
        let first = self.first_delivered.as_ref().map_or_else(String::new, |race| {
            let owner =
                race.owner.as_ref().map_or_else(String::new, |o| format!(" ({})", owner_words(o)));
            format!(
                "; the first is block {}{owner}, {} bytes at {:#x}",
                race.lba, race.changed_bytes, race.gpa
            )
        });
        format!("{repeated}{first}")
    }

    /// One a line; nothing where there were none. `counted` gives the daemon's own figures, which
    /// count as well: records may be lost.
    pub fn lines(&self, counted: impl Fn(fn(&Counters) -> u64) -> u64) -> String {
        let first = self.first_bad.as_ref().map_or_else(String::new, |bad| {
            format!("; the first is block {}, {} tag", bad.lba, plain(&bad.check))
        });
        let last = self
            .last_broken
            .as_ref()
            .map_or_else(String::new, |b| format!("; {}", plain(&b.reason)));
        [
            (
                self.medium.max(counted(|c| c.medium_faults)),
                format!("blocks read that did not fit the medium's protection information{first}"),
            ),
            (self.spoiled, "blocks read that injected faults had spoiled".to_owned()),
            (
                counted(|c| c.errors),
                "requests failed for another reason than a race or an injected fault".to_owned(),
            ),
            (self.broken, format!("times a ring or connection could not be followed{last}")),
            (self.injected.max(counted(|c| c.injected)), "faults injected".to_owned()),
            (
                self.after_fetch.max(counted(|c| c.races.after_fetch)),
                "blocks changed after the fetch (audit; hardware cannot see it)".to_owned(),
            ),
            (
                self.after_delivery.max(counted(|c| c.races.after_delivery.unwrap_or(0))),
                format!(
                    "blocks of reads changed in the guest's memory after their delivery: the disk was \
                     right{}",
                    self.delivered_words()
                ),
            ),
            (
                self.after_completion.max(counted(|c| c.races.after_completion.unwrap_or(0))),
                "blocks of reads changed after their completion (audit; the buffer was the guest's own \
                 again)"
                    .to_owned(),
            ),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}\n"))
        .chain([untold_lines(&counted)])
        .collect()
    }

    /// How many changes there are that hardware cannot see.
    pub fn looks(&self) -> u64 {
        self.after_fetch + self.after_delivery + self.after_completion
    }
}

/// What has no record, one a line; nothing where all have one.
pub fn untold_lines(counted: impl Fn(fn(&Counters) -> u64) -> u64) -> String {
    let line = |count: u64, what: &str| match count {
        0 => String::new(),
        count => format!("{count} {what}\n"),
    };
    line(
        counted(|c| c.records_withheld),
        "records were only counted: the file had reached its limit",
    ) + &line(
        counted(|c| c.records_lost),
        "records could not be written: what is listed here is not all",
    )
}

#[cfg(test)]
mod tests {
    use super::super::offenders::tests::race;
    use super::*;
    use crate::record::Phases;
    use crate::units::Lba;

    fn fault(lba: u64, injected: bool) -> MediumFault {
        MediumFault {
            t_us: 1,
            label: None,
            lun: None,
            lba: Lba(lba),
            check: "guard".into(),
            stored: 1,
            computed: 2,
            injected,
        }
    }

    #[test]
    fn what_happened_has_a_line_and_what_did_not_has_none() {
        let mut met = Incidents::default();
        assert_eq!(met.lines(|_| 0), "");
        met.add_medium(fault(7, false));
        met.add_medium(fault(8, true));
        met.add_broken(Broken { t_us: 1, queue: None, reason: "bad ring".into() });
        for (id, phase) in
            (1..).zip([Phase::AfterFetch, Phase::AfterDelivery, Phase::AfterDelivery])
        {
            let owner = Some(crate::record::Owner::new("directory", Default::default()));
            met.add_look(Race { phase, owner, gpa: 0x7000, overlap: id == 3, ..race(id, 10 + id) });
        }
        assert_eq!(met.window_words(), "");
        for text in ["hold", "1ms"] {
            let change = WindowChange { t_us: 1, spec: text.parse().unwrap() };
            met.add_window(change);
        }
        assert_eq!(met.window_words(), " (changed 2 times, last to 1ms)");
        assert_eq!(
            met.lines(|_| 0),
            "1 blocks read that did not fit the medium's protection information; the first is \
             block 7, guard tag\n\
             1 blocks read that injected faults had spoiled\n\
             1 times a ring or connection could not be followed; bad ring\n\
             1 blocks changed after the fetch (audit; hardware cannot see it)\n\
             2 blocks of reads changed in the guest's memory after their delivery: the disk was right; \
             1 in reads that have a page twice; the first is block 12 (directory), 1 bytes at 0x7000\n"
        );
    }

    #[test]
    fn lost_records_do_not_hide_what_the_daemon_counted() {
        let counters = Counters {
            medium_faults: 4,
            errors: 5,
            injected: 6,
            records_lost: 9,
            records_withheld: 2,
            races: Phases {
                after_fetch: 7,
                after_delivery: Some(8),
                after_completion: Some(3),
                ..Phases::default()
            },
            ..Counters::default()
        };
        let met = Incidents { injected: 2, ..Incidents::default() };
        let text = met.lines(|figure| figure(&counters));
        let counts: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(counts, ["4", "5", "6", "7", "8", "3", "2", "9"], "{text}");
    }
}
