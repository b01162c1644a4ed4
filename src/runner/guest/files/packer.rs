//! A program of the host for the guest: with the interpreter that reads it, where it is a script.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::family::{Family, is_single};
use super::shebang::{HEAD, Reader, reader};
use crate::runner::guest::initramfs::{Carried, HostFile, Link, PROGRAMS, SHELL_PLACE, libraries};
use crate::runner::host::tools::{find_program, is_in_path, is_program};

/// How many interpreters of interpreters the kernel follows (fs/exec.c, exec_binprm).
const MOST_READERS: u32 = 5;

/// What goes along for one program.
#[derive(Debug)]
pub struct Packer<'n> {
    /// What the scripts' `# needs:` lines name: an interpreter among it is one program.
    named: &'n BTreeSet<&'n str>,
    bag: Carried,
}

/// Everything that `program` needs in the guest, which has it at `place` then.
///
/// # Errors
/// In words, where something of it cannot come along.
pub fn pack(program: &Path, place: &str, named: &BTreeSet<&str>) -> Result<Carried, String> {
    let mut packer = Packer { named, bag: Carried::default() };
    packer.program(program, place, 0)?;
    Ok(packer.bag)
}

/// Everything but itself that a program beside a script needs, of which `contents` were read.
///
/// # Errors
/// In words, where something of it cannot come along.
pub fn pack_needs(
    program: &Path,
    place: &str,
    contents: &[u8],
    named: &BTreeSet<&str>,
) -> Result<Carried, String> {
    let mut packer = Packer { named, bag: Carried::default() };
    let head: Vec<u8> = contents.iter().copied().take(HEAD).collect();
    if let Some(family) = Family::of(&last_name(program)) {
        packer.member(family, program, place)?;
    } else if let Some(reader) = reader(&head)? {
        packer.reader(reader, 0)?;
    } else if head.starts_with(b"\x7fELF") {
        // The loader looks beside the program for some: it is asked where that lies, and not of a copy.
        let needed = libraries(program).map_err(|error| error.to_string())?;
        packer.bag.files.extend(needed.into_iter().map(|host| {
            let place = host.to_string_lossy().into_owned();
            HostFile { host, place }
        }));
    }
    Ok(packer.bag)
}

