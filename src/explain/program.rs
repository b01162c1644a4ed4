//! The file that a piece of memory is of: a program's code, most often.

use super::kernel::Kernel;
use super::page::file_of;
use super::physical::Physical;

/// How deep in folders a file is looked up, and how long the name of each is.
const DEPTH: usize = 32;
const MAX_NAME: usize = 255;

/// The path of a file and the byte of it that has a guest-physical address. The path is the one inside of its file
/// system: where that is mounted is not looked up.
pub fn file_at(kernel: &Kernel, memory: &dyn Physical, address: u64) -> Option<(String, u64)> {
    let (inode, byte) = file_of(kernel, memory, address)?;
    let entry = kernel.layout.entry?;
    let number = |at: u64, offset: u64| kernel.space.number(memory, at.checked_add(offset)?, 8);
    let first = number(inode, entry.first)?;
    let mut place = (first != 0).then(|| first.checked_sub(entry.alias))??;
    let mut names = Vec::new();
    for _ in 0..DEPTH {
        let parent = number(place, entry.parent)?;
        if parent == place {
            names.reverse();
            return Some((format!("/{}", names.join("/")), byte));
        }
        names.push(text_at(kernel, memory, number(place, entry.name)?)?);
        place = parent;
    }
    None
}

/// A text that ends with a zero.
fn text_at(kernel: &Kernel, memory: &dyn Physical, at: u64) -> Option<String> {
    let bytes = kernel.space.text(memory, at, MAX_NAME)?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
