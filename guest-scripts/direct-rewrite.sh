#!/bin/sh
# description: One thread writes a buffer with O_DIRECT, again and again, while a second changes it.
# fs: raw partition ext* xfs btrfs* f2fs vfat exfat
# stable-writes: both
# expect: survey
# needs:
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
work direct "$TARGET"
finish
