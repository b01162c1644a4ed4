#!/bin/sh
# description: A mirror over two parts of the disk: direct writes of a changing buffer, or on a file system a changing mapping; then the legs are compared.
# fs: raw ext4
# stable-writes: on
# drivers: dm_mod raid1
# expect: survey
# needs:
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"

# Sectors of a leg.
leg=131072
array=/sys/block/md0/md
legs=

take_apart() {
    [ ! -e "$array/array_state" ] || echo clear >"$array/array_state"
    for name in $legs; do
        "$DIXTRAP_GUEST" unmap "$name" || return
    done
}

# put FILE VALUE
put() { echo "$2" >"$array/$1" || die "md refuses $2 for $1"; }

# One leg: add SLOT. Sets node.
add() {
    node=$("$DIXTRAP_GUEST" map "leg$1" "$DIXTRAP_DEV" --start $((2048 + $1 * leg)) --length $leg) || exit
    legs="$legs leg$1"
    dev=${node##*/}
    put new_dev "$(cat "/sys/block/$dev/dev")"
    put "dev-$dev/slot" "$1"
    put "dev-$dev/size" $((leg / 2))
}

need dm_mod /dev/mapper/control
need raid1 /sys/module/md_mod
take "$@"
echo md0 >/sys/module/md_mod/parameters/new_array || skip "this kernel makes no md array by name"
put metadata_version none
put level raid1
put raid_disks 2
add 0
one=$node
add 1
other=$node
put component_size $((leg / 2))
# The legs are alike where it matters: what a resynchronisation copies would hide what diverged.
put resync_start none
put array_state active
prepare_on /dev/md0

case $DIXTRAP_FS in
raw) work direct "$TARGET" ;;
*) work mmap "$TARGET" ;;
esac

# The array has to be idle and its blocks on the legs before they are compared.
sync
if [ -n "$mounted" ]; then
    umount "$DIXTRAP_MNT" || die "cannot unmount $DIXTRAP_MNT"
    mounted=
fi
blockdev --flushbufs /dev/md0
echo clear >$array/array_state || die "the array does not stop"
{ blockdev --flushbufs "$one" && blockdev --flushbufs "$other"; } || die "cannot read the legs anew"
# Direct writes cover the first 4 MiB; a file system's blocks may lie anywhere.
case $DIXTRAP_FS in
raw) size=4M ;;
*) size=$((leg / 2))K ;;
esac
"$DIXTRAP_GUEST" compare "$one" "$other" --size $size || die "cannot compare the legs"
finish
