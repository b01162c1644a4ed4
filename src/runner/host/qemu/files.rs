//! The files of a boot, and their names on QEMU's command line.

use std::path::{Path, PathBuf};

/// The files of a boot, in its directory. QEMU works in that directory, so that a path of any length
/// will do (a socket's address holds 107 bytes).
pub const CONSOLE: &str = "console.log";
/// The socket of the virtio-serial port.
pub const LINK: &str = "link.sock";
/// The initramfs.
pub const INITRAMFS: &str = "initramfs.cpio";
/// The kernel's image.
pub const KERNEL: &str = "vmlinuz";
/// QEMU's own messages.
pub const MESSAGES: &str = "qemu.log";

/// QEMU works in a directory of its own, where our relative paths mean nothing.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A value inside an option, where a comma alone would end it.
pub(super) fn doubled(value: &str) -> String {
    value.replace(',', ",,")
}
