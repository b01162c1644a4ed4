#!/bin/sh
# A kernel under virtme-ng, with dixtrap's disk as /dev/vda and its scenarios run by hand.
#
#   examples/virtme-ng.sh [KERNEL] [SCENARIO] [FS]      KERNEL as `vng --run` takes it; "." is a built tree
#
# virtme-ng shows the host's root file system to the guest, so that mkfs and the scenarios are there; the
# kernel needs virtio_blk, and 9p or virtiofs, as virtme-ng does (Debian's cloud kernels have neither).
# Without KVM: VNG_FLAGS=--disable-kvm.
set -eu
kernel=${1:-.}
scenario=${2:-mmap-rewrite}
fs=${3:-ext4}
here=$(cd "$(dirname "$0")/.." && pwd)
guest=$(command -v dixtrap-guest) || guest=$here/target/release/dixtrap-guest
work=$(mktemp -d)

dixtrapd --socket-path "$work/disk.sock" --size 1G --window 1ms --on-race report \
    --races "$work/races.jsonl" --control "$work/ctl.sock" &
daemon=$!
trap 'kill "$daemon" 2>/dev/null || true' EXIT
until [ -S "$work/disk.sock" ] && [ -S "$work/ctl.sock" ]; do
    kill -0 "$daemon" || exit 129
    sleep 0.1
done

# --numa makes the guest's memory a shared memfd and the machine one with a PCI bus: both are needed.
# shellcheck disable=SC2086 # words on purpose
vng ${VNG_FLAGS:-} --run "$kernel" --numa 1G --memory 1G --user root \
    --qemu-opts="-chardev socket,id=dixtrap,path=$work/disk.sock -device vhost-user-blk-pci,chardev=dixtrap,num-queues=1" \
    --exec "modprobe -q virtio_blk; DIXTRAP_FS=$fs DIXTRAP_STABLE=off DIXTRAP_GUEST=$guest sh $here/guest-scripts/$scenario.sh /dev/vda" ||
    echo "vng ended with status $?; what the disk saw is below" >&2

dixtrap ctl "$work/ctl.sock" quit
wait "$daemon" || true
dixtrap report "$work/races.jsonl"
