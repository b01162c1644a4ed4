//! Interpreters that are more than one program. Where their library lies they are asked themselves: what
//! is called python3 in PATH may be a script that looks for one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::runner::guest::initramfs::{Carried, HostFile, Library};
use crate::runner::host::tools::Tool;

/// How long an interpreter may think about where it is.
const LIMIT: Duration = Duration::from_secs(20);

/// Those that are one program, with the libraries that it is linked to.
const SINGLE: [&str; 15] = [
    "sh", "bash", "dash", "ash", "ksh", "ksh93", "mksh", "busybox", "awk", "gawk", "mawk", "sed",
    "lua", "luajit", "env",
];

/// In a virtual environment the program that it was made with: the guest has only that one's library.
/// Isolated (-I), it says nothing of what the user has put around it.
const ASK_PYTHON: &str = "\
import os, sys, sysconfig\n\
program = getattr(sys, '_base_executable', None) or sys.executable\n\
print(os.path.realpath(program))\n\
print(sysconfig.get_path('stdlib'))\n\
print(sysconfig.get_path('platstdlib'))\n";

/// Debian keeps a part of it apart, in a folder of @INC that has strict.pm.
const ASK_PERL: &str = "\
use Config; my @own = grep { -e \"$_/strict.pm\" } @INC;\
print \"$_\\n\" for $^X, $Config{privlibexp}, $Config{archlibexp}, @own";

/// Interpreters with a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// CPython.
    Python,
    /// Perl 5.
    Perl,
}

impl Family {
    /// The one that a program of this name is of.
    pub fn of(name: &str) -> Option<Family> {
        let version = |rest: &str| rest.chars().all(|c| c.is_ascii_digit() || c == '.');
        let is = |start: &str| name.strip_prefix(start).is_some_and(version);
        match () {
            () if is("python") => Some(Family::Python),
            () if is("perl") => Some(Family::Perl),
            () => None,
        }
    }

    /// What the interpreter at `program` needs, and where in the guest it then is.
    ///
    /// # Errors
    /// In words, where it does not tell.
    pub fn ask(self, program: &Path) -> Result<(PathBuf, Carried), String> {
        let words = match self {
            Family::Python => ["-I", "-c", ASK_PYTHON],
            Family::Perl => ["-w", "-e", ASK_PERL],
        };
        let told = Tool::at(program).args(words).limit(LIMIT).text();
        let told = told.map_err(|error| format!("it does not say where it lies: {error}"))?;
        let mut paths = told.lines().map(PathBuf::from);
        let real = paths.next().filter(|path| path.is_absolute() && path.is_file());
        let real = real.ok_or("it does not say where it lies")?;
        let folders = paths.filter(|path| path.is_absolute() && path.is_dir());
        let library = |root| Library { root, leaves_out: self.leaves_out() };
        let libraries: Vec<Library> = folders.map(library).collect();
        if libraries.is_empty() {
            return Err("it does not say where its library lies".to_owned());
        }
        let file = HostFile { host: real.clone(), place: real.to_string_lossy().into_owned() };
        Ok((real, Carried { files: vec![file], libraries, ..Carried::default() }))
    }

    /// Names in its library that nobody needs in a guest: tests, what builds other programs, windows, and
    /// what was installed beside it. A `*` at the beginning or the end stands for anything.
    const fn leaves_out(self) -> &'static [&'static str] {
        match self {
            Family::Python => &[
                "test",
                "tests",
                "__pycache__",
                "site-packages",
                "dist-packages",
                "config-*",
                "idlelib",
                "turtledemo",
                "ensurepip",
                "lib2to3",
                "tkinter",
                "*.a",
                "*.o",
            ],
            Family::Perl => &["pod", "CORE", "*.pod", "*.a", "*.h"],
        }
    }
}

/// Whether a program of this name is all that it needs.
pub fn is_single(name: &str) -> bool {
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    SINGLE.contains(&name) || SINGLE.contains(&bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::host::tools::find_program;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn names_tell_the_family() {
        for (name, family) in [
            ("python", Some(Family::Python)),
            ("python3.11", Some(Family::Python)),
            ("perl5.36.0", Some(Family::Perl)),
            ("pythonic", None),
            ("perldoc", None),
        ] {
            assert_eq!(Family::of(name), family, "{name}");
        }
        assert!(is_single("lua5.4") && is_single("awk") && !is_single("ruby3.1"));
    }

    #[test]
    fn perl_says_where_it_lies() {
        let Some(perl) = find_program("perl") else { return eprintln!("skipped: no perl here") };
        let (program, carried) = Family::Perl.ask(&perl).unwrap();
        assert!(program.is_file());
        assert!(carried.libraries.iter().any(|library| library.root.join("strict.pm").is_file()));
    }

    /// Whatever is called python3 here: a program, or a script that looks for one.
    #[test]
    fn python_says_where_it_lies() {
        let Some(python) = find_program("python3") else { return eprintln!("skipped: no python3") };
        let (program, carried) = Family::Python.ask(&python).unwrap();
        assert!(std::fs::read(program).unwrap().starts_with(b"\x7fELF"));
        assert!(carried.libraries.iter().any(|library| library.root.join("os.py").is_file()));
    }

    #[test]
    fn one_that_lies_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("python3");
        for (script, word) in [
            ("exit 3", "exit status: 3"),
            ("echo relative", "does not say where it lies"),
            ("echo /nosuch", "does not say where it lies"),
            ("echo /bin/sh; echo /nosuch", "where its library lies"),
        ] {
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
            let error = Family::Python.ask(&path).unwrap_err();
            assert!(error.contains(word), "{script}: {error}");
        }
    }
}
