#!/bin/sh
# description: Never says that it writes: what it wrote may have been its set-up.
# fs: raw
# stable-writes: off
# expect: survey
# outcome: error
# reason: never said that it writes
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
say wrting
"$DIXTRAP_GUEST" work direct "$TARGET" --seconds 1
finish
