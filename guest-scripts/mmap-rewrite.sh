#!/bin/sh
# description: Two threads change the pages of a shared mapping while a third has them written back.
# fs: raw partition ext* xfs btrfs* f2fs vfat exfat
# stable-writes: both
# expect: survey
# needs:
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
work mmap "$TARGET"
finish
