//! `qemu.sh`: the guest of a boot once more, by hand, with a shell on the terminal and a disk of its own.
//! Everything that it needs but the programs lies beside it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::guest::init::SHELL_WORD;
use crate::runner::host::qemu::{self, Disk, Front, QemuConfig};

/// The script.
pub const SCRIPT: &str = "qemu.sh";
/// The sockets and the records of the disk that the script starts.
pub const SOCKET: &str = "again.sock";
/// Its control socket.
pub const CONTROL: &str = "again.ctl";
/// Its records: those of the run stay as they are.
pub const RECORDS: &str = "again.jsonl";

/// Writes the script into the boot's directory. `daemon` is the command line of the disk's back end, its
/// files named as above; without one a disk that needs it has no script, which could not work.
///
/// # Errors
/// The system's.
pub fn write(program: &Path, config: &QemuConfig<'_>, daemon: Option<&[String]>) -> io::Result<()> {
    let path = config.dir.join(SCRIPT);
    let needs_daemon = config.disks.iter().any(|disk| disk.socket().is_some());
    if needs_daemon && daemon.is_none() {
        return Ok(());
    }
    fs::write(&path, script(program, config, daemon))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
}

fn script(program: &Path, config: &QemuConfig<'_>, daemon: Option<&[String]>) -> String {
    let disks: Vec<Disk> =
        config.disks.iter().map(|disk| disk.listening_on(SOCKET.as_ref())).collect();
    let append = format!("{} {SHELL_WORD}", config.append);
    let shell = QemuConfig { disks: &disks, append: append.trim(), ..config.clone() };
    let mut text = String::from(HEAD);
    text.push_str(&commented(
        &program.display().to_string(),
        &qemu::arguments(config, Front::Agent),
    ));
    text.push_str("cd \"$(dirname \"$0\")\" || exit\n");
    if let Some([dixtrapd, words @ ..]) = daemon {
        text.push_str(&format!("\n\"${{DIXTRAPD:-{}}}\"", in_quotes(dixtrapd)));
        text.push_str(&lines(words));
        text.push_str(DISK);
    }
    text.push_str(&format!("\n\"${{QEMU:-{}}}\"", in_quotes(&program.display().to_string())));
    text.push_str(&lines(&qemu::arguments(&shell, Front::Shell)));
    text.push('\n');
    text
}

const HEAD: &str = "#!/bin/sh
# Starts this guest again, on an empty disk of its own, with a shell on this terminal. In the guest:
#   sh /dixtrap/mmap-rewrite.sh /dev/vda     (over scsi /dev/sda; guest-scripts/README.md has the variables)
#   exit                                     (or Ctrl-A X at any time)
# On the host: dixtrap ctl again.ctl stats, and afterwards dixtrap report again.jsonl. With DIXTRAP_OWNERS=/dev/vda
# the scenario prints whose the blocks are: lines that begin with {\"owners\": go into again.owners.jsonl.
# The kernel and the initramfs lie here; DIXTRAPD and QEMU name other programs than the run's.
#
# What the run itself started:
";

/// Waits until the disk listens, and ends it with QEMU.
const DISK: &str = " &
disk=$!
trap 'kill \"$disk\" 2>/dev/null' EXIT
until [ -S again.sock ]; do
    kill -0 \"$disk\" || exit
    sleep 0.1
done
";

/// The words as they were, in a comment; no word can end it.
fn commented(program: &str, args: &[String]) -> String {
    let mut text = format!("#   {program}");
    for arg in args {
        text.push_str(if arg.starts_with('-') { "\n#     " } else { " " });
        text.push_str(&quote(arg).replace(['\n', '\r'], " "));
    }
    text.push('\n');
    text
}

/// Arguments as a shell reads them back, an option a line.
fn lines(args: &[String]) -> String {
    let mut text = String::new();
    for arg in args {
        text.push_str(if arg.starts_with('-') { " \\\n  " } else { " " });
        text.push_str(&quote(arg));
    }
    text
}

/// A word as a POSIX shell reads it back.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,./:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A default inside `"${NAME:-…}"`, where a backslash keeps these as they are.
fn in_quotes(word: &str) -> String {
    let special = |c: char| "\\\"$`}".contains(c);
    word.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::host::qemu::tests::config;
    use proptest::prelude::*;
    use std::process::Command;

    #[test]
    fn a_disk_without_a_back_end_has_no_script() {
        let dir = tempfile::tempdir().unwrap();
        let disks = [Disk::VhostUserBlk { socket: "/gone".into(), queues: 1 }];
        write(Path::new("qemu"), &config(dir.path(), &disks, ""), None).unwrap();
        assert!(!dir.path().join(SCRIPT).exists());
        write(Path::new("qemu"), &config(dir.path(), &[], ""), None).unwrap();
        assert!(dir.path().join(SCRIPT).exists());
    }

    /// What both programs were told, one after the other; stand-ins that print their arguments. The
    /// daemon's makes the socket's place once it has.
    fn told(folder: &str, append: &str, daemon: &[String], more: &[String]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let disks = [Disk::VhostUserBlk { socket: "/run/x.sock".into(), queues: 2 }];
        let programs = dir.path().join(folder);
        fs::create_dir(&programs).unwrap();
        let _listens = std::os::unix::net::UnixListener::bind(dir.path().join("real")).unwrap();
        for (name, end) in [("daemon", ">said; ln -s real again.sock"), ("qemu", ">>said")] {
            let path = programs.join(name);
            fs::write(&path, format!("#!/bin/sh\nprintf '%s|' \"$@\" {end}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut words = vec![programs.join("daemon").display().to_string()];
        words.extend_from_slice(daemon);
        let config = QemuConfig { more, ..config(dir.path(), &disks, append) };
        write(&programs.join("qemu"), &config, Some(&words)).unwrap();
        let output = Command::new("sh").arg(dir.path().join(SCRIPT)).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        fs::read_to_string(dir.path().join("said")).unwrap()
    }

    #[test]
    fn the_script_starts_disk_and_guest_with_the_words_they_had() {
        let said = told("a \"$`}\\ 'q", "a 'b' $c", &["--window".into(), "it's".into()], &[]);
        assert!(said.starts_with("--window|it's|-machine|"), "{said}");
        assert!(said.contains("no_timer_check a 'b' $c dixtrap.shell|"), "{said}");
        assert!(said.contains("socket,id=disk0,path=again.sock|"), "{said}");
        assert!(said.contains("-serial|mon:stdio|") && !said.contains("console.log"), "{said}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_word_comes_through(word in "[^\0]{1,20}", more in "[^\0]{1,20}", append in "[ -~]{0,20}") {
            let said = told("d", &append, std::slice::from_ref(&word), std::slice::from_ref(&more));
            prop_assert!(said.starts_with(&format!("{word}|-machine|")), "{said}");
            prop_assert!(said.ends_with(&format!("|{more}|")), "{said}");
        }
    }
}
