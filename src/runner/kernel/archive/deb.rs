//! Debian's packages: an ar archive of two tar archives (deb(5)).

use std::io::{BufRead, Read};

use super::entry::{Entry, PackageError, Told, Visit, bounded, skip};
use super::tarball;

/// The beginning of an ar archive.
pub const MAGIC: &[u8] = b"!<arch>\n";
/// A member's header: name, date, owner, group, mode, size, and two bytes that end it.
const HEADER: usize = 60;
/// A control file and its scripts have a few kilobytes.
const CONTROL_LIMIT: u64 = 1 << 20;

/// Shows the files of the package, and returns what its control file says.
pub fn each_entry(
    mut input: impl BufRead,
    limit: u64,
    visit: &mut Visit<'_>,
) -> Result<Told, PackageError> {
    skip(&mut input, u64::try_from(MAGIC.len()).unwrap_or(0))?;
    let mut told = Told::default();
    loop {
        let (name, size) = member(&mut input)?;
        let mut body = input.by_ref().take(size);
        if name.starts_with("data.tar") {
            tarball::each_entry(bounded(body, limit)?, visit)?;
            return Ok(told);
        }
        if name.starts_with("control.tar") {
            told = control(bounded(&mut body, CONTROL_LIMIT)?)?;
        }
        let left = body.limit();
        skip(&mut input, left.saturating_add(size & 1))?;
    }
}

/// A member's name and size.
fn member(input: &mut impl BufRead) -> Result<(String, u64), PackageError> {
    let mut header = [0; HEADER];
    input.read_exact(&mut header)?;
    let text =
        |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).trim().to_owned();
    if header.get(58..) != Some(b"`\n") {
        return Err(PackageError::broken("a member has no header"));
    }
    let size = text(header.get(48..58)).parse();
    let size = size.map_err(|_| PackageError::broken("a member has no size"))?;
    Ok((text(header.get(..16)), size))
}

/// What the control file among these says.
fn control(input: impl Read) -> Result<Told, PackageError> {
    let mut text = String::new();
    tarball::each_entry(input, &mut |entry: Entry<'_>| {
        if entry.is_file && matches!(entry.name, b"./control" | b"control") {
            let mut bytes = Vec::new();
            entry.contents.read_to_end(&mut bytes)?;
            text = String::from_utf8_lossy(&bytes).into_owned();
        }
        Ok(())
    })?;
    Ok(Told { depends: depends(&text) })
}

/// The first of each group of alternatives, without versions.
fn depends(control: &str) -> Vec<String> {
    let line = control.lines().find_map(|line| line.strip_prefix("Depends:")).unwrap_or_default();
    let name = |group: &str| group.split([' ', '(', '|']).next().map(str::to_owned);
    line.split(',').filter_map(|group| name(group.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_without_versions() {
        let text = "Package: x\nDepends: kmod, linux-modules-6.8 (= 1) | y, z\nSuggests: q\n";
        assert_eq!(depends(text), ["kmod", "linux-modules-6.8", "z"]);
        assert!(depends("Package: x\n").iter().all(String::is_empty));
    }
}
