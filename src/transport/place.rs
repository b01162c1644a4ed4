//! A socket at a path: whose it is, and who may connect.
//!
//! Looking whether a socket is stale, removing it and making one anew are three steps, and two daemons
//! that take them side by side would remove each other's. So they take turns, with a lock (flock) on the
//! folder: it leaves no file behind.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat};

use super::listen_error::ListenError;
use crate::units::SocketMode;

/// How long another daemon's turn may take, and how long between two looks.
const TURN_PATIENCE: Duration = Duration::from_secs(2);
const TURN_PAUSE: Duration = Duration::from_millis(5);

/// The folder that `path` lies in.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Listens at `path`, where the socket of a daemon that is gone is replaced; `note` is called with nobody
/// else at work there.
pub(super) fn take<T>(
    path: &Path,
    mode: SocketMode,
    note: impl FnOnce() -> T,
) -> Result<(UnixListener, T), ListenError> {
    let failed = |error| ListenError::Bind(path.display().to_string(), error);
    // Closing the folder ends the turn.
    let _turn = wait_for_turn(&folder_of(path));
    remove_stale(path)?;
    let socket = make(path, mode).map_err(|errno| failed(errno.into()))?;
    Ok((UnixListener::from(socket), note()))
}

/// The folder, locked. Where that cannot be had (a folder that may not be read, a file system without
/// locks, somebody who keeps it), the daemon starts all the same: nobody else may be about to.
fn wait_for_turn(folder: &Path) -> Option<File> {
    let until = Instant::now() + TURN_PATIENCE;
    let file = File::open(folder).inspect_err(|error| unlocked(folder, error)).ok()?;
    loop {
        let Err(error) = file.try_lock().map_err(io::Error::from) else { return Some(file) };
        if error.kind() != io::ErrorKind::WouldBlock || Instant::now() >= until {
            unlocked(folder, &error);
            return None;
        }
        std::thread::sleep(TURN_PAUSE);
    }
}

fn unlocked(folder: &Path, error: &io::Error) {
    log::info!("no lock on {}: {error}", folder.display());
}

/// Removes a socket that is nobody's any more.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let name = || path.display().to_string();
    let failed = |error| ListenError::Bind(name(), error);
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(metadata) if !metadata.file_type().is_socket() => Err(ListenError::NotASocket(name())),
        Ok(_) if is_stale(path).map_err(failed)? => fs::remove_file(path).map_err(failed),
        Ok(_) => Err(ListenError::InUse(name())),
    }
}

/// Whether no process has the socket at `path`. It is asked for as what it is not: the answer tells whether
/// there is one, and a live daemon never sees a front end that comes and goes, nor do we wait in its queue.
fn is_stale(path: &Path) -> io::Result<bool> {
    match UnixDatagram::unbound()?.connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        // EPROTOTYPE: one of another type is there. It might be one that we may not connect to, as well.
        _ => Ok(false),
    }
}

/// A listening socket with exactly this mode. Nobody can connect before it listens, and it never is wider.
fn make(path: &Path, mode: SocketMode) -> nix::Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let wanted = Mode::from_bits_truncate(mode.bits());
    // What is made at the path takes this over, less what the umask takes away.
    fchmod(&socket, wanted)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let listening = widen(path, mode).and_then(|()| listen(&socket, Backlog::MAXCONN));
    if let Err(errno) = listening {
        // It is the error that counts.
        let _ = fs::remove_file(path);
        return Err(errno);
    }
    Ok(socket)
}

/// Gives back what the umask took.
fn widen(path: &Path, mode: SocketMode) -> nix::Result<()> {
    let made = fs::symlink_metadata(path).map_err(|error| errno_of(&error))?;
    if made.permissions().mode() & 0o777 == mode.bits() {
        return Ok(());
    }
    let wanted = Mode::from_bits_truncate(mode.bits());
    fchmodat(AT_FDCWD, path, wanted, FchmodatFlags::NoFollowSymlink)
}

fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::sync::Barrier;

    fn mode_of(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_socket_has_the_mode_that_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        // Whatever the umask of the test is, one of them is wider and one is narrower.
        for bits in ["600", "666", "0660", "777", "200"] {
            let mode: SocketMode = bits.parse().unwrap();
            let (listener, ()) = take(&path, mode, || ()).unwrap();
            assert_eq!(mode_of(&path), mode.bits(), "{bits}");
            drop(listener);
        }
    }

    #[test]
    fn of_many_at_once_one_gets_a_stale_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let many = 8;
        for _ in 0..50 {
            drop(UnixListener::bind(&path).unwrap());
            let start = Barrier::new(many);
            let got: Vec<_> = std::thread::scope(|scope| {
                let try_it = || {
                    start.wait();
                    take(&path, SocketMode::default(), || ())
                };
                let threads: Vec<_> = (0..many).map(|_| scope.spawn(try_it)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(got.iter().filter(|got| got.is_ok()).count(), 1);
            assert!(
                got.iter()
                    .flat_map(|got| got.as_ref().err())
                    .all(|error| { matches!(error, ListenError::InUse(_)) })
            );
            UnixStream::connect(&path).unwrap();
            drop(got);
            fs::remove_file(&path).unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "no litter");
    }

    /// A daemon that ends with its first front end must not take the question for one.
    #[test]
    fn looking_whether_a_socket_is_live_is_no_connection() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        assert!(!is_stale(&path).unwrap());
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        assert!(!is_stale(&path).unwrap(), "one that nobody may connect to");
        drop(listener);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(is_stale(&path).unwrap());
        fs::remove_file(&path).unwrap();
        let _other = UnixDatagram::bind(&path).unwrap();
        assert!(!is_stale(&path).unwrap(), "another program's");
    }

    #[test]
    fn somebody_who_keeps_the_folder_does_not_keep_a_daemon_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = File::open(dir.path()).unwrap();
        keeper.lock().unwrap();
        assert!(take(&dir.path().join("s"), SocketMode::default(), || ()).is_ok());
    }
}
