//! The names of a kernel's addresses: kallsyms, as it lies in its memory. Document: Linux,
//! scripts/kallsyms.c (what is written) and kernel/kallsyms.c (how it is read).
//!
//! Names are made of tokens, of which there are 256; the first letter of a name is its type. Newer kernels say
//! in vmcoreinfo where the tables lie; before 6.0 they are found by what they look like.

use super::coreinfo::CoreInfo;
use super::physical::Physical;
use super::tables::Space;

/// The most symbols and the longest table of names that are believed.
const MAX_SYMBOLS: usize = 1 << 20;
const MAX_NAMES: usize = 32 << 20;
/// The longest name that is kept (`KSYM_NAME_LEN`).
const MAX_NAME: usize = 512;
/// How much of a kernel's image is searched for the tables.
const IMAGE_BYTES: u64 = 96 << 20;
/// There are as many tokens as a byte has values.
const TOKENS: usize = 256;
/// Symbols are grouped by so many, each group's begin among the names is marked.
const GROUP: usize = 256;

/// Names by address.
#[derive(Debug, Default)]
pub struct Symbols {
    /// In order: address, and where the name begins in `names`.
    list: Vec<(u64, u32)>,
    /// Each with its type before it and a zero behind it.
    names: Vec<u8>,
}

/// Where the tables lie, by virtual address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tables {
    count: usize,
    names: u64,
    tokens: u64,
    token_index: u64,
    offsets: u64,
    /// What offsets count from; `None`: from where they themselves are.
    base: Option<u64>,
}

/// What an offset means.
#[derive(Debug, Clone, Copy)]
enum Meaning {
    /// From where it stands itself.
    Itself(u64),
    /// From a base on.
    Base(u64),
    /// Negative ones count down from below the base, others are absolute (`CONFIG_KALLSYMS_ABSOLUTE_PERCPU`, up
    /// to 6.14).
    BelowBase(u64),
}

impl Symbols {
    /// Reads all of a kernel's own.
    pub fn of_kernel(memory: &dyn Physical, space: &Space, info: &CoreInfo) -> Option<Symbols> {
        let tables = told(memory, space, info).or_else(|| {
            let image = read_image(memory, space, info.symbol("_stext")?);
            search(&image.1, image.0)
        })?;
        let tokens = tokens_of(memory, space, &tables)?;
        let mut raw = vec![0; tables.count.checked_mul(4)?];
        space.read(memory, tables.offsets, &mut raw)?;
        let names = read_some(memory, space, tables.names, MAX_NAMES.min(tables.count * 64));
        let mut symbols = Symbols::default();
        let offsets = raw.as_chunks::<4>().0.iter().map(|offset| i32::from_le_bytes(*offset));
        let meaning = match tables.base {
            None => Meaning::Itself(tables.offsets),
            Some(base) if offsets.clone().any(i32::is_negative) => Meaning::BelowBase(base),
            Some(base) => Meaning::Base(base),
        };
        let (mut at, mut name) = (0, Vec::new());
        for (index, offset) in offsets.enumerate() {
            at = expand(&names, at, &tokens, &mut name)?;
            symbols.add(address_of(meaning, index, offset), &name);
        }
        symbols.sort();
        Some(symbols)
    }

    /// Adds one; the first byte of its name is its type.
    pub fn add(&mut self, address: u64, name: &[u8]) {
        let Ok(at) = u32::try_from(self.names.len()) else { return };
        self.names.extend(name.iter().take(MAX_NAME));
        self.names.push(0);
        self.list.push((address, at));
    }

    /// Puts them in order; has to come before they are looked up. Of the same address, the first one that was
    /// added stays first.
    pub fn sort(&mut self) {
        self.list.sort_by_key(|(address, _)| *address);
    }

    /// The address of a name.
    pub fn address(&self, name: &str) -> Option<u64> {
        let is_it =
            |at: u32| self.whole_name(at).and_then(|whole| whole.get(1..)) == Some(name.as_bytes());
        self.list.iter().find(|(_, at)| is_it(*at)).map(|(address, _)| *address)
    }

