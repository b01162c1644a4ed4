//! Pages of the guest's memory that is in force, and the kernel they belong to.
//!
//! A kernel is looked for by a thread of its own: that takes a moment, and no request waits for it. It begins
//! when a front end hands its memory over, which Linux's drivers bring about when they start, and again with
//! races whose pages cannot be looked up.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use vm_memory::GuestMemoryMmap;

use super::kernel::Kernel;
use super::page;
use super::program;
use crate::memory::MemoryMap;
use crate::record::Page;
use crate::sandbox::{Thread, confine};

/// How often a kernel is looked for in one memory: a guest may have none that can be read.
const TRIES: u32 = 4;

/// Looks pages up, once [`Pages::begin`] was called.
#[derive(Debug, Default)]
pub struct Pages {
    known: Arc<Mutex<Known>>,
    wanted: Mutex<Option<SyncSender<MemoryMap>>>,
}

#[derive(Debug, Default)]
struct Known {
    /// Weak: it must not keep memory alive that its front end took back.
    memory: Weak<GuestMemoryMmap<()>>,
    kernel: Option<Arc<Kernel>>,
    tries: u32,
}

impl Pages {
    /// Starts the thread that looks for kernels. It ends when this goes.
    ///
    /// # Errors
    /// There can be no such thread.
    pub fn begin(&self) -> io::Result<()> {
        // One that waits is enough: who finds no room asks again.
        let (wanted, wishes) = sync_channel(1);
        let known = Arc::clone(&self.known);
        thread::Builder::new().name("explain".to_owned()).spawn(move || {
            confine(Thread::Explain);
            search(&wishes, &known);
        })?;
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(wanted);
        Ok(())
    }

    /// Has a kernel looked for in a memory that comes into force.
    pub fn meet(&self, memory: &MemoryMap) {
        if let Some(wanted) = &*self.wanted.lock().unwrap_or_else(PoisonError::into_inner) {
            // No room: it is looked for with the first race.
            let _ = wanted.try_send(Arc::clone(memory));
        }
    }

    /// The kernel of this memory, where it was found and still runs; else it is looked for.
    pub fn kernel(&self, memory: &MemoryMap) -> Option<Found> {
        let (kernel, is_tried) = {
            let known = lock(&self.known);
            let is_same = known.is_of(memory);
            (known.kernel.clone().filter(|_| is_same), is_same && known.tries >= TRIES)
        };
        let there = kernel.filter(|kernel| kernel.is_there(memory));
        if there.is_none() && !is_tried {
            self.meet(memory);
        }
        there.map(Found)
    }
}

impl Known {
    fn is_of(&self, memory: &MemoryMap) -> bool {
        std::ptr::eq(self.memory.as_ptr(), Arc::as_ptr(memory))
    }
}

/// A kernel that was there a moment ago.
#[derive(Debug, Clone)]
pub struct Found(Arc<Kernel>);

impl Found {
    /// Whether both are the same one.
    pub fn is(&self, other: &Found) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The file whose page has this guest-physical address, and which byte of it that is.
    pub fn file(&self, memory: &MemoryMap, address: u64) -> Option<(String, u64)> {
        program::file_at(&self.0, memory, address)
    }

    /// The page that has this guest-physical address.
    pub fn page(&self, memory: &MemoryMap, address: u64) -> Option<Page> {
        page::read(&self.0, memory, address)
    }
}

/// Looks for kernels until nobody can wish for one any more.
fn search(wishes: &Receiver<MemoryMap>, known: &Mutex<Known>) {
    for memory in wishes {
        {
            let mut known = lock(known);
            if !known.is_of(&memory) {
                *known = Known { memory: Arc::downgrade(&memory), ..Known::default() };
            }
            let lives = known.kernel.as_ref().is_some_and(|kernel| kernel.is_there(&memory));
            if lives || known.tries >= TRIES {
                continue;
            }
            known.tries += 1;
        }
        let kernel = Kernel::learn(&memory).map(Arc::new);
        log::debug!(
            "the guest's kernel was {}",
            if kernel.is_some() { "found" } else { "not found" }
        );
        let mut known = lock(known);
        if known.is_of(&memory) {
            known.kernel = kernel;
        }
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
