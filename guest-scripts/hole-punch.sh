#!/bin/sh
# description: A file is truncated and punched at unaligned places while its pages are changed and written back.
# fs: ext4 xfs btrfs
# stable-writes: on
# expect: survey
# needs:
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
work holes "$TARGET"
finish
