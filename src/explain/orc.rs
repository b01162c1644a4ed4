//! ORC: how a kernel's stack is unwound, by its own tables. Document: Linux, Documentation/arch/x86/orc-unwinder.rst
//! and arch/x86/include/asm/orc_types.h.
//!
//! The numbers of registers and the places of bit fields are no interface: the fields are where the kernel's types
//! have them, and the commonest register is the stack pointer.

use super::btf::Btf;
use super::physical::Physical;
use super::tables::Space;

/// The most entries of one table.
const MAX_ENTRIES: usize = 4 << 20;
/// The most frames of one stack.
const FRAMES: usize = 48;
/// Where a `struct pt_regs` has the instruction and the stack pointer; an interrupt's frame begins with the former.
const REGS_IP: u64 = 128;
const REGS_SP: u64 = 152;
const FRAME_SP: u64 = 24;

/// Where the fields of an entry are, in bits: begin and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fields {
    bytes: usize,
    sp_offset: (u32, u32),
    bp_offset: (u32, u32),
    sp_register: (u32, u32),
    bp_register: (u32, u32),
    kind: (u32, u32),
}

/// The numbers of registers that this kernel uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Numbers {
    sp: u64,
    previous: u64,
    bp: u64,
    sp_indirect: u64,
    bp_indirect: u64,
}

/// One table: of the kernel itself, or of a module.
#[derive(Debug)]
pub struct Table {
    /// The instructions from which on each entry holds, in order.
    starts: Vec<u64>,
    entries: Vec<u8>,
}

/// A table's place: where its instructions and its entries are, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Offsets from where they themselves are.
    pub starts: u64,
    /// What holds from there.
    pub entries: u64,
    /// How many.
    pub count: u64,
}

/// How entries are read.
#[derive(Debug)]
pub struct Format {
    fields: Fields,
    numbers: Numbers,
}

/// A stack that was copied, and the registers that go with it.
#[derive(Debug, Clone, Copy)]
pub struct Copied<'a> {
    /// The instruction.
    pub ip: u64,
    /// The stack pointer.
    pub sp: u64,
    /// The frame pointer's register.
    pub bp: u64,
    /// Where the words come from.
    pub at: u64,
    /// The words.
    pub words: &'a [u64],
}

/// What was unwound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unwound {
    /// Where each caller goes on, the innermost first.
    pub callers: Vec<u64>,
    /// To the stack's end.
    pub is_whole: bool,
}

impl Table {
    /// Reads one.
    pub fn read(
        memory: &dyn Physical,
        space: &Space,
        place: Place,
        format_bytes: usize,
    ) -> Option<Table> {
        let count =
            usize::try_from(place.count).ok().filter(|count| (1..MAX_ENTRIES).contains(count))?;
        let mut raw = vec![0; count * 4];
        space.read(memory, place.starts, &mut raw)?;
        let mut entries = vec![0; count.checked_mul(format_bytes)?];
        space.read(memory, place.entries, &mut entries)?;
        let start = |(index, offset): (usize, &[u8; 4])| {
            let at = place.starts.wrapping_add(index as u64 * 4);
            at.wrapping_add_signed(i32::from_le_bytes(*offset).into())
        };
        let starts: Vec<u64> = raw.as_chunks::<4>().0.iter().enumerate().map(start).collect();
        starts.is_sorted().then_some(Table { starts, entries })
    }

    fn entry(&self, ip: u64, bytes: usize) -> Option<u64> {
        let index = self.starts.partition_point(|start| *start <= ip).checked_sub(1)?;
        // What lies far behind the last one is not this table's.
        let is_inside = index + 1 < self.starts.len() || ip - self.starts.get(index)? < 4096;
        let at = index.checked_mul(bytes)?;
        let mut word = [0; 8];
        word.get_mut(..bytes)?.copy_from_slice(self.entries.get(at..at.checked_add(bytes)?)?);
        is_inside.then_some(u64::from_le_bytes(word))
    }
}

impl Format {
    /// How many bytes an entry has, by a kernel's types.
    pub fn entry_bytes(types: &Btf) -> Option<usize> {
        types
            .size("orc_entry")
            .and_then(|size| usize::try_from(size).ok())
            .filter(|size| (4..=8).contains(size))
    }

