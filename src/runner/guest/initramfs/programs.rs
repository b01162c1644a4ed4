//! Programs of the host that go into the guest, with the shared libraries that they need.

use std::path::{Path, PathBuf};

use super::error::InitramfsError;
use crate::runner::host::tools::{Tool, ToolError};

/// The shared libraries that `program` needs, the dynamic loader included; none for a static one.
///
/// # Errors
/// When ldd is missing, and when a library is.
pub fn libraries(program: &Path) -> Result<Vec<PathBuf>, InitramfsError> {
    let listing = match Tool::find("ldd", "libc-bin")?.arg(program).text() {
        Ok(listing) => listing,
        // ldd fails for static programs, and for scripts: neither needs a library.
        Err(ToolError::Failed { stderr, .. }) if stderr.contains("not a dynamic executable") => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error.into()),
    };
    let mut found = parse(&listing)
        .map_err(|library| InitramfsError::Library { library, program: program.to_owned() })?;
    // A thread that ends loads this one, and ends its process where it is not there.
    let unwinder = found.iter().find(|path| path.ends_with("libc.so.6"));
    let unwinder = unwinder.map(|libc| libc.with_file_name("libgcc_s.so.1"));
    found.extend(unwinder.filter(|path| path.is_file()));
    Ok(found)
}

/// The libraries in ldd's listing; the name of the first one that is missing as the error.
fn parse(listing: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for line in listing.lines().map(str::trim) {
        // "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)", "/lib64/ld-linux-x86-64.so.2 (0x…)",
        // "linux-vdso.so.1 (0x…)", "libx.so => not found"
        let (name, place) = line.split_once(" => ").unwrap_or((line, line));
        if place.starts_with("not found") {
            return Err(name.to_owned());
        }
        if let Some(path) = place.split(" (").next()
            && path.starts_with('/')
        {
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::host::tools::find_program;

    #[test]
    fn reads_ldds_listing() {
        let listing = "\tlinux-vdso.so.1 (0x00007ffe)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x7f)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        let expected: Vec<PathBuf> =
            vec!["/lib/x/libc.so.6".into(), "/lib64/ld-linux-x86-64.so.2".into()];
        assert_eq!(parse(listing), Ok(expected));
        assert_eq!(parse("\tlibq.so => not found\n"), Err("libq.so".to_owned()));
        assert_eq!(parse("\tstatically linked\n"), Ok(vec![]));
    }

    #[test]
    fn a_dynamic_program_takes_its_loader_along() {
        let libraries = libraries(&find_program("sh").unwrap()).unwrap();
        assert!(libraries.iter().any(|path| path.to_string_lossy().contains("ld-linux")));
        assert!(libraries.iter().all(|path| path.is_file()));
    }
}
