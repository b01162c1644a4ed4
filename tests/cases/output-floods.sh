#!/bin/sh
# description: A script prints more than anybody wants to keep.
# fs: raw
# stable-writes: off
# expect: race
# outcome: pass
# log: err  this is the first line
# log: bytes are left out here
# log: out  this is the last line
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
echo this is the first line >&2
head -c 30000000 /dev/zero | tr '\0' x | fold -w 99
echo
echo this is the last line
prepare "$@"
work direct "$TARGET"
finish
