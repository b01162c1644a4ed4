#!/bin/sh
# description: What a script needs of the host comes before busybox's applet of that name.
# fs: ext4
# stable-writes: off
# drivers: loop
# needs: losetup
# expect: survey
# outcome: pass
# log: out  losetup from util-linux
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
take_apart() { [ -z "$loop" ] || losetup -d "$loop"; }
loop=
losetup --version
need loop /dev/loop-control
prepare "$@"
dd if=/dev/zero of="$TARGET" bs=1M count=8 conv=fsync 2>/dev/null
loop=$(losetup --show --direct-io=on -f "$TARGET")
work mmap "$loop"
sync
losetup -d "$loop"
loop=
finish
