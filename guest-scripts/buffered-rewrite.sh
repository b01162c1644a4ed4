#!/bin/sh
# description: Two threads overwrite a file through the page cache while a third has it written back.
# fs: raw ext4
# stable-writes: both
# expect: survey
# needs:
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
work buffered "$TARGET"
finish
