//! Serves one front end after another on one socket.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use vhost::vhost_user::Error as VhostUserError;
use vhost::vhost_user::Listener;
use vhost_user_backend::{Error as BackendError, ShutdownHandle, VhostUserDaemon};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::epoll::EventSet;

use super::backend::Backend;
use super::control::WindowControl;
use super::listener::Endpoint;
use super::private::Connector;
use super::relay::{Relay, RelayError};
use crate::media::IoQueues;
use crate::proto::Device;
use crate::queue::{LastPlace, SharedMemory, from_note, to_note};
use crate::sandbox::{Thread, confine};
use crate::trap::Ledger;

/// What a queue takes: a thread's epoll, its end (two), a timer; and of the guest, kick, call and error.
const FOR_A_QUEUE: usize = 7;
/// What a connection takes besides: the listeners' and the sockets' copies, an in-flight region, and a
/// message with a few memory regions.
const FOR_A_CONNECTION: usize = 24;
/// How long the socket rests after a front end that was refused.
const REST: Duration = Duration::from_millis(100);

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The socket or a descriptor of ours failed.
    #[error("the vhost-user socket failed")]
    Socket(#[from] io::Error),
    /// The crate could not set a connection up.
    #[error("a vhost-user connection could not be set up: {0}")]
    Setup(String),
}

/// The device, the window and, while there is one, the connection.
#[derive(Debug)]
pub struct Server<D: Device> {
    device: Arc<D>,
    ledger: Arc<Ledger>,
    io: IoQueues,
    control: Arc<WindowControl>,
    /// The vhost-user crate's own way in, with the relay before it. Where there is none, front ends are not
    /// offered the in-flight region.
    private: Option<(UnixListener, Connector)>,
    /// Where the ring of each queue was left, by the last front end that had it.
    places: Vec<LastPlace>,
    stop: EventFd,
    session: Mutex<Session<D>>,
}

/// What others may reach of the running connection.
struct Session<D: Device> {
    backend: Option<Arc<Backend<D>>>,
    connection: Option<ShutdownHandle>,
    stopping: bool,
}

impl<D: Device> std::fmt::Debug for Session<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("connected", &self.backend.is_some()).finish()
    }
}

impl<D: Device> Server<D> {
    /// A server for `device`, which keeps its books in `ledger`; its disks' transfers are in flight in
    /// `io`.
    pub fn new(
        device: Arc<D>,
        ledger: Arc<Ledger>,
        io: IoQueues,
        control: Arc<WindowControl>,
    ) -> Result<Self, ServerError> {
        let stop = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(io::Error::from)?;
        let session = Session { backend: None, connection: None, stopping: false };
        let places = (0..device.queues()).map(|_| LastPlace::default()).collect();
        Ok(Server {
            device,
            ledger,
            io,
            control,
            private: None,
            places,
            stop,
            session: Mutex::new(session),
        })
    }

    /// Front ends come by a relay, which connects to `listener` for each of them.
    #[must_use]
    pub fn with_relay(mut self, listener: UnixListener, connector: Connector) -> Self {
        self.private = Some((listener, connector));
        self
    }

    /// Takes over where the process before this one left its rings, as it noted it.
    pub fn resume(&self, note: &[u8]) {
        from_note(&self.places, note);
    }

    /// Where the rings are left, for the next process. Only after [`Server::serve`].
    pub fn note(&self) -> Vec<u8> {
        to_note(&self.places)
    }

