//! Owners as `dixtrap-guest owners` told them by hand, put to the races that they explain.

use crate::owner::{Map, Told};
use crate::record::{Owner, Race, Start};

/// How much may be told: a file of strangers must not fill the memory.
pub const MOST_TOLD: u64 = 512 << 20;

/// How many tellings there may be, each of a label or a disk.
const MOST_TELLINGS: usize = 1000;

/// By how much two clocks may differ that were set by one: a guest reads its machine's to a second.
const CLOCK_ERROR_US: u64 = 1_000_000;

/// Why a line cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum ToldError {
    /// It is no such line.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// There is no end to it.
    #[error("more than {} MiB or {MOST_TELLINGS} times of owners", MOST_TOLD >> 20)]
    TooMuch,
}

/// Everything that was told.
#[derive(Debug, Default)]
pub struct Tellings {
    all: Vec<Telling>,
    bytes: u64,
    /// Nothing is known of an address before it is.
    block_size: Option<u64>,
}

/// What one call of the helper told.
#[derive(Debug, Default)]
struct Telling {
    label: Option<String>,
    lun: Option<u16>,
    guest_us: Option<u64>,
    map: Map,
}

impl Tellings {
    /// Takes a line in.
    pub fn hear(&mut self, text: &[u8]) -> Result<(), ToldError> {
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(length);
        let told = Told::read(text)?;
        let begins = matches!(told, Told::Of { .. }) || self.all.is_empty();
        if self.bytes > MOST_TOLD || begins && self.all.len() >= MOST_TELLINGS {
            return Err(ToldError::TooMuch);
        }
        if begins {
            self.all.push(Telling::default());
        }
        if let Some(last) = self.all.last_mut() {
            last.hear(told);
        }
        Ok(())
    }

    /// Whether nothing was told.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The session that the races are of, and how long it was: a guest whose clock then showed a time that
    /// lay within it has the right time, and knows what was made after a race.
    pub fn belong_to(&mut self, start: &Start, end_us: Option<u64>) {
        self.block_size = Some(start.block_size.bytes_u64());
        let began = start.unix_ms.saturating_mul(1_000);
        let Some(ended) = end_us.map(|us| began.saturating_add(us)) else { return };
        let within = began.saturating_sub(CLOCK_ERROR_US)..=ended.saturating_add(CLOCK_ERROR_US);
        for telling in &mut self.all {
            if telling.guest_us.is_some_and(|us| within.contains(&us)) {
                telling.map.set_clock(began.saturating_add(CLOCK_ERROR_US), 0);
            }
        }
    }

    /// Whose a race was; `None` where nobody told anything at all.
    pub fn owner(&self, race: &Race) -> Option<Owner> {
        if self.is_empty() {
            return None;
        }
        let (Some(block_size), Some(telling)) = (self.block_size, self.about(race)) else {
            return Some(Owner::unknown());
        };
        Some(telling.map.owner(race.lba.0.saturating_mul(block_size), race.t_us))
    }

    /// What was told last of the race's own label, else of all.
    fn about(&self, race: &Race) -> Option<&Telling> {
        let fits = |one: &&Telling| race.lun.is_none() || race.lun == one.lun;
        let latest = |label: Option<&str>| {
            self.all.iter().rev().filter(fits).find(|one| one.label.as_deref() == label)
        };
        race.label.as_deref().and_then(|label| latest(Some(label))).or_else(|| latest(None))
    }
}

