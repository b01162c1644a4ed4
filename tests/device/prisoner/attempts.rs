//! What a disk has no business to ask of the kernel.

use std::path::Path;

use super::Word;

/// One such thing.
pub struct Attempt {
    pub name: &'static str,
    pub number: i64,
    pub words: Vec<Word>,
    /// Threads that may do it, by name.
    pub allowed: &'static [&'static str],
    /// Does no harm outside of the sandbox.
    pub harmless: bool,
}

macro_rules! attempts {
    ($($name:literal: $number:ident($($word:expr),*) $(, allowed $allowed:expr)? $(, harmful $harm:literal)?;)*) => {
        vec![$(Attempt {
            name: $name,
            number: libc::$number,
            words: vec![$(Word::from($word)),*],
            allowed: first(&[$($allowed,)? &[]]),
            harmless: [$(!$harm,)? true][0],
        }),*]
    };
}

/// The first of one or two.
fn first(lists: &[&'static [&'static str]]) -> &'static [&'static str] {
    lists[0]
}

const MAIN: &str = "dixtrapd";
const PARENTS: &[&str] = &[MAIN, "control"];
const HERE: i32 = libc::AT_FDCWD;
/// A descriptor that nobody has.
const NONE: i32 = -1;
/// One that everybody has.
const STDERR: i32 = 2;

fn bytes(bytes: &[u8]) -> Word {
    Word::Bytes(bytes.to_vec())
}

/// A zeroed structure that is large enough.
fn zeros() -> Word {
    Word::Bytes(vec![0; 256])
}

/// All of them, with `victim` as the file that they are after and `us` as the process.
pub fn all(victim: &Path, us: u32) -> Vec<Attempt> {
    let path = || victim.to_str().unwrap();
    let beside = |name: &str| Word::from(format!("{}.{name}", path()).as_str());
    let us = us as i32;
    let mut all = files(path(), &beside);
    all.extend(processes(path(), us));
    all.extend(memory());
    all.extend(network());
    all.extend(kernel(path()));
    all.extend(descriptors());
    all
}

