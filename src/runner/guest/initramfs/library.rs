//! The library of an interpreter: a folder of the machine's own. What its links lead to is taken for the
//! file; links to folders are left out.

use std::fs;
use std::io;
use std::path::PathBuf;

use glob::Pattern;

use super::carried::Library;
use super::error::InitramfsError;

/// Several times what the largest have.
const MOST_FILES: usize = 30_000;
const MOST_BYTES: u64 = 512 << 20;
const LIMIT: &str = "30000 files or 512 MiB";

/// The files of `library` that go along.
///
/// # Errors
/// Where a folder cannot be read, and where there is no end of them.
pub fn files_of(library: &Library) -> Result<Vec<PathBuf>, InitramfsError> {
    let left_out: Vec<Pattern> =
        library.leaves_out.iter().filter_map(|name| Pattern::new(name).ok()).collect();
    let endless = || InitramfsError::Endless { root: library.root.clone(), limit: LIMIT };
    let (mut found, mut bytes) = (Vec::new(), 0_u64);
    let mut open = vec![library.root.clone()];
    while let Some(folder) = open.pop() {
        let failed = |source| InitramfsError::File { path: folder.clone(), source };
        let entries: io::Result<Vec<_>> = fs::read_dir(&folder).and_then(Iterator::collect);
        let mut entries = entries.map_err(failed)?;
        // The same machine packs the same archive.
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name());
            if left_out.iter().any(|pattern| pattern.matches(&name.to_string_lossy())) {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path);
            } else if let Some(meta) = fs::metadata(&path).ok().filter(fs::Metadata::is_file) {
                bytes = bytes.saturating_add(meta.len());
                found.push(path);
            }
            if found.len().max(open.len()) > MOST_FILES || bytes > MOST_BYTES {
                return Err(endless());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_library_is_taken_without_what_nobody_needs() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["lib/json", "lib/test", "lib/config-3", "elsewhere"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for file in ["lib/os.py", "lib/json/x.py", "lib/test/x.py", "lib/config-3/a", "elsewhere/b"]
        {
            fs::write(at(file), "x").unwrap();
        }
        symlink(at("elsewhere/b"), at("lib/site.py")).unwrap();
        symlink(at("elsewhere"), at("lib/round")).unwrap();
        let library = Library { root: at("lib"), leaves_out: &["test", "config-*"] };
        let found = files_of(&library).unwrap();
        assert_eq!(found, [at("lib/os.py"), at("lib/site.py"), at("lib/json/x.py")]);
        File::create(at("lib/huge")).unwrap().set_len(MOST_BYTES).unwrap();
        let error = files_of(&library).unwrap_err().to_string();
        assert!(error.contains("more than 30000 files or 512 MiB"), "{error}");
        let gone = Library { root: at("gone"), leaves_out: &[] };
        assert!(files_of(&gone).is_err());
    }
}
