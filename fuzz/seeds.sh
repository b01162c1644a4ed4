#!/bin/sh
# Puts the beginnings of real file systems into the corpus of disk_layout, one for each mkfs that is
# installed: no fuzzer guesses a superblock. Run by `make fuzz`.
set -eu
cd "$(dirname "$0")"
PATH=$PATH:/usr/sbin:/sbin
mkdir -p corpus/disk_layout
disk=$(mktemp)
trap 'rm -f "$disk"' EXIT

# seed NAME BYTES COMMAND…: the disk comes last.
seed() {
    name=$1 bytes=$2
    shift 2
    command -v "$1" >/dev/null || return 0
    : >"$disk"
    truncate -s 400M "$disk"
    "$@" "$disk" >/dev/null 2>&1 || return 0
    head -c "$bytes" "$disk" >"corpus/disk_layout/$name"
}

seed ext4 96k mkfs.ext4 -q -F
seed ext2 96k mkfs.ext2 -q -F -b 1024
seed xfs 64k mkfs.xfs -q -f
seed btrfs 80k mkfs.btrfs -q -f
seed f2fs 16k mkfs.f2fs -q -f
seed vfat 8k mkfs.vfat -I
seed exfat 16k mkfs.exfat
seed swap 8k mkswap