    /// The function that an address is in, and how far.
    pub fn function(&self, address: u64) -> Option<(String, u64)> {
        let end = self.list.partition_point(|(start, _)| *start <= address);
        let before = self.list.get(..end)?;
        let is_code = |at: u32| {
            let kind = self.whole_name(at).and_then(|name| name.first());
            kind.is_some_and(|kind| matches!(kind, b't' | b'T' | b'w' | b'W'))
        };
        let (start, _) = before.iter().rev().find(|(_, at)| is_code(*at))?;
        let first = before.partition_point(|(other, _)| other < start);
        let same = before.get(first..)?.iter().filter(|(_, at)| is_code(*at));
        let (_, at) = same.min_by_key(|(_, at)| self.rank(*at))?;
        let name = self.whole_name(*at)?.get(1..)?;
        Some((String::from_utf8_lossy(name).into_owned(), address - start))
    }

    /// Of several names of one address, the one that people know comes first.
    fn rank(&self, at: u32) -> u32 {
        let name = self.whole_name(at).and_then(|name| name.get(1..)).unwrap_or_default();
        u32::from(name.starts_with(b"__pfx_"))
            + u32::from(name.starts_with(b"."))
            + u32::from(name.starts_with(b"_"))
    }

    fn whole_name(&self, at: u32) -> Option<&[u8]> {
        self.names.get(at as usize..)?.split(|byte| *byte == 0).next()
    }

    /// Whether an address lies between the first and the last of them.
    pub fn has(&self, address: u64) -> bool {
        let ends = self.list.first().zip(self.list.last());
        ends.is_some_and(|((first, _), (last, _))| (*first..=*last).contains(&address))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }
}

/// Where the kernel says that its tables lie.
fn told(memory: &dyn Physical, space: &Space, info: &CoreInfo) -> Option<Tables> {
    let symbol = |name: &str| info.symbol(name);
    let count = space.number(memory, symbol("kallsyms_num_syms")?, 4)?;
    let base = match symbol("kallsyms_relative_base") {
        Some(at) => Some(space.number(memory, at, 8)?),
        None => None,
    };
    Some(Tables {
        count: usize::try_from(count).ok().filter(|count| (1..MAX_SYMBOLS).contains(count))?,
        names: symbol("kallsyms_names")?,
        tokens: symbol("kallsyms_token_table")?,
        token_index: symbol("kallsyms_token_index")?,
        offsets: symbol("kallsyms_offsets")?,
        base,
    })
}

/// The image from the page of an address on, and where that is. What is not mapped is zero.
fn read_image(memory: &dyn Physical, space: &Space, text: u64) -> (u64, Vec<u8>) {
    let first = text & !0xfff;
    let mut image = Vec::new();
    let mut page = [0; 4096];
    for at in (first..first.saturating_add(IMAGE_BYTES)).step_by(4096) {
        if space.read(memory, at, &mut page).is_none() {
            page.fill(0);
        }
        image.extend(page);
    }
    (first, image)
}

/// Bytes from an address on, as far as they are mapped.
fn read_some(memory: &dyn Physical, space: &Space, from: u64, most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut page = [0; 4096];
    while bytes.len() < most {
        let at = from.saturating_add(bytes.len() as u64);
        let room = usize::try_from(4096 - at % 4096).unwrap_or(4096).min(most - bytes.len());
        let Some(part) = page.get_mut(..room) else { break };
        if space.read(memory, at, part).is_none() {
            break;
        }
        bytes.extend(&*part);
    }
    bytes
}

/// The 256 tokens.
fn tokens_of(memory: &dyn Physical, space: &Space, tables: &Tables) -> Option<Vec<Vec<u8>>> {
    let mut index = [0; TOKENS * 2];
    space.read(memory, tables.token_index, &mut index)?;
    let table = read_some(memory, space, tables.tokens, 1 << 16);
    let token = |at: &[u8; 2]| {
        let from = table.get(usize::from(u16::from_le_bytes(*at))..)?;
        Some(from.split(|byte| *byte == 0).next()?.to_vec())
    };
    index.as_chunks::<2>().0.iter().map(token).collect()
}

/// Reads the name at `at`; answers where the next one begins. A length of 128 or more has two bytes.
fn expand(names: &[u8], at: usize, tokens: &[Vec<u8>], into: &mut Vec<u8>) -> Option<usize> {
    into.clear();
    let (len, from) = length_of(names, at)?;
    let end = from.checked_add(len)?;
    for token in names.get(from..end)? {
        into.extend(tokens.get(usize::from(*token))?);
    }
    Some(end)
}

/// A name's length, and where it begins.
fn length_of(names: &[u8], at: usize) -> Option<(usize, usize)> {
    let first = usize::from(*names.get(at)?);
    if first & 0x80 == 0 {
        return Some((first, at + 1));
    }
    Some((first & 0x7f | usize::from(*names.get(at + 1)?) << 7, at + 2))
}

