#!/bin/sh
# description: Turns the knob itself: what ran with one setting is no evidence of the other.
# fs: ext4
# stable-writes: on
# expect: stable
# outcome: error
# ran-with: off
# reason: stable_writes was off while it wrote, not on
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
take "$@"
echo 0 >/sys/class/block/vda/queue/stable_writes
prepare_on "$DIXTRAP_DEV"
work churn "$DIXTRAP_MNT"
finish
