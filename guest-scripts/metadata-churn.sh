#!/bin/sh
# description: Three threads create, rename, truncate and remove files and directories, and have them synced.
# fs: ext* xfs btrfs* f2fs vfat exfat
# stable-writes: both
# expect: survey
# needs:
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
work churn "$(dirname "$TARGET")"
finish