    /// By a kernel's types, and by what is common in its own table.
    pub fn of(types: &Btf, table: &Table) -> Option<Format> {
        let field = |name: &str| {
            types.bits("orc_entry", name).map(|(at, bits)| (at, if bits == 0 { 16 } else { bits }))
        };
        let fields = Fields {
            bytes: Format::entry_bytes(types)?,
            sp_offset: field("sp_offset")?,
            bp_offset: field("bp_offset")?,
            sp_register: field("sp_reg")?,
            bp_register: field("bp_reg")?,
            kind: field("type")?,
        };
        let (sp, previous) = (
            commonest(table, &fields, fields.sp_register)?,
            commonest(table, &fields, fields.bp_register)?,
        );
        let bp_indirect = if previous == 1 { 8 } else { 10 };
        Some(Format {
            fields,
            numbers: Numbers { sp, previous, bp: 4, sp_indirect: 9, bp_indirect },
        })
    }

    /// Unwinds a stack. `find` answers the table of an instruction.
    pub fn unwind<'t>(
        &self,
        copied: &Copied<'_>,
        find: impl Fn(u64) -> Option<&'t Table>,
    ) -> Unwound {
        let mut unwound = Unwound::default();
        let mut frame = Frame { ip: copied.ip, sp: copied.sp, bp: copied.bp, is_exact: true };
        while unwound.callers.len() < FRAMES {
            // A return address may be that of the next function: the call is before it.
            let ip = if frame.is_exact { frame.ip } else { frame.ip.wrapping_sub(1) };
            let Some(entry) = find(ip).and_then(|table| table.entry(ip, self.fields.bytes)) else {
                break;
            };
            match self.caller(entry, &frame, copied) {
                Step::Caller(next) => {
                    unwound.callers.push(next.ip);
                    frame = next;
                }
                Step::End => {
                    unwound.is_whole = true;
                    break;
                }
                Step::Lost => break,
            }
        }
        unwound
    }

    fn caller(&self, entry: u64, frame: &Frame, copied: &Copied<'_>) -> Step {
        let (fields, numbers) = (&self.fields, &self.numbers);
        let field = |(at, bits): (u32, u32)| entry >> at & ((1 << bits) - 1);
        let offset =
            |place| i64::from(u16::try_from(field(place) & 0xffff).unwrap_or(0).cast_signed());
        let read = |at: u64| copied.word(at);
        let kind = field(fields.kind);
        // Up to 6.3 there are two bits: 0 call, 1 registers, 2 an interrupt's frame; later 2, 3, 4, and 0 and 1
        // mean that there is nothing more.
        let (call, registers) = if fields.kind.1 == 2 { (0, 1) } else { (2, 3) };
        let number = field(fields.sp_register);
        if number == 0 {
            return if kind < 2 { Step::End } else { Step::Lost };
        }
        let by = offset(fields.sp_offset);
        let base = match number {
            n if n == numbers.sp => Some(frame.sp.wrapping_add_signed(by)),
            n if n == numbers.bp => Some(frame.bp.wrapping_add_signed(by)),
            n if n == numbers.sp_indirect => {
                read(frame.sp).map(|base| base.wrapping_add_signed(by))
            }
            n if n == numbers.bp_indirect => read(frame.bp.wrapping_add_signed(by)),
            _ => None,
        };
        let Some(base) = base else { return Step::Lost };
        let (ip, sp, is_exact) = if kind == call {
            (read(base.wrapping_sub(8)), Some(base), false)
        } else if kind == registers {
            (read(base.wrapping_add(REGS_IP)), read(base.wrapping_add(REGS_SP)), true)
        } else {
            (read(base), read(base.wrapping_add(FRAME_SP)), true)
        };
        let (Some(ip), Some(sp)) = (ip, sp) else { return Step::Lost };
        // Below: a program, which entered the kernel here.
        if ip >> 63 == 0 {
            return Step::End;
        }
        let saved = offset(fields.bp_offset);
        let bp = match field(fields.bp_register) {
            n if n == numbers.previous => read(base.wrapping_add_signed(saved)).unwrap_or(0),
            n if n == numbers.bp => read(frame.bp.wrapping_add_signed(saved)).unwrap_or(0),
            _ => frame.bp,
        };
        Step::Caller(Frame { ip, sp, bp, is_exact })
    }
}

struct Frame {
    ip: u64,
    sp: u64,
    bp: u64,
    is_exact: bool,
}

enum Step {
    Caller(Frame),
    End,
    Lost,
}

impl Copied<'_> {
    fn word(&self, at: u64) -> Option<u64> {
        let inside = at.checked_sub(self.at).filter(|inside| inside.is_multiple_of(8))?;
        self.words.get(usize::try_from(inside / 8).ok()?).copied()
    }
}

