#!/bin/sh
# description: Says that it writes, and does not.
# fs: raw
# stable-writes: off
# expect: survey
# outcome: error
# reason: no block was written after the script said that it writes
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
"$DIXTRAP_GUEST" work direct "$TARGET" --seconds 1
say writing
finish
