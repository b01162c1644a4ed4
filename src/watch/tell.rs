//! A store in the words of a record.

use super::layout::{ASIDE, REGISTERS, Store, TASK};
use super::ram::RamFile;
use super::shared::Shared;
use crate::explain::{Copied, Found, Physical, Tracer};
use crate::memory::MemoryMap;
use crate::record::{Side, StackBy, StoreSeen};

/// Who may know what a store means.
#[derive(Debug)]
pub struct Teller<'a> {
    /// Where stacks are.
    pub shared: &'a Shared,
    /// Where the guest's RAM is.
    pub ram: &'a RamFile,
    /// The guest's memory.
    pub memory: &'a MemoryMap,
    /// The kernel's pages.
    pub pages: Option<&'a Found>,
    /// Its addresses.
    pub tracer: Option<&'a mut Tracer>,
}

impl Teller<'_> {
    /// Tells of a store to `run` bytes at `offset`, made `after` the doorbell.
    pub fn tell(
        &mut self,
        store: &Store,
        run: std::ops::Range<usize>,
        rung: u64,
        certain: bool,
    ) -> StoreSeen {
        let is_task = store.flags & TASK != 0 && store.flags & ASIDE == 0;
        let (tid, pid) = (store.ids & 0xffff_ffff, store.ids >> 32);
        let number = |number: u64| u32::try_from(number).ok().filter(|_| is_task);
        let mut seen = StoreSeen {
            offset: run.start,
            length: run.len(),
            side: if store.is_kernel() { Side::Kernel } else { Side::User },
            symbol: None,
            module: None,
            path: None,
            file_offset: None,
            source: None,
            cpu: store.cpu,
            pid: number(pid),
            tid: number(tid),
            comm: is_task.then(|| comm_of(store)),
            after_doorbell_us: store.last.saturating_sub(rung) as f64 / 1000.0,
            certain,
            stack: Vec::new(),
            stack_by: StackBy::None,
        };
        if store.is_kernel() {
            self.add_symbol(&mut seen, store.code);
            self.add_stack(&mut seen, store);
        } else if let Some((path, byte)) = self.file_of(store) {
            (seen.path, seen.file_offset) = (Some(path), Some(byte));
        }
        seen
    }

    fn add_symbol(&mut self, seen: &mut StoreSeen, code: u64) {
        let memory: &dyn Physical = self.memory;
        let named = self.tracer.as_deref_mut().and_then(|tracer| {
            tracer.meet(memory, code);
            tracer.name(code)
        });
        match named {
            Some(named) => (seen.symbol, seen.module) = (Some(named.symbol), named.module),
            None => seen.symbol = Some(format!("{code:#x}")),
        }
    }

    /// Unwinds the stack that the plugin copied, if it is still there.
    fn add_stack(&mut self, seen: &mut StoreSeen, store: &Store) {
        let Some(tracer) = self.tracer.as_deref_mut().filter(|_| store.flags & REGISTERS != 0)
        else {
            return;
        };
        let cpu = usize::try_from(store.cpu).unwrap_or(usize::MAX);
        let copied =
            store.stack.checked_sub(1).and_then(|name| self.shared.stack(cpu, name)?.read(name));
        let Some((at, words)) = copied else { return };
        let copied = Copied { ip: store.code, sp: store.rsp, bp: store.rbp, at, words: &words };
        let Some(unwound) = tracer.unwind(&copied) else { return };
        seen.stack_by = StackBy::Orc;
        seen.stack = unwound
            .callers
            .iter()
            .map(|caller| match tracer.name(*caller) {
                Some(named) => match named.module {
                    Some(module) => format!("{} [{module}]", named.symbol),
                    None => named.symbol,
                },
                None => format!("{caller:#x}"),
            })
            .collect();
    }

    fn file_of(&self, store: &Store) -> Option<(String, u64)> {
        let address = self.ram.address(store.code.checked_sub(1)?)?;
        self.pages?.file(self.memory, address)
    }
}

/// A thread's name, as the guest spells it.
fn comm_of(store: &Store) -> String {
    let bytes = store.comm.map(u64::to_le_bytes);
    let text: Vec<u8> = bytes.concat().into_iter().take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&text).into_owned()
}
