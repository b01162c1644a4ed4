//! The side that answers.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use super::clients::{Clients, Place};
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
/// How many descriptors there are for each client: the others are for front ends.
const SHARE: u64 = 4;
/// How long the socket rests after it failed.
const RETRY: Duration = Duration::from_millis(20);
/// The longest label, in bytes.
const MAX_LABEL: usize = 256;

/// Something that carries requests out.
pub trait ControlHandler: Send + Sync {
    /// Carries a request out, and answers it.
    fn carry_out(&self, request: Request) -> Reply;
}

/// A handler for traps, in the order of their units, and the server in front of them.
pub fn control_handler<D: Device>(
    ledger: Arc<Ledger>,
    traps: Vec<Arc<Trap>>,
    server: Arc<Server<D>>,
) -> Arc<dyn ControlHandler> {
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
            window: self.server.control().window(),
            held: self.server.held(),
            connected: self.server.is_connected(),
            names_culprits: self.ledger.watcher().map(|watcher| watcher.knows_kernel()),
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

impl<D: Device> ControlHandler for Daemon<D> {
    fn carry_out(&self, request: Request) -> Reply {
        match request {
            Request::Stats => Reply { stats: Some(Box::new(self.stats())), ..Reply::done() },
            Request::Mark { label, state } => self.mark(&label, state),
            Request::Window { spec } => {
                self.server.control().set_window(spec);
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
    /// Answers clients from a thread of its own, in a process that may have so many descriptors.
    pub fn start(
        endpoint: Endpoint,
        handler: Arc<dyn ControlHandler>,
        descriptors: u64,
    ) -> io::Result<Self> {
        let share = usize::try_from(descriptors / SHARE).unwrap_or(MAX_CLIENTS);
        let clients = Clients::new(share.min(MAX_CLIENTS));
        let accepting = endpoint.listener().try_clone()?;
        std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            confine(Thread::Control);
            accept_all(&accepting, &handler, &clients);
        })?;
        Ok(ControlServer { _endpoint: endpoint })
    }
}

fn accept_all(listener: &UnixListener, handler: &Arc<dyn ControlHandler>, clients: &Arc<Clients>) {
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => spawn_client(stream, handler, clients),
            Err(error) => {
                // Out of descriptors, most likely: a client that goes frees one.
                if !clients.make_room() {
                    log::error!("the control socket failed: {error}");
                }
                std::thread::sleep(RETRY);
            }
        }
    }
}

fn spawn_client(stream: UnixStream, handler: &Arc<dyn ControlHandler>, clients: &Arc<Clients>) {
    let place = match clients.enter(stream) {
        Ok(place) => place,
        Err(stream) => {
            // The client may be gone already.
            let _ = answer(&stream, &Reply::refused("too many clients: close some"));
            return;
        }
    };
    let handler = Arc::clone(handler);
    let spawned = std::thread::Builder::new().name("control client".to_owned()).spawn(move || {
        confine(Thread::Client);
        if let Err(error) = serve_client(&place, handler.as_ref()) {
            log::debug!("a control client went away: {error}");
        }
    });
    if let Err(error) = spawned {
        log::error!("no thread for a control client: {error}");
    }
}

/// One request a line until the client goes, or has to.
fn serve_client(place: &Place, handler: &dyn ControlHandler) -> io::Result<()> {
    let mut reader = BufReader::new(place.stream());
    // Bytes, not text: a line that is not UTF-8 is one more malformed request, not the end.
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if !line.ends_with(b"\n") && line.len() as u64 >= MAX_LINE {
            return answer(place.stream(), &Reply::refused("the request is too long"));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let reply = match serde_json::from_slice(&line) {
            // Answered first: afterwards the process may be gone.
            Ok(Request::Quit) => {
                answer(place.stream(), &Reply::done())?;
                place.work(|| handler.carry_out(Request::Quit));
                continue;
            }
            Ok(request) => place.work(|| handler.carry_out(request)),
            Err(error) => Reply::refused(format!("not a request: {error}")),
        };
        answer(place.stream(), &reply)?;
    }
}

fn answer(mut stream: &UnixStream, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    stream.write_all(&line)
}
