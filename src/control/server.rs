//! The side that answers.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::protocol::{NONE, Reply, Request, Stats};
use crate::inject::SpecError;
use crate::proto::Device;
use crate::sandbox::{Thread, confine};
use crate::transport::{Endpoint, Server};
use crate::trap::{Ledger, Trap, disarm, inject};

/// The longest request line.
const MAX_LINE: u64 = 64 << 10;
/// The most clients at once.
const MAX_CLIENTS: usize = 64;
/// The longest label.
const MAX_LABEL: usize = 256;

/// Something that carries requests out.
pub trait Governor: Send + Sync {
    /// Carries one out.
    fn carry_out(&self, request: Request) -> Reply;
}

/// A governor for traps, in the order of their units, and the server in front of them.
pub fn governor<D: Device>(
    ledger: Arc<Ledger>,
    traps: Vec<Arc<Trap>>,
    server: Arc<Server<D>>,
) -> Arc<dyn Governor> {
    Arc::new(Daemon { ledger, traps, server })
}

struct Daemon<D: Device> {
    ledger: Arc<Ledger>,
    traps: Vec<Arc<Trap>>,
    server: Arc<Server<D>>,
}

impl<D: Device> Daemon<D> {
    fn stats(&self) -> Stats {
        Stats {
            t_us: self.ledger.now().micros(),
            label: self.ledger.label(),
            window: self.server.pace().window(),
            held: self.server.held(),
            connected: self.server.is_connected(),
            counters: self.ledger.counters(),
        }
    }

    fn inject(&self, spec: &str) -> Reply {
        if spec == NONE {
            let specs = self.traps.first().map(|trap| disarm(trap)).unwrap_or_default();
            let disarmed = Some(specs.iter().map(ToString::to_string).collect());
            return Reply { disarmed, ..Reply::done() };
        }
        let parsed = spec.parse().map_err(|error: SpecError| error.to_string());
        let added = parsed.and_then(|spec| inject(&self.traps, spec).map_err(|e| e.to_string()));
        added.map_or_else(Reply::refused, |()| Reply::done())
    }

    fn plug(&self, lun: u16, plugged: bool) -> Reply {
        let done = self.server.device().plug(lun, plugged);
        done.map_or_else(|error| Reply::refused(error.to_string()), |()| Reply::done())
    }

    fn mark(&self, label: &str, state: crate::record::MarkState) -> Reply {
        if label.is_empty() || label.len() > MAX_LABEL {
            return Reply::refused(format!("a label has 1 to {MAX_LABEL} bytes"));
        }
        let counters = self.ledger.mark(label, state);
        if state == crate::record::MarkState::End && counters.is_none() {
            return Reply::refused(format!("label '{label}' is not open: begin it first"));
        }
        Reply { counters: counters.map(Box::new), ..Reply::done() }
    }
}

impl<D: Device> Governor for Daemon<D> {
    fn carry_out(&self, request: Request) -> Reply {
        match request {
            Request::Stats => Reply { stats: Some(Box::new(self.stats())), ..Reply::done() },
            Request::Mark { label, state } => self.mark(&label, state),
            Request::Window { spec } => {
                self.server.pace().set_window(spec);
                self.ledger.note_window(spec);
                Reply::done()
            }
            Request::Inject { spec } => self.inject(&spec),
            Request::Release => Reply { released: Some(self.server.release()), ..Reply::done() },
            Request::Unplug { lun } => self.plug(lun, false),
            Request::Plug { lun } => self.plug(lun, true),
            Request::Quit => {
                self.server.stop();
                Reply::done()
            }
        }
    }
}

/// Listens on the control socket; ends with the process, and removes its path when dropped.
#[derive(Debug)]
pub struct ControlServer {
    _endpoint: Endpoint,
}

impl ControlServer {
    /// Answers clients from a thread of its own.
    pub fn start(endpoint: Endpoint, governor: Arc<dyn Governor>) -> io::Result<Self> {
        let accepting = endpoint.listener().try_clone()?;
        std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            confine(Thread::Control);
            accept_all(&accepting, &governor);
        })?;
        Ok(ControlServer { _endpoint: endpoint })
    }
}

fn accept_all(listener: &std::os::unix::net::UnixListener, governor: &Arc<dyn Governor>) {
    let clients = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => spawn_client(stream, governor, &clients),
            Err(error) => {
                log::error!("the control socket failed: {error}");
                // Out of descriptors, most likely: clients that go will free some.
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
    }
}

fn spawn_client(mut stream: UnixStream, governor: &Arc<dyn Governor>, clients: &Arc<AtomicUsize>) {
    if clients.fetch_add(1, Ordering::AcqRel) >= MAX_CLIENTS {
        clients.fetch_sub(1, Ordering::AcqRel);
        // The client may be gone already.
        let _ = answer(&mut stream, &Reply::refused("too many clients: close some"));
        return;
    }
    let (governor, counted) = (Arc::clone(governor), Arc::clone(clients));
    let spawned = std::thread::Builder::new().name("control client".to_owned()).spawn(move || {
        confine(Thread::Client);
        if let Err(error) = serve_client(stream, governor.as_ref()) {
            log::debug!("a control client went away: {error}");
        }
        counted.fetch_sub(1, Ordering::AcqRel);
    });
    if let Err(error) = spawned {
        log::error!("no thread for a control client: {error}");
        clients.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One request a line until the client goes.
fn serve_client(stream: UnixStream, governor: &dyn Governor) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    // Bytes, not text: a line that is not UTF-8 is one more malformed request, not the end.
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if !line.ends_with(b"\n") && line.len() as u64 >= MAX_LINE {
            return answer(&mut writer, &Reply::refused("the request is too long"));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let reply = match serde_json::from_slice(&line) {
            // Answered first: afterwards the process may be gone.
            Ok(Request::Quit) => {
                answer(&mut writer, &Reply::done())?;
                governor.carry_out(Request::Quit);
                continue;
            }
            Ok(request) => governor.carry_out(request),
            Err(error) => Reply::refused(format!("not a request: {error}")),
        };
        answer(&mut writer, &reply)?;
    }
}

fn answer(stream: &mut UnixStream, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    stream.write_all(&line)
}
