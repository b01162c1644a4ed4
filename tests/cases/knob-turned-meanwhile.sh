#!/bin/sh
# description: Turns the knob on while it writes: neither setting can be told of.
# fs: raw
# stable-writes: off
# expect: survey
# outcome: error
# reason: stable_writes did not stay off while it wrote
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
work direct "$TARGET" &
sleep 1
echo 1 >/sys/class/block/vda/queue/stable_writes
# shellcheck disable=SC2119 # the library's wait, or the shell's
wait
finish
