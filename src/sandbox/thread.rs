//! The kinds of threads that the daemon has.

/// A kind of thread: what it may ask of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thread {
    /// Accepts front ends, sets their connections up, closes the disk at the end.
    Server,
    /// Hears one front end.
    Connection,
    /// Works on one queue.
    Queue,
    /// Accepts control clients.
    Control,
    /// Answers one of them.
    Client,
    /// Writes the records.
    Records,
    /// Waits for signals.
    Signals,
    /// Looks whether images have grown.
    Growth,
    /// Writes the daemon's messages.
    Messages,
    /// Looks for the guest's kernel in its memory.
    Explain,
    /// Passes a front end's messages on.
    Relay,
}

impl Thread {
    /// All kinds.
    pub(super) const ALL: [Thread; 11] = [
        Thread::Server,
        Thread::Connection,
        Thread::Queue,
        Thread::Control,
        Thread::Client,
        Thread::Records,
        Thread::Signals,
        Thread::Growth,
        Thread::Messages,
        Thread::Explain,
        Thread::Relay,
    ];

    /// Its bit in a set of kinds.
    pub(super) const fn bit(self) -> u16 {
        1 << self as u16
    }

    /// What it is called in documents.
    #[cfg(test)]
    pub(super) const fn name(self) -> &'static str {
        match self {
            Thread::Server => "server",
            Thread::Connection => "connection",
            Thread::Queue => "queue",
            Thread::Control => "control",
            Thread::Client => "client",
            Thread::Records => "records",
            Thread::Signals => "signals",
            Thread::Growth => "growth",
            Thread::Messages => "messages",
            Thread::Explain => "explain",
            Thread::Relay => "relay",
        }
    }
}
