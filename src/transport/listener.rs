//! Where front ends connect: a socket path of our own, or a descriptor that was passed in.

use std::fs;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::listen_error::{ListenError, MAX_PATH_BYTES};
use super::place;
use crate::units::SocketMode;

/// A listening socket. Its path is removed when it is dropped, unless something else lies there by then.
#[derive(Debug)]
pub struct Endpoint {
    // The path goes first: a socket that is nobody's any more is another daemon's to replace.
    path: Option<SocketPath>,
    listener: UnixListener,
}

/// The path of a socket of ours, removed when it is dropped: if it still is that socket.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    made: Option<Identity>,
}

/// Which file it is: device, inode, and when it was made, for inodes are used again. No change of its owner
/// or mode touches this.
type Identity = (u64, u64, i64, i64);

fn identity(path: &Path) -> Option<Identity> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}

impl SocketPath {
    /// The socket that was made at `path` a moment ago.
    fn of(path: &Path) -> SocketPath {
        SocketPath { path: path.to_owned(), made: identity(path) }
    }

    /// The folder that it lies in.
    pub fn folder(&self) -> PathBuf {
        place::folder_of(&self.path)
    }
}

impl Endpoint {
    /// Listens at `path`; the socket of a daemon that is gone is replaced.
    pub fn bind(path: &Path, mode: SocketMode) -> Result<Endpoint, ListenError> {
        let name = path.display().to_string();
        if path.as_os_str().len() > MAX_PATH_BYTES {
            return Err(ListenError::PathTooLong(name));
        }
        let (listener, path) = place::take(path, mode, || SocketPath::of(path))?;
        Ok(Endpoint { path: Some(path), listener })
    }

    /// Listens on a descriptor that this process was started with.
    pub fn from_fd(fd: RawFd) -> Result<Endpoint, ListenError> {
        let listening = nix::sys::socket::getsockopt(
            &borrow(fd).ok_or(ListenError::BadDescriptor(fd))?,
            nix::sys::socket::sockopt::AcceptConn,
        );
        if !matches!(listening, Ok(true)) {
            return Err(ListenError::BadDescriptor(fd));
        }
        // SAFETY: the descriptor is open (it just answered), was handed to this process by its
        // parent for this very use, and nothing else in the process owns it.
        let owned = unsafe { OwnedFd::from_raw_fd(fd) };
        let listener = UnixListener::from(owned);
        listener.local_addr().map_err(|_| ListenError::BadDescriptor(fd))?;
        Ok(Endpoint { path: None, listener })
    }

    /// The socket itself.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Leaves the removal of the path, where it is ours, to the caller.
    pub fn take_path(&mut self) -> Option<SocketPath> {
        self.path.take()
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        // Somebody may have removed it already, and put something else there.
        if self.made.is_some() && identity(&self.path) == self.made {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A descriptor number as something to ask questions of, if it can be one at all.
fn borrow(fd: RawFd) -> Option<std::os::fd::BorrowedFd<'static>> {
    let open = nix::fcntl::fcntl(
        // SAFETY: only asks whether the descriptor is open; -1 is the one value that may not be
        // borrowed, and is filtered out before.
        unsafe { std::os::fd::BorrowedFd::borrow_raw(if fd < 0 { return None } else { fd }) },
        nix::fcntl::FcntlArg::F_GETFD,
    );
    // SAFETY: the descriptor is open, and stays so: nothing in this process closes it.
    open.is_ok().then(|| unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn bind(path: &Path) -> Result<Endpoint, ListenError> {
        Endpoint::bind(path, SocketMode::default())
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let endpoint = bind(&path).unwrap();
        assert!(matches!(bind(&path), Err(ListenError::InUse(_))));
        drop(endpoint);
        assert!(!path.exists());
    }

    /// What others put at its path since is theirs: a file, or another daemon's socket.
    #[test]
    fn only_the_socket_itself_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let endpoint = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        drop(endpoint);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();
        let first = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = bind(&path).unwrap();
        drop(first);
        assert!(UnixStream::connect(&path).is_ok());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn files_and_long_paths_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "precious").unwrap();
        assert!(matches!(bind(&file), Err(ListenError::NotASocket(_))));
        assert_eq!(fs::read(&file).unwrap(), b"precious");
        let long = dir.path().join("x".repeat(200));
        assert!(matches!(bind(&long), Err(ListenError::PathTooLong(_))));
    }

    #[test]
    fn descriptors_that_do_not_listen_are_refused() {
        for fd in [-1, 9999] {
            assert!(matches!(Endpoint::from_fd(fd), Err(ListenError::BadDescriptor(_))));
        }
    }
}