/// The commonest value of a field that is not 0.
fn commonest(table: &Table, fields: &Fields, (at, bits): (u32, u32)) -> Option<u64> {
    let mut counts = [0_u32; 16];
    for start in table.starts.iter().step_by(31) {
        let value = table.entry(*start, fields.bytes)? >> at & ((1 << bits) - 1);
        *counts.get_mut(usize::try_from(value).ok()?)? += 1;
    }
    let most = counts.iter().enumerate().skip(1).max_by_key(|(_, count)| **count)?;
    Some(most.0 as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SP: u64 = 5;
    const PREVIOUS: u64 = 1;
    const CODE: u64 = 0xffff_ffff_8100_0000;
    const STACK: u64 = 0xffff_c900_0000_1000;

    fn format() -> Format {
        Format {
            fields: Fields {
                bytes: 6,
                sp_offset: (0, 16),
                bp_offset: (16, 16),
                sp_register: (32, 4),
                bp_register: (36, 4),
                kind: (40, 3),
            },
            numbers: Numbers { sp: SP, previous: PREVIOUS, bp: 4, sp_indirect: 9, bp_indirect: 8 },
        }
    }

    fn entry(sp: (u64, i16), bp: (u64, i16), kind: u64) -> Vec<u8> {
        let half = |value: i16| u64::from(value.cast_unsigned());
        let word = half(sp.1) | half(bp.1) << 16 | sp.0 << 32 | bp.0 << 36 | kind << 40;
        word.to_le_bytes()[..6].to_vec()
    }

    /// Functions of 256 bytes: one that has pushed its frame pointer, one that is based on it, an interrupt's entry,
    /// and the end.
    fn table() -> Table {
        let entries = [
            entry((SP, 32), (PREVIOUS, -16), 2),
            entry((4, 16), (PREVIOUS, -16), 2),
            entry((SP, 0), (0, 0), 3),
            entry((0, 0), (0, 0), 1),
        ];
        Table {
            starts: (0..4).map(|index| CODE + index * 256).collect(),
            entries: entries.concat(),
        }
    }

    fn unwind(ip: u64, sp: u64, bp: u64, words: &[u64]) -> Unwound {
        let table = table();
        format().unwind(&Copied { ip, sp, bp, at: STACK, words }, |_| Some(&table))
    }

    #[test]
    fn callers_follow_from_the_tables_and_the_words() {
        // The first function's frame: 32 bytes, its saved frame pointer and its return address on top; then the
        // second one's, found by that frame pointer.
        let mut words = [0_u64; 64];
        (words[2], words[3]) = (STACK + 80, CODE + 0x110);
        words[11] = CODE + 0x350;
        let unwound = unwind(CODE + 8, STACK, 7, &words);
        assert_eq!(unwound.callers, [CODE + 0x110, CODE + 0x350]);
        assert!(unwound.is_whole);
    }

    #[test]
    fn registers_of_an_interrupt_lead_to_what_it_interrupted() {
        let mut words = [0_u64; 64];
        (words[16], words[19]) = (CODE + 8, STACK + 240);
        words[33] = CODE + 0x350;
        let unwound = unwind(CODE + 0x210, STACK, 0, &words);
        assert_eq!((unwound.callers, unwound.is_whole), (vec![CODE + 8, CODE + 0x350], true));
        // Interrupted was a program: nothing of the kernel's is above.
        (words[16], words[19]) = (0x40_1000, 0x7fff_0000);
        let unwound = unwind(CODE + 0x210, STACK, 0, &words);
        assert_eq!((unwound.callers.len(), unwound.is_whole), (0, true));
    }

    #[test]
    fn a_return_address_behind_a_function_is_that_functions() {
        // A call that does not come back is the last instruction of its function.
        let mut words = [0_u64; 64];
        words[3] = CODE + 0x400;
        assert!(unwind(CODE + 8, STACK, 0, &words).is_whole);
    }

    #[test]
    fn what_leaves_the_copied_words_ends_there() {
        assert_eq!(unwind(CODE + 8, STACK, 7, &[0; 3]), Unwound::default());
        assert_eq!(unwind(CODE + 8, u64::MAX - 3, 7, &[0; 3]), Unwound::default());
        assert_eq!(unwind(CODE - 8, STACK, 7, &[0; 64]), Unwound::default());
        // Frames that lead to themselves end, too.
        let words = [STACK, CODE + 0x110, STACK, CODE + 0x110];
        assert_eq!(unwind(CODE + 0x110, STACK, STACK, &words).callers.len(), FRAMES);
    }

    #[test]
    fn the_commonest_register_is_the_stack_pointer() {
        let mut entries = entry((3, 8), (8, -16), 2).repeat(300);
        entries.extend(entry((4, 16), (0, 0), 2).repeat(50));
        let starts = (0..350).map(|index| CODE + index).collect();
        let (table, fields) = (Table { starts, entries }, format().fields);
        assert_eq!(commonest(&table, &fields, fields.sp_register), Some(3));
        assert_eq!(commonest(&table, &fields, fields.bp_register), Some(8));
    }
}
