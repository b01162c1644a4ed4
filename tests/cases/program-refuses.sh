#!/bin/sh
# description: A program fails, and die gives the reason: the program's own words are in it too.
# fs: raw
# stable-writes: off
# needs: losetup
# expect: survey
# outcome: error
# reason: cannot attach
# reason: losetup: 
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
losetup -f /nosuch || die "cannot attach /nosuch to a loop device"
finish
