#!/bin/sh
# description: A writer of the helper's fails in the background, and nobody waits for it.
# fs: raw
# stable-writes: off
# expect: survey
# outcome: error
# reason: the writer 'churn' failed
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
work churn /nosuch &
work direct "$TARGET"
finish
