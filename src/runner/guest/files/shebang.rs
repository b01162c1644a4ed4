//! The first line of a script: which program reads it. As the kernel takes it (fs/binfmt_script.c) and, for
//! `env`, as coreutils do.

use std::path::{Component, Path, PathBuf};

/// What the kernel looks at (BINPRM_BUF_SIZE).
pub const HEAD: usize = 256;

/// Who reads a script.
#[derive(Debug, PartialEq, Eq)]
pub enum Reader {
    /// The program at a path.
    At(PathBuf),
    /// `env`, at a path, and a program that it looks for in PATH.
    Found(PathBuf, String),
}

/// Who reads the file that begins with `head`; nothing where it is no script.
///
/// # Errors
/// In words, where the line names nobody that can be told.
pub fn reader(head: &[u8]) -> Result<Option<Reader>, String> {
    let Some(line) = head.strip_prefix(b"#!") else { return Ok(None) };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| "its first line is not text".to_owned())?;
    let mut words = line.split_whitespace();
    let path = plain(words.next().ok_or("its first line names no program")?)?;
    if path.file_name().is_none_or(|name| name != "env") {
        return Ok(Some(Reader::At(path)));
    }
    // The whole rest is one argument, unless env is told to split it.
    let rest = words.collect::<Vec<_>>().join(" ");
    let split = rest.strip_prefix("-S").or_else(|| rest.strip_prefix("--split-string="));
    let mut words = split.unwrap_or(&rest).split_whitespace().skip_while(|word| word.contains('='));
    match words.next() {
        Some(name) if !name.starts_with('-') && !name.contains('/') => {
            Ok(Some(Reader::Found(path, name.to_owned())))
        }
        _ => {
            Err(format!("its first line says '{line}', which names no program that env looks for"))
        }
    }
}

/// An absolute path in the one way to write it: it is a place in the guest too, where it must not lead
/// elsewhere, or a link to itself.
fn plain(word: &str) -> Result<PathBuf, String> {
    let path: PathBuf = Path::new(word).components().collect();
    let is_plain =
        path.is_absolute() && !path.components().any(|part| part == Component::ParentDir);
    let none = || format!("its first line says '{word}', which is no absolute path without '..'");
    is_plain.then_some(path).ok_or_else(none)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_first_line_names_its_reader() {
        let at = |path: &str| Ok(Some(Reader::At(path.into())));
        let found = |name: &str| Ok(Some(Reader::Found("/usr/bin/env".into(), name.to_owned())));
        for (head, expected) in [
            ("#!/bin/sh\nrest", at("/bin/sh")),
            ("#! \t/usr/bin/python3 -u", at("/usr/bin/python3")),
            ("#!/usr/bin/env python3\n", found("python3")),
            ("#!/usr/bin/env -S python3 -u\n", found("python3")),
            ("#!/usr/bin/env -SLANG=C perl -w\n", found("perl")),
            ("#!//bin/./sh\n", at("/bin/sh")),
            ("\x7fELF", Ok(None)),
            ("", Ok(None)),
            ("echo a file without such a line\n", Ok(None)),
        ] {
            assert_eq!(reader(head.as_bytes()), expected, "{head}");
        }
        for (head, word) in [
            ("#!\n", "names no program"),
            ("#!python3\n", "no absolute path"),
            ("#!/usr/../home/x/python3\n", "without '..'"),
            ("#!/usr/bin/env\n", "env looks for"),
            ("#!/usr/bin/env -i sh\n", "env looks for"),
            ("#!/usr/bin/env ../../home/x/python3\n", "env looks for"),
            ("#!/usr/bin/env /home/x/python3\n", "env looks for"),
        ] {
            let error = reader(head.as_bytes()).unwrap_err();
            assert!(error.contains(word), "{head}: {error}");
        }
        assert!(reader(b"#!/bin/\xff\n").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_name_a_reader_or_none(head in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = reader(&[b"#!", &head[..]].concat());
        }
    }
}
