#!/bin/sh
# description: Two threads change pages of a loop device's own cache; its file lies on the file system.
# fs: ext4
# stable-writes: on
# drivers: loop
# expect: survey
# needs:
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"

loop=

take_apart() {
    [ -z "$loop" ] || losetup -d "$loop"
    loop=
}

# The loop goes before the file system under it.
finish_loop() {
    sync
    take_apart || die "cannot detach $loop"
    finish
}

need loop /dev/loop-control
prepare "$@"
dd if=/dev/zero of="$TARGET" bs=1M count=8 conv=fsync 2>/dev/null || die "cannot fill $TARGET"
loop=$(losetup -f) || die "there is no free loop device"
losetup "$loop" "$TARGET" || { loop=; die "cannot attach $TARGET to a loop device"; }
work mmap "$loop"
finish_loop
