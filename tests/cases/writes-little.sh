#!/bin/sh
# description: Writes so little that nothing could have raced.
# fs: raw
# stable-writes: off
# expect: survey
# outcome: error
# reason: 1000 are needed
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
say writing
dd if=/dev/zero of="$TARGET" bs=4k count=2 conv=fsync
finish