fn files(path: &str, beside: &dyn Fn(&str) -> Word) -> Vec<Attempt> {
    let how = [0u64, 0, 0].map(u64::to_ne_bytes).concat();
    attempts! {
        "open": SYS_open(path, libc::O_RDONLY);
        "open to write": SYS_open(path, libc::O_WRONLY);
        "openat": SYS_openat(HERE, path, libc::O_RDONLY);
        "openat of /etc/passwd": SYS_openat(HERE, "/etc/passwd", libc::O_RDONLY);
        "openat of its own memory": SYS_openat(HERE, "/proc/self/mem", libc::O_RDWR);
        "openat of a path only": SYS_openat(HERE, "/", libc::O_PATH);
        "openat2": SYS_openat2(HERE, path, Word::Bytes(how), 24);
        "create": SYS_openat(HERE, beside("new"), libc::O_CREAT | libc::O_RDWR, 0o600);
        "creat": SYS_creat(beside("creat"), 0o600);
        "unlink": SYS_unlink(beside("new"));
        "unlinkat": SYS_unlinkat(HERE, beside("creat"), 0);
        "mkdir": SYS_mkdir(beside("dir"), 0o700);
        "mkdirat": SYS_mkdirat(HERE, beside("dir2"), 0o700);
        "rmdir": SYS_rmdir(beside("dir"));
        "truncate": SYS_truncate(path, 0);
        "chmod": SYS_chmod(path, 0o777);
        "fchmodat": SYS_fchmodat(HERE, path, 0o644);
        "chown": SYS_chown(path, NONE, NONE);
        "lchown": SYS_lchown(path, NONE, NONE);
        "fchownat": SYS_fchownat(HERE, path, NONE, NONE, 0);
        "link": SYS_link(path, beside("link"));
        "linkat": SYS_linkat(HERE, path, HERE, beside("link2"), 0);
        "symlink": SYS_symlink("/etc/passwd", beside("symlink"));
        "symlinkat": SYS_symlinkat("/etc/passwd", HERE, beside("symlink2"));
        "rename": SYS_rename(beside("link"), beside("moved"));
        "renameat": SYS_renameat(HERE, beside("link2"), HERE, beside("moved2"));
        "renameat2": SYS_renameat2(HERE, beside("moved2"), HERE, beside("moved3"), 0);
        "mknod": SYS_mknod(beside("fifo"), (libc::S_IFIFO | 0o600) as i32, 0);
        "mknodat": SYS_mknodat(HERE, beside("fifo2"), (libc::S_IFIFO | 0o600) as i32, 0);
        "setxattr": SYS_setxattr(path, "user.evil", bytes(b"1"), 1, 0);
        "lsetxattr": SYS_lsetxattr(path, "user.evil", bytes(b"1"), 1, 0);
        "getxattr": SYS_getxattr(path, "user.evil", zeros(), 16);
        "removexattr": SYS_removexattr(path, "user.evil");
        "utimensat": SYS_utimensat(HERE, path, 0, 0);
        "stat": SYS_stat(path, zeros());
        "newfstatat": SYS_newfstatat(HERE, path, zeros(), 0);
        "statx": SYS_statx(HERE, path, 0, 0x7FF, zeros());
        "access": SYS_access(path, libc::R_OK);
        "faccessat2": SYS_faccessat2(HERE, path, libc::R_OK, 0);
        "readlink": SYS_readlink("/proc/self/exe", zeros(), 100);
        "getcwd": SYS_getcwd(zeros(), 200);
        "chdir": SYS_chdir(".");
        "fchdir": SYS_fchdir(NONE);
        "chroot": SYS_chroot("/");
        "pivot_root": SYS_pivot_root("/", "/");
        "statfs": SYS_statfs("/", zeros());
        "name_to_handle_at": SYS_name_to_handle_at(HERE, "/", zeros(), zeros(), 0);
        "open_by_handle_at": SYS_open_by_handle_at(HERE, zeros(), 0);
        "inotify_init1": SYS_inotify_init1(0);
        "fanotify_init": SYS_fanotify_init(0, 0);
        "umask": SYS_umask(0o77);
        "fchmod": SYS_fchmod(NONE, 0o777);
        "fchown": SYS_fchown(NONE, 0, 0);
        "fsetxattr": SYS_fsetxattr(NONE, "user.evil", bytes(b"1"), 1, 0);
        "getdents64": SYS_getdents64(NONE, zeros(), 200);
        "quotactl": SYS_quotactl(NONE, path, 0, 0);
        "acct": SYS_acct(beside("no such file"));
        "swapon": SYS_swapon(beside("no such file"), 0);
    }
}

