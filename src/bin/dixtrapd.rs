//! `dixtrapd`: the vhost-user back end. Arguments → disk, trap, device → serve.

use std::ops::Range;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Parser;
use dixtrap::cli::{one_line, survive_file_limits};
use dixtrap::clock::{Clock, MonotonicClock};
use dixtrap::config::{Args, Config, DeviceKind, SocketSpec};
use dixtrap::control::{ControlServer, control_handler};
use dixtrap::made::{MadeFile, MadeFiles};
use dixtrap::media::{Disk, DiskSpec, IoQueues};
use dixtrap::messages::{Messages, last_word};
use dixtrap::proto::Device;
use dixtrap::proto::blk::{self, BlkDevice};
use dixtrap::proto::scsi::drive::{Unit, UnitIdentity};
use dixtrap::proto::scsi::{self, virtio::ScsiDevice};
use dixtrap::record::Start;
use dixtrap::report::{Sink, culprits_beside, plain};
use dixtrap::sandbox::{self, Door, Janitor, Needs, Thread};
use dixtrap::transport::{Connector, Endpoint, Private, Server, SocketPath, WindowControl};
use dixtrap::trap::{Faults, Ledger, Trap, TrapOptions, inject};
use dixtrap::units::BlockSize;
use dixtrap::watch::{self, Watcher};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// QEMU's docs/interop/vhost-user.rst, "vhost-user-blk program".
const CAPABILITIES: &str = r#"{
  "type": "block",
  "features": [
    "read-only",
    "blk-file"
  ]
}"#;

fn main() -> ExitCode {
    let messages = Messages::install();
    survive_file_limits();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return refuse(&error),
    };
    if args.print_capabilities {
        println!("{CAPABILITIES}");
        return ExitCode::SUCCESS;
    }
    let ran = Config::try_from(args).map_err(Into::into).and_then(|config| run(config, &messages));
    messages.end();
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            last_word(&format!("dixtrapd: {}", plain(&format!("{error:#}"))));
            ExitCode::FAILURE
        }
    }
}

/// Arguments that cannot be used, or a question about them.
fn refuse(error: &clap::Error) -> ExitCode {
    match one_line(error) {
        Some(line) => {
            last_word(&format!("dixtrapd: {}", plain(&line)));
            ExitCode::from(2)
        }
        None => {
            // Nothing is left to do when even the answer cannot be printed.
            let _ = error.print();
            ExitCode::SUCCESS
        }
    }
}

/// Opens everything, serves front ends until told to stop, and closes in order.
fn run(config: Config, messages: &Messages) -> anyhow::Result<()> {
    let descriptors = allow_descriptors();
    let signals = Signals::new([SIGTERM, SIGINT]).context("cannot watch for signals")?;
    // The disk comes last: a start that fails for another reason makes no image.
    let mut endpoint = listen(&config)?;
    let bind = |path| Endpoint::bind(path, config.socket_mode);
    let mut control = config.control.as_deref().map(bind).transpose()?;
    let private = private_socket();
    let sockets = [Some(&mut endpoint), control.as_mut()];
    let (janitor, relay) = if config.sandbox {
        guarded(sockets, private)?
    } else {
        (None, private.map(|it| (it.listener, Connector::Ourselves(it.door))))
    };
    let records = match &config.races {
        Some(path) => Sink::open(path, config.races_limit)?,
        None => Sink::none(),
    };
    let mut made = MadeFiles::default();
    made.add(records.take_made());
    let mut watch = watch(&config)?;
    if let Some(watch) = &mut watch {
        made.add(watch.made.take().into_iter().chain(watch.culprits.take_made()));
    }
    let mut disks = Vec::new();
    for spec in &config.disks {
        let mut disk = Disk::open(spec)?;
        made.add(disk.take_made());
        disks.push(disk);
    }
    let io = io_queues(&config, &disks);
    disks.iter_mut().for_each(|disk| disk.overlap(&io));
    let (ledger, traps) = trap_all(&config, disks, records.clone(), watch.as_ref());
    for spec in &config.inject {
        inject(&traps, *spec).with_context(|| format!("--inject {spec} cannot happen"))?;
    }
    let culprits = watch.map(|watch| watch.culprits);
    let entries = Entries {
        endpoint,
        relay,
        control,
        descriptors,
        janitor,
        signals,
        records,
        culprits,
        messages,
        made,
    };
    (Kind::of(config.device).serve)(&config, Backend { ledger, io, traps }, entries)
}

