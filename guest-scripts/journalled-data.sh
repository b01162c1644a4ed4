#!/bin/sh
# description: Two threads change a shared mapping whose data goes through the journal, while commits go on.
# fs: ext4-data-journal
# stable-writes: on
# expect: survey
# needs:
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
work mmap "$TARGET"
finish