fn processes(path: &str, us: i32) -> Vec<Attempt> {
    let vector = [0u64, 0].map(u64::to_ne_bytes).concat();
    attempts! {
        "execve": SYS_execve("/bin/true", 0, 0), harmful true;
        "execveat": SYS_execveat(HERE, "/bin/true", 0, 0, 0), harmful true;
        "fork": SYS_fork(), harmful true;
        "vfork": SYS_vfork(), harmful true;
        "clone of a process": SYS_clone(libc::SIGCHLD, 0, 0, 0, 0), harmful true;
        "clone into namespaces": SYS_clone(libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0, 0, 0), harmful true;
        "clone that is traced": SYS_clone(libc::CLONE_PTRACE | libc::CLONE_THREAD, 0, 0, 0, 0), harmful true;
        "clone3": SYS_clone3(zeros(), 88), harmful true;
        "unshare": SYS_unshare(0);
        "setns": SYS_setns(NONE, 0);
        "kill of everything": SYS_kill(-1, 0);
        "kill of us": SYS_kill(us, 0);
        "tkill": SYS_tkill(us, 0);
        "tgkill of us": SYS_tgkill(us, us, 0);
        "tgkill with SIGABRT of us": SYS_tgkill(us, us, libc::SIGABRT), harmful true;
        "rt_sigqueueinfo": SYS_rt_sigqueueinfo(us, 0, zeros());
        "rt_tgsigqueueinfo": SYS_rt_tgsigqueueinfo(us, us, 0, zeros());
        "pidfd_open": SYS_pidfd_open(us, 0);
        "pidfd_send_signal": SYS_pidfd_send_signal(NONE, 0, 0, 0);
        "pidfd_getfd": SYS_pidfd_getfd(NONE, 0, 0);
        "ptrace": SYS_ptrace(libc::PTRACE_ATTACH as i32, NONE, 0, 0);
        "process_vm_readv": SYS_process_vm_readv(us, Word::Bytes(vector.clone()), 1, Word::Bytes(vector.clone()), 1, 0);
        "process_vm_writev": SYS_process_vm_writev(us, Word::Bytes(vector.clone()), 1, Word::Bytes(vector), 1, 0);
        "process_madvise": SYS_process_madvise(NONE, 0, 0, 0, 0);
        "kcmp": SYS_kcmp(us, us, 0, 0, 0);
        "wait4": SYS_wait4(-1, 0, libc::WNOHANG, 0);
        "waitid": SYS_waitid(0, 0, 0, libc::WNOHANG | libc::WEXITED, 0);
        "setpgid": SYS_setpgid(0, 0);
        "setsid": SYS_setsid();
        "getppid": SYS_getppid();
        "setpriority": SYS_setpriority(0, 0, 0);
        "sched_setaffinity": SYS_sched_setaffinity(0, 8, bytes(&[0xFF; 8]));
        "sched_setscheduler": SYS_sched_setscheduler(0, 0, zeros());
        "sched_setattr": SYS_sched_setattr(0, zeros(), 0);
        "ioprio_set": SYS_ioprio_set(1, 0, 0);
        "prlimit64": SYS_prlimit64(0, 0, 0, zeros());
        "setrlimit": SYS_setrlimit(libc::RLIMIT_CORE as i32, bytes(&[0xFF; 16]));
        "setuid": SYS_setuid(NONE);
        "setresuid": SYS_setresuid(NONE, NONE, NONE);
        "setgroups": SYS_setgroups(0, 0), harmful true;
        "capget": SYS_capget(bytes(&[0x22, 5, 8, 0x20, 0, 0, 0, 0]), zeros());
        "capset": SYS_capset(zeros(), zeros());
        "prctl to be dumped": SYS_prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
        "prctl to get a signal": SYS_prctl(libc::PR_SET_PDEATHSIG, 0, 0, 0, 0);
        "prctl to be traced": SYS_prctl(0x5961_6D61, us, 0, 0, 0);
        "prctl to drop a capability": SYS_prctl(libc::PR_CAPBSET_READ, 0, 0, 0, 0);
        "prctl of a map": SYS_prctl(libc::PR_SET_MM, 1, 0, 0, 0);
        "prctl to have speculation": SYS_prctl(libc::PR_GET_SPECULATION_CTRL, 0, 0, 0, 0);
        "arch_prctl": SYS_arch_prctl(0x1003, zeros());
        "personality": SYS_personality(0xFFFF_FFFFu64);
        "signal handlers": SYS_rt_sigaction(libc::SIGTERM, 0, zeros(), 8);
        "signalfd4": SYS_signalfd4(NONE, zeros(), 8, 0);
        "timer_create": SYS_timer_create(libc::CLOCK_MONOTONIC, 0, zeros());
        "setitimer": SYS_setitimer(0, zeros(), 0);
        "acct of a file": SYS_acct(path), harmful true;
    }
}