/// What the daemon has to know of a kind of device: a row for each, and no other place.
struct Kind {
    /// The rings that requests come by, of a device with so many of them.
    request_queues: fn(u16) -> Range<u16>,
    /// The features that a driver is offered, where the disk is read-only or is not.
    features: fn(bool) -> Vec<String>,
    /// Makes the device and serves it.
    serve: fn(&Config, Backend, Entries<'_>) -> anyhow::Result<()>,
}

impl Kind {
    fn of(device: DeviceKind) -> Kind {
        match device {
            DeviceKind::Blk => Kind {
                request_queues: |count| 0..count,
                features: blk::feature_names,
                serve: serve_blk,
            },
            DeviceKind::Scsi => Kind {
                request_queues: scsi::virtio::request_queues,
                features: |_| scsi::virtio::feature_names(),
                serve: serve_scsi,
            },
        }
    }
}

fn serve_blk(config: &Config, backend: Backend, entries: Entries<'_>) -> anyhow::Result<()> {
    let trap = backend.traps.first().context("there is no disk")?;
    let name = config.disks.first().map(|spec| identity(&config.socket, spec));
    let serial = name.map_or_else(String::new, |name| format!("dix-{}", name.serial));
    let device = BlkDevice::new(Arc::clone(trap), config.queues).with_serial(&serial);
    serve(config, Arc::new(device), backend, entries)
}

fn serve_scsi(config: &Config, backend: Backend, entries: Entries<'_>) -> anyhow::Result<()> {
    let unit = |(spec, trap): (&DiskSpec, &Arc<Trap>)| {
        Unit::new(Arc::clone(trap), identity(&config.socket, spec))
    };
    let units = config.disks.iter().zip(&backend.traps).map(unit).collect();
    let device = Arc::new(ScsiDevice::new(units, config.queues)?);
    serve(config, device, backend, entries)
}

/// What is behind a device: its traps and their ledger.
struct Backend {
    ledger: Arc<Ledger>,
    io: IoQueues,
    traps: Vec<Arc<Trap>>,
}

/// The ways in: front ends, control clients, signals. And out: records, messages.
struct Entries<'a> {
    endpoint: Endpoint,
    relay: Option<(UnixListener, Connector)>,
    control: Option<Endpoint>,
    /// How many there may be.
    descriptors: u64,
    janitor: Option<Janitor>,
    signals: Signals,
    records: Sink,
    /// Who changed the bytes, where stores are watched.
    culprits: Option<Sink>,
    messages: &'a Messages,
    /// What goes again where the start is refused.
    made: MadeFiles,
}

/// What watching takes.
struct Watch {
    watcher: Arc<Watcher>,
    /// The shared file, where it was not there before.
    made: Option<MadeFile>,
    culprits: Sink,
}

/// Makes the file that is shared with QEMU's plugin, and the one for what is found out.
fn watch(config: &Config) -> anyhow::Result<Option<Watch>> {
    let Some((path, races)) = config.watch.as_ref().zip(config.races.as_ref()) else {
        return Ok(None);
    };
    let (watcher, made) = Watcher::create(path)
        .with_context(|| format!("cannot make --watch {}: choose another file", path.display()))?;
    let culprits = Sink::open(&culprits_beside(races), config.races_limit)?;
    Ok(Some(Watch { watcher: Arc::new(watcher), made, culprits }))
}

/// Where direct reads and writes are in flight, where there is a direct disk.
fn io_queues(config: &Config, disks: &[Disk]) -> IoQueues {
    if !disks.iter().any(Disk::is_direct) {
        return IoQueues::none();
    }
    IoQueues::open((Kind::of(config.device).request_queues)(config.queues))
}

