#!/bin/sh
# description: One thread keeps eight O_DIRECT writes of one buffer in flight through io_uring, while a second changes it.
# fs: raw ext4 xfs btrfs
# stable-writes: on
# expect: survey
# needs:
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
work aio "$TARGET"
finish