impl Telling {
    fn hear(&mut self, told: Told) {
        match told {
            Told::Of { label, lun } => (self.label, self.lun) = (label, lun),
            Told::Clock { us } => self.guest_us = Some(us),
            Told::Area(area) => self.map.add(area),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::offenders::tests::race;
    use super::*;
    use crate::units::BlockSize;

    fn hear(lines: &[&str]) -> Tellings {
        let mut tellings = Tellings { block_size: Some(512), ..Tellings::default() };
        lines.iter().for_each(|line| tellings.hear(line.as_bytes()).unwrap());
        tellings
    }

    fn area(name: &str, more: &str) -> String {
        format!(
            r#"{{"owners":"area","start":0,"bytes":4096,"name":"{name}","kind":"metadata"{more}}}"#
        )
    }

    fn name(tellings: &Tellings, label: Option<&str>, lun: Option<u16>) -> String {
        let race = Race { label: label.map(str::to_owned), lun, ..race(1, 7) };
        tellings.owner(&race).unwrap().name
    }

    #[test]
    fn a_telling_is_about_its_label_and_its_disk() {
        assert_eq!(Tellings::default().owner(&race(1, 7)), None);
        // As a helper of before told: without a first line.
        let of_all = hear(&[&area("journal", ""), "{\"owners\":\"clock\",\"us\":1}\r\n"]);
        assert_eq!(name(&of_all, None, None), "journal");
        assert_eq!(name(&of_all, Some("a"), None), "journal");
        assert_eq!(of_all.owner(&race(1, 8)), Some(Owner::unknown()));
        let (of_a, of_lun) = (r#"{"owners":"of","label":"a"}"#, r#"{"owners":"of","lun":1}"#);
        let both = hear(&[of_a, &area("inode table", ""), of_lun, &area("directory", "")]);
        assert_eq!(name(&both, Some("a"), None), "inode table");
        assert_eq!(name(&both, Some("b"), None), "directory");
        // Of several disks, one whose telling does not say which it is of explains none.
        assert_eq!(name(&both, Some("a"), Some(1)), "directory");
        assert_eq!(name(&both, Some("a"), Some(0)), "unknown");
        let again = hear(&[of_a, &area("inode table", ""), of_a, &area("directory", "")]);
        assert_eq!(name(&again, Some("a"), None), "directory", "the last telling holds");
    }

    #[test]
    fn what_was_made_after_the_race_was_not_it_where_the_clocks_agree() {
        // The session began at 1000 s and lasted 60 s; the race was in its first second.
        let start = start(1_000_000);
        let owner = |clock: u64, born: u64, end: Option<u64>| {
            let mut told = hear(&[
                &format!(r#"{{"owners":"clock","us":{clock}}}"#),
                &area("directory", &format!(",\"born_us\":{born}")),
            ]);
            told.belong_to(&start, end);
            told.owner(&Race { t_us: 500_000, ..race(1, 7) }).unwrap().name
        };
        let (good, born_late, end) = (1_030_000_000, 1_010_000_000, Some(60_000_000));
        assert_eq!(owner(good, born_late, end), "freed");
        assert_eq!(owner(good, 999_000_000, end), "directory");
        // As far as the clocks can be told apart.
        assert_eq!(owner(good, 1_001_400_000, end), "directory");
        // A guest whose clock is an hour ahead, or stands in 1970, and a session of unknown length.
        for (clock, end) in [(4_630_000_000, end), (7, end), (good, None)] {
            assert_eq!(owner(clock, born_late, end), "directory", "{clock} {end:?}");
        }
    }

    pub(in super::super) fn start(unix_ms: u64) -> Start {
        let start = r#"{"version":"0","device":"blk","disk":"d","block_size":512,"pi_type":1,
            "window":"1ms","seed":0,"on_race":"fail","features":[],"unix_ms":0}"#;
        Start { unix_ms, block_size: BlockSize::B512, ..serde_json::from_str(start).unwrap() }
    }

    #[test]
    fn no_file_is_too_strange_or_too_long() {
        let mut told = Tellings::default();
        for line in
            ["", "{\"owners\":\"nonsense\"}", "{\"owners\":\"area\"}", "{\"owners\":[]}", "\u{1b}["]
        {
            assert!(matches!(told.hear(line.as_bytes()), Err(ToldError::Json(_))), "{line}");
        }
        let vast = r#"{"owners":"area","start":18446744073709551615,"bytes":18446744073709551615,"name":"x"}"#;
        told.hear(vast.as_bytes()).unwrap();
        assert_eq!(told.owner(&race(1, u64::MAX)), Some(Owner::unknown()));
        let of = br#"{"owners":"of"}"#;
        let refused = (0..2 * MOST_TELLINGS).filter(|_| told.hear(of).is_err()).count();
        assert!(refused >= MOST_TELLINGS, "{refused}");
        told.bytes = MOST_TOLD;
        assert!(matches!(told.hear(area("x", "").as_bytes()), Err(ToldError::TooMuch)));
    }
}
