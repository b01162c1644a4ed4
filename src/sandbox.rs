//! `--sandbox`: once everything is open, the daemon needs almost nothing of the machine any more.
//!
//! A guest that breaks into the daemon should find itself with the disk it had anyway. Landlock takes
//! the file system away, except for removing the two sockets at the end; a system-call filter takes
//! away new programs, other processes and the network.

use std::collections::BTreeMap;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::config::{Config, SocketSpec};

/// Why the sandbox cannot be entered.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Landlock's own word.
    #[error("Landlock failed")]
    Landlock(#[from] landlock::RulesetError),
    /// A socket's folder cannot be opened.
    #[error("a socket's folder cannot be opened")]
    Folder(#[from] landlock::PathFdError),
    /// The kernel has no Landlock.
    #[error("this kernel has no Landlock (5.13 and later can have it)")]
    NoLandlock,
    /// The filter cannot be built or installed.
    #[error("the system-call filter failed")]
    Filter(#[from] seccompiler::Error),
    /// The filter knows no such machine.
    #[error("the system-call filter does not know this architecture")]
    Architecture(#[from] seccompiler::BackendError),
}

/// System calls that a disk never needs.
const FORBIDDEN: [libc::c_long; 14] = [
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_socket,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_init_module,
];

/// Enters the sandbox, for all threads of the process.
///
/// Threads that run already keep the file system (Landlock holds for the calling thread and those it
/// starts), so this is called before any queue's thread exists.
pub fn enter(config: &Config) -> Result<(), SandboxError> {
    restrict_files(config)?;
    let program = filter()?;
    Ok(seccompiler::apply_filter_all_threads(&program)?)
}

fn restrict_files(config: &Config) -> Result<(), SandboxError> {
    let abi = ABI::V1;
    let mut rules = Ruleset::default().handle_access(AccessFs::from_all(abi))?.create()?;
    for folder in socket_folders(config) {
        rules = rules.add_rule(PathBeneath::new(PathFd::new(folder)?, AccessFs::RemoveFile))?;
    }
    match rules.restrict_self()?.ruleset {
        RulesetStatus::NotEnforced => Err(SandboxError::NoLandlock),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
    }
}

/// The folders of the sockets that are removed at the end.
fn socket_folders(config: &Config) -> impl Iterator<Item = &Path> {
    let socket = match &config.socket {
        SocketSpec::Path(path) => Some(path.as_path()),
        SocketSpec::Fd(_) => None,
    };
    socket.into_iter().chain(config.control.as_deref()).map(|path| match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    })
}

fn filter() -> Result<BpfProgram, SandboxError> {
    let rules: BTreeMap<i64, Vec<seccompiler::SeccompRule>> =
        FORBIDDEN.iter().map(|call| (*call, Vec::new())).collect();
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch)?;
    Ok(BpfProgram::try_from(filter)?)
}
