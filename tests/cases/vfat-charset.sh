#!/bin/sh
# description: The kernel lacks the character set that it is configured to mount FAT with; another one does.
# fs: vfat
# stable-writes: off
# expect: race
# outcome: pass
# log: charset ascii not found
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
rmmod nls_ascii
prepare "$@"
dmesg | grep 'FAT-fs.*not found'
work buffered "$TARGET"
finish
