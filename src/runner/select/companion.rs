//! What lies beside a scenario of somebody's own and goes into the guest with it: programs of its
//! `# needs:` line that are paths, and the data of its `# files:` line. All of it below the script's folder.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::runner::host::beneath::{BeneathError, Root};

/// How many bytes a script may bring, all its files together: they lie in the guest's memory, twice
/// while a cell runs.
const MOST_BYTES: u64 = 64 << 20;
/// How many files and folders.
const MOST_FILES: usize = 4096;

/// Why something beside a script does not come along.
#[derive(Debug, thiserror::Error)]
pub enum CompanionError {
    /// A path that may lie anywhere.
    #[error(
        "'{word}' is no path below the script's folder: './NAME' is a file beside the script, without '..'; a program of the machine is given by its name alone"
    )]
    Outside {
        /// The path.
        word: String,
    },
    /// More than a guest can hold.
    #[error("with {path} it is more than {} MiB, the limit for all that a script brings", MOST_BYTES >> 20)]
    TooMuch {
        /// The file that was one too many.
        path: PathBuf,
    },
    /// More than anybody needs.
    #[error(
        "with {path} it is more than {MOST_FILES} files, the limit for all that a script brings"
    )]
    TooMany {
        /// The file that was one too many.
        path: PathBuf,
    },
    /// A name that is not text.
    #[error("the name of {path} is not UTF-8")]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read, or lies elsewhere.
    #[error(transparent)]
    Beneath(#[from] BeneathError),
}

/// A file that goes where its script goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Companion {
    /// Its path, seen from the script's folder.
    pub place: String,
    /// Its permission bits.
    pub mode: u32,
    /// What is in it.
    pub contents: Arc<[u8]>,
    /// Where it lies on this machine, where it is a program of the script's `# needs:` line.
    pub program: Option<PathBuf>,
}

/// Whether a word of a `# needs:` line is a path, and not the name of one of the machine's programs.
pub fn is_path(word: &str) -> bool {
    word.contains('/')
}

/// The path that `word` says, if it stays below the folder that it is seen from.
///
/// # Errors
/// [`CompanionError::Outside`].
pub fn below(word: &str) -> Result<PathBuf, CompanionError> {
    let mut path = PathBuf::new();
    for part in Path::new(word).components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => path.push(name),
            Component::Prefix(_) | Component::RootDir | Component::ParentDir => {
                return Err(CompanionError::Outside { word: word.to_owned() });
            }
        }
    }
    if path.as_os_str().is_empty() {
        return Err(CompanionError::Outside { word: word.to_owned() });
    }
    Ok(path)
}

/// Reads what lies in `folder`: the programs among `needs`, and `files` with all that is in them.
///
/// # Errors
/// Where a path leads elsewhere, something is no plain file, or it is too much.
pub fn read_all(
    folder: &Path,
    needs: &[String],
    files: &[String],
) -> Result<Vec<Companion>, CompanionError> {
    let programs: Vec<&String> = needs.iter().filter(|word| is_path(word)).collect();
    if programs.is_empty() && files.is_empty() {
        return Ok(Vec::new());
    }
    // A script's path may have no folder in it.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut reader = Reader { root: Root::open(folder)?, found: Vec::new(), left: MOST_BYTES };
    for word in programs {
        let path = below(word)?;
        reader.file(&path, true)?;
    }
    for word in files {
        reader.any(&below(word)?)?;
    }
    Ok(reader.found)
}

struct Reader {
    root: Root,
    found: Vec<Companion>,
    /// How many bytes may still come.
    left: u64,
}

