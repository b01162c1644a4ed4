#!/bin/sh
# description: One of two workloads in the background does not run.
# fs: raw
# stable-writes: off
# expect: survey
# outcome: error
# reason: nosuchfio
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
work direct "$TARGET" &
nosuchfio --rw=write &
# shellcheck disable=SC2119 # the library's wait, or the shell's
wait
finish
