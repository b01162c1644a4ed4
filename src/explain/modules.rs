//! The modules of a kernel: their names, symbols and unwind tables, out of its list of them.

use super::btf::Btf;
use super::orc::{Place, Table};
use super::physical::Physical;
use super::symbols::Symbols;
use super::tables::Space;

/// The most modules, and the most symbols of one, that are believed.
const MAX_MODULES: usize = 1024;
const MAX_SYMBOLS: u64 = 1 << 17;
/// The longest name of a module (`MODULE_NAME_LEN`) and of a symbol.
const MAX_NAME: usize = 64;
const MAX_SYMBOL: usize = 512;
/// `Elf64_Sym` (the ELF-64 object file format, §7): name, info, other, section, value, size.
const ELF_SYMBOL: usize = 24;
const FUNCTION: u8 = 2;

/// Where what is asked for stands in `struct module`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    list: u64,
    name: u64,
    base: u64,
    size: (u64, usize),
    symbols: u64,
    symtab: u64,
    symtab_len: u64,
    strtab: u64,
    orcs: u64,
    orc_starts: u64,
    orc_entries: u64,
    orc_bytes: usize,
}

/// A module.
#[derive(Debug)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Where its code is.
    pub code: std::ops::Range<u64>,
    /// The names of its functions.
    pub symbols: Symbols,
    /// How its stacks are unwound.
    pub orc: Option<Table>,
}

impl Layout {
    /// By a kernel's types.
    pub fn of(types: &Btf, orc_bytes: usize) -> Option<Layout> {
        let of = |member: &str| types.offset("module", member);
        let arch =
            |member: &str| of("arch")?.checked_add(types.offset("mod_arch_specific", member)?);
        // Since 6.4 there is a list of memories, of which code is the first.
        let memory = |member: &str| match of("mem") {
            Some(at) => at.checked_add(types.offset("module_memory", member)?),
            None => of("core_layout")?.checked_add(types.offset("module_layout", member)?),
        };
        Some(Layout {
            list: of("list")?,
            name: of("name")?,
            base: memory("base")?,
            size: (memory("size")?, 4),
            symbols: of("kallsyms")?,
            symtab: types.offset("mod_kallsyms", "symtab")?,
            symtab_len: types.offset("mod_kallsyms", "num_symtab")?,
            strtab: types.offset("mod_kallsyms", "strtab")?,
            orcs: arch("num_orcs")?,
            orc_starts: arch("orc_unwind_ip")?,
            orc_entries: arch("orc_unwind")?,
            orc_bytes,
        })
    }

    /// The modules of the list at `head` that are not known yet: those whose place `knows` does not say so of.
    pub fn read_new(
        &self,
        memory: &dyn Physical,
        space: &Space,
        head: u64,
        knows: impl Fn(u64, &str) -> bool,
    ) -> Vec<Module> {
        let mut found = Vec::new();
        let mut at = space.number(memory, head, 8);
        for _ in 0..MAX_MODULES {
            let Some(link) = at.filter(|link| *link != head && *link != 0) else { break };
            let module = link.wrapping_sub(self.list);
            found.extend(self.read(memory, space, module, &knows));
            at = space.number(memory, link, 8);
        }
        found
    }

    fn read(
        &self,
        memory: &dyn Physical,
        space: &Space,
        module: u64,
        knows: &impl Fn(u64, &str) -> bool,
    ) -> Option<Module> {
        let number =
            |offset: u64, bytes: usize| space.number(memory, module.checked_add(offset)?, bytes);
        let name = space.text(memory, module.checked_add(self.name)?, MAX_NAME)?;
        let name = String::from_utf8(name)
            .ok()
            .filter(|name| name.chars().all(|c| c.is_ascii_graphic()))?;
        let (base, size) = (number(self.base, 8)?, number(self.size.0, self.size.1)?);
        if knows(base, &name) {
            return None;
        }
        let code = base..base.checked_add(size)?;
        let symbols =
            self.symbols(memory, space, number(self.symbols, 8)?, &code).unwrap_or_default();
        let place = Place {
            starts: number(self.orc_starts, 8)?,
            entries: number(self.orc_entries, 8)?,
            count: number(self.orcs, 4)?,
        };
        let orc = Table::read(memory, space, place, self.orc_bytes);
        Some(Module { name, code, symbols, orc })
    }

    fn symbols(
        &self,
        memory: &dyn Physical,
        space: &Space,
        at: u64,
        code: &std::ops::Range<u64>,
    ) -> Option<Symbols> {
        let number =
            |offset: u64, bytes: usize| space.number(memory, at.checked_add(offset)?, bytes);
        let (table, names) = (number(self.symtab, 8)?, number(self.strtab, 8)?);
        let count = usize::try_from(number(self.symtab_len, 4)?.min(MAX_SYMBOLS)).ok()?;
        let mut raw = vec![0; count.checked_mul(ELF_SYMBOL)?];
        space.read(memory, table, &mut raw)?;
        let mut symbols = Symbols::default();
        for symbol in raw.as_chunks::<ELF_SYMBOL>().0 {
            let [n0, n1, n2, n3, info, _, section @ .., _, _, _, _, _, _, _, _] = symbol;
            let [s0, s1, value @ ..] = section;
            let value = u64::from_le_bytes(*value);
            // The kernel writes the letter of nm over the type of some: code is told by its place.
            let is_code =
                (*info == b't' || *info == b'T' || info & 0xf == FUNCTION || info & 0xf == 0)
                    && (*s0, *s1) != (0, 0)
                    && code.contains(&value);
            if is_code {
                let name = names.checked_add(u32::from_le_bytes([*n0, *n1, *n2, *n3]).into())?;
                let name = space.text(memory, name, MAX_SYMBOL).filter(|name| !name.is_empty());
                if let Some(name) = name {
                    symbols.add(value, &[b"t", &name[..]].concat());
                }
            }
        }
        symbols.sort();
        Some(symbols)
    }
}
