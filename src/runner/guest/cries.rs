//! What a line of the console means: the kernel's cries, after the sources that print them.
//!
//! What ends a kernel, or makes it one that may do anything from now on, loses the guest. All else that a
//! kernel says of itself is noted: the guest went on, and its taint has the last word.

/// What kind of trouble loses a guest; later ones are worse, and the worst counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// A task is blocked inside the kernel.
    HungTask,
    /// The kernel caught a fault of its own.
    Oops,
    /// The kernel gave up.
    Panic,
}

/// What a line means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cry {
    /// It is worth to be told; the kernel went on.
    Note,
    /// The guest is lost.
    Ends(Trouble),
}

/// Says what a line of the console means, if anything.
pub fn cry(line: &str) -> Option<Cry> {
    if died(line) {
        return Some(Cry::Ends(Trouble::Oops));
    }
    if let Some(seconds) = blocked_for(line) {
        let beyond = seconds >= HUNG_LIMIT;
        return Some(if beyond { Cry::Ends(Trouble::HungTask) } else { Cry::Note });
    }
    let (_, cry) = CRIES.iter().find(|(words, _)| in_order(line, words))?;
    Some(*cry)
}

const PANIC: Cry = Cry::Ends(Trouble::Panic);
const OOPS: Cry = Cry::Ends(Trouble::Oops);

/// The seconds after which the kernel calls a task hung, unless it is told otherwise
/// (lib/Kconfig.debug, DEFAULT_HUNG_TASK_TIMEOUT).
const HUNG_LIMIT: u64 = 120;

/// Words that stand in a line in this order, and what the line means; the first row that fits counts.
/// As Linux 5.10, 6.1, 6.12 and 7.2 print them.
const CRIES: &[(&[&str], Cry)] = &[
    // kernel/panic.c, vpanic()
    (&["Kernel panic - not syncing"], PANIC),
    // arch/x86/mm/extable.c, early_fixup_exception(): it halts.
    (&["PANIC: early exception 0x"], PANIC),
    // arch/x86/kernel/traps.c, exc_double_fault()
    (&["PANIC: double fault"], PANIC),
    // lib/bug.c, report_bug(); the second without CONFIG_DEBUG_BUGVERBOSE
    (&["kernel BUG at "], OOPS),
    (&["Kernel BUG at "], OOPS),
    // arch/x86/mm/fault.c, show_fault_oops(); arch/arm64/mm/fault.c, die_kernel_fault()
    (&["BUG: kernel NULL pointer dereference"], OOPS),
    (&["BUG: unable to handle "], OOPS),
    (&["Unable to handle kernel "], OOPS),
    // arch/x86/kernel/traps.c, handle_stack_overflow()
    (&["BUG: ", "stack guard page was hit"], OOPS),
    // These come with taint B. mm/page_alloc.c, bad_page(); mm/memory.c, print_bad_pte();
    // mm/filemap.c, filemap_unaccount_folio()
    (&["BUG: Bad page "], OOPS),
    // mm/kasan/report.c, mm/kfence/report.c, mm/kmsan/report.c
    (&["BUG: KASAN: "], OOPS),
    (&["BUG: KFENCE: "], OOPS),
    (&["BUG: KMSAN: "], OOPS),
    // mm/slub.c, slab_bug()
    (&["BUG ", "ainted", "): "], OOPS),
    // kernel/watchdog.c, watchdog_timer_fn() and watchdog_hardlockup_check()
    (&["BUG: soft lockup - CPU#"], Cry::Note),
    (&["Watchdog detected hard LOCKUP on cpu"], Cry::Note),
    // kernel/workqueue.c, wq_watchdog_timer_fn()
    (&["BUG: workqueue lockup - pool"], Cry::Note),
    // kernel/rcu/tree_stall.h, print_cpu_stall(), print_other_cpu_stall() and
    // rcu_check_gp_kthread_starvation(); kernel/rcu/tree_exp.h
    (&["self-detected stall on CPU"], Cry::Note),
    (&["detected stalls on CPUs/tasks:"], Cry::Note),
    (&["detected expedited stalls on CPUs/tasks:"], Cry::Note),
    (&["kthread starved for "], Cry::Note),
    // kernel/locking/lockdep.c, kernel/rcu/update.c
    (&["WARNING: possible "], Cry::Note),
    (&["WARNING: ", " lock"], Cry::Note),
    (&["WARNING: suspicious RCU usage"], Cry::Note),
    // kernel/panic.c, __warn(): "WARNING: CPU: 0 PID: 1 at x.c:2", or newer "WARNING: x.c:2 at f+0x3/0x4"
    (&["WARNING: ", " at "], Cry::Note),
    // lib/ubsan.c, ubsan_prologue()
    (&["UBSAN: ", " in "], Cry::Note),
    // A program died, not the kernel. arch/x86/kernel/traps.c, show_signal(); arch/x86/mm/fault.c,
    // show_signal_msg()
    (&["traps: ", " ip:", " sp:"], Cry::Note),
    (&[": segfault at ", " ip ", " sp "], Cry::Note),
    // Whatever else calls itself a bug, and does not trap: kernel/sched/core.c ("sleeping function called
    // from invalid context", "scheduling while atomic"), lib/smp_processor_id.c ("using
    // smp_processor_id() in preemptible"), kernel/locking/lockdep.c ("MAX_LOCKDEP_CHAINS too low!",
    // "Invalid wait context"), kernel/fork.c ("Bad rss-counter state"), kernel/kcsan/report.c ("KCSAN").
    (&["BUG: "], Cry::Note),
];

