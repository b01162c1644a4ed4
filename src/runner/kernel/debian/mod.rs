//! Debian's kernels, fetched through an apt root of our own: no root needed, the machine's packages
//! untouched, its mirror and its keys used.

mod apt;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Kernel, KernelError, cache, folder, package};
use crate::runner::host::beneath::Root;
use apt::AptRoot;

pub use apt::source_lines;

/// Names that move from one release to the next: what they mean is asked, not known.
const MOVING: [&str; 5] = ["unstable", "testing", "stable", "oldstable", "oldoldstable"];
/// In an entry: the files that it was made of, to know whether there are newer ones.
const FETCHED: &str = "fetched";
/// After this time the age of a kernel is told.
const OLD: Duration = Duration::from_secs(30 * DAY);
const DAY: u64 = 86_400;

/// A suite's name goes into file names and into apt's sources: nothing but plain words.
pub fn check_suite(suite: &str) -> Result<(), KernelError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if suite.is_empty() || suite.starts_with('-') || !suite.chars().all(plain) {
        return Err(KernelError::BadSuite(suite.to_owned()));
    }
    Ok(())
}

/// The kernel of `suite`: from the cache, or fetched into it; with `refresh`, the one that there is now.
pub fn locate(suite: &str, refresh: bool, say: &dyn Fn(&str)) -> Result<Kernel, KernelError> {
    let cache = cache::kernels()?;
    let known = release_of(&cache, suite).filter(|release| entry(&cache, release).is_dir());
    let held = match known {
        Some(release) if !refresh => cache::entry(&cache, &entry_name(&release), no_fill)?,
        _ => fetch(&cache, suite, refresh, say)?,
    };
    if let Some(days) = days_old(&held.path) {
        say(&format!(
            "the kernel of debian:{suite} was fetched {days} days ago: dixtrap run --refresh asks again"
        ));
    }
    let kernel = folder::open(&Root::open(&held.path)?, &format!("debian:{suite}"))?;
    Ok(kernel.keeping(held))
}

/// It was there a moment ago.
fn no_fill(path: &Path) -> Result<(), KernelError> {
    Err(KernelError::file(path)(std::io::ErrorKind::NotFound.into()))
}

fn entry_name(release: &str) -> String {
    format!("debian-{release}")
}

fn entry(cache: &Path, release: &str) -> PathBuf {
    cache.join(entry_name(release))
}

/// Where a moving name's meaning is kept; an entry of that name is a kernel.
fn meaning(cache: &Path, suite: &str) -> PathBuf {
    cache.join(format!("{}.is", entry_name(suite)))
}

/// The release that `suite` is, as far as it is known here.
fn release_of(cache: &Path, suite: &str) -> Option<String> {
    if !MOVING.contains(&suite) {
        return Some(suite.to_owned());
    }
    let known = fs::read_to_string(meaning(cache, suite)).ok()?;
    let known = known.trim();
    check_suite(known).is_ok().then(|| known.to_owned())
}

/// How old an entry is, in days, where that is worth a word.
fn days_old(entry: &Path) -> Option<u64> {
    let made = entry.join(FETCHED).metadata().ok()?.modified().ok()?;
    let age = SystemTime::now().duration_since(made).ok()?;
    (age > OLD).then_some(age.as_secs() / DAY)
}

/// Fetches what `suite` is now, if it is not there already.
fn fetch(
    cache: &Path,
    suite: &str,
    refresh: bool,
    say: &dyn Fn(&str),
) -> Result<cache::CacheEntry, KernelError> {
    say(&format!("looking for the kernel of debian:{suite}"));
    let work = cache::Workshop::open(cache, &format!("apt-{suite}"))?;
    let mut apt = AptRoot::new(work.path(), suite)?;
    apt.update(say)?;
    let release = match apt.codename()? {
        // A mirror's names may be of different days: one kernel has one name here.
        Some(release) if MOVING.contains(&suite) && release != suite => {
            check_suite(&release)?;
            apt = AptRoot::new(work.path(), &release)?;
            apt.update(say)?;
            let file = meaning(cache, suite);
            fs::write(&file, &release).map_err(KernelError::file(&file))?;
            release
        }
        _ => suite.to_owned(),
    };
    let names = apt.parts()?;
    let files = apt.files(&names)?;
    let fill = |dir: &Path| {
        say(&format!("fetching {}", names.join(", ")));
        let debs = apt.download(&names)?;
        say("unpacking");
        let root = Root::open(dir)?;
        package::unpack(&debs, &root)?;
        root.write(Path::new(FETCHED), &mut files.join("\n").as_bytes())?;
        Ok(())
    };
    let there = entry(cache, &release).join(FETCHED);
    let newest = fs::read_to_string(&there).is_ok_and(|known| known == files.join("\n"));
    if refresh && newest {
        say(&format!("debian:{suite} has no newer kernel"));
        // From now on it counts as asked for today; where that cannot be written, it is asked again.
        let _ = fs::write(&there, files.join("\n"));
    }
    if refresh && !newest {
        cache::replace(cache, &entry_name(&release), fill)
    } else {
        cache::entry(cache, &entry_name(&release), fill)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_plain_words() {
        assert!(check_suite("bookworm-backports").is_ok());
        for bad in ["", "-o", "../x", "sid main", "Sid"] {
            assert!(matches!(check_suite(bad), Err(KernelError::BadSuite(_))), "{bad}");
        }
    }

    #[test]
    fn a_name_that_moves_is_what_it_was_the_last_time() {
        let cache = tempfile::tempdir().unwrap();
        let of = |suite| release_of(cache.path(), suite);
        assert_eq!(of("trixie").as_deref(), Some("trixie"));
        assert_eq!(of("stable"), None);
        fs::write(meaning(cache.path(), "stable"), "trixie\n").unwrap();
        assert_eq!(of("stable").as_deref(), Some("trixie"));
        fs::write(meaning(cache.path(), "stable"), "../../etc").unwrap();
        assert_eq!(of("stable"), None);
    }

    #[test]
    fn the_age_of_an_old_kernel_is_told() {
        let entry = tempfile::tempdir().unwrap();
        assert_eq!(days_old(entry.path()), None);
        let file = fs::File::create(entry.path().join(FETCHED)).unwrap();
        assert_eq!(days_old(entry.path()), None);
        let then = SystemTime::now() - Duration::from_secs(40 * DAY + 1);
        file.set_modified(then).unwrap();
        assert_eq!(days_old(entry.path()), Some(40));
    }
}
