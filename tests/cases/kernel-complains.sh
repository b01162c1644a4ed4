#!/bin/sh
# description: The kernel complains and goes on: a debug option gave up, a CPU was stuck, a program died, it warned.
# fs: ext4
# stable-writes: off
# expect: race
# outcome: pass
# note: BUG: MAX_LOCKDEP_CHAINS too low!
# note: watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [kworker/u4:3:112]
# note: BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580
# note: rcu: INFO: rcu_preempt self-detected stall on CPU
# note: traps: a.out[417] general protection fault ip:55d0c2a4d13d sp:7ffd9a1ea3c0 error:0 in a.out
# note: the kernel warned (taint W)
# note: a CPU was stuck for a while (taint L)
# log: the kernel says: [
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
work buffered "$TARGET"
for line in 'BUG: MAX_LOCKDEP_CHAINS too low!' \
    'watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [kworker/u4:3:112]' \
    'BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580' \
    'rcu: INFO: rcu_preempt self-detected stall on CPU' \
    'traps: a.out[417] general protection fault ip:55d0c2a4d13d sp:7ffd9a1ea3c0 error:0 in a.out'; do
    echo "<2>$line" >/dev/kmsg
done
# W and L, as the kernel itself would set them.
echo $((512 + 16384)) >/proc/sys/kernel/tainted
finish
