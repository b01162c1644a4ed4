#!/bin/sh
# description: Four threads overwrite, grow and cut the same four files, and have them synced after every few writes.
# fs: ext4 xfs btrfs
# stable-writes: on
# expect: survey
# needs:
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
work storm "$(dirname "$TARGET")" --threads 4
finish
