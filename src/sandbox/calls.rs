//! Which system calls each kind of thread may make, with which arguments, and why.
//!
//! Recorded with strace from the whole-daemon tests and then thought through; `docs/SECURITY.md` has
//! the same table for people. What is not here ends the daemon with a word, see [`super::refused`].
//! Not one of these calls takes a path.

use super::thread::Thread;

/// Some kinds of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Threads(u16);

/// Every kind.
const EVERY: Threads = Threads(0x7FF);
/// Before a thread knows its kind: what the server's thread may do, and a new thread at its birth.
const SERVER: Threads = Threads(Thread::Server.bit());
const CONNECTION: Threads = Threads(Thread::Connection.bit());
const QUEUE: Threads = Threads(Thread::Queue.bit());
const CONTROL: Threads = Threads(Thread::Control.bit());
const CLIENT: Threads = Threads(Thread::Client.bit());
const RECORDS: Threads = Threads(Thread::Records.bit());
const SIGNALS: Threads = Threads(Thread::Signals.bit());
const GROWTH: Threads = Threads(Thread::Growth.bit());
const EXPLAIN: Threads = Threads(Thread::Explain.bit());
const RELAY: Threads = Threads(Thread::Relay.bit());
/// Those that end windows: whoever does so fetches, stores and answers what was held.
const LANES: Threads = CONNECTION.and(QUEUE).and(CLIENT).and(SIGNALS);
/// Those that may drop the last reference to a disk, besides: that closes it.
const MEDIUM: Threads = LANES.and(GROWTH);
/// Those that start threads.
const PARENTS: Threads = CONTROL.and(SERVER);

impl Threads {
    const fn and(self, other: Threads) -> Threads {
        Threads(self.0 | other.0)
    }

    pub(super) const fn have(self, thread: Thread) -> bool {
        self.0 & thread.bit() != 0
    }

    /// Their names, for the table.
    #[cfg(test)]
    fn names(self) -> String {
        if self == EVERY {
            return "every".to_owned();
        }
        let there = Thread::ALL.into_iter().filter(|thread| self.have(*thread));
        there.map(Thread::name).collect::<Vec<_>>().join(", ")
    }
}

/// A system call that may be made.
#[derive(Debug)]
pub(super) struct Call {
    #[cfg_attr(not(test), expect(dead_code, reason = "for people, and for the test of the table"))]
    name: &'static str,
    pub(super) number: i64,
    pub(super) threads: Threads,
    /// The arguments have to fit one of these; no rules: any will do.
    pub(super) rules: &'static [Rule],
    #[cfg_attr(not(test), expect(dead_code, reason = "for people, and for the test of the table"))]
    why: &'static str,
}

/// What some arguments have to be, all of them.
pub(super) type Rule = &'static [Arg];

/// What one argument has to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arg {
    pub(super) number: u8,
    pub(super) is: Is,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Is {
    /// This `int`: the kernel looks at 32 bits.
    Int(u32),
    /// An `int` that is no larger.
    AtMost(u32),
    /// An `unsigned long` that has these bits of the mask.
    Bits { mask: u64, value: u64 },
    /// The process's own id.
    Ourselves,
}

const fn int(number: u8, value: i32) -> Arg {
    Arg { number, is: Is::Int(value.cast_unsigned()) }
}

const fn at_most(number: u8, value: i32) -> Arg {
    Arg { number, is: Is::AtMost(value.cast_unsigned()) }
}

/// Nothing but these bits.
const fn only(number: u8, bits: i32) -> Arg {
    Arg { number, is: Is::Bits { mask: !(bits.cast_unsigned() as u64), value: 0 } }
}

const fn with(number: u8, bits: i32) -> Arg {
    let bits = bits.cast_unsigned() as u64;
    Arg { number, is: Is::Bits { mask: bits, value: bits } }
}

const NO_ADDRESS: u8 = 4;

const fn null(number: u8) -> Arg {
    Arg { number, is: Is::Bits { mask: u64::MAX, value: 0 } }
}

/// Memory that is read and written, and never run.
const DATA: Arg = only(2, libc::PROT_READ | libc::PROT_WRITE);
/// Memory of our own, not a descriptor's.
const ANONYMOUS: Arg = with(3, libc::MAP_ANONYMOUS);

