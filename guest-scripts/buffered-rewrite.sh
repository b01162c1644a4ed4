#!/bin/sh
# description: Two threads overwrite a file through the page cache while a third has it written back.
# fs: raw partition ext* xfs btrfs* f2fs vfat exfat
# stable-writes: both
# expect: survey
# needs:
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
work buffered "$TARGET"
finish