fn memory() -> Vec<Attempt> {
    let run = libc::PROT_READ | libc::PROT_EXEC;
    let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    attempts! {
        "mmap to run": SYS_mmap(0, 4096, run, anonymous, NONE, 0);
        "mmap to write and run": SYS_mmap(0, 4096, all, anonymous, NONE, 0);
        "mmap of a file to run": SYS_mmap(0, 4096, run, libc::MAP_PRIVATE, STDERR, 0);
        "mprotect to run": SYS_mprotect(Word::Place, 4096, run);
        "mprotect to write and run": SYS_mprotect(Word::Place, 4096, all);
        "pkey_mprotect": SYS_pkey_mprotect(Word::Place, 4096, 3, NONE);
        "pkey_alloc": SYS_pkey_alloc(0, 0);
        "remap_file_pages": SYS_remap_file_pages(0, 0, 0, 0, 0);
        "madvise to be dumped": SYS_madvise(Word::Place, 4096, libc::MADV_DODUMP);
        "madvise to poison": SYS_madvise(Word::Place, 4096, libc::MADV_HWPOISON), harmful true;
        "madvise to be forked": SYS_madvise(Word::Place, 4096, libc::MADV_DOFORK);
        "mlock": SYS_mlock(Word::Place, 4096);
        "mlockall": SYS_mlockall(0);
        "userfaultfd": SYS_userfaultfd(1);
        "memfd_create": SYS_memfd_create("evil", 0);
        "memfd_secret": SYS_memfd_secret(0);
        "shmget": SYS_shmget(0, 4096, 0o600 | 0o1000), harmful true;
        "shmat": SYS_shmat(NONE, 0, 0);
        "msgget": SYS_msgget(0x7E57, 0);
        "semget": SYS_semget(0x7E57, 1, 0);
        "mq_open": SYS_mq_open("evil", 0, 0, 0);
        "mbind": SYS_mbind(0, 0, 0, 0, 0, 0);
        "set_mempolicy": SYS_set_mempolicy(0, 0, 0);
        "move_pages": SYS_move_pages(0, 0, 0, 0, 0, 0);
        "mincore": SYS_mincore(Word::Place, 4096, zeros());
        "msync": SYS_msync(Word::Place, 4096, libc::MS_ASYNC);
        "modify_ldt": SYS_modify_ldt(0, zeros(), 16);
        "membarrier": SYS_membarrier(0, 0);
        "a lock that inherits priority": SYS_futex(zeros(), libc::FUTEX_UNLOCK_PI, 0, 0, 0, 0);
        "set_robust_list": SYS_set_robust_list(0, 24), allowed PARENTS;
        "set_tid_address": SYS_set_tid_address(0), harmful true;
    }
}

fn network() -> Vec<Attempt> {
    let address = [2u8, 0, 0, 9, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    attempts! {
        "a TCP socket": SYS_socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        "a UDP socket": SYS_socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
        "a Unix socket": SYS_socket(libc::AF_UNIX, libc::SOCK_STREAM, 0);
        "a netlink socket": SYS_socket(libc::AF_NETLINK, libc::SOCK_RAW, 0);
        "a raw socket": SYS_socket(libc::AF_PACKET, libc::SOCK_RAW, 0);
        "a socket of the kernel's ciphers": SYS_socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0);
        "socketpair": SYS_socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, zeros());
        "connect": SYS_connect(NONE, bytes(&address), 16);
        "bind": SYS_bind(NONE, bytes(&address), 16);
        "listen": SYS_listen(NONE, 1);
        "accept": SYS_accept(NONE, 0, 0);
        "accept4": SYS_accept4(NONE, 0, 0, 0), allowed PARENTS;
        "sendto an address": SYS_sendto(NONE, bytes(b"x"), 1, 0, bytes(&address), 16);
        "sendmmsg": SYS_sendmmsg(NONE, 0, 0, 0);
        "recvmmsg": SYS_recvmmsg(NONE, 0, 0, 0, 0);
        "sendmsg": SYS_sendmsg(NONE, 0, 0), allowed &[MAIN, "vhost-user", "relay"];
        "recvmsg": SYS_recvmsg(NONE, 0, 0), allowed &[MAIN, "vhost-user", "relay"];
        "setsockopt": SYS_setsockopt(NONE, libc::SOL_SOCKET, libc::SO_BROADCAST, zeros(), 4);
        "getsockopt": SYS_getsockopt(NONE, libc::SOL_SOCKET, libc::SO_PEERCRED, zeros(), zeros());
        "getpeername": SYS_getpeername(NONE, 0, 0);
        "sethostname": SYS_sethostname("", NONE);
    }
}