/// `kallsyms_sym_address`.
fn address_of(meaning: Meaning, index: usize, offset: i32) -> u64 {
    match meaning {
        Meaning::Itself(at) => at.wrapping_add(index as u64 * 4).wrapping_add_signed(offset.into()),
        Meaning::Base(base) => base.wrapping_add(offset.cast_unsigned().into()),
        Meaning::BelowBase(_) if offset >= 0 => u64::from(offset.cast_unsigned()),
        Meaning::BelowBase(base) => base.wrapping_sub(1).wrapping_add_signed(-i64::from(offset)),
    }
}

/// Finds the tables in an image that begins at `base`, in the order that they had up to 6.3: offsets, base,
/// count, names, marks, tokens, their index.
fn search(image: &[u8], base: u64) -> Option<Tables> {
    // The digits are tokens of themselves, and stand beside each other.
    const DIGITS: &[u8] = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00";
    let mut from = 0;
    loop {
        let rest = image.get(from..)?;
        let digits =
            from.checked_add(rest.windows(DIGITS.len()).position(|bytes| bytes == DIGITS)?)?;
        if let Some(tables) = before_digits(image, base, digits) {
            return Some(tables);
        }
        from = digits + 1;
    }
}

fn before_digits(image: &[u8], base: u64, digits: usize) -> Option<Tables> {
    let half = |at: usize| Some(usize::from(u16::from_le_bytes(*image.get(at..)?.first_chunk()?)));
    let word = |at: usize| Some(u32::from_le_bytes(*image.get(at..)?.first_chunk()?) as usize);
    // The index: 256 places that grow, of which that of the digit 0 leads back to the table's begin.
    let is_index = |at: &usize| {
        let places: Option<Vec<usize>> = (0..TOKENS).map(|index| half(at + index * 2)).collect();
        places.is_some_and(|places| {
            places.first() == Some(&0)
                && places.is_sorted_by(|one, next| one < next)
                && places
                    .get(usize::from(b'1'))
                    .zip(places.get(usize::from(b'0')))
                    .is_some_and(|(one, zero)| one - zero == 2)
        })
    };
    let token_index = (digits.next_multiple_of(4)..digits + (1 << 13)).step_by(4).find(is_index)?;
    let tokens = digits.checked_sub(half(token_index + 2 * usize::from(b'0'))?)?;
    // The marks, backwards: they fall to 0, the first one.
    let mut marks_end = tokens & !3;
    while word(marks_end.checked_sub(4)?)? == 0 {
        marks_end -= 4;
    }
    let mut first = marks_end.checked_sub(4)?;
    while word(first)? != 0 {
        let before = first.checked_sub(4)?;
        (word(before)? < word(first)?).then_some(())?;
        first = before;
    }
    let groups = (marks_end - first) / 4;
    let last = word(marks_end - 4)?;
    // The names, before them: from there, each mark is where its group begins.
    let mut names = first.checked_sub(last)? & !7;
    for _ in 0..GROUP * 64 {
        let count = word(names.checked_sub(8)?)?;
        let fits = count.div_ceil(GROUP) == groups
            && is_marked(image.get(names..first)?, first - names, count, |group| {
                word(first + group * 4)
            });
        if fits {
            return tables_before(image, base, (names, count), (tokens, token_index));
        }
        names -= 8;
    }
    None
}

/// Whether `count` names stand there, one behind the other, whose groups begin at their marks.
fn is_marked(
    names: &[u8],
    len: usize,
    count: usize,
    mark: impl Fn(usize) -> Option<usize>,
) -> bool {
    let mut at = 0;
    for index in 0..count {
        if index % GROUP == 0 && mark(index / GROUP) != Some(at) {
            return false;
        }
        let Some((bytes, from)) = length_of(names, at).filter(|(bytes, _)| *bytes > 0) else {
            return false;
        };
        at = from + bytes;
    }
    at <= len && len - at < 16
}

