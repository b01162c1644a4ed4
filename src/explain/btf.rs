//! BTF: the types of a kernel, as it carries them itself.
//! Document: Linux, Documentation/bpf/btf.rst, §2.1 to §2.2.

/// The first bytes of a header: magic, version 1, no flags, 24 bytes long, types right behind it.
pub const START: [u8; 12] = [0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0];
/// How long a header is.
pub const HEADER: usize = 24;
/// How deep structures without a name are looked into.
const DEPTH: u32 = 6;
/// How many members are looked at for one answer: a hostile kernel's structures may hold themselves.
const MEMBERS: u32 = 1 << 16;

const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;

/// Types, by the place of their descriptions.
#[derive(Debug)]
pub struct Btf {
    types: Vec<u8>,
    strings: Vec<u8>,
    /// Where the description of type number n + 1 begins.
    places: Vec<usize>,
}

/// One type's head: `struct btf_type`.
#[derive(Debug, Clone, Copy)]
struct Head {
    name: u32,
    kind: u32,
    vlen: usize,
    flag: bool,
    size_or_type: u32,
    /// Where what follows it begins.
    body: usize,
}

/// How many bytes a whole BTF has of which this is the header.
pub fn length(header: &[u8]) -> Option<usize> {
    if header.get(..START.len())? != START {
        return None;
    }
    let (at, len) = (word(header, 16)? as usize, word(header, 20)? as usize);
    HEADER.checked_add(at)?.checked_add(len)
}

impl Btf {
    /// Takes one apart; `None` where it is none.
    pub fn parse(bytes: &[u8]) -> Option<Btf> {
        length(bytes)?;
        let part = |at: usize, len: usize| {
            bytes.get(HEADER.checked_add(at)?..HEADER.checked_add(at)?.checked_add(len)?)
        };
        let types = part(0, word(bytes, 12)? as usize)?.to_vec();
        let strings = part(word(bytes, 16)? as usize, word(bytes, 20)? as usize)?.to_vec();
        let mut btf = Btf { types, strings, places: Vec::new() };
        let mut at = 0;
        while at < btf.types.len() {
            let head = btf.head(at)?;
            btf.places.push(at);
            at = head.body.checked_add(head.body_bytes()?)?;
        }
        Some(btf)
    }

    /// How large a structure is.
    pub fn size(&self, name: &str) -> Option<u64> {
        self.named(name, STRUCT).map(|head| u64::from(head.size_or_type))
    }

    /// Where a member begins in a structure, in bytes; members of nameless structures inside count too.
    pub fn offset(&self, structure: &str, member: &str) -> Option<u64> {
        let bits = self.member(self.named(structure, STRUCT)?, member, DEPTH, &mut { MEMBERS })?;
        (bits % 8 == 0).then_some(u64::from(bits / 8))
    }

    /// Where a member begins in a structure and how many there are of it, in bits; 0 where it is no bit field.
    pub fn bits(&self, structure: &str, member: &str) -> Option<(u32, u32)> {
        let of = self.named(structure, STRUCT)?;
        let bits = self.member(of, member, DEPTH, &mut { MEMBERS })?;
        let mut places = (0..of.vlen).filter_map(|index| {
            let at = of.body.checked_add(index.checked_mul(12)?)?;
            let is_it = self.string(word(&self.types, at)?)? == member;
            is_it.then_some(word(&self.types, at + 8)?)
        });
        let size = places.next().filter(|_| of.flag).map_or(0, |word| word >> 24);
        Some((bits, size))
    }

    /// The names and values of an enumeration, in their order.
    pub fn values(&self, name: &str) -> Option<Vec<(&str, u32)>> {
        let head = self.named(name, ENUM)?;
        let value = |index: usize| {
            let at = head.body.checked_add(index.checked_mul(8)?)?;
            Some((self.string(word(&self.types, at)?)?, word(&self.types, at + 4)?))
        };
        (0..head.vlen).map(value).collect()
    }

    fn named(&self, name: &str, kind: u32) -> Option<Head> {
        let heads = self.places.iter().filter_map(|at| self.head(*at));
        heads.filter(|head| head.kind == kind).find(|head| self.string(head.name) == Some(name))
    }

    fn member(&self, of: Head, wanted: &str, depth: u32, left: &mut u32) -> Option<u32> {
        for index in 0..of.vlen {
            *left = left.checked_sub(1)?;
            let at = of.body.checked_add(index.checked_mul(12)?)?;
            let (name, kind) = (self.string(word(&self.types, at)?)?, word(&self.types, at + 4)?);
            let bits = word(&self.types, at + 8)? & if of.flag { 0x00ff_ffff } else { u32::MAX };
            if name == wanted {
                return Some(bits);
            }
            if name.is_empty() && depth > 0 {
                let inner = self.by_number(kind).filter(|head| matches!(head.kind, STRUCT | UNION));
                let found = inner.and_then(|inner| self.member(inner, wanted, depth - 1, left));
                if let Some(inside) = found {
                    return bits.checked_add(inside);
                }
            }
        }
        None
    }

    fn by_number(&self, number: u32) -> Option<Head> {
        self.head(*self.places.get((number as usize).checked_sub(1)?)?)
    }

    fn head(&self, at: usize) -> Option<Head> {
        let info = word(&self.types, at.checked_add(4)?)?;
        Some(Head {
            name: word(&self.types, at)?,
            kind: (info >> 24) & 0x1f,
            vlen: (info & 0xffff) as usize,
            flag: info >> 31 != 0,
            size_or_type: word(&self.types, at.checked_add(8)?)?,
            body: at.checked_add(12)?,
        })
    }

    fn string(&self, at: u32) -> Option<&str> {
        let rest = self.strings.get(at as usize..)?;
        std::str::from_utf8(rest.split(|byte| *byte == 0).next()?).ok()
    }
}

impl Head {
    /// How much follows the head (btf.rst §2.2.1 to §2.2.19).
    fn body_bytes(&self) -> Option<usize> {
        let each = match self.kind {
            STRUCT | UNION | 15 | 19 => 12,
            ENUM | 13 => 8,
            1 | 14 | 17 => return Some(4),
            3 => return Some(12),
            2 | 7..=12 | 16 | 18 => 0,
            _ => return None,
        };
        self.vlen.checked_mul(each)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}
