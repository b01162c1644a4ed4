#!/bin/sh
# description: Leaves the knob and other settings changed, mounts, a loop, a mapped device, swap, a process and a fault.
# fs: ext4
# stable-writes: any
# drivers: loop dm_mod
# inject: medium-error,op=write,lba=1500000,count=all
# expect: stable
# outcome: pass
# ran-with: on
# log: left behind, and killed: sleep
# log: left behind, and taken away: mount /tmp/a place
# log: left behind, and taken away: mapped device forgotten
# log: left behind, and taken away: loop device /dev/loop
# log: left behind, and taken away: swap /
# log: left behind, and taken away: setting /sys/class/block/vda/queue/stable_writes
# log: left behind, and taken away: setting /proc/sys/vm/dirty_writeback_centisecs
# log: left behind, and taken away: file /opt
# log: left behind, and taken away: file /etc/passwd
# log: this fault never happened: medium-error,op=write,lba=1500000,count=all
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
echo 1 >/sys/class/block/vda/queue/stable_writes
echo 77 >/proc/sys/vm/dirty_writeback_centisecs
prepare "$@"
work mmap "$TARGET"
setsid sleep 1000 &
mkdir "/tmp/a place" && mount -t tmpfs none "/tmp/a place"
dd if=/dev/zero of="$DIXTRAP_MNT/swap" bs=1M count=4 conv=fsync 2>/dev/null
mkswap "$DIXTRAP_MNT/swap" >/dev/null
chmod 600 "$DIXTRAP_MNT/swap"
swapon "$DIXTRAP_MNT/swap"
dd if=/dev/zero of="$DIXTRAP_MNT/loop" bs=1M count=4 conv=fsync 2>/dev/null
loop=$(losetup -f)
losetup "$loop" "$DIXTRAP_MNT/loop"
"$DIXTRAP_GUEST" map forgotten "$loop" --length 2048
echo left >/tmp/file
mkdir -p /opt/left
echo nobody >/etc/passwd
# Nothing of lib.sh takes anything apart.
trap - EXIT
