#!/bin/sh
# description: Scribbles over what it brought along; its next cell finds it as it was, and the guest too.
# fs: raw
# stable-writes: both
# files: beside/words
# expect: survey
# outcome: pass
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
grep -q 'the words that came along' beside/words/greeting.json || die "somebody scribbled over it"
[ ! -e left ] || die "a file stayed"
prepare "$@"
work direct "$TARGET"
echo scribbled >beside/words/greeting.json
echo left >left
finish
