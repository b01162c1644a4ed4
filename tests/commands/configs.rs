//! The files in qemu/ mean what they say: checked by the tools they are for, where those are
//! installed, and against the daemon itself.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use vhost::VhostBackend;
use vhost::vhost_user::Frontend;

use crate::kit::eventually;
use crate::kit::programs::{DIXTRAPD, Guarded, said};

const INSTALLED: &str = "/usr/local/bin/dixtrapd";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("qemu").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

/// Runs a tool; none when it is not installed, which the test says.
fn tool(name: &str, args: &[&Path]) -> Option<Output> {
    match Command::new(name).args(args).stdin(Stdio::null()).output() {
        Ok(output) => Some(output),
        Err(_) => {
            eprintln!("skipped: {name} is not installed");
            None
        }
    }
}

#[test]
fn the_description_is_one_of_a_block_backend() {
    let description: Value = serde_json::from_str(&text("50-dixtrap.json")).unwrap();
    let mut keys: Vec<_> = description.as_object().unwrap().keys().collect();
    keys.sort();
    // VhostUserBackend of QEMU's docs/interop/vhost-user.json: these keys and no others.
    assert_eq!(keys, ["binary", "description", "tags", "type"]);
    assert_eq!(description["type"], "block");
    assert_eq!(description["binary"], INSTALLED);
    assert!(description["description"].is_string());
    assert!(description["tags"].as_array().unwrap().iter().all(Value::is_string));
}

#[test]
fn the_capabilities_are_those_of_the_description() {
    let output = Command::new(DIXTRAPD).arg("--print-capabilities").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let capabilities: Value = serde_json::from_slice(&output.stdout).unwrap();
    let description: Value = serde_json::from_str(&text("50-dixtrap.json")).unwrap();
    assert_eq!(capabilities["type"], description["type"]);
    // The two features that QEMU's VHostUserBackendBlockFeature knows.
    let mut features: Vec<_> = capabilities["features"].as_array().unwrap().clone();
    features.sort_by_key(Value::to_string);
    assert_eq!(features, [json!("blk-file"), json!("read-only")]);
}

/// The words of a unit's setting, continued lines joined.
fn setting(unit: &str, key: &str) -> Vec<String> {
    let joined = unit.replace("\\\n", " ");
    let line = joined.lines().find_map(|line| line.strip_prefix(&format!("{key}="))).unwrap();
    line.split_whitespace().map(str::to_owned).collect()
}

/// The daemon's flags, as its help names them.
fn flags() -> String {
    said(&Command::new(DIXTRAPD).arg("--help").output().unwrap())
}

#[test]
fn systemd_takes_the_units() {
    let dir = TempDir::new().unwrap();
    for name in ["dixtrapd@.socket", "dixtrapd@.service"] {
        // The program is not installed on this machine; the one that was built is.
        let unit = text(name).replace(INSTALLED, DIXTRAPD);
        fs::write(dir.path().join(name), unit).unwrap();
    }
    let units = ["dixtrapd@demo.socket", "dixtrapd@demo.service"].map(|name| dir.path().join(name));
    let words = [Path::new("verify"), &units[0], &units[1]];
    if let Some(output) = tool("systemd-analyze", &words) {
        let said = said(&output);
        let ours: Vec<_> = said.lines().filter(|line| line.contains("dixtrapd@")).collect();
        assert!(ours.is_empty(), "{}", ours.join("\n"));
        assert!(output.status.success(), "{said}");
    }
}

#[test]
fn the_service_uses_flags_that_exist() {
    let start = setting(&text("dixtrapd@.service"), "ExecStart");
    assert_eq!(start[..3], [INSTALLED, "--fd", "3"], "systemd hands over the first socket as 3");
    let flags = flags();
    for word in start.iter().filter(|word| word.starts_with("--")) {
        assert!(flags.contains(word.as_str()), "{word} is no flag of dixtrapd");
    }
    let socket = text("dixtrapd@.socket");
    assert!(!socket.contains("Accept="), "the daemon takes the listening socket");
    let path = &setting(&socket, "ListenStream")[0];
    assert_eq!(path.replace("%t", "/run").replace("%i", "demo"), libvirt_socket());
}

