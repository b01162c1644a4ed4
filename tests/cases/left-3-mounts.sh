#!/bin/sh
# description: Leaves mounts that hide scripts, programs and the disk from whoever comes next.
# fs: ext4
# stable-writes: off
# expect: race
# outcome: pass
# log: left behind, and taken away: mount /dixtrap
# log: left behind, and taken away: mount /usr/local/bin
# log: left behind, and taken away: mount /sys/kernel
# log: left behind, and taken away: mount /dev
# log: left behind, and taken away: mount /tmp/own/again
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
work buffered "$TARGET"
mkdir again
mount --bind "$DIXTRAP_MNT" again
mount -t tmpfs none /dixtrap
mount -t tmpfs none /sys/kernel
mount -t tmpfs none /dev
# Nothing of lib.sh takes anything apart; from here on there is no shell.
trap - EXIT
exec mount -t tmpfs none /usr/local/bin
