//! Packages as their tools make them, and as no tool would: a .deb, an .rpm and a pacman package of any
//! entries, byte by byte.

pub mod place;

use std::io::{Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use tar::{EntryType, Header};

/// An entry of a package.
#[derive(Debug, Clone)]
pub struct Item {
    pub name: String,
    pub what: What,
    pub mode: u32,
}

#[derive(Debug, Clone)]
pub enum What {
    File(Vec<u8>),
    Link(String),
    /// Another name of a file.
    Same(String),
    Folder,
    Device,
    Pipe,
}

pub fn item(name: &str, what: What) -> Item {
    Item { name: name.to_owned(), what, mode: 0o755 }
}

pub fn file(name: &str, contents: &[u8]) -> Item {
    item(name, What::File(contents.to_vec()))
}

pub fn link(name: &str, target: &str) -> Item {
    item(name, What::Link(target.to_owned()))
}

/// The kinds of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Deb,
    Rpm,
    Pacman,
    Tar,
}

pub const KINDS: [Kind; 4] = [Kind::Deb, Kind::Rpm, Kind::Pacman, Kind::Tar];

impl Kind {
    pub fn ending(self) -> &'static str {
        match self {
            Kind::Deb => "_1_amd64.deb",
            Kind::Rpm => "-1.x86_64.rpm",
            Kind::Pacman => "-1-x86_64.pkg.tar.zst",
            Kind::Tar => "-x86.tar.gz",
        }
    }

    pub fn of(self, items: &[Item]) -> Vec<u8> {
        match self {
            Kind::Deb => deb("kmod", &gzip(&tar(items))),
            Kind::Rpm => rpm(&gzip(&cpio(items))),
            Kind::Pacman => compress_to_vec(&tar(items)[..], CompressionLevel::Fastest),
            Kind::Tar => gzip(&tar(items)),
        }
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tar archive whose names are written as they are, `..` and all.
pub fn tar(items: &[Item]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        let (kind, contents, target): (_, &[u8], &str) = match &item.what {
            What::File(contents) => (EntryType::Regular, contents, ""),
            What::Link(target) => (EntryType::Symlink, b"", target),
            What::Same(target) => (EntryType::Link, b"", target),
            What::Folder => (EntryType::Directory, b"", ""),
            What::Device => (EntryType::Block, b"", ""),
            What::Pipe => (EntryType::Fifo, b"", ""),
        };
        if item.name.len() > 100 {
            let name = [item.name.as_bytes(), b"\0"].concat();
            out.extend(entry(EntryType::GNULongName, b"././@LongLink", "", 0, &name));
        }
        let name = item.name.as_bytes();
        let name = &name[..name.len().min(100)];
        out.extend(entry(kind, name, target, item.mode, contents));
    }
    out.extend([0; 1024]);
    out
}

fn entry(kind: EntryType, name: &[u8], target: &str, mode: u32, contents: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_link_name_literal(target).unwrap();
    header.set_mode(mode);
    header.set_size(contents.len() as u64);
    header.set_device_major(8).unwrap();
    header.set_device_minor(0).unwrap();
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend(contents);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// A .deb with this packed archive of files.
pub fn deb(depends: &str, data: &[u8]) -> Vec<u8> {
    let control = format!(
        "Package: x\nVersion: 1\nArchitecture: amd64\nMaintainer: a <a@b>\nDepends: {depends}\n\
         Description: x\n"
    );
    let control = gzip(&tar(&[file("./control", control.as_bytes())]));
    let mut out = b"!<arch>\n".to_vec();
    for (name, body) in
        [("debian-binary", &b"2.0\n"[..]), ("control.tar.gz", &control), ("data.tar.gz", data)]
    {
        out.extend(
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 644, body.len())
                .as_bytes(),
        );
        out.extend(body);
        out.resize(out.len().next_multiple_of(2), b'\n');
    }
    out
}

/// A cpio archive of the kind that RPM packages have.
pub fn cpio(items: &[Item]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        let (kind, links, contents): (u32, u32, &[u8]) = match &item.what {
            What::File(contents) => (0o100_000, 1, contents),
            What::Link(target) => (0o120_000, 1, target.as_bytes()),
            What::Same(_) => (0o100_000, 2, b""),
            What::Folder => (0o040_000, 2, b""),
            What::Device => (0o060_000, 1, b""),
            What::Pipe => (0o010_000, 1, b""),
        };
        newc(&mut out, &item.name, kind | item.mode, links, contents);
    }
    newc(&mut out, "TRAILER!!!", 0, 1, b"");
    out
}

