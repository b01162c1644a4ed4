#!/bin/sh
# description: The script's outputs go to the console; what dixtrap has to know arrives all the same.
# fs: ext4
# stable-writes: off
# expect: race
# outcome: pass
# log: told dixtrap: done
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
exec >/dev/ttyS0 2>&1
prepare "$@"
work buffered "$TARGET"
finish
