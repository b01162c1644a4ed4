//! What a kernel's file says of itself: for whom it is, which release, and what QEMU has to be given.

mod bzimage;
mod elf;
mod look;
mod pe;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::KernelError;
use crate::runner::kernel::packing::unpacking;
pub use look::Image;
use look::Look;

/// What tells kernels apart stands in the first kilobytes: the real-mode part of a bzImage, which its
/// version lies in, has at most 64 sectors.
const HEAD: u64 = 32 << 10;
/// Looks at the kernel in `file`, which `path` names.
///
/// # Errors
/// When the file cannot be read, and when it is not a kernel that QEMU can start.
pub fn look(file: &File, path: &Path) -> Result<Image, KernelError> {
    match look_at(file).map_err(KernelError::file(path))? {
        Look::Kernel(image) => Ok(image),
        Look::Foreign(arch) => Err(KernelError::OtherArchitecture { path: path.to_owned(), arch }),
        Look::NoPvh => Err(KernelError::NoPvh { path: path.to_owned() }),
        Look::Unknown => Err(KernelError::NotAnImage { path: path.to_owned() }),
    }
}

fn look_at(mut file: &File) -> io::Result<Look> {
    let head = head(file)?;
    if let Some(look) = bzimage::look(&head) {
        return Ok(look);
    }
    if head.starts_with(b"\x7fELF") {
        return elf::look(file);
    }
    if let Some(arch) = flat_image(&head) {
        return Ok(Look::Foreign(arch.to_owned()));
    }
    if head.starts_with(b"MZ") {
        return within_pe(file, &head);
    }
    let mut unpacked = Vec::new();
    file.rewind()?;
    // What cannot be unpacked is no kernel's file either.
    let _ = unpacking(io::BufReader::new(file))
        .and_then(|input| input.take(HEAD).read_to_end(&mut unpacked));
    Ok(flat_image(&unpacked).map_or(Look::Unknown, |arch| Look::Foreign(arch.to_owned())))
}

fn head(mut file: &File) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    file.rewind()?;
    file.take(HEAD).read_to_end(&mut head)?;
    Ok(head)
}

/// Kernels without a format: Documentation/arch/arm64/booting.rst, riscv/boot-image-header.rst.
fn flat_image(head: &[u8]) -> Option<&'static str> {
    match head.get(0x38..0x3c)? {
        b"ARM\x64" => Some("arm64"),
        b"RSC\x05" => Some("riscv64"),
        _ => None,
    }
}

/// A kernel within a UEFI program: a unified kernel image, or one that unpacks itself on other machines.
fn within_pe(mut file: &File, head: &[u8]) -> io::Result<Look> {
    match pe::machine(head) {
        Some(pe::Machine::X86_64) => {}
        Some(pe::Machine::Other(arch)) => return Ok(Look::Foreign(arch)),
        None => return Ok(Look::Unknown),
    }
    let Some(part) = pe::linux(file) else { return Ok(Look::Unknown) };
    let mut inner = Vec::new();
    file.seek(SeekFrom::Start(part.offset))?;
    file.take(HEAD.min(part.size)).read_to_end(&mut inner)?;
    Ok(match bzimage::look(&inner) {
        Some(Look::Kernel(image)) => Look::Kernel(Image { part: Some(part), ..image }),
        Some(other) => other,
        None => flat_image(&inner).map_or(Look::Unknown, |arch| Look::Foreign(arch.to_owned())),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub use super::bzimage::tests::head;

    fn look(bytes: &[u8]) -> Look {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, bytes).unwrap();
        look_at(&file).unwrap()
    }

    /// The beginning of an arm64 kernel.
    pub fn arm64() -> Vec<u8> {
        let mut image = vec![0; 0x40];
        image[0x38..0x3c].copy_from_slice(b"ARM\x64");
        image
    }

    #[test]
    fn a_kernel_for_another_machine_is_named() {
        let mut efi = arm64();
        efi[..2].copy_from_slice(b"MZ");
        let packed = {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            io::Write::write_all(&mut writer, &arm64()).unwrap();
            writer.finish().unwrap()
        };
        for image in [arm64(), efi, packed, pe::tests::pe(0xaa64, &[(b".linux\0\0", b"")])] {
            assert_eq!(look(&image), Look::Foreign("arm64".into()));
        }
        assert_eq!(look(b"#!/bin/sh\n"), Look::Unknown);
        assert_eq!(look(b""), Look::Unknown);
    }

    #[test]
    fn a_kernel_wrapped_for_uefi_is_found() {
        let kernel = head("6.9.0-uki");
        let sections: [(&[u8; 8], &[u8]); 3] =
            [(b".osrel\0\0", b"ID=x"), (b".linux\0\0", &kernel), (b".initrd\0", b"cpio")];
        let uki = pe::tests::pe(0x8664, &sections);
        let Look::Kernel(image) = look(&uki) else { panic!("no kernel in it") };
        let part = image.part.unwrap();
        let range = usize::try_from(part.offset).unwrap()..;
        assert_eq!(image.release, "6.9.0-uki");
        assert_eq!(uki[range][..kernel.len()], kernel);
        // One in another is nothing that anybody makes.
        let twice = pe::tests::pe(0x8664, &[(b".linux\0\0", &uki)]);
        assert_eq!(look(&twice), Look::Unknown);
        let foreign = pe::tests::pe(0x8664, &[(b".linux\0\0", &arm64())]);
        assert_eq!(look(&foreign), Look::Foreign("arm64".into()));
    }
}