impl Reader {
    /// A file, or a folder with all that is in it. Links to folders are not followed: they may lead round.
    fn any(&mut self, path: &Path) -> Result<(), CompanionError> {
        let mut open = vec![path.to_owned()];
        let mut seen = 0_usize;
        while let Some(path) = open.pop() {
            seen = seen.saturating_add(1);
            if seen > MOST_FILES {
                return Err(CompanionError::TooMany { path: self.root.path().join(path) });
            }
            if self.root.is_dir(&path) {
                for (name, is_dir) in self.root.names(&path)? {
                    let path = path.join(name);
                    if is_dir { open.push(path) } else { self.file(&path, false)? }
                }
            } else {
                self.file(&path, false)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, program: bool) -> Result<(), CompanionError> {
        let here = || self.root.path().join(path);
        let place = path.to_str().ok_or_else(|| CompanionError::Name { path: here() })?.to_owned();
        if self.found.len() >= MOST_FILES {
            return Err(CompanionError::TooMany { path: here() });
        }
        let read = self.root.read_with_mode(path, self.left);
        let (contents, mode) = read.map_err(|error| match error {
            BeneathError::TooLarge { path, .. } => CompanionError::TooMuch { path },
            error => error.into(),
        })?;
        self.left = self.left.saturating_sub(u64::try_from(contents.len()).unwrap_or(u64::MAX));
        let executable = program || mode & 0o111 != 0;
        self.found.push(Companion {
            place,
            mode: if executable { 0o755 } else { 0o644 },
            contents: contents.into(),
            program: program.then(|| self.root.real_path(path)).transpose()?,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("own");
        fs::create_dir_all(own.join("data/deep")).unwrap();
        fs::write(own.join("helper.py"), "#!/usr/bin/env python3\n").unwrap();
        fs::write(own.join("data/one"), "1").unwrap();
        fs::write(own.join("data/deep/two"), "22").unwrap();
        fs::write(dir.path().join("secret"), "canary").unwrap();
        dir
    }

    #[test]
    fn what_lies_beside_a_script_is_read() {
        let dir = folder();
        let own = dir.path().join("own");
        symlink("data/one", own.join("link")).unwrap();
        let found =
            read_all(&own, &words("fio ./helper.py"), &words("data/ ./link data/./one")).unwrap();
        let told: Vec<(&str, u32, usize)> =
            found.iter().map(|one| (one.place.as_str(), one.mode, one.contents.len())).collect();
        let (all, plain) = (0o755, 0o644);
        assert_eq!(
            told,
            [
                ("helper.py", all, 23),
                ("data/one", plain, 1),
                ("data/deep/two", plain, 2),
                ("link", plain, 1),
                ("data/one", plain, 1)
            ]
        );
        let path = own.canonicalize().unwrap().join("helper.py");
        assert_eq!(found.first().unwrap().program.as_ref(), Some(&path));
        assert!(found.iter().skip(1).all(|one| one.program.is_none()));
        assert_eq!(read_all(Path::new("/nosuch"), &words("fio"), &[]).unwrap(), []);
    }

    #[test]
    fn nothing_from_elsewhere_comes_along() {
        let dir = folder();
        let own = dir.path().join("own");
        symlink(dir.path().join("secret"), own.join("absolute")).unwrap();
        symlink("../secret", own.join("relative")).unwrap();
        symlink("..", own.join("data/up")).unwrap();
        symlink("../..", own.join("data/out")).unwrap();
        for (needs, files, reason) in [
            ("../secret", "", "no path below"),
            ("data/../helper.py", "", "no path below"),
            ("/bin/ls", "", "given by its name alone"),
            ("./", "", "no path below"),
            ("", "/etc/passwd", "no path below"),
            ("", "..", "no path below"),
            ("", ".", "no path below"),
            ("./absolute", "", "leads out"),
            ("./relative", "", "leads out"),
            ("", "absolute", "leads out"),
            ("", "data/out/secret", "leads out"),
            ("./data", "", "not a plain file"),
            ("./gone.py", "", "cannot use"),
        ] {
            let error = read_all(&own, &words(needs), &words(files)).unwrap_err().to_string();
            assert!(error.contains(reason), "{needs} {files}: {error}");
        }
        // A folder is not followed round, or out of the script's.
        assert!(read_all(&own, &[], &words("data")).unwrap_err().to_string().contains("data/"));
    }

    #[test]
    fn pipes_are_not_waited_for_and_sizes_are_bounded() {
        let dir = folder();
        let own = dir.path().join("own");
        nix::unistd::mkfifo(&own.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = read_all(&own, &words("./pipe"), &[]).unwrap_err().to_string();
        assert!(error.contains("not a plain file"), "{error}");
        // Each fits, and both do not.
        File::create(own.join("half")).unwrap().set_len(MOST_BYTES / 2).unwrap();
        File::create(own.join("more")).unwrap().set_len(MOST_BYTES / 2 + 1).unwrap();
        assert_eq!(read_all(&own, &[], &words("half")).unwrap().len(), 1);
        let error = read_all(&own, &[], &words("half more")).unwrap_err().to_string();
        assert!(error.contains("own/more it is more than 64 MiB"), "{error}");
        File::create(own.join("huge")).unwrap().set_len(1 << 40).unwrap();
        assert!(read_all(&own, &words("./huge"), &[]).is_err());
        fs::create_dir(own.join("many")).unwrap();
        for number in 0..=MOST_FILES {
            File::create(own.join("many").join(number.to_string())).unwrap();
        }
        let error = read_all(&own, &[], &words("many/")).unwrap_err().to_string();
        assert!(error.contains("more than 4096 files"), "{error}");
    }
}
