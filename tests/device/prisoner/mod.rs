//! System calls put into the threads of a running daemon, by ptrace: what somebody who runs code of
//! their own inside of it would do, with the daemon's real filters, credentials and descriptors.

pub mod attempts;
pub mod ring;

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel answered it: a value, or a negative error number.
    Answered(i64),
    /// The filter trapped it (SIGSYS).
    Trapped,
}

impl Outcome {
    /// Refused by the sandbox: trapped, or with an error number that its filter gives.
    pub fn is_refused(self) -> bool {
        let polite = [libc::EACCES, libc::ENOSYS, libc::ENOTTY].map(|errno| i64::from(-errno));
        match self {
            Outcome::Trapped => true,
            Outcome::Answered(answer) => polite.contains(&answer),
        }
    }

    pub fn took_effect(self) -> bool {
        matches!(self, Outcome::Answered(0..))
    }
}

/// An argument.
#[derive(Debug, Clone)]
pub enum Word {
    Number(u64),
    /// The address of these bytes in the thread's memory.
    Bytes(Vec<u8>),
    /// The address of a place on its stack, page by page.
    Place,
}

impl From<u64> for Word {
    fn from(number: u64) -> Word {
        Word::Number(number)
    }
}

impl From<i32> for Word {
    fn from(number: i32) -> Word {
        Word::Number(i64::from(number) as u64)
    }
}

impl From<&str> for Word {
    fn from(path: &str) -> Word {
        Word::Bytes([path.as_bytes(), &[0]].concat())
    }
}

/// The threads of a process and what they are called.
pub fn threads_of(process: u32) -> Vec<(Pid, String)> {
    let mut threads = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten() {
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let id = entry.file_name().to_str().unwrap().parse().unwrap();
        threads.push((Pid::from_raw(id), name.trim_end().to_owned()));
    }
    threads
}

/// A line of /proc/PID/status, or of one of its threads.
pub fn status_of(process: u32, field: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

/// A thread that is stopped, and does what it is told until this is dropped.
pub struct Prisoner {
    thread: Pid,
    memory: File,
    before: libc::user_regs_struct,
    gate: u64,
    free: bool,
}

impl Prisoner {
    /// Stops a thread of a process; the error says why that is not allowed here.
    pub fn take(process: u32, thread: Pid) -> Result<Prisoner, Errno> {
        let options = File::options().read(true).write(true).open(format!("/proc/{process}/mem"));
        let memory = options.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
        ptrace::seize(thread, ptrace::Options::empty())?;
        ptrace::interrupt(thread)?;
        let stopped = waitpid(thread, Some(WaitPidFlag::__WALL))?;
        assert!(matches!(stopped, WaitStatus::PtraceEvent(..)), "{stopped:?}");
        let before = ptrace::getregs(thread)?;
        let gate = gate_of(process, &memory);
        Ok(Prisoner { thread, memory, before, gate, free: false })
    }

    /// Reads the process's memory.
    pub fn read(&self, address: u64, bytes: &mut [u8]) {
        self.memory.read_exact_at(bytes, address).unwrap();
    }

    /// Writes it.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        self.memory.write_all_at(bytes, address).unwrap();
    }

    /// Has the thread make a call; a signal that comes of it goes no further.
    pub fn call(&mut self, number: i64, words: &[Word]) -> Outcome {
        self.prepare(number, words);
        loop {
            ptrace::cont(self.thread, None).unwrap();
            let outcome = match waitpid(self.thread, Some(WaitPidFlag::__WALL)).unwrap() {
                WaitStatus::Stopped(_, Signal::SIGSYS) => Outcome::Trapped,
                WaitStatus::Stopped(_, Signal::SIGTRAP) => {
                    let registers = ptrace::getregs(self.thread).unwrap();
                    Outcome::Answered(registers.rax as i64)
                }
                // A signal of its own life, or that the call sent: kept from it.
                WaitStatus::Stopped(..) | WaitStatus::PtraceEvent(..) => continue,
                other => panic!("call {number}: {other:?}"),
            };
            self.restore();
            return outcome;
        }
    }

    /// As [`Prisoner::call`], and lets it live, or not, with what comes of it.
    pub fn call_and_go(mut self, number: i64, words: &[Word]) {
        self.prepare(number, words);
        self.free = true;
        ptrace::detach(self.thread, None).unwrap();
    }

    /// As [`Prisoner::call_and_go`], through the gate for 32-bit programs.
    pub fn call_and_go_as_32_bits(mut self, number: i64) {
        self.prepare(number, &[]);
        self.write(self.gate, &[0xCD, 0x80]);
        self.free = true;
        ptrace::detach(self.thread, None).unwrap();
    }

    /// A page of its own.
    pub fn place(&self) -> u64 {
        (self.before.rsp - 4096) & !0xFFF
    }

    fn prepare(&self, number: i64, words: &[Word]) {
        // Below what the stack's owner may have put there without moving its pointer.
        let mut place = self.place();
        let mut values = [0; 6];
        for (value, word) in values.iter_mut().zip(words) {
            *value = match word {
                Word::Number(number) => *number,
                Word::Bytes(bytes) => {
                    place -= (bytes.len() as u64).next_multiple_of(64);
                    self.write(place, bytes);
                    place
                }
                Word::Place => self.place(),
            };
        }
        let mut registers = self.before;
        registers.rip = self.gate;
        registers.rax = number as u64;
        // No call is under way that would have to be begun again.
        registers.orig_rax = u64::MAX;
        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] =
            values;
        ptrace::setregs(self.thread, registers).unwrap();
    }

    fn restore(&self) {
        ptrace::setregs(self.thread, self.before).unwrap();
    }
}

impl Drop for Prisoner {
    fn drop(&mut self) {
        if !self.free {
            self.restore();
            let _ = ptrace::detach(self.thread, None);
        }
    }
}

/// Puts a `syscall` and a breakpoint where the program began, which it never does again.
fn gate_of(process: u32, memory: &File) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let program = std::fs::read_link(format!("/proc/{process}/exe")).unwrap();
    let first = maps.lines().find(|line| line.ends_with(program.to_str().unwrap())).unwrap();
    let base = u64::from_str_radix(first.split('-').next().unwrap(), 16).unwrap();
    // e_entry of a program that lies where the kernel puts it (elf(5), ET_DYN).
    let mut entry = [0; 8];
    memory.read_exact_at(&mut entry, base + 24).unwrap();
    let gate = base + u64::from_le_bytes(entry);
    memory.write_all_at(&GATE, gate).unwrap();
    gate
}

/// `syscall`, and a breakpoint.
const GATE: [u8; 3] = [0x0F, 0x05, 0xCC];
