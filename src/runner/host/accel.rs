//! What executes the guest's instructions, and what `--accel` asks for.

use std::str::FromStr;

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// The CPU, by way of KVM.
    Kvm,
    /// QEMU's translator, a thread for each virtual CPU.
    Tcg,
}

impl Accel {
    /// Its name, as `--accel` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
        }
    }

    /// Whether QEMU does so itself, and sees every store.
    pub fn is_emulated(self) -> bool {
        self == Accel::Tcg
    }

    /// QEMU's words for it.
    pub fn qemu_arguments(self) -> &'static [&'static str] {
        match self {
            Accel::Kvm => &["-accel", "kvm", "-cpu", "host"],
            Accel::Tcg => &["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

/// What `--accel` asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccelMode {
    /// KVM where it works, else TCG.
    #[default]
    Auto,
    /// KVM, or fail.
    Kvm,
    /// TCG, without trying KVM.
    Tcg,
}

impl FromStr for AccelMode {
    type Err = String;

    fn from_str(text: &str) -> Result<AccelMode, String> {
        match text {
            "auto" => Ok(AccelMode::Auto),
            "kvm" => Ok(AccelMode::Kvm),
            "tcg" => Ok(AccelMode::Tcg),
            _ => Err(format!("accelerator '{text}' is not known: use auto, kvm or tcg")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read() {
        assert_eq!("kvm".parse(), Ok(AccelMode::Kvm));
        assert!("hvf".parse::<AccelMode>().unwrap_err().contains("auto, kvm or tcg"));
    }
}