/// A trap for every disk; all of them write to one ledger and draw their faults from one place.
fn trap_all(
    config: &Config,
    disks: Vec<Disk>,
    sink: Sink,
    watch: Option<&Watch>,
) -> (Arc<Ledger>, Vec<Arc<Trap>>) {
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    let ledger = Ledger::new(config.device.name(), disks.len(), clock, sink);
    let ledger = Arc::new(ledger.with_watcher(watch.map(|watch| Arc::clone(&watch.watcher))));
    let faults = Arc::new(Faults::new(config.seed, Arc::clone(&ledger)));
    let trap = |(disk, unit)| {
        let options = TrapOptions { on_race: config.on_race, audit: config.audit, unit };
        let trap = Trap::new(disk, Arc::clone(&ledger), Arc::clone(&faults), options);
        Arc::new(trap.without_checks(config.unchecked))
    };
    let traps = disks.into_iter().zip(0u16..).map(trap).collect();
    (ledger, traps)
}

/// The names of a disk in its guest: the same at every start, and no other disk's. They follow from
/// where the disk is, however the path is spelt; a memory disk's from the socket that it is behind.
fn identity(socket: &SocketSpec, spec: &DiskSpec) -> UnitIdentity {
    let path = match (&spec.file, socket) {
        (Some(file), _) => file.canonicalize().ok(),
        (None, SocketSpec::Path(socket)) => std::path::absolute(socket).ok(),
        (None, SocketSpec::Fd(_)) => None,
    };
    let name = path.map_or_else(|| name_of(spec), |path| path.display().to_string());
    UnitIdentity::of(&name)
}

/// Serves `device` until told to stop, and closes in order. Threads start after the sandbox, and are inside.
fn serve<D: Device>(
    config: &Config,
    device: Arc<D>,
    backend: Backend,
    entries: Entries<'_>,
) -> anyhow::Result<()> {
    let Backend { ledger, io, traps } = backend;
    // The janitor goes first, while the sockets that it removes are still ours: no other daemon takes them
    // for stale ones, and makes its own there.
    let Entries {
        endpoint,
        relay,
        control,
        descriptors,
        signals,
        records,
        culprits,
        messages,
        made,
        janitor,
    } = entries;
    let _janitor = janitor;
    if config.sandbox {
        // Before any thread, which would stay outside.
        sandbox::enter(Needs { uring: io.has_engines() })?;
    }
    // From here on nothing can be removed any more.
    made.keep();
    messages.begin().context("cannot start the thread that writes messages")?;
    begin_records(config, &ledger, &records, culprits.as_ref())?;
    let windows = Arc::new(WindowControl::new(config.window, config.seed, config.poll));
    let server = Server::new(device, Arc::clone(&ledger), io, windows)?;
    let server = Arc::new(match relay {
        Some((listener, connector)) => server.with_relay(listener, connector),
        None => server,
    });
    server.resume(traps.first().and_then(|trap| trap.note()).unwrap_or_default());
    let handler = control_handler(Arc::clone(&ledger), traps.clone(), Arc::clone(&server));
    let _control =
        control.map(|endpoint| ControlServer::start(endpoint, handler, descriptors)).transpose()?;
    ledger.start(start_record(config, &traps));
    watch_growth(&server)?;
    stop_on_signal(signals, Arc::clone(&server))?;
    let served = server.serve(&endpoint, config.exit_on_disconnect);
    if let Some(first) = traps.first() {
        first.leave_note(server.note());
    }
    let closed = traps.iter().map(|trap| trap.close()).fold(Ok(()), Result::and);
    ledger.stop();
    if let (Some(watcher), Some(culprits)) = (ledger.watcher(), &culprits) {
        watcher.drain();
        culprits.close(None);
    }
    served?;
    closed.context("the disk could not be flushed: its last writes may be lost")
}

/// Starts the threads that write records, and find out what stands in them.
fn begin_records(
    config: &Config,
    ledger: &Ledger,
    records: &Sink,
    culprits: Option<&Sink>,
) -> anyhow::Result<()> {
    records.begin()?;
    if config.races.is_some() {
        let begun = ledger.pages().begin();
        begun.context("cannot start the thread that looks for the guest's kernel")?;
    }
    if let (Some(watcher), Some(culprits)) = (ledger.watcher(), culprits) {
        culprits.begin()?;
        watch::begin(watcher, ledger.pages(), culprits.clone())
            .context("cannot start the thread that looks into races")?;
    }
    Ok(())
}

