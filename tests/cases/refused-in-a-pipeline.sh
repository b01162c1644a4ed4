#!/bin/sh
# description: The workload is not there, and what it would have printed goes into a pipe.
# fs: raw
# stable-writes: off
# expect: survey
# outcome: error
# reason: a part of the pipeline
# reason: nosuchfio
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
say writing
nosuchfio --rw=write | cat
work direct "$TARGET"
finish
