//! Who is connected to the control socket. Where there is no room left, idle clients give way.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Everybody who is connected.
#[derive(Debug)]
pub(super) struct Clients {
    most: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Counts arrivals and requests: what is less was before.
    turn: u64,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    stream: Arc<UnixStream>,
    /// When it asked something last; 0: never.
    asked: u64,
    /// Its request is being carried out: then it stays.
    at_work: bool,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    stream: Arc<UnixStream>,
    clients: Arc<Clients>,
}

impl Clients {
    /// Room for so many.
    pub(super) fn new(most: usize) -> Arc<Clients> {
        Arc::new(Clients { most: most.max(1), table: Mutex::default() })
    }

    /// Lets one in. Gives the stream back where all the others are at work.
    pub(super) fn enter(self: &Arc<Self>, stream: UnixStream) -> Result<Place, UnixStream> {
        let mut table = self.lock();
        if table.entries.len() >= self.most && !table.make_room() {
            return Err(stream);
        }
        let (id, stream) = (table.next_turn(), Arc::new(stream));
        table.entries.push(Entry { id, stream: Arc::clone(&stream), asked: 0, at_work: false });
        Ok(Place { id, stream, clients: Arc::clone(self) })
    }

    /// Ends the connection of one that is idle, if there is one: its descriptor will be free soon.
    pub(super) fn make_room(&self) -> bool {
        self.lock().make_room()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn next_turn(&mut self) -> u64 {
        self.turn = self.turn.wrapping_add(1);
        self.turn
    }

    /// Those that never asked go first, and then those that have been idle for longest.
    fn make_room(&mut self) -> bool {
        let idle = self.entries.iter().enumerate().filter(|(_, entry)| !entry.at_work);
        let Some((at, _)) = idle.min_by_key(|(_, entry)| (entry.asked, entry.id)) else {
            return false;
        };
        let gone = self.entries.swap_remove(at);
        log::info!("an idle control client gave way to another one");
        // It may be gone already.
        let _ = gone.stream.shutdown(Shutdown::Both);
        true
    }
}

impl Place {
    /// The connection that the client is served over.
    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Does something for it, which nobody interrupts.
    pub(super) fn work<T>(&self, work: impl FnOnce() -> T) -> T {
        self.set(true);
        let done = work();
        self.set(false);
        done
    }

    fn set(&self, at_work: bool) {
        let mut table = self.clients.lock();
        let asked = table.next_turn();
        if let Some(entry) = table.entries.iter_mut().find(|entry| entry.id == self.id) {
            (entry.at_work, entry.asked) = (at_work, asked);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.lock().entries.retain(|entry| entry.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn ended(mut far: &UnixStream) -> bool {
        far.set_nonblocking(true).unwrap();
        matches!(far.read(&mut [0]), Ok(0))
    }

    #[test]
    fn who_never_asked_gives_way_first_and_who_is_at_work_never() {
        let clients = Clients::new(3);
        let enter = || {
            let (near, far) = UnixStream::pair().unwrap();
            (clients.enter(near), far)
        };
        let (worker, worker_far) = enter();
        let (asker, asker_far) = enter();
        let (silent, silent_far) = enter();
        let (worker, asker) = (worker.unwrap(), asker.unwrap());
        asker.work(|| ());
        worker.work(|| {
            let (second, second_far) = enter();
            assert!(ended(&silent_far) && !ended(&asker_far));
            second.as_ref().unwrap().work(|| ());
            let (third, third_far) = enter();
            assert!(ended(&asker_far) && !ended(&second_far));
            second.unwrap().work(|| {
                third.unwrap().work(|| {
                    let (fourth, _far) = enter();
                    assert!(fourth.is_err(), "all the others are at work");
                });
            });
            assert!(!ended(&third_far) || !ended(&worker_far));
        });
        assert!(!ended(&worker_far));
        drop(silent);
    }
}
