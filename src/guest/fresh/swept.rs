//! What became of the things that had to go.

use std::io;

/// What could be taken away, and what could not; each in words.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Swept {
    /// Is as it was.
    pub undone: Vec<String>,
    /// Is still there, and why.
    pub left: Vec<String>,
}

impl Swept {
    /// Adds what became of something, which `what` names.
    pub(super) fn add(&mut self, what: &str, result: io::Result<()>) {
        match result {
            Ok(()) => self.undone.push(what.to_owned()),
            Err(error) => self.left.push(format!("{what}: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_says_why() {
        let mut swept = Swept::default();
        swept.add("unmounted /mnt/a", Ok(()));
        swept.add("unmounted /mnt/b", Err(io::Error::from_raw_os_error(libc::EBUSY)));
        assert_eq!(swept.undone, ["unmounted /mnt/a"]);
        assert!(swept.left[0].starts_with("unmounted /mnt/b: "), "{swept:?}");
    }
}