/// A futex call's command, whatever clock and whoever shares it.
const fn futex(command: i32) -> Arg {
    let flags = libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME;
    let mask = !(flags.cast_unsigned() as u64) & 0xFFFF_FFFF;
    Arg { number: 1, is: Is::Bits { mask, value: command.cast_unsigned() as u64 } }
}

/// A thread of this process, and nothing else: what the C library asks for, glibc's and musl's.
const NEW_THREAD: Arg = {
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM
        | libc::CLONE_SETTLS
        | libc::CLONE_PARENT_SETTID
        | libc::CLONE_CHILD_CLEARTID;
    let ignored = libc::CLONE_DETACHED.cast_unsigned() as u64;
    Arg { number: 0, is: Is::Bits { mask: !ignored, value: flags.cast_unsigned() as u64 } }
};

macro_rules! calls {
    ($($number:ident $threads:expr, [$($rule:expr),*], $why:literal;)*) => {
        &[$(Call {
            name: stringify!($number),
            number: libc::$number,
            threads: $threads,
            rules: &[$(&$rule),*],
            why: $why,
        }),*]
    };
}

/// All but [`URING`].
pub(super) const TABLE: &[&[Call]] = &[MEMORY, LIFE, EVENTS, FILES, SOCKETS, MACHINE];

const MEMORY: &[Call] = calls! {
    SYS_brk EVERY, [], "the allocator";
    SYS_mmap EVERY, [[DATA, ANONYMOUS]], "the allocator, stacks, and empty pages where mapped ones were taken away; never to be run";
    SYS_mmap CONNECTION.and(RELAY).and(GROWTH), [[DATA]], "guest memory and in-flight regions that the front end shares; the intent log of an image that grows, which moves; never to be run";
    SYS_memfd_create RELAY, [[int(1, (libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING).cast_signed())]], "a front end's in-flight region";
    SYS_munmap EVERY, [], "the allocator, stacks, guest memory that goes";
    SYS_mprotect EVERY, [[DATA]], "the allocator's heaps, a stack's guard page; nothing is made executable";
    SYS_mremap EVERY, [], "the allocator";
    SYS_madvise EVERY, [[at_most(2, libc::MADV_DONTNEED)], [int(2, libc::MADV_FREE)], [int(2, libc::MADV_HUGEPAGE)], [int(2, libc::MADV_NOHUGEPAGE)], [int(2, libc::MADV_DONTDUMP)]], "stacks and heaps that are given back; guest memory that is kept out of core dumps, and never put back in";
};

const LIFE: &[Call] = calls! {
    SYS_futex EVERY, [[futex(libc::FUTEX_WAIT)], [futex(libc::FUTEX_WAKE)], [futex(libc::FUTEX_WAIT_BITSET)]], "locks, channels, the end of a thread; the commands that inherit priority are left out";
    SYS_sched_yield EVERY, [], "a queue's thread lets callers go first";
    SYS_sched_getaffinity EVERY, [], "the allocator counts processors; a new thread looks for its stack";
    SYS_getrandom EVERY, [], "the seeds of hash tables";
    SYS_getpid EVERY, [], "abort";
    SYS_gettid EVERY, [], "a new thread looks for its stack; abort";
    SYS_tgkill EVERY, [[Arg { number: 0, is: Is::Ourselves }, int(2, libc::SIGABRT)]], "abort; no other signal, to nobody else";
    SYS_rt_sigaction EVERY, [[int(0, libc::SIGBUS)], [int(0, libc::SIGABRT)]], "the handler for mapped pages that somebody takes away, and its end; abort";
    SYS_rt_sigprocmask EVERY, [], "a new thread, an ending one, abort";
    SYS_rt_sigreturn EVERY, [], "back from a handler";
    SYS_sigaltstack EVERY, [], "a thread's stack for handlers";
    SYS_clock_gettime EVERY, [], "time, where the vDSO has none";
    SYS_clock_nanosleep EVERY, [], "pauses";
    SYS_nanosleep EVERY, [], "pauses";
    SYS_restart_syscall EVERY, [], "a pause that was interrupted";
    SYS_exit EVERY, [], "the end of a thread";
    SYS_exit_group EVERY, [], "the end";
    SYS_clone PARENTS, [[NEW_THREAD]], "threads of connections and control clients; never a process, never a namespace";
    SYS_rt_sigaction PARENTS, [[int(0, SIGSETXID)]], "glibc, at the birth of the first thread";
    SYS_set_robust_list PARENTS, [], "a thread's birth";
    SYS_rseq PARENTS, [], "a thread's birth";
    SYS_prctl PARENTS, [[int(0, libc::PR_SET_NAME)], [int(0, libc::PR_SET_NO_NEW_PRIVS)]], "a thread's birth: its name, and before its own filter";
    SYS_prctl EVERY, [[int(0, libc::PR_GET_NAME)]], "the word about a refused call names the thread";
    SYS_seccomp PARENTS, [[int(0, SECCOMP_SET_MODE_FILTER), only(1, 0)]], "a new thread takes its own filter, which only takes more away";
};

