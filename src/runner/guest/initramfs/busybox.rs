//! The one program that every guest needs, under the names that distributions give it.

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf::{EM_X86_64, FileHeader64, PT_INTERP};
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader};

use super::error::InitramfsError;
use crate::runner::host::tools::{ToolError, is_program, program_folders};

/// Debian, Fedora, Arch; openSUSE; Void, Alpine.
const NAMES: [&str; 3] = ["busybox", "busybox-static", "busybox.static"];

/// A busybox that needs no libraries.
///
/// # Errors
/// Where there is none, and where there are only others.
pub fn find() -> Result<PathBuf, InitramfsError> {
    let path = env::var_os("PATH").unwrap_or_default();
    find_in(program_folders(&path))
}

fn find_in(folders: impl Iterator<Item = PathBuf>) -> Result<PathBuf, InitramfsError> {
    let all = folders.flat_map(|dir| NAMES.map(|name| dir.join(name)));
    let mut there = all.filter(|path| is_program(path)).peekable();
    let missing =
        ToolError::Missing { program: "busybox".into(), package: "busybox-static".into() };
    let Some(first) = there.peek().cloned() else { return Err(missing.into()) };
    let needs_none = there.find(|path| needs_no_library(path));
    needs_none.ok_or(InitramfsError::DynamicBusybox { path: first })
}

/// A 64-bit x86 program that names no loader.
fn needs_no_library(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let cache = ReadCache::new(file);
    let look = || -> object::Result<bool> {
        let header = FileHeader64::<Endianness>::parse(&cache)?;
        let endian = header.endian()?;
        let segments = header.program_headers(endian, &cache)?;
        let is_static = segments.iter().all(|segment| segment.p_type(endian) != PT_INTERP);
        Ok(is_static && header.e_machine(endian) == EM_X86_64)
    };
    look().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::host::tools::find_program;
    use std::fs;

    #[test]
    fn it_is_found_under_the_names_of_other_distributions() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let found = || find_in([dir.path().to_owned()].into_iter());
        assert!(found().unwrap_err().to_string().contains("install the package busybox-static"));
        // One for another program, one that needs libraries, and one that is no program at all.
        fs::copy(find_program("sh").unwrap(), at("busybox")).unwrap();
        let error = found().unwrap_err().to_string();
        assert!(error.contains("is not a static program"), "{error}");
        fs::write(at("busybox-static"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(
            at("busybox-static"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        found().unwrap_err();
        for name in ["busybox.static", "busybox-static", "busybox"] {
            fs::copy(find().unwrap(), at(name)).unwrap();
            assert_eq!(found().unwrap(), at(name));
        }
    }
}
