//! What the guests of a run are given: a QEMU, memory, CPUs, words for the kernel, and a disk.

use std::path::PathBuf;
use std::time::Duration;

use crate::pi::PiType;
use crate::units::{BlockSize, ByteSize};

/// How long a kernel may take to come up, unless its cells are given more than that.
pub const BOOT_LIMIT: Duration = Duration::from_secs(180);
/// The disk's size unless another one is asked for: the smallest that every mkfs takes, and a good
/// deal more.
pub const DISK_SIZE: ByteSize = ByteSize(1 << 30);
/// The guest's memory unless more is asked for.
pub const MEMORY: ByteSize = ByteSize(768 << 20);

/// The least memory that a stock kernel comes up in with our initramfs.
const LEAST_MEMORY: ByteSize = ByteSize(128 << 20);
/// What one guest of an x86 machine can address, and more than any host has.
const MOST_MEMORY: ByteSize = ByteSize(1 << 40);
/// What x86 kernels keep of their command line (COMMAND_LINE_SIZE), its end included, less the words
/// that every guest of ours gets.
const MOST_WORDS: usize = 2048 - 128;

/// The computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The QEMU to run; the one in PATH where there is none named.
    pub qemu: Option<PathBuf>,
    /// Words behind all others on QEMU's command line.
    pub qemu_args: Vec<String>,
    /// Words added to the kernel's command line.
    pub append: String,
    /// The guest's memory, whole MiB.
    pub memory: ByteSize,
    /// The guest's CPUs; as many as the cores allow where none are named.
    pub cpus: Option<u32>,
    /// How long the kernel may take to come up.
    pub boot_limit: Duration,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine {
            qemu: None,
            qemu_args: Vec::new(),
            append: String::new(),
            memory: MEMORY,
            cpus: None,
            boot_limit: BOOT_LIMIT,
        }
    }
}

/// The disk under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskShape {
    /// Bytes in a logical block.
    pub block_size: BlockSize,
    /// The protection type.
    pub pi_type: PiType,
    /// Its size.
    pub size: ByteSize,
}

impl Default for DiskShape {
    fn default() -> DiskShape {
        DiskShape { block_size: BlockSize::B512, pi_type: PiType::Type1, size: DISK_SIZE }
    }
}

/// Reads the memory of a guest.
///
/// # Errors
/// In words, where it is no size that a guest can have.
pub fn memory(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse().map_err(|error| format!("{error}"))?;
    if size < LEAST_MEMORY || size > MOST_MEMORY {
        return Err(format!(
            "a guest needs {LEAST_MEMORY} and can have {MOST_MEMORY}: {text} is not between them"
        ));
    }
    if !size.0.is_multiple_of(1 << 20) {
        return Err(format!("'{text}' is not a whole number of MiB: write 768M or 2G"));
    }
    Ok(size)
}

/// Reads words for the kernel's command line.
///
/// # Errors
/// In words, where the kernel would not get them as they are.
pub fn kernel_words(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        return Err("a kernel's command line is one line, without control characters".to_owned());
    }
    if text.len() > MOST_WORDS {
        return Err(format!("{} bytes are too many: the kernel keeps {MOST_WORDS}", text.len()));
    }
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn memory_is_a_size_that_a_guest_can_have() {
        assert_eq!(memory("768M"), Ok(MEMORY));
        assert_eq!(memory("4G"), Ok(ByteSize(4 << 30)));
        for (text, word) in [
            ("127M", "needs 128M"),
            ("2T", "can have 1T"),
            ("1000000K", "whole number of MiB"),
            ("much", "write 512M or 1G"),
            ("0", "out of range"),
        ] {
            let error = memory(text).unwrap_err();
            assert!(error.contains(word) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn words_that_the_kernel_would_not_get_are_refused() {
        assert_eq!(kernel_words(" a=1 b=\"c d\" ").as_deref(), Ok("a=1 b=\"c d\""));
        assert!(kernel_words("a\nb").unwrap_err().contains("one line"));
        assert!(kernel_words(&"a".repeat(2000)).unwrap_err().contains("too many"));
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in ".{0,40}") {
            if let Ok(size) = memory(&text) {
                prop_assert!(size >= LEAST_MEMORY && size.0.is_multiple_of(1 << 20));
            }
            let _ = kernel_words(&text);
        }
    }
}
