//! `dixtrapd`: the vhost-user back end. Arguments → disk, trap, device → serve.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Parser;
use dixtrap::cli::one_line;
use dixtrap::clock::{Clock, MonotonicClock};
use dixtrap::config::{Args, Config, SocketSpec};
use dixtrap::control::{ControlServer, governor};
use dixtrap::media::Disk;
use dixtrap::proto::blk::{BlkDevice, feature_names};
use dixtrap::record::Start;
use dixtrap::report::Sink;
use dixtrap::sandbox;
use dixtrap::transport::{Endpoint, Pace, Server};
use dixtrap::trap::{Trap, TrapOptions};
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
    env_logger::init();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return refuse(&error),
    };
    if args.print_capabilities {
        println!("{CAPABILITIES}");
        return ExitCode::SUCCESS;
    }
    match Config::try_from(args).map_err(Into::into).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dixtrapd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Arguments that cannot be used, or a question about them.
fn refuse(error: &clap::Error) -> ExitCode {
    match one_line(error) {
        Some(line) => {
            eprintln!("dixtrapd: {line}");
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
fn run(config: Config) -> anyhow::Result<()> {
    let clock = Arc::new(MonotonicClock::new());
    let signals = Signals::new([SIGTERM, SIGINT]).context("cannot watch for signals")?;
    let disk = Disk::open(&config.disk)?;
    let endpoint = listen(&config)?;
    let sink = match &config.races {
        Some(path) => Sink::open(path)?,
        None => Sink::none(),
    };
    let options = TrapOptions {
        device: "blk",
        on_race: config.on_race,
        audit: config.audit,
        unchecked: config.unchecked,
    };
    let trap = Arc::new(Trap::new(disk, Arc::clone(&clock) as Arc<dyn Clock>, sink, options));
    let device = Arc::new(BlkDevice::new(Arc::clone(&trap), config.queues));
    let pace = Arc::new(Pace::new(config.window, config.seed, config.poll));
    let server = Arc::new(Server::new(device, pace)?);
    let governor = governor(Arc::clone(&trap), Arc::clone(&server));
    let control = config.control.as_deref().map(|path| ControlServer::start(path, governor));
    let _control = control.transpose()?;
    if config.sandbox {
        sandbox::enter(&config).context("cannot enter the sandbox: start without --sandbox")?;
    }

    trap.start(start_record(&config, &trap));
    stop_on_signal(signals, Arc::clone(&server))?;
    let served = server.serve(&endpoint, config.exit_on_disconnect);
    let stopped = trap.stop();
    served?;
    stopped.context("the disk could not be flushed: its last writes may be lost")
}

fn listen(config: &Config) -> anyhow::Result<Endpoint> {
    Ok(match &config.socket {
        SocketSpec::Path(path) => Endpoint::bind(path)?,
        SocketSpec::Fd(fd) => Endpoint::from_fd(*fd)?,
    })
}

fn start_record(config: &Config, trap: &Trap) -> Start {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let disk = config.disk.file.as_ref();
    Start {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        device: "blk".to_owned(),
        disk: disk.map_or("memory".to_owned(), |path| path.display().to_string()),
        block_size: config.disk.block_size,
        pi_type: config.disk.pi_type.number(),
        window: config.window,
        seed: config.seed,
        on_race: config.on_race,
        unchecked: config.unchecked,
        features: feature_names(trap.geometry().read_only),
        unix_ms: since_1970.as_millis().try_into().unwrap_or(u64::MAX),
    }
}

/// A thread that turns SIGTERM and SIGINT into an orderly end.
fn stop_on_signal(mut signals: Signals, server: Arc<Server<BlkDevice>>) -> anyhow::Result<()> {
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                log::info!("signal {signal}: draining");
                server.stop();
            }
        })
        .context("cannot start the thread that waits for signals")?;
    Ok(())
}
