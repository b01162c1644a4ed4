//! The agent: finds its virtio-serial port and does what the host asks for.

mod channel;
mod exec;
mod orphans;
mod output;
mod watched;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::reboot::RebootMode;
use nix::sys::utsname::uname;

use super::fresh::{self, Baseline, Swept};
use super::init;
use super::protocol::{Envelope, MAX_LINE, PORT_NAME, Reply, Request};
use exec::{Wishes, Work};
use orphans::Orphans;

/// How long the port may take to show up after the modules are loaded.
const PORT_LIMIT: Duration = Duration::from_secs(10);

/// Serves the host until the guest ends.
///
/// # Errors
/// When there is no port, or it cannot be used.
pub fn run() -> io::Result<()> {
    let path = wait_for_port()?;
    let port = OpenOptions::new().read(true).write(true).open(path)?;
    let mut reader = BufReader::new(port.try_clone()?);
    let answers = Answers::new(port, Orphans::take()?);
    loop {
        if serve(&mut reader, &answers)? == 0 {
            // The host is not connected, or no longer: wait for the next one.
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Reads a request and sees to it; 0 at the end of the stream.
fn serve(reader: &mut impl BufRead, answers: &Answers) -> io::Result<usize> {
    let mut line = Vec::new();
    let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
    let count = reader.by_ref().take(limit).read_until(b'\n', &mut line)?;
    if count == 0 {
        return Ok(0);
    }
    match serde_json::from_slice::<Envelope<Request>>(&line) {
        Ok(request) => answer(request, answers),
        // Without an id the answer can be for no one in particular.
        Err(error) => answers.send(0, Reply::Error { message: format!("not a request: {error}") }),
    }
    Ok(count)
}

fn answer(request: Envelope<Request>, answers: &Answers) {
    let id = request.id;
    match request.body {
        Request::Hello => answers.send(id, hello()),
        Request::Exec { argv, env, timeout_ms, watch } => {
            let work = Work { argv, env, timeout_ms, watch: watch.map(PathBuf::from) };
            let (answers, wishes) = (answers.clone(), answers.running.add(id));
            thread::spawn(move || {
                exec::run(work, &wishes, &answers.orphans, &|reply| answers.send(id, reply));
                answers.running.remove(id);
            });
        }
        Request::Terminate { exec } => {
            answers.running.wish(exec, |wishes| wishes.terminate.store(true, Ordering::Relaxed));
            answers.send(id, Reply::Done);
        }
        Request::Heard { exec } => {
            answers.running.wish(exec, |wishes| {
                wishes.heard.fetch_add(1, Ordering::Relaxed);
            });
            answers.send(id, Reply::Done);
        }
        Request::Reset { disk } => {
            let answers = answers.clone();
            // On a thread of its own: what a stuck disk holds up must not hold up everything.
            thread::spawn(move || answers.send(id, answers.reset(Path::new(&disk))));
        }
        Request::ReadFile { path } => answers.send(id, read_file(Path::new(&path))),
        Request::PowerOff => {
            answers.send(id, Reply::Done);
            init::end(RebootMode::RB_POWER_OFF);
        }
        Request::Reboot => {
            answers.send(id, Reply::Done);
            init::end(RebootMode::RB_AUTOBOOT);
        }
    }
}

fn read_file(path: &Path) -> Reply {
    match fs::read(path) {
        Ok(bytes) => Reply::File { text: String::from_utf8_lossy(&bytes).into_owned() },
        Err(error) => Reply::Error { message: format!("cannot read {}: {error}", path.display()) },
    }
}

fn hello() -> Reply {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned());
    Reply::Hello { release: release.unwrap_or_default(), drivers: drivers() }
}

/// The drivers that the kernel has: those on the virtio and SCSI buses, block majors and file systems.
fn drivers() -> Vec<String> {
    let mut names = Vec::new();
    for bus in ["/sys/bus/virtio/drivers", "/sys/bus/scsi/drivers", "/sys/module"] {
        let entries = fs::read_dir(bus).into_iter().flatten().flatten();
        names.extend(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    }
    for list in ["/proc/filesystems", "/proc/devices"] {
        let text = fs::read_to_string(list).unwrap_or_default();
        names.extend(
            text.lines().filter_map(|line| line.split_whitespace().last()).map(String::from),
        );
    }
    names.sort();
    names.dedup();
    names
}

fn wait_for_port() -> io::Result<PathBuf> {
    let started = Instant::now();
    loop {
        if let Some(path) = find_port(Path::new("/sys/class/virtio-ports")) {
            return Ok(path);
        }
        if started.elapsed() > PORT_LIMIT {
            let message =
                format!("there is no virtio-serial port {PORT_NAME} (driver virtio_console)");
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The device of the port with our name, where it is there.
fn find_port(class: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(class).ok()?.flatten();
    let named = |dir: &Path| {
        fs::read_to_string(dir.join("name")).is_ok_and(|name| name.trim() == PORT_NAME)
    };
    let mut ports = entries.filter(|entry| named(&entry.path()));
    let device = Path::new("/dev").join(ports.next()?.file_name());
    device.exists().then_some(device)
}

/// The programs that run, by the ids of their requests, each with what the host wishes of it.
#[derive(Debug, Clone, Default)]
struct Running(Arc<Mutex<BTreeMap<u64, Arc<Wishes>>>>);

impl Running {
    fn add(&self, id: u64) -> Arc<Wishes> {
        let wishes = Arc::<Wishes>::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&wishes));
        wishes
    }

    fn remove(&self, id: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn wish(&self, id: u64, wish: impl FnOnce(&Wishes)) {
        if let Some(wishes) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            wish(wishes);
        }
    }
}

/// Where replies go; each as one whole line, from whatever thread.
#[derive(Debug, Clone)]
struct Answers {
    port: Arc<Mutex<File>>,
    running: Running,
    orphans: Arc<Orphans>,
    /// What the guest was like before its first cell.
    baseline: Arc<Mutex<Option<Baseline>>>,
}

impl Answers {
    fn new(port: File, orphans: Orphans) -> Answers {
        let port = Arc::new(Mutex::new(port));
        let (running, orphans) = (Running::default(), Arc::new(orphans));
        Answers { port, running, orphans, baseline: Arc::default() }
    }

    fn reset(&self, disk: &Path) -> Reply {
        if !fresh::is_ours() {
            let message = "only a guest that dixtrap has booted is put back to its beginning";
            return Reply::Error { message: message.to_owned() };
        }
        self.orphans.end();
        let mut baseline = self.baseline.lock().unwrap_or_else(PoisonError::into_inner);
        let swept = match &*baseline {
            Some(known) => known.restore(),
            None => Swept::default(),
        };
        baseline.get_or_insert_with(|| Baseline::of(disk));
        Reply::Reset { undone: swept.undone, left: swept.left, taint: fresh::taint() }
    }

    fn send(&self, id: u64, body: Reply) {
        let Ok(mut line) = serde_json::to_vec(&Envelope { id, body }) else { return };
        line.push(b'\n');
        let mut port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = port.write_all(&line) {
            eprintln!("dixtrap-guest: cannot answer the host: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Serves `input` and returns the lines that were answered.
    fn served(input: &[u8]) -> Vec<Envelope<Reply>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let answers = Answers::new(file.reopen().unwrap(), Orphans::default());
        let mut reader = BufReader::new(input);
        while serve(&mut reader, &answers).unwrap() > 0 {}
        let text = fs::read_to_string(file.path()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn rubbish_is_answered_and_survived() {
        let replies = served(b"rubbish\n{\"id\":7,\"op\":\"hello\"}\n");
        assert!(matches!(&replies[0], Envelope { id: 0, body: Reply::Error { .. } }));
        let Envelope { id: 7, body: Reply::Hello { release, drivers } } = &replies[1] else {
            panic!("{replies:?}")
        };
        assert!(!release.is_empty() && drivers.iter().any(|name| name == "proc"));
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let replies = served(b"{\"id\":1,\"op\":\"read-file\",\"path\":\"/no/such\"}\n");
        assert!(
            matches!(&replies[0].body, Reply::Error { message } if message.contains("/no/such"))
        );
    }

    #[test]
    fn the_port_is_found_by_name() {
        let class = tempfile::tempdir().unwrap();
        let port = |device: &str, name: &str| {
            let dir = class.path().join(device);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("name"), name).unwrap();
        };
        port("zero", "org.other\n");
        assert_eq!(find_port(class.path()), None);
        // Stands for vport0p1: a device that exists on every machine.
        port("null", "dixtrap.0\n");
        assert_eq!(find_port(class.path()), Some("/dev/null".into()));
        symlink("gone", class.path().join("dangling")).unwrap();
        assert_eq!(find_port(class.path()), Some("/dev/null".into()));
    }
}
