#!/bin/sh
# description: Begins where every cell begins, whatever another one left.
# fs: ext4
# stable-writes: any
# expect: race
# outcome: pass
# ran-with: off
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
[ "$(cat /sys/class/block/vda/queue/stable_writes)" = 0 ] || die "the knob is on"
[ "$(cat /proc/sys/vm/dirty_writeback_centisecs)" = 500 ] || die "a setting stayed changed"
[ ! -e /tmp/file ] || die "a file stayed"
[ ! -e /opt ] || die "a folder stayed"
grep -q '^root:' /etc/passwd || die "a file stayed changed"
[ ! -e /sys/block/dm-0 ] || die "a mapped device stayed"
[ ! -e /sys/block/loop0/loop/backing_file ] || die "a loop device stayed"
[ "$(wc -l </proc/swaps)" = 1 ] || die "swap stayed"
! grep -q '/tmp/' /proc/mounts || die "a mount stayed"
# shellcheck disable=SC2009 # busybox may have no pgrep
! ps | grep -q '[s]leep 1000' || die "a process stayed"
dd if=/dev/zero of=/dev/vda bs=512 seek=1500000 count=8 conv=fsync 2>&1 || die "a fault stayed"
prepare "$@"
work buffered "$TARGET"
finish