fn newc(out: &mut Vec<u8>, name: &str, mode: u32, links: u32, contents: &[u8]) {
    let (size, name_size) = (contents.len() as u32, name.len() as u32 + 1);
    out.extend(b"070701");
    for field in [1, mode, 0, 0, links, 0, size, 0, 0, 8, 0, name_size, 0] {
        out.extend(format!("{field:08x}").as_bytes());
    }
    out.extend(name.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(contents);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// An RPM package with this packed archive of files: a lead, and two headers with a tag each.
pub fn rpm(payload: &[u8]) -> Vec<u8> {
    let mut out = b"\xed\xab\xee\xdb\x03\0\0\0\0\x01".to_vec();
    out.resize(96, 0);
    for (data, fill) in [(&b"12345"[..], true), (b"123", false)] {
        out.extend(b"\x8e\xad\xe8\x01\0\0\0\0");
        out.extend(1_u32.to_be_bytes());
        out.extend((data.len() as u32).to_be_bytes());
        out.extend([0; 16]);
        out.extend(data);
        if fill {
            out.resize(out.len().next_multiple_of(8), 0);
        }
    }
    out.extend(payload);
    out
}

/// The beginning of a kernel's image.
pub fn kernel(release: &str) -> Vec<u8> {
    let mut head = vec![0; 0x1000];
    head[0x202..0x206].copy_from_slice(b"HdrS");
    head[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    head[0x20e..0x210].copy_from_slice(&0x180_u16.to_le_bytes());
    head[0x236] = 1;
    let text = format!("{release} (a@b) #1 SMP\0");
    head[0x380..0x380 + text.len()].copy_from_slice(text.as_bytes());
    head
}

/// A unified kernel image: a UEFI program that holds a kernel, and more that nobody boots here.
pub fn uki(kernel: &[u8]) -> Vec<u8> {
    let sections: [(&[u8; 8], &[u8]); 3] =
        [(b".osrel\0\0", b"ID=test\n"), (b".cmdline", b"quiet"), (b".linux\0\0", kernel)];
    let mut out = b"MZ".to_vec();
    out.resize(0x80, 0);
    out[0x3c] = 0x80;
    out.extend(b"PE\0\0\x64\x86");
    out.extend((sections.len() as u16).to_le_bytes());
    out.resize(out.len() + 12, 0);
    out.extend([240, 0, 0, 0]);
    let optional = out.len();
    out.resize(optional + 240, 0);
    out[optional..optional + 2].copy_from_slice(&0x20b_u16.to_le_bytes());
    out[optional + 108] = 16;
    let mut at = (out.len() + sections.len() * 40).next_multiple_of(512);
    for (name, contents) in &sections {
        let raw = contents.len().next_multiple_of(512);
        out.extend(*name);
        for number in [contents.len(), 0, raw, at, 0, 0, 0, 0] {
            out.extend((number as u32).to_le_bytes());
        }
        at += raw;
    }
    for (_, contents) in &sections {
        out.resize(out.len().next_multiple_of(512), 0);
        out.extend(*contents);
    }
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// The vmlinux that a bzImage packs (Documentation/arch/x86/boot.rst: payload_offset, payload_length).
pub fn vmlinux(bzimage: &[u8]) -> Vec<u8> {
    let number = |at: usize| u32::from_le_bytes(bzimage[at..at + 4].try_into().unwrap()) as usize;
    let start = (usize::from(bzimage[0x1f1]) + 1) * 512 + number(0x248);
    // The length of what is packed follows it.
    let payload = &bzimage[start..start + number(0x24c) - 4];
    if payload.starts_with(b"\x02\x21\x4c\x18") {
        return lz4_legacy(&payload[4..]);
    }
    let mut out = Vec::new();
    dixtrap::runner::kernel::packing::unpacking(payload).unwrap().read_to_end(&mut out).unwrap();
    out
}

/// Blocks of 8 MiB, each behind its packed length, as `lz4 -l` makes them for the kernel.
fn lz4_legacy(mut input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((length, rest)) = input.split_first_chunk::<4>() {
        let (block, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        lz4_block(block, &mut out);
        input = rest;
    }
    out
}

/// Literals and copies of what came before, in turn (lz4's doc/lz4_Block_format.md).
fn lz4_block(mut block: &[u8], out: &mut Vec<u8>) {
    fn take<'b>(block: &mut &'b [u8], length: usize) -> &'b [u8] {
        let (taken, rest) = block.split_at(length);
        *block = rest;
        taken
    }
    fn length(block: &mut &[u8], nibble: u8) -> usize {
        let mut length = usize::from(nibble);
        let mut more = nibble == 15;
        while more {
            let byte = take(block, 1)[0];
            length += usize::from(byte);
            more = byte == 255;
        }
        length
    }
    while !block.is_empty() {
        let token = take(&mut block, 1)[0];
        let literals = length(&mut block, token >> 4);
        out.extend_from_slice(take(&mut block, literals));
        if block.is_empty() {
            break;
        }
        let offset = usize::from(u16::from_le_bytes(take(&mut block, 2).try_into().unwrap()));
        let copied = length(&mut block, token & 15) + 4;
        for _ in 0..copied {
            out.push(out[out.len() - offset]);
        }
    }
}
