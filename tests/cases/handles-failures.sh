#!/bin/sh
# description: Sees to its failures itself, and its readers end early: none of that is an error.
# fs: raw
# stable-writes: off
# expect: race
# outcome: pass
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
false || :
if grep -q nosuch /proc/mounts; then die "it is there"; fi
yes | head -c 100000 | grep -q y
dmesg | head -n 1
sh -c 'exit 4' & wait $! || :
work direct "$TARGET"
finish
