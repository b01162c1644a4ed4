#!/bin/sh
# Boots a guest whose first virtio disk is the dixtrapd that listens on SOCKET.
#
#   qemu/boot.sh SOCKET [QEMU ARGUMENT...]
#
# The arguments bring the guest itself: -drive file=guest.qcow2,if=ide, or -kernel, -initrd, -append
# (with no_timer_check, or without KVM a busy machine may make the kernel panic over its timer).
# DEVICE (blk; scsi for a dixtrapd --device scsi), MEMORY (1G), CPUS (2), QUEUES (1), ACCEL (tcg,thread=multi; kvm where it works) and QEMU
# (qemu-system-x86_64) come from the environment.
set -eu
if [ $# -lt 1 ]; then
    echo "usage: qemu/boot.sh SOCKET [QEMU ARGUMENT...]" >&2
    exit 2
fi
socket=$1
shift
# A daemon that was started a moment ago may still be making it.
for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -S "$socket" ] && break
    sleep 0.2
done
if [ ! -S "$socket" ]; then
    echo "qemu/boot.sh: $socket is no socket; start dixtrapd --socket-path $socket first" >&2
    exit 2
fi
memory=${MEMORY:-1G}
queues=${QUEUES:-1}
case ${DEVICE:-blk} in
blk) device=vhost-user-blk-pci,chardev=dixtrap,num-queues=$queues ;;
scsi) device=vhost-user-scsi-pci,chardev=dixtrap,num_queues=$queues,t10_pi=on ;;
*)
    echo "qemu/boot.sh: DEVICE is '$DEVICE': use blk or scsi" >&2
    exit 2
    ;;
esac

# dixtrapd maps the guest's memory, so that it has to be shared: with share=off, or with no
# memory backend at all, the guest hangs without a word. num-queues has to be said: left out, QEMU
# asks for one queue per CPU and refuses a daemon that has fewer.
exec "${QEMU:-qemu-system-x86_64}" \
    -machine q35,memory-backend=mem \
    -accel "${ACCEL:-tcg,thread=multi}" -cpu max -smp "${CPUS:-2}" \
    -m "$memory" -object "memory-backend-memfd,id=mem,size=$memory,share=on" \
    -chardev "socket,id=dixtrap,path=$socket" \
    -device "$device" \
    -nographic "$@"
