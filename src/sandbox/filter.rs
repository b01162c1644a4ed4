//! The table of system calls as programs for the kernel, one for each kind of thread.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

use super::calls::{Arg, Call, FIRST_UNKNOWN, Is, JANITOR, POLITELY, PORTER, TABLE, URING};
use super::thread::Thread;

/// What the daemon turns out to need, besides what it always does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Requests go through rings of io_uring that exist already.
    pub uring: bool,
}

/// What a kind of thread may call. The rest gets an error number where libraries can do without, and
/// is trapped where nobody should have asked.
pub(super) fn program(thread: Thread, needs: Needs) -> Result<BpfProgram, BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let (trapped, allowed) = (SeccompAction::Trap, SeccompAction::Allow);
    let filter = SeccompFilter::new(rules(thread, needs)?, trapped, allowed, arch)?;
    let mut program = polite();
    program.extend(BpfProgram::try_from(filter)?);
    Ok(program)
}

/// What the janitor may call, where it connects and where it does not.
pub(super) fn for_janitor(connects: bool) -> Result<BpfProgram, BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    // The records' thread is the one that may least.
    let mut rules = rules(Thread::Records, Needs { uring: false })?;
    rules.extend(JANITOR.iter().map(|number| (*number, Vec::new())));
    if connects {
        rules.extend(PORTER.iter().map(|number| (*number, Vec::new())));
        // No other kind of socket than one that has a path.
        let local = condition(&Arg { number: 0, is: Is::Int(libc::AF_UNIX.cast_unsigned()) })?;
        rules.insert(libc::SYS_socket, vec![SeccompRule::new(vec![local])?]);
    }
    let filter = SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, arch)?;
    BpfProgram::try_from(filter)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The rules of all that a kind of thread may call; none for a call whose arguments do not matter.
fn rules(thread: Thread, needs: Needs) -> Result<Rules, BackendError> {
    let rings = if needs.uring { URING } else { &[] };
    let calls = TABLE.iter().copied().flatten().chain(rings).filter(|call| may(thread, call));
    let mut rules = Rules::new();
    let mut anyhow = Vec::new();
    for call in calls {
        if call.rules.is_empty() {
            anyhow.push(call.number);
        }
        let known = rules.entry(call.number).or_default();
        for rule in call.rules {
            let conditions = rule.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
            known.push(SeccompRule::new(conditions)?);
        }
    }
    for number in anyhow {
        rules.insert(number, Vec::new());
    }
    Ok(rules)
}

/// Its own calls, and those of the threads that it starts: they are born with its filter.
fn may(thread: Thread, call: &Call) -> bool {
    match thread {
        Thread::Server => true,
        Thread::Control => [thread, Thread::Client].iter().any(|it| call.threads.have(*it)),
        _ => call.threads.have(thread),
    }
}

fn condition(arg: &Arg) -> Result<SeccompCondition, BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    let (size, how, value) = match arg.is {
        Is::Int(value) => (Dword, SeccompCmpOp::Eq, u64::from(value)),
        Is::AtMost(value) => (Dword, SeccompCmpOp::Le, u64::from(value)),
        Is::Bits { mask, value } => (Qword, SeccompCmpOp::MaskedEq(mask), value),
        Is::Ourselves => (Dword, SeccompCmpOp::Eq, u64::from(std::process::id())),
    };
    SeccompCondition::new(arg.number, size, how, value)
}

/// The refusals that libraries can live with. What comes before the rest of a program only refuses, so
/// it need not know which machine's numbers it sees.
fn polite() -> BpfProgram {
    /// Where the kernel puts the number of the call for a filter to see (seccomp(2)).
    const NUMBER: u32 = 0;
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, NUMBER)];
    let mut refuse = |how: u32, number: u32, errno: i32| {
        let skip =
            sock_filter { code: code(libc::BPF_JMP | how | libc::BPF_K), jt: 0, jf: 1, k: number };
        let error = libc::SECCOMP_RET_ERRNO | (errno.cast_unsigned() & libc::SECCOMP_RET_DATA);
        program.extend([skip, statement(libc::BPF_RET | libc::BPF_K, error)]);
    };
    refuse(libc::BPF_JGE, FIRST_UNKNOWN, libc::ENOSYS);
    for (number, errno) in POLITELY {
        refuse(libc::BPF_JEQ, u32::try_from(*number).unwrap_or(u32::MAX), *errno);
    }
    program
}

const fn statement(operation: u32, k: u32) -> sock_filter {
    sock_filter { code: code(operation), jt: 0, jf: 0, k }
}

/// All of BPF's operations are of 16 bits.
#[expect(clippy::cast_possible_truncation, reason = "constants of 16 bits")]
const fn code(operation: u32) -> u16 {
    operation as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_program_for_every_kind_of_thread() {
        for thread in Thread::ALL {
            for uring in [false, true] {
                let program = program(thread, Needs { uring }).unwrap();
                assert!(program.len() > 100 && program.len() < 4096, "{thread:?}");
            }
        }
    }

    #[test]
    fn the_servers_program_has_what_every_other_one_has() {
        let needs = Needs { uring: true };
        let all = rules(Thread::Server, needs).unwrap();
        for thread in Thread::ALL {
            let own = rules(thread, needs).unwrap();
            assert!(own.keys().all(|number| all.contains_key(number)), "{thread:?}");
        }
        let control = rules(Thread::Control, needs).unwrap();
        let client = rules(Thread::Client, needs).unwrap();
        assert!(client.keys().all(|number| control.contains_key(number)));
    }

    #[test]
    fn rings_are_for_those_who_need_them() {
        for (uring, there) in [(true, true), (false, false)] {
            let rules = rules(Thread::Queue, Needs { uring }).unwrap();
            assert_eq!(rules.contains_key(&libc::SYS_io_uring_enter), there);
        }
    }
}
