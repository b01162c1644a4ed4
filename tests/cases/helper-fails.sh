#!/bin/sh
# description: A program beside the script lacks a module that the guest does not have, while another one writes.
# fs: raw
# stable-writes: off
# needs: ./beside/lacks-a-module.py
# expect: survey
# outcome: error
# may-lack: python3
# reason: No module named 'no_such_module'
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
./beside/lacks-a-module.py "$TARGET" &
work direct "$TARGET"
finish