/// Whether the words stand in the line one after the other.
fn in_order(line: &str, words: &[&str]) -> bool {
    let mut rest = line;
    words.iter().all(|word| match rest.split_once(word) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

/// The line of die(), whatever it died of: an error code in hexadecimal digits, and which death it is, as in
/// `general protection fault: 0000 [#1] SMP` and, since 6.10, `Oops: invalid opcode: 0000 [#1] SMP`
/// (arch/x86/kernel/dumpstack.c, `__die_header()`; arch/arm64/kernel/traps.c, `__die()`).
fn died(line: &str) -> bool {
    line.match_indices(" [#").any(|(at, mark)| {
        let (before, after) = line.split_at(at);
        let code = before.rsplit_once(": ").map_or("", |(_, code)| code);
        let hex = code.len() >= 4 && code.chars().all(|c| c.is_ascii_hexdigit());
        let number = after.get(mark.len()..).and_then(|rest| rest.split_once(']'));
        hex && number.is_some_and(|(n, _)| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()))
    })
}

/// For how long a task has been blocked, by kernel/hung_task.c, `check_hung_task()`. A time that cannot be
/// read is one without end.
fn blocked_for(line: &str) -> Option<u64> {
    if !in_order(line, &["INFO: task ", " blocked", " for more than "]) {
        return None;
    }
    let (_, time) = line.rsplit_once(" for more than ")?;
    let digits: String = time.chars().take_while(char::is_ascii_digit).collect();
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUNG: Option<Cry> = Some(Cry::Ends(Trouble::HungTask));
    const ENDS: Option<Cry> = Some(OOPS);
    const NOTE: Option<Cry> = Some(Cry::Note);

    #[track_caller]
    fn all_mean(expected: Option<Cry>, lines: &[&str]) {
        for line in lines {
            assert_eq!(cry(line), expected, "{line}");
            // Half a line of a program's may stand before it.
            let behind = format!("$ [    1.234567][  T123] {line}");
            assert_eq!(cry(&behind), expected, "{behind}");
        }
    }

    #[test]
    fn what_ends_a_kernel_loses_the_guest() {
        all_mean(
            Some(PANIC),
            &[
                "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
                "Kernel panic - not syncing: sysrq triggered crash",
                "---[ end Kernel panic - not syncing: Fatal exception in interrupt ]---",
                "PANIC: early exception 0x0d IP 10:ffffffff8103a1b2 error 0 cr2 0xffff888002a00ff8",
                "PANIC: double fault, error_code: 0x0",
            ],
        );
        all_mean(
            ENDS,
            &[
                // 5.10 and 6.1.
                "BUG: kernel NULL pointer dereference, address: 0000000000000010",
                "BUG: unable to handle page fault for address: ffffb2c2c0a3b000",
                "Oops: 0002 [#1] SMP NOPTI",
                "general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] PREEMPT SMP NOPTI",
                "invalid opcode: 0000 [#3] PREEMPT SMP NOPTI",
                "divide error: 0000 [#1] SMP PTI",
                "kernel BUG at fs/ext4/inode.c:2734!",
                "Kernel BUG at ext4_writepages+0x123/0x456 [verbose debug info unavailable]",
                "BUG: stack guard page was hit at 00000000f2c1a0f8 (stack is 000000004d0c7c6e..00000000b9ce3a5a)",
                // 6.12 and 7.2.
                "Oops: general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] PREEMPT SMP NOPTI",
                "Oops: Oops: 0002 [#1] SMP NOPTI",
                "Oops: invalid opcode: 0000 [#1] PREEMPT SMP NOPTI",
                "Oops: double fault: 0000 [#1] PREEMPT SMP NOPTI",
                "BUG: TASK stack guard page was hit at ffffc90000a1bff8 (stack is ffffc90000a1c000..ffffc90000a20000)",
                // arm64.
                "Internal error: Oops: 0000000096000004 [#1] PREEMPT SMP",
                "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000",
                // Taint B.
                "BUG: Bad page state in process kworker/u4:2  pfn:1a2b3",
                "BUG: Bad page map in process sh  pte:8000000012345067 pmd:0a1b2067",
                "BUG: KASAN: slab-use-after-free in ext4_find_extent+0x1b/0x2c0",
                "BUG: KFENCE: out-of-bounds read in test_out_of_bounds_read+0xa3/0x22b",
                "BUG kmalloc-64 (Not tainted): Right Redzone overwritten",
                "BUG dentry (Tainted: G    B   W        ): Poison overwritten",
            ],
        );
    }

    #[test]
    fn what_a_guest_goes_on_after_is_a_note() {
        all_mean(
            NOTE,
            &[
                "BUG: MAX_LOCKDEP_CHAINS too low!",
                "BUG: MAX_LOCKDEP_ENTRIES too low!",
                "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580",
                "BUG: scheduling while atomic: swapper/0/0/0x00000002",
                "BUG: using smp_processor_id() in preemptible [00000000] code: modprobe/113",
                "BUG: Bad rss-counter state mm:00000000aa6d8b0b type:MM_ANONPAGES val:1",
                "BUG: KCSAN: data-race in jbd2_journal_commit_transaction / jbd2_write_access_granted",
                "[ BUG: Invalid wait context ]",
                "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [kworker/u4:3:112]",
                "watchdog: Watchdog detected hard LOCKUP on cpu 1",
                "watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 1",
                "NMI watchdog: Watchdog detected hard LOCKUP on cpu 1",
                "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 45s!",
                "rcu: INFO: rcu_preempt self-detected stall on CPU",
                "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
                "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 0-...D } 21 jiffies s: 97 root: 0x1/.",
                "rcu: rcu_preempt kthread starved for 5250 jiffies! g1073 f0x0 RCU_GP_WAIT_FQS(5) ->state=0x402 ->cpu=0",
                "WARNING: possible circular locking dependency detected",
                "WARNING: inconsistent lock state",
                "WARNING: suspicious RCU usage",
                "WARNING: CPU: 1 PID: 118 at fs/ext4/inode.c:3581 ext4_dirty_folio+0x73/0x80",
                "WARNING: fs/ext4/inode.c:3581 at ext4_dirty_folio+0x73/0x80, CPU#1: mount/118",
                "UBSAN: shift-out-of-bounds in lib/zstd/compress.c:12:3",
                "traps: a.out[417] general protection fault ip:55d0c2a4d13d sp:7ffd9a1ea3c0 error:0 in a.out[55d0c2a4d000+1000]",
                "traps: mkfs.btrfs[90] trap invalid opcode ip:402f31 sp:7ffc6d1f0d50 error:0 in mkfs.btrfs[401000+a0000]",
                "a.out[418]: segfault at 0 ip 000055d7f0a3d131 sp 00007ffe6c0c7a30 error 6 in a.out[55d7f0a3d000+1000]",
            ],
        );
    }

    #[test]
    fn a_hung_task_loses_the_guest_beyond_the_kernels_own_limit() {
        all_mean(
            HUNG,
            &[
                "INFO: task fsync:99 blocked for more than 120 seconds.",
                "INFO: task jbd2/vda-8:77 blocked for more than 241 seconds.",
                "INFO: task sync:7 blocked in I/O wait for more than 122 seconds.",
                "INFO: task sync:7 blocked for more than ever.",
            ],
        );
        all_mean(NOTE, &["INFO: task sync:7 blocked for more than 10 seconds."]);
    }

    #[test]
    fn what_every_boot_says_is_nothing() {
        for line in [
            "[    0.000000] Linux version 6.1.0-50-amd64 (gcc-12 (Debian 12.2.0-14) 12.2.0) #1 SMP",
            "[    0.100000] debug: nothing",
            "[    0.100000] Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on",
            "[    0.200000] traps: the list of them is empty",
            "[    1.000000] EXT4-fs (vda): mounted filesystem with ordered data mode. Quota mode: none.",
            "issue [#12] is open: see [#1]",
            "0000 [#x]",
            "",
        ] {
            assert_eq!(cry(line), None, "{line}");
        }
    }
}
