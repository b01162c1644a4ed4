#!/bin/sh
# description: Two threads change a shared mapping of a file, with a linear device-mapper device between file system and disk.
# fs: ext4 xfs
# stable-writes: on
# drivers: dm_mod
# expect: survey
# needs:
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"

node=

take_apart() { [ -z "$node" ] || "$DIXTRAP_GUEST" unmap dixtrap; }

need dm_mod /dev/mapper/control
take "$@"
device_start=2048
node=$("$DIXTRAP_GUEST" map dixtrap "$DIXTRAP_DEV" --start $device_start --length 1048576) || exit
prepare_on "$node"
work mmap "$TARGET"
finish
