#!/bin/sh
# description: The guest generates and verifies protection information itself; its tuples and data have to match throughout.
# device: scsi
# fs: ext4 xfs btrfs
# stable-writes: any
# expect: stable guest=integrity -- the queue asks for stable pages because the disk has protection information
# expect: survey -- the guest makes no protection information
# needs:
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
take "$@"
check_protection
prepare_on "$DIXTRAP_DEV"
write_and_verify
finish
