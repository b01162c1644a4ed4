#!/bin/sh
# description: A program in another language, and its data, lie beside the script: its interpreter comes along.
# fs: raw
# stable-writes: off
# needs: ./beside/rewrite.py
# files: beside/words
# expect: race
# outcome: pass
# may-lack: python3
# log: out  the words that came along
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
say writing
./beside/rewrite.py "$TARGET" "$DIXTRAP_SECONDS" beside/words/greeting.json
echo scribbled >beside/words/greeting.json
finish