/// The signal that glibc keeps for itself to have all threads change their user.
const SIGSETXID: i32 = 33;
/// io_uring_enter(2)'s flag.
const IORING_ENTER_GETEVENTS: i32 = 1;
/// seccomp(2)'s operation, as an `int`.
const SECCOMP_SET_MODE_FILTER: i32 = 1;

const EVENTS: &[Call] = calls! {
    SYS_ppoll EVERY, [], "whether a descriptor is ready";
    SYS_eventfd2 SERVER, [], "a connection's queues get what ends them";
    SYS_epoll_create1 SERVER, [], "a connection's queues get what they wait on";
    SYS_epoll_ctl CONNECTION.and(SERVER), [], "doorbells and timers are added and taken away";
    SYS_epoll_pwait QUEUE, [], "a queue's thread waits for doorbells";
    SYS_timerfd_create SERVER, [[int(0, libc::CLOCK_MONOTONIC)]], "a connection's queues get timers";
    SYS_timerfd_settime LANES, [], "the next deadline";
    SYS_preadv2 LANES, [[int(5, libc::RWF_NOWAIT)]], "a doorbell is taken without waiting";
};

const FILES: &[Call] = calls! {
    SYS_read EVERY, [], "doorbells, timers, control clients";
    SYS_write EVERY, [], "interrupts, records, the log";
    SYS_close EVERY, [], "connections, guest memory, files that are done with";
    SYS_fcntl EVERY, [[int(1, libc::F_GETFD)]], "a debug build looks whether what it closes is open";
    SYS_fcntl PARENTS.and(CLIENT), [[int(1, libc::F_DUPFD_CLOEXEC)]], "a socket to read from and one to write to";
    SYS_pread64 MEDIUM, [], "data and tuples of the disk";
    SYS_pwrite64 MEDIUM, [], "data and tuples of the disk";
    SYS_fdatasync MEDIUM, [], "the disk is flushed";
    SYS_fallocate MEDIUM, [[int(1, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE)], [int(1, libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE)]], "blocks that are discarded or written with zeros";
    SYS_lseek MEDIUM.and(RECORDS).and(EXPLAIN), [], "where holes are, in images and in guest memory; how long a file is, where a cut record began";
    SYS_fcntl RELAY, [[int(1, libc::F_ADD_SEALS)], [int(1, libc::F_GET_SEALS)]], "nobody makes an in-flight region shorter while it is mapped";
    SYS_ftruncate MEDIUM.and(RECORDS).and(RELAY), [], "an in-flight region gets its size; the PI file grows with its image, and loses its intent log at the end; a record that a full disk cut off is taken back";
    SYS_fstat MEDIUM.and(RECORDS).and(RELAY), [], "whether an image has grown, whether guest memory and in-flight regions are as long as they say";
    SYS_flock MEDIUM, [[int(1, libc::LOCK_UN)]], "the end of a disk";
};

const SOCKETS: &[Call] = calls! {
    SYS_accept4 PARENTS, [], "front ends and control clients";
    SYS_recvmsg CONNECTION.and(RELAY).and(SERVER), [], "a front end's messages with its descriptors; the end of a private connection that the janitor makes";
    SYS_sendmsg CONNECTION.and(RELAY), [], "the answers";
    SYS_recvfrom CLIENT.and(SIGNALS), [[null(NO_ADDRESS)]], "a control client's requests; the signals' own pipe";
    SYS_sendto EVERY, [[null(NO_ADDRESS)]], "the answers; a signal is handed on by whichever thread it interrupts";
    SYS_shutdown LANES.and(CONTROL).and(RELAY), [], "a connection is ended";
};

