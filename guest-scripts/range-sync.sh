#!/bin/sh
# description: Two threads change the pages of a shared mapping while a third begins their writeback with sync_file_range.
# fs: ext4 xfs
# stable-writes: on
# expect: survey
# needs:
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
work ranges "$TARGET"
finish
