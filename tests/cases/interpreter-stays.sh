#!/bin/sh
# description: A program that it needs is read by one that cannot come along: the cell does not run without it.
# fs: raw
# stable-writes: off
# needs: ./beside/read-by-nobody
# expect: race
# outcome: skip
# reason: beside/read-by-nobody cannot come along into the guest: its interpreter /nosuch/interpreter is not on this machine
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
./beside/read-by-nobody || :
work direct "$TARGET"
finish