fn tables_before(
    image: &[u8],
    base: u64,
    (names, count): (usize, usize),
    (tokens, token_index): (usize, usize),
) -> Option<Tables> {
    let number_at = names.checked_sub(8)?;
    let base_at = number_at.checked_sub(8)?;
    let relative = u64::from_le_bytes(*image.get(base_at..)?.first_chunk()?);
    let offsets = base_at.checked_sub(count.checked_mul(4)?.next_multiple_of(8))?;
    let place = |at: usize| base.checked_add(at as u64);
    Some(Tables {
        count,
        names: place(names)?,
        tokens: place(tokens)?,
        token_index: place(token_index)?,
        offsets: place(offsets)?,
        base: Some(relative).filter(|relative| relative >> 63 == 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Functions f0, f1, … of 16 bytes each, from `BASE` on, in the tables of 5.10 with `pad` bytes before them.
    const BASE: u64 = 0xffff_ffff_8100_0000;
    const COUNT: usize = 600;

    fn image(pad: usize) -> Vec<u8> {
        let mut image = vec![0xcc; pad];
        let align = |image: &mut Vec<u8>| image.resize(image.len().next_multiple_of(8), 0);
        // Below the base, counted down from it, as offsets of functions are.
        image.extend((0..COUNT as i32).flat_map(|index| (-1 - index * 16).to_le_bytes()));
        align(&mut image);
        image.extend(BASE.to_le_bytes());
        image.extend((COUNT as u64).to_le_bytes());
        let (begin, mut marks) = (image.len(), Vec::new());
        for index in 0..COUNT {
            if index % GROUP == 0 {
                marks.push((image.len() - begin) as u32);
            }
            let name = format!("T\x01{index}");
            image.push(name.len() as u8);
            image.extend(name.as_bytes());
        }
        align(&mut image);
        image.extend(marks.iter().flat_map(|mark| mark.to_le_bytes()));
        align(&mut image);
        let (begin, mut index) = (image.len(), Vec::new());
        for token in 0..=255_u8 {
            index.push((image.len() - begin) as u16);
            match token {
                1 => image.extend(b"func_"),
                b'!'..=b'~' => image.push(token),
                _ => image.extend(b"xx"),
            }
            image.push(0);
        }
        align(&mut image);
        image.extend(index.iter().flat_map(|place| place.to_le_bytes()));
        image.resize(image.len().next_multiple_of(4096), 0);
        image
    }

    /// Its tables are found by what they look like, wherever they lie.
    #[test]
    fn tables_are_found_by_what_they_look_like() {
        for pad in [0, 4096, 4200] {
            let image = image(pad);
            let tables = search(&image, BASE).unwrap();
            assert_eq!(
                (tables.count, tables.base, tables.offsets),
                (COUNT, Some(BASE), BASE + pad as u64)
            );
        }
        assert_eq!(search(&[0; 4096], BASE), None);
        assert_eq!(search(&[], BASE), None);
    }

    #[test]
    fn offsets_mean_what_their_kernel_means() {
        assert_eq!(address_of(Meaning::BelowBase(BASE), 0, -1), BASE);
        assert_eq!(address_of(Meaning::BelowBase(BASE), 0, -17), BASE + 16);
        assert_eq!(address_of(Meaning::BelowBase(BASE), 0, 0x1fbc0), 0x1fbc0, "of each CPU");
        assert_eq!(address_of(Meaning::Base(BASE), 0, 16), BASE + 16);
        assert_eq!(address_of(Meaning::Itself(BASE), 2, -8), BASE);
    }

    #[test]
    fn a_function_is_the_nearest_code_before() {
        let mut symbols = Symbols::default();
        for (address, name) in [
            (0x100, "T__pfx_one"),
            (0x100, "Tone"),
            (0x180, "dtable"),
            (0x200, "ttwo"),
            (0x300, "Bend"),
        ] {
            symbols.add(address, name.as_bytes());
        }
        symbols.sort();
        let name = |address| symbols.function(address);
        assert_eq!(name(0x104), Some(("one".into(), 4)));
        assert_eq!(name(0x190), Some(("one".into(), 0x90)));
        assert_eq!((name(0x200), name(0xff)), (Some(("two".into(), 0)), None));
        assert_eq!((symbols.address("table"), symbols.address("tabl")), (Some(0x180), None));
    }

    #[test]
    fn names_are_made_of_tokens_and_may_be_long() {
        let tokens: Vec<Vec<u8>> = (0..=255_u8).map(|byte| vec![byte; 2]).collect();
        let mut name = Vec::new();
        assert_eq!(expand(&[2, b'a', b'b', 9], 0, &tokens, &mut name), Some(3));
        assert_eq!(name, b"aabb");
        let long: Vec<u8> = [0x85, 0x01].into_iter().chain([b'x'; 0x85]).collect();
        assert_eq!(expand(&long, 0, &tokens, &mut name), Some(2 + 0x85));
        assert_eq!(expand(&[5, 1], 0, &tokens, &mut name), None, "cut off");
    }
}