fn libvirt_socket() -> String {
    let xml = text("libvirt.xml");
    let (_, tail) = xml.split_once("<source type='unix' path='").unwrap();
    tail.split_once('\'').unwrap().0.to_owned()
}

#[test]
fn libvirt_takes_the_domain() {
    // virt-xml-validate is a script around xmllint, and may be installed without it.
    if let Some(output) = tool("xmllint", &[Path::new("--noout"), &file("libvirt.xml")]) {
        assert!(output.status.success(), "{}", said(&output));
        if let Some(output) = tool("virt-xml-validate", &[&file("libvirt.xml")]) {
            assert!(output.status.success(), "{}", said(&output));
        }
    }
    let xml = text("libvirt.xml");
    for needed in [
        // Without these the guest hangs.
        "<source type='memfd'/>",
        "<access mode='shared'/>",
        "<disk type='vhostuser' device='disk'>",
    ] {
        assert!(xml.contains(needed), "{needed}");
    }
}

/// Connects as QEMU does, and reads the features.
fn features_at(socket: &Path) -> u64 {
    let frontend = Frontend::connect(socket, 1).unwrap();
    frontend.set_owner().unwrap();
    frontend.get_features().unwrap()
}

const VIRTIO_F_VERSION_1: u64 = 1 << 32;

#[test]
fn a_listening_socket_can_be_handed_over_as_systemd_does() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("activated.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let image = dir.path().join("disk.img");
    let child = Command::new("sh")
        .args(["-c", "exec \"$@\" 3<&0 0</dev/null", "sh", DIXTRAPD, "--fd", "3", "--size", "1M"])
        .arg("--blk-file")
        .arg(&image)
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .spawn()
        .unwrap();
    let mut daemon = Guarded(child);
    // Before the daemon is up a connection waits in the socket's queue, as with systemd. A second
    // one after the first has ended finds the same daemon.
    for _ in 0..2 {
        let features = features_at(&socket);
        assert_ne!(features & VIRTIO_F_VERSION_1, 0, "{features:#x}");
    }
    assert!(image.exists());
    daemon.signal(Signal::SIGTERM);
    assert!(eventually("the daemon's end", || daemon.try_wait().unwrap()).success());
    assert!(socket.exists(), "the socket is systemd's, not the daemon's to remove");
}

/// With the tool that systemd has for it: the daemon is started by the first connection.
#[test]
fn systemd_starts_the_daemon_at_the_first_connection() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("activated.sock");
    let image = dir.path().join("disk.img");
    let started = Command::new("systemd-socket-activate")
        .arg("--listen")
        .arg(&socket)
        .args([DIXTRAPD, "--fd", "3", "--size", "1M", "--blk-file"])
        .arg(&image)
        .stdin(Stdio::null())
        .spawn();
    let Ok(child) = started else {
        eprintln!("skipped: systemd-socket-activate is not installed");
        return;
    };
    let mut daemon = Guarded(child);
    eventually("the socket", || socket.exists().then_some(()));
    assert!(!image.exists(), "nobody has connected yet");
    assert_ne!(features_at(&socket) & VIRTIO_F_VERSION_1, 0);
    assert!(image.exists());
    // systemd-socket-activate has become the daemon.
    daemon.signal(Signal::SIGTERM);
    assert!(eventually("the daemon's end", || daemon.try_wait().unwrap()).success());
}

#[test]
fn the_launch_line_says_what_is_wrong_before_qemu_does() {
    for (args, words) in [(vec![], "usage:"), (vec!["/nowhere.sock"], "/nowhere.sock is no socket")]
    {
        let output = Command::new(file("boot.sh")).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains(words), "{}", said(&output));
    }
}
