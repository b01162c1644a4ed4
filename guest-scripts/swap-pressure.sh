#!/bin/sh
# description: Two threads change 25 MiB of memory inside a cgroup of 24 MiB; the disk is the swap.
# fs: swap
# stable-writes: on
# expect: survey
# needs:
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"

root=/sys/fs/cgroup
group=$root/dixtrap
swapping=

take_apart() {
    [ ! -d "$group" ] || { echo $$ >"$root/cgroup.procs" && rmdir "$group"; }
    [ -z "$swapping" ] || swapoff "$DIXTRAP_DEV"
}

prepare "$@"
[ -e /proc/swaps ] || skip "this kernel has no swap"
[ -e $root/cgroup.controllers ] || mount -t cgroup2 none $root || skip "this kernel has no cgroup2"
grep -qw memory $root/cgroup.controllers || skip "this kernel has no memory cgroup"
echo +memory >$root/cgroup.subtree_control || die "the memory cgroup cannot be used"
# The queue's stable_writes is sampled here, as a file system samples it at its mount.
swapon "$DIXTRAP_DEV" || die "cannot swap on $DIXTRAP_DEV"
swapping=yes
mkdir "$group" || die "cannot make a cgroup"
echo 24M >"$group/memory.max" || die "cannot bound the memory"
echo $$ >"$group/cgroup.procs" || die "cannot enter the cgroup"
# Little more than fits: the fewer pages are out, the more often a store meets one on its way out.
work memory "$DIXTRAP_DEV" --size 25M
finish