/// Takes as many descriptors as there may be, and tells how many. A front end can make us hold thousands: one for each
/// memory region that a request in flight lies in. The usual soft limit of 1024 is for select(2).
fn allow_descriptors() -> u64 {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        log::warn!("the limit on open files cannot be raised: {errno}");
    }
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
}

fn listen(config: &Config) -> anyhow::Result<Endpoint> {
    Ok(match &config.socket {
        SocketSpec::Path(path) => Endpoint::bind(path, config.socket_mode)?,
        SocketSpec::Fd(fd) => Endpoint::from_fd(*fd)?,
    })
}

/// Where the relay connects. Without one a daemon serves as well, and a kill loses what is in flight.
fn private_socket() -> Option<Private> {
    let made = Private::make();
    let advice = "front ends are not offered an in-flight region";
    made.inspect_err(|error| log::warn!("{advice}: no private socket in TMPDIR: {error}")).ok()
}

/// The janitor, and what it is the porter of.
type Guarded = (Option<Janitor>, Option<(UnixListener, Connector)>);

/// Has the paths of these sockets removed at the end, and the private one connected to: nobody inside of
/// the sandbox can.
fn guarded<const N: usize>(
    sockets: [Option<&mut Endpoint>; N],
    private: Option<Private>,
) -> anyhow::Result<Guarded> {
    let paths: Vec<_> = sockets.into_iter().flatten().filter_map(Endpoint::take_path).collect();
    if paths.is_empty() && private.is_none() {
        return Ok((None, None));
    }
    let folders: Vec<_> = paths.iter().map(SocketPath::folder).collect();
    let door = private.as_ref().map(|private| &private.door as &dyn Door);
    let janitor = Janitor::hire(&folders, door, move || drop(paths))
        .context("no process for what the sandbox forbids: try --no-sandbox")?;
    let relay = match private {
        Some(private) => Some((private.listener, Connector::Janitor(janitor.porter()?))),
        None => None,
    };
    Ok((Some(janitor), relay))
}

fn start_record(config: &Config, traps: &[Arc<Trap>]) -> Start {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let names: Vec<String> = config.disks.iter().map(name_of).collect();
    let geometry = traps.first().map(|trap| trap.geometry());
    Start {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        device: config.device.name().to_owned(),
        disk: names.first().cloned().unwrap_or_default(),
        luns: if config.device.most_disks() > 1 { names } else { Vec::new() },
        block_size: geometry.map_or(BlockSize::B512, |geometry| geometry.block_size),
        pi_type: geometry.map_or(0, |geometry| geometry.pi_type.number()),
        window: config.window,
        seed: config.seed,
        on_race: config.on_race,
        unchecked: config.unchecked,
        features: (Kind::of(config.device).features)(geometry.is_some_and(|g| g.read_only)),
        unix_ms: since_1970.as_millis().try_into().unwrap_or(u64::MAX),
    }
}

/// What a disk is called in records.
fn name_of(spec: &DiskSpec) -> String {
    spec.file.as_ref().map_or("memory".to_owned(), |path| path.display().to_string())
}

/// How often images are looked at.
const GROWTH_INTERVAL: Duration = Duration::from_millis(500);

/// A thread that notices images that grow, for as long as the server lives.
fn watch_growth<D: Device>(server: &Arc<Server<D>>) -> anyhow::Result<()> {
    let server = Arc::downgrade(server);
    std::thread::Builder::new()
        .name("growth".to_owned())
        .spawn(move || {
            sandbox::confine(Thread::Growth);
            while let Some(server) = server.upgrade() {
                server.notice_growth();
                drop(server);
                std::thread::sleep(GROWTH_INTERVAL);
            }
        })
        .context("cannot start the thread that watches the images")?;
    Ok(())
}

/// A thread that turns SIGTERM and SIGINT into an orderly end.
fn stop_on_signal<D: Device>(mut signals: Signals, server: Arc<Server<D>>) -> anyhow::Result<()> {
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            sandbox::confine(Thread::Signals);
            for signal in signals.forever() {
                log::info!("signal {signal}: draining");
                server.stop();
            }
        })
        .context("cannot start the thread that waits for signals")?;
    Ok(())
}
