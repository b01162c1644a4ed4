//! What a kernel's addresses mean: symbols, modules, callers; and where it keeps its tasks.

use super::btf::Btf;
use super::kernel::Living;
use super::modules::{Layout as ModuleLayout, Module};
use super::orc::{Copied, Format, Place, Table, Unwound};
use super::physical::Physical;
use super::symbols::Symbols;
use super::tables::Space;

/// `THREAD_SIZE` of x86-64, and what it may be (with KASAN).
const STACK_BYTES: u64 = 16 << 10;
/// Where physical memory is mapped where its place is not drawn by lot, with four and with five levels.
const DIRECT: [u64; 2] = [0xffff_8880_0000_0000, 0xff11_0000_0000_0000];
/// The most CPUs whose tasks are looked up.
const CPUS: u64 = 64;

/// A kernel whose addresses can be told.
#[derive(Debug)]
pub struct Tracer {
    space: Space,
    symbols: Symbols,
    unwinding: Option<Unwinding>,
    modules: Vec<Module>,
    module_list: Option<(u64, ModuleLayout)>,
    tasks: Option<Tasks>,
}

#[derive(Debug)]
struct Unwinding {
    format: Format,
    table: Table,
}

/// Where a kernel has its tasks: addresses are guest-virtual unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tasks {
    /// Where physical memory is mapped as a whole.
    pub direct: u64,
    /// The guest-physical address of the top page table.
    pub root: u64,
    /// The levels of page tables.
    pub levels: u32,
    /// Offsets in `struct task_struct`: the thread's number.
    pub tid: u64,
    /// The process's.
    pub pid: u64,
    /// The thread's name.
    pub comm: u64,
    /// Its kernel stack.
    pub stack: u64,
    /// How large that is.
    pub stack_bytes: u64,
    /// By CPU, the guest-physical address of the pointer to the task that runs.
    pub current: Vec<Option<u64>>,
}

/// An instruction, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// `ext4_inode_csum_set+0x7b`.
    pub symbol: String,
    /// The module that it is in.
    pub module: Option<String>,
}

impl Tracer {
    /// Learns all that is needed of the kernel that runs; `None` where it has no symbols that can be read.
    pub fn learn(memory: &dyn Physical) -> Option<Tracer> {
        let living = Living::find(memory)?;
        let Living { info, space, types, .. } = &living;
        let symbols = Symbols::of_kernel(memory, space, info)?;
        let unwinding = Unwinding::of(memory, space, &symbols, types);
        let layout = Format::entry_bytes(types).and_then(|bytes| ModuleLayout::of(types, bytes));
        let tasks = Tasks::of(memory, space, &symbols, types);
        let module_list = symbols.address("modules").zip(layout);
        log::debug!(
            "{} symbols, {}, {}",
            symbols.len(),
            if unwinding.is_some() { "stacks can be unwound" } else { "stacks cannot be unwound" },
            if tasks.is_some() { "tasks are known" } else { "tasks are not known" },
        );
        let mut tracer =
            Tracer { space: *space, symbols, unwinding, modules: Vec::new(), module_list, tasks };
        tracer.look_for_modules(memory);
        Some(tracer)
    }

    /// Where the kernel has its tasks.
    pub fn tasks(&self) -> Option<&Tasks> {
        self.tasks.as_ref()
    }

    /// Learns of modules that came since, where an address is in none that is known.
    pub fn meet(&mut self, memory: &dyn Physical, address: u64) {
        let is_known = self.module_of(address).is_some() || self.symbols.has(address);
        if !is_known {
            self.look_for_modules(memory);
        }
    }

    fn look_for_modules(&mut self, memory: &dyn Physical) {
        let Some((head, layout)) = &self.module_list else { return };
        let known = &self.modules;
        let is_known = |base: u64, name: &str| {
            known.iter().any(|module| module.code.start == base && module.name == name)
        };
        let new = layout.read_new(memory, &self.space, *head, is_known);
        for module in new {
            // Its place may have been another one's.
            self.modules.retain(|old| {
                old.code.end <= module.code.start || module.code.end <= old.code.start
            });
            self.modules.push(module);
        }
    }

    fn module_of(&self, address: u64) -> Option<&Module> {
        self.modules.iter().find(|module| module.code.contains(&address))
    }

    /// The name of an instruction.
    pub fn name(&self, address: u64) -> Option<Named> {
        let module = self.module_of(address);
        let symbols = module.map_or(&self.symbols, |module| &module.symbols);
        let (function, by) = symbols.function(address)?;
        Some(Named {
            symbol: format!("{function}+{by:#x}"),
            module: module.map(|module| module.name.clone()),
        })
    }

    /// The callers of an instruction, by its stack; `None` where this kernel's stacks cannot be unwound.
    pub fn unwind(&self, copied: &Copied<'_>) -> Option<Unwound> {
        let unwinding = self.unwinding.as_ref()?;
        let find = |address: u64| match self.module_of(address) {
            Some(module) => module.orc.as_ref(),
            None => Some(&unwinding.table),
        };
        Some(unwinding.format.unwind(copied, find))
    }
}

impl Unwinding {
    fn of(
        memory: &dyn Physical,
        space: &Space,
        symbols: &Symbols,
        types: &Btf,
    ) -> Option<Unwinding> {
        let bytes = Format::entry_bytes(types)?;
        let starts = symbols.address("__start_orc_unwind_ip")?;
        let count = symbols.address("__stop_orc_unwind_ip")?.checked_sub(starts)? / 4;
        let place = Place { starts, entries: symbols.address("__start_orc_unwind")?, count };
        let table = Table::read(memory, space, place, bytes)?;
        Some(Unwinding { format: Format::of(types, &table)?, table })
    }
}

impl Tasks {
    fn of(memory: &dyn Physical, space: &Space, symbols: &Symbols, types: &Btf) -> Option<Tasks> {
        let task = |member: &str| types.offset("task_struct", member);
        let direct = match symbols.address("page_offset_base") {
            Some(at) => space.number(memory, at, 8)?,
            None => *DIRECT.get(usize::from(space.levels == 5))?,
        };
        let pointer = match (symbols.address("pcpu_hot"), types.offset("pcpu_hot", "current_task"))
        {
            (Some(at), Some(by)) => at.checked_add(by)?,
            _ => symbols.address("current_task")?,
        };
        let offsets = symbols.address("__per_cpu_offset")?;
        let current = |cpu: u64| {
            let offset = space.number(memory, offsets.checked_add(cpu * 8)?, 8)?;
            space.translate(memory, pointer.wrapping_add(offset))
        };
        Some(Tasks {
            direct,
            root: space.root,
            levels: space.levels,
            tid: task("pid")?,
            pid: task("tgid")?,
            comm: task("comm")?,
            stack: task("stack")?,
            stack_bytes: stack_bytes(symbols),
            current: (0..CPUS).map(current).collect(),
        })
    }
}

/// How large a kernel stack is: as large as that of the first task, which the linker made room for.
fn stack_bytes(symbols: &Symbols) -> u64 {
    let pairs =
        [("__start_init_task", "__end_init_task"), ("__start_init_stack", "__end_init_stack")];
    let size =
        |(start, end): &(&str, &str)| symbols.address(end)?.checked_sub(symbols.address(start)?);
    let is_fit = |size: &u64| size.is_power_of_two() && (8 << 10..=64 << 10).contains(size);
    pairs.iter().find_map(size).filter(is_fit).unwrap_or(STACK_BYTES)
}