    /// The window and what belongs to it.
    pub fn control(&self) -> &WindowControl {
        &self.control
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Whether a front end is connected.
    pub fn is_connected(&self) -> bool {
        self.backend().is_some()
    }

    /// Has the front end look at images that have grown, where any has.
    pub fn notice_growth(&self) {
        if self.device.notice_growth()
            && let Some(backend) = self.backend()
        {
            backend.tell_config_changed();
        }
    }

    /// How many writes are inside their windows.
    pub fn held(&self) -> u64 {
        self.backend().map_or(0, |backend| backend.held())
    }

    /// Ends every window now; answers how many writes that let go.
    pub fn release(&self) -> u64 {
        self.backend().map_or(0, |backend| backend.drain())
    }

    /// Ends [`Server::serve`]: what is held is fetched and answered first.
    pub fn stop(&self) {
        let connection = {
            let mut session = self.lock();
            session.stopping = true;
            session.connection.take()
        };
        // Before the front end learns of it: it would go on from where we are at this moment.
        if let Some(backend) = self.backend() {
            backend.retire();
        }
        // The counter cannot overflow from a few signals.
        let _ = self.stop.write(1);
        if let Some(connection) = connection {
            connection.shutdown();
        }
    }

    /// Serves until told to stop, or until the first front end goes when `once` is set.
    pub fn serve(&self, endpoint: &Endpoint, once: bool) -> Result<(), ServerError> {
        while self.wait_for_peer(endpoint)? {
            let served = self.serve_one(endpoint);
            if let Err(error) = &served {
                self.refuse(endpoint, error);
            }
            if once && served.is_ok() {
                break;
            }
        }
        Ok(())
    }

    /// Waits for a front end; `false` when it is time to stop.
    fn wait_for_peer(&self, endpoint: &Endpoint) -> Result<bool, ServerError> {
        let mut fds = [
            PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
            PollFd::new(endpoint.listener().as_fd(), PollFlags::POLLIN),
        ];
        loop {
            match poll(&mut fds, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(io::Error::from(errno).into()),
                Ok(_) => return Ok(!self.lock().stopping),
            }
        }
    }

    /// Lets a front end go that cannot be served, most likely for want of descriptors: the next one may be
    /// luckier.
    fn refuse(&self, endpoint: &Endpoint, error: &ServerError) {
        let reason = match error {
            ServerError::Socket(error) => error.to_string(),
            other => other.to_string(),
        };
        let advice = "with fewer control clients or a higher limit ('ulimit -n') it may be served";
        self.ledger.note_broken(None, format!("a front end was refused: {reason}; {advice}"));
        let mut waits = [PollFd::new(endpoint.listener().as_fd(), PollFlags::POLLIN)];
        if poll(&mut waits, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
            // Closed at once. Where even that fails, it waits for what comes after the pause.
            let _ = endpoint.listener().accept();
        }
        std::thread::sleep(REST);
    }

    /// Whether there are descriptors enough for a connection. The crate, which finds out in the middle,
    /// leaves threads behind then.
    fn require_descriptors(&self) -> io::Result<()> {
        let wanted = FOR_A_CONNECTION + FOR_A_QUEUE * self.places.len();
        let stop = self.stop.as_fd();
        (0..wanted).map(|_| stop.try_clone_to_owned()).collect::<Result<Vec<_>, _>>().map(drop)
    }

    /// One connection from its beginning to its end, with a fresh memory map.
    fn serve_one(&self, endpoint: &Endpoint) -> Result<(), ServerError> {
        self.require_descriptors()?;
        let memory = SharedMemory::new(GuestMemoryMmap::new());
        let backend = Arc::new(Backend::new(
            Arc::clone(&self.device),
            &self.ledger,
            &self.io,
            &self.control,
            memory.clone(),
            &self.places,
        )?);
        let mut daemon =
            VhostUserDaemon::new("vhost-user".to_owned(), Arc::clone(&backend), memory)
                .map_err(setup)?;
        watch_timers(&daemon, &backend)?;
        let relay = self.start(&mut daemon, &backend, endpoint)?;
        log::info!("a front end connected");
        self.enter(&backend, daemon.shutdown_handle());
        let ended = daemon.wait();
        backend.drain();
        self.leave();
        // Ends and joins the queue threads.
        drop(daemon);
        let relayed = relay.map(JoinHandle::join);
        // What they took up meanwhile ends here: the next front end finds the medium idle.
        backend.drain();
        backend.leave();
        backend.close_exits();
        match relayed {
            Some(Ok(Err(error))) => self.note_cut(&error.to_string()),
            _ => self.note_end(ended),
        }
        Ok(())
    }

    /// Accepts the front end that waits, and lets the crate hear it: by the relay, where there is one.
    fn start(
        &self,
        daemon: &mut VhostUserDaemon<Arc<Backend<D>>>,
        backend: &Arc<Backend<D>>,
        endpoint: &Endpoint,
    ) -> Result<Option<JoinHandle<Result<(), RelayError>>>, ServerError> {
        let Some((listener, connector)) = &self.private else {
            let mut listener = Listener::from(endpoint.listener().try_clone()?);
            daemon.start(&mut listener).map_err(setup)?;
            return Ok(None);
        };
        let (others, listener) = (endpoint.listener().try_clone()?, listener.try_clone()?);
        let (front, _) = endpoint.listener().accept()?;
        forget_waiting(&listener)?;
        let inner = connector.connect()?;
        daemon.start(&mut Listener::from(listener)).map_err(setup)?;
        let relay = Relay::new(front, inner, others, Arc::clone(backend));
        let relaying = std::thread::Builder::new().name("relay".to_owned()).spawn(move || {
            confine(Thread::Relay);
            relay.run()
        });
        Ok(Some(relaying?))
    }

    fn enter(&self, backend: &Arc<Backend<D>>, connection: Option<ShutdownHandle>) {
        let mut session = self.lock();
        session.backend = Some(Arc::clone(backend));
        if session.stopping {
            backend.retire();
            if let Some(connection) = connection {
                connection.shutdown();
            }
        } else {
            session.connection = connection;
        }
    }

    fn leave(&self) {
        let mut session = self.lock();
        session.backend = None;
        session.connection = None;
    }

    /// A front end that goes away is the normal end of a connection; anything else is worth a record.
    fn note_end(&self, ended: Result<(), BackendError>) {
        match ended {
            Ok(())
            | Err(BackendError::HandleRequest(
                VhostUserError::Disconnected | VhostUserError::PartialMessage,
            )) => log::info!("the front end disconnected"),
            Err(error) => self.note_cut(&error.to_string()),
        }
    }

    fn note_cut(&self, why: &str) {
        self.ledger.note_broken(None, format!("the front end was cut off: {why}"));
    }

    fn backend(&self) -> Option<Arc<Backend<D>>> {
        self.lock().backend.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Session<D>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets connections go that were made for front ends which then could not be served.
fn forget_waiting(listener: &UnixListener) -> io::Result<()> {
    let mut waits = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    while poll(&mut waits, PollTimeout::ZERO)? > 0 {
        listener.accept()?;
    }
    Ok(())
}

/// The crate's errors cannot be shared between threads; their words can.
fn setup(error: BackendError) -> ServerError {
    ServerError::Setup(error.to_string())
}

/// Each queue's thread watches its own worker's timer, and one of them for the device's events.
fn watch_timers<D: Device>(
    daemon: &VhostUserDaemon<Arc<Backend<D>>>,
    backend: &Backend<D>,
) -> io::Result<()> {
    // Numbers up to the number of queues belong to the crate.
    let event = u64::from(backend.queue_count()) + 1;
    let (birth, at_birth) = backend.birth();
    for handler in daemon.get_epoll_handlers() {
        let once = EventSet::IN | EventSet::EDGE_TRIGGERED;
        handler.register_listener(birth, once, u64::from(at_birth))?;
    }
    for (handler, timer) in daemon.get_epoll_handlers().iter().zip(backend.timers()) {
        handler.register_listener(timer, EventSet::IN, event)?;
    }
    for (handler, completed) in daemon.get_epoll_handlers().iter().zip(backend.completion_fds()) {
        if let Some(completed) = completed {
            // Every end of a transfer wakes once; nobody has to read it.
            handler.register_listener(completed, EventSet::IN | EventSet::EDGE_TRIGGERED, event)?;
        }
    }
    if let Some((thread, event_fd)) = backend.event_fd()
        && let Some(handler) = daemon.get_epoll_handlers().get(thread)
    {
        // An event may have to wait for a buffer to go in: it wakes once.
        handler.register_listener(event_fd, EventSet::IN | EventSet::EDGE_TRIGGERED, event)?;
    }
    Ok(())
}
