#!/bin/sh
# description: As dix-verify, on a partition that begins at no multiple of eight blocks.
# device: scsi
# fs: ext4 xfs
# stable-writes: any
# expect: stable guest=integrity -- a reference tag counts protection intervals from the disk's beginning, wherever a partition begins
# expect: survey -- the guest makes no protection information
# needs:
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
start=2051
disk=
# What comes next finds a disk without partitions.
take_apart() {
    [ -n "$disk" ] || return 0
    dd if=/dev/zero of="$disk" bs=64k count=1 conv=fsync 2>/dev/null || return
    blockdev --rereadpt "$disk"
}
take "$@"
check_protection
command -v fdisk >/dev/null || skip "fdisk is missing: install fdisk"
dd if=/dev/zero of="$DIXTRAP_DEV" bs=64k count=1 conv=fsync 2>/dev/null || die "cannot write to $DIXTRAP_DEV"
disk=$DIXTRAP_DEV
printf 'o\nn\np\n1\n%s\n\nw\n' "$start" | fdisk "$disk" >/dev/null 2>&1
name=${disk##*/}
block=$(cat "/sys/class/block/$name/queue/logical_block_size")
first=$(cat "/sys/class/block/${name}1/start") || die "fdisk made no partition on $disk"
# The kernel counts in sectors of 512 bytes, whatever a block is.
[ "$first" = $((start * block / 512)) ] || die "the partition begins at sector $first, not at block $start"
device_start=$first
prepare_on "${disk}1"
write_and_verify
finish
