#!/bin/sh
# description: The workload refuses its arguments; nothing after it makes up for that.
# fs: raw
# stable-writes: off
# expect: survey
# outcome: error
# reason: dd bs=4k if=/dev/zero of="$TARGET" rw=wrte
# reason: refused-workload.sh) failed
# reason: rw=wrte
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
say writing
dd bs=4k if=/dev/zero of="$TARGET" rw=wrte
work direct "$TARGET"
finish