impl Packer<'_> {
    fn program(&mut self, path: &Path, place: &str, readers: u32) -> Result<(), String> {
        if let Some(family) = Family::of(&last_name(path)) {
            return self.member(family, path, place);
        }
        let head = head(path).map_err(|error| format!("it cannot be read: {error}"))?;
        let file = HostFile { host: path.to_owned(), place: place.to_owned() };
        self.bag.files.push(file);
        if let Some(reader) = reader(&head)? {
            return self.reader(reader, readers);
        }
        if head.starts_with(b"\x7fELF") {
            libraries(path).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// What is asked runs on this machine. A script of strangers may lie beside a python of theirs, or name
    /// one anywhere: only those are asked that the user's own PATH leads to.
    fn member(&mut self, family: Family, path: &Path, place: &str) -> Result<(), String> {
        if !is_in_path(path) {
            return Err(format!(
                "{} lies in no folder of PATH, and only what does is started on this machine to say where its library lies",
                path.display()
            ));
        }
        let (real, more) = family.ask(path).map_err(|why| format!("{}: {why}", path.display()))?;
        libraries(&real).map_err(|error| error.to_string())?;
        self.bag.add(more);
        self.bag
            .links
            .push(Link { place: place.to_owned(), target: real.to_string_lossy().into_owned() });
        Ok(())
    }

    fn reader(&mut self, reader: Reader, readers: u32) -> Result<(), String> {
        if readers >= MOST_READERS {
            return Err(format!("more than {MOST_READERS} interpreters read one another"));
        }
        match reader {
            Reader::At(path) if matches!(&*last_name(&path), "sh" | "bash") => {
                self.link(&path, SHELL_PLACE);
                Ok(())
            }
            Reader::At(path) if is_program(&path) => {
                let place = path.to_string_lossy().into_owned();
                self.interpreter(&path, &place, readers)
            }
            Reader::At(path) => {
                Err(format!("its interpreter {} is not on this machine", path.display()))
            }
            Reader::Found(env, name) => {
                self.link(&env, "/usr/bin/env");
                if matches!(&*name, "sh" | "bash") {
                    return Ok(());
                }
                let place = format!("{PROGRAMS}/{name}");
                match find_program(&name) {
                    Some(path) => self.interpreter(&path, &place, readers),
                    None => Err(format!("its interpreter {name} is not on this machine")),
                }
            }
        }
    }

    /// A script reads on with its own interpreter; of a program it has to be known what else it needs.
    fn interpreter(&mut self, path: &Path, place: &str, readers: u32) -> Result<(), String> {
        let name = last_name(path);
        let is_script = head(path).is_ok_and(|head| head.starts_with(b"#!"));
        let known = is_script
            || Family::of(&name).is_some()
            || is_single(&name)
            || self.named.contains(&*name);
        if !known {
            return Err(format!(
                "its interpreter {name} may have a library, and only python's and perl's are known here: where {name} is all that it needs, name it in '# needs:' too"
            ));
        }
        self.program(path, place, readers.saturating_add(1))
    }

    fn link(&mut self, place: &Path, target: &str) {
        let (place, target) = (place.to_string_lossy().into_owned(), target.to_owned());
        if place != target {
            self.bag.links.push(Link { place, target });
        }
    }
}

fn last_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn head(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    fn refusal(path: &Path) -> String {
        pack(path, "/x", &BTreeSet::new()).unwrap_err()
    }

    #[test]
    fn a_script_brings_its_interpreter() {
        let dir = tempfile::tempdir().unwrap();
        let has = |carried: &Carried, place: &str| carried.files.iter().any(|f| f.place == place);
        let shell = script(dir.path(), "a", "#!/usr/bin/sh -e\n");
        let carried = pack(&shell, "/dixtrap/a", &BTreeSet::new()).unwrap();
        assert!(has(&carried, "/dixtrap/a"));
        assert_eq!(carried.links.first().unwrap().place, "/usr/bin/sh");
        let sed = find_program("sed").unwrap();
        let one = script(dir.path(), "b", &format!("#!{} -f\n", sed.display()));
        assert!(has(&pack(&one, "/b", &BTreeSet::new()).unwrap(), &sed.to_string_lossy()));
        // A script that is read by a script, and one that is found in PATH.
        let two = script(dir.path(), "c", &format!("#!{}\n", one.display()));
        let carried = pack(&two, "/c", &BTreeSet::new()).unwrap();
        assert!(has(&carried, &sed.to_string_lossy()) && has(&carried, &one.to_string_lossy()));
        let found = script(dir.path(), "d", "#!/usr/bin/env -S sed -f\n");
        assert!(has(&pack(&found, "/d", &BTreeSet::new()).unwrap(), "/usr/local/bin/sed"));
        let plain = script(dir.path(), "e", "echo read by whoever calls it\n");
        assert_eq!(pack(&plain, "/e", &BTreeSet::new()).unwrap().files.len(), 1);
    }

    /// Between the two a file may become another one: what was read and checked is what the guest gets.
    #[test]
    fn a_program_beside_a_script_is_not_read_again() {
        let (gone, none) = (Path::new("/nosuch/helper"), BTreeSet::new());
        let shell = pack_needs(gone, "/x", b"#!/usr/bin/sh -e\n", &none).unwrap();
        assert_eq!((shell.files.len(), &*shell.links.first().unwrap().place), (0, "/usr/bin/sh"));
        let error = pack_needs(gone, "/x", b"#!/nosuch/ruby\n", &none).unwrap_err();
        assert_eq!(error, "its interpreter /nosuch/ruby is not on this machine");
        assert_eq!(pack_needs(gone, "/x", b"data", &none).unwrap(), Carried::default());
        let sed = find_program("sed").unwrap();
        let needed = pack_needs(&sed, "/x", b"\x7fELF", &none).unwrap();
        assert!(needed.files.iter().all(|file| file.host != sed));
        assert!(needed.files.iter().any(|file| file.place.ends_with("/libc.so.6")));
    }

    #[test]
    fn what_cannot_come_along_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str, text: &str| script(dir.path(), name, text);
        let gone = refusal(&at("a", "#!/nosuch/ruby\n"));
        assert_eq!(gone, "its interpreter /nosuch/ruby is not on this machine");
        let gone = refusal(&at("b", "#!/usr/bin/env nosuchinterpreter\n"));
        assert_eq!(gone, "its interpreter nosuchinterpreter is not on this machine");
        // A program of which nobody knows what it needs, until the script says that it is one.
        let ruby = dir.path().join("ruby");
        std::fs::copy(find_program("sed").unwrap(), &ruby).unwrap();
        let reads = at("c", &format!("#!{}\n", ruby.display()));
        assert!(refusal(&reads).contains("name it in '# needs:' too"));
        assert!(pack(&reads, "/x", &BTreeSet::from(["ruby"])).is_ok());
        assert!(refusal(&at("d", "#!relative\n")).contains("no absolute path"));
        assert!(refusal(&dir.path().join("gone")).contains("cannot be read"));
        // They read each other for ever.
        let path = dir.path().join("e");
        assert!(refusal(&at("e", &format!("#!{}\n", path.display()))).contains("more than 5"));
    }

    /// It would be asked where its library lies, on this machine.
    #[test]
    fn an_interpreter_of_strangers_is_never_started() {
        let dir = tempfile::tempdir().unwrap();
        let (python, ran) = (dir.path().join("python3"), dir.path().join("ran"));
        script(dir.path(), "python3", &format!("#!/bin/sh\ntouch {}\n", ran.display()));
        assert!(refusal(&python).contains("lies in no folder of PATH"));
        let up = "../".repeat(20);
        for (line, word) in [
            (format!("#!{}", python.display()), "lies in no folder of PATH"),
            (format!("#!/usr/bin/{up}{}", python.display()), "without '..'"),
            (format!("#!/usr/bin/env {}", python.display()), "env looks for"),
            (format!("#!/usr/bin/env {up}{}", python.display()), "env looks for"),
        ] {
            let why = refusal(&script(dir.path(), "helper", &format!("{line}\n")));
            assert!(why.contains(word), "{line}: {why}");
        }
        assert!(!ran.exists());
    }

    #[test]
    fn a_family_is_found_by_name_wherever_it_stands() {
        let Some(python) = find_program("python3") else { return eprintln!("skipped: no python3") };
        let dir = tempfile::tempdir().unwrap();
        let helper = script(dir.path(), "helper.py", "#!/usr/bin/env python3\n");
        for (program, place) in [(&python, "/usr/local/bin/python3"), (&helper, "/x/helper.py")] {
            let carried = pack(program, place, &BTreeSet::new()).unwrap();
            let link = carried.links.iter().find(|link| link.place.ends_with("/python3")).unwrap();
            assert!(carried.files.iter().any(|file| file.place == link.target));
            assert!(!carried.libraries.is_empty());
        }
    }
}