fn kernel(path: &str) -> Vec<Attempt> {
    attempts! {
        "bpf": SYS_bpf(0, zeros(), 72);
        "perf_event_open": SYS_perf_event_open(zeros(), 0, NONE, NONE, 0);
        "add_key": SYS_add_key("user", "evil", bytes(b"x"), 1, -1);
        "request_key": SYS_request_key("user", "no such key", 0, -1);
        "keyctl": SYS_keyctl(0, -1, 0);
        "init_module": SYS_init_module(0, 0, "");
        "finit_module": SYS_finit_module(NONE, "", 0);
        "delete_module": SYS_delete_module("no_such_module", 0);
        "kexec_load": SYS_kexec_load(0, 0, 0, 0), harmful true;
        "reboot": SYS_reboot(0, 0, 0, 0);
        "mount": SYS_mount("none", path, "no such system", 0, 0);
        "umount2": SYS_umount2(path, 0);
        "fsopen": SYS_fsopen("tmpfs", 0);
        "fspick": SYS_fspick(HERE, "/", 0);
        "open_tree": SYS_open_tree(HERE, "/", 0);
        "move_mount": SYS_move_mount(NONE, "", NONE, "", 0);
        "mount_setattr": SYS_mount_setattr(NONE, "", 0, zeros(), 32);
        "syslog": SYS_syslog(10, 0, 0);
        "settimeofday": SYS_settimeofday(0, 0);
        "clock_settime": SYS_clock_settime(0, 0);
        "adjtimex": SYS_adjtimex(zeros());
        "iopl": SYS_iopl(0);
        "ioperm": SYS_ioperm(0, 0, 0);
        "vhangup": SYS_vhangup(), harmful true;
        "io_setup": SYS_io_setup(0, 0);
        "io_uring_setup": SYS_io_uring_setup(1, Word::Bytes(vec![0; 120]));
        "io_uring_register": SYS_io_uring_register(NONE, 0, 0, 0);
        "seccomp with a listener": SYS_seccomp(1, 8, zeros());
        "seccomp with a filter": SYS_seccomp(1, 0, 0), allowed PARENTS;
        "seccomp in strict mode": SYS_seccomp(0, 0, 0), harmful true;
        "landlock_create_ruleset": SYS_landlock_create_ruleset(0, 0, 1);
        "landlock_restrict_self": SYS_landlock_restrict_self(NONE, 0);
    }
}

fn descriptors() -> Vec<Attempt> {
    let descriptor = |number: i32| Word::from(number);
    attempts! {
        "dup": SYS_dup(STDERR);
        "dup2": SYS_dup2(NONE, 100);
        "dup3": SYS_dup3(STDERR, 100, 0);
        "pipe2": SYS_pipe2(zeros(), 0);
        "eventfd2": SYS_eventfd2(0, 0), allowed &[MAIN];
        "epoll_create1": SYS_epoll_create1(0), allowed &[MAIN];
        "timerfd_create": SYS_timerfd_create(1, 0), allowed &[MAIN];
        "timerfd_create with an alarm": SYS_timerfd_create(8, 0);
        "epoll_ctl": SYS_epoll_ctl(NONE, 1, NONE, zeros()), allowed &[MAIN, "vhost-user"];
        "fcntl to change flags": SYS_fcntl(STDERR, libc::F_SETFL, libc::O_APPEND);
        "fcntl to own signals": SYS_fcntl(STDERR, libc::F_SETOWN, 0);
        "fcntl to seal": SYS_fcntl(STDERR, libc::F_ADD_SEALS, 0), allowed &[MAIN, "relay"];
        "fcntl to lease": SYS_fcntl(STDERR, libc::F_SETLEASE, libc::F_UNLCK);
        "fcntl to duplicate": SYS_fcntl(STDERR, libc::F_DUPFD, 0);
        "ioctl": SYS_ioctl(STDERR, libc::FIONREAD, zeros());
        "ioctl that types": SYS_ioctl(STDERR, 0x5412u64, zeros());
        "flock": SYS_flock(STDERR, libc::LOCK_SH);
        "splice": SYS_splice(NONE, 0, NONE, 0, 0, 0);
        "tee": SYS_tee(NONE, NONE, 0, 0);
        "vmsplice": SYS_vmsplice(NONE, 0, 0, 0);
        "sendfile": SYS_sendfile(NONE, NONE, 0, 0);
        "copy_file_range": SYS_copy_file_range(NONE, 0, NONE, 0, 0, 0);
        "fallocate that collapses": SYS_fallocate(NONE, libc::FALLOC_FL_COLLAPSE_RANGE, 0, 4096);
        "sync": SYS_syncfs(NONE);
        "preadv2 that waits": SYS_preadv2(NONE, 0, 0, descriptor(0), 0, 0);
        "process_mrelease": SYS_process_mrelease(NONE, 0);
    }
}
