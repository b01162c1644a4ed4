//! What a kernel says of the trouble that it had.

/// What bits of `/proc/sys/kernel/tainted` say that the kernel may do anything from now on
/// (Documentation/admin-guide/tainted-kernels.rst). A warning is not among them, nor a lock-up that ended:
/// those are [`scars`].
pub(super) fn harm(taint: u64) -> Option<&'static str> {
    let has = |bit: u32| taint >> bit & 1 == 1;
    if has(7) {
        Some("it died of a fault of its own (taint D)")
    } else if has(5) {
        Some("it found memory in a bad state (taint B)")
    } else {
        has(4).then_some("the machine reported a fault (taint M)")
    }
}

/// What bits of it say that the kernel had trouble that it went on after.
pub(super) fn scars(taint: u64) -> impl Iterator<Item = &'static str> {
    let known = [(9, "the kernel warned (taint W)"), (14, "a CPU was stuck for a while (taint L)")];
    known.into_iter().filter(move |(bit, _)| taint >> bit & 1 == 1).map(|(_, scar)| scar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oops_is_harm_and_a_warning_a_scar() {
        for (bit, is_harm, is_scar) in [
            (4, true, false),
            (5, true, false),
            (7, true, false),
            (9, false, true),
            (12, false, false),
            (14, false, true),
        ] {
            let taint = 1 << bit;
            assert_eq!(
                (harm(taint).is_some(), scars(taint).count() > 0),
                (is_harm, is_scar),
                "{bit}"
            );
        }
        assert!(harm(0).is_none() && scars(0).next().is_none());
    }
}