/// What is called otherwise on different machines.
#[cfg(target_arch = "x86_64")]
const MACHINE: &[Call] = calls! {
    SYS_poll EVERY, [], "whether a descriptor is ready";
    SYS_epoll_wait QUEUE, [], "a queue's thread waits for doorbells";
};
#[cfg(not(target_arch = "x86_64"))]
const MACHINE: &[Call] = &[];

/// With `--direct` only: the rings are made before, and take reads and writes of one file.
pub(super) const URING: &[Call] = calls! {
    SYS_io_uring_enter LANES.and(GROWTH), [[only(3, IORING_ENTER_GETEVENTS)]], "direct reads and writes are set off and waited for; only with --direct";
};

/// What the janitor may call besides some of what every thread may: it looks at sockets and removes them.
/// Its Landlock leaves it the removal of files in their folders.
pub(super) const JANITOR: &[i64] = &[
    libc::SYS_recvfrom,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_unlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
];

/// What it may call besides where it connects to the private socket, and passes the connection on.
pub(super) const PORTER: &[i64] = &[libc::SYS_connect, libc::SYS_sendmsg];

/// Calls that libraries make and can do without, and how they are told.
pub(super) const POLITELY: &[(i64, i32)] = &[
    // Files that are looked for in passing: the allocator counts processors and asks how memory may be
    // promised, a panic looks for debug information. As Landlock would answer.
    (libc::SYS_openat, libc::EACCES),
    (libc::SYS_openat2, libc::EACCES),
    (libc::SYS_faccessat, libc::EACCES),
    (libc::SYS_faccessat2, libc::EACCES),
    (libc::SYS_newfstatat, libc::EACCES),
    (libc::SYS_statx, libc::EACCES),
    (libc::SYS_readlinkat, libc::EACCES),
    (libc::SYS_getcwd, libc::EACCES),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, libc::EACCES),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_access, libc::EACCES),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_stat, libc::EACCES),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_lstat, libc::EACCES),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_readlink, libc::EACCES),
    // Whether something is a terminal.
    (libc::SYS_ioctl, libc::ENOTTY),
    // Its flags are behind a pointer, where no filter can look; glibc then uses clone.
    (libc::SYS_clone3, libc::ENOSYS),
];

/// Calls from this number on were not there when this was written: a C library of tomorrow tries them,
/// and does without where the kernel is of yesterday.
pub(super) const FIRST_UNKNOWN: u32 = 470;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    fn every_call() -> impl Iterator<Item = &'static Call> {
        TABLE.iter().copied().flatten().chain(URING)
    }

    #[test]
    fn nothing_that_makes_processes_runs_code_or_names_files_is_allowed() {
        let never = [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_openat,
            libc::SYS_unlinkat,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_ptrace,
            libc::SYS_kill,
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_register,
            libc::SYS_pkey_mprotect,
        ];
        assert!(every_call().all(|call| !never.contains(&call.number)));
        assert!(POLITELY.iter().all(|(number, _)| every_call().all(|call| call.number != *number)));
    }

    #[test]
    fn every_kind_of_thread_ends_and_none_but_parents_starts_one() {
        for thread in Thread::ALL {
            let may = |number| {
                every_call().any(|call| call.number == number && call.threads.have(thread))
            };
            assert!(may(libc::SYS_exit) && may(libc::SYS_futex), "{thread:?}");
            let parent = matches!(thread, Thread::Server | Thread::Control);
            assert_eq!(may(libc::SYS_clone), parent, "{thread:?}");
        }
    }

    /// The table for people, as it stands in the document.
    fn in_words() -> String {
        let mut words = String::from("| call | threads | why |\n|---|---|---|\n");
        let mut lines: Vec<_> = every_call()
            .filter(|call| !MACHINE.iter().any(|here| here.number == call.number))
            .map(|call| {
                let name = call.name.trim_start_matches("SYS_");
                format!("| `{name}` | {} | {} |", call.threads.names(), call.why)
            })
            .collect();
        lines.sort();
        for line in lines {
            writeln!(words, "{line}").unwrap();
        }
        words
    }

    #[test]
    fn the_document_has_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/SECURITY.md");
        let document = std::fs::read_to_string(path).unwrap();
        let words = in_words();
        assert!(document.contains(&words), "docs/SECURITY.md should have this table:\n{words}");
    }
}
