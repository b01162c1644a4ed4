# shellcheck shell=sh disable=SC2034,SC2154
# A root file system with a writable layer in memory, for a command; lib.sh is there already. What it is made
# from is never written: a disk of the serial number dixtrap-root, or a share of that name.
root_place=/run/dixtrap-root
root=$root_place/root
root_status=0

# The disk's name in this guest.
root_disk() {
    for serial in /sys/block/*/serial; do
        if [ "$(cat "$serial" 2>/dev/null)" = dixtrap-root ]; then
            disk=${serial%/serial}
            echo "/dev/${disk##*/}"
            return
        fi
    done
    die "the guest does not see the disk of the root"
}

# Mounts the disk, or the first partition that has programs.
mount_disk() {
    disk=$(root_disk)
    for device in "$disk" "$disk"[0-9]*; do
        [ -b "$device" ] || continue
        for type in squashfs ext4 xfs btrfs erofs; do
            case $type in
            ext4) options=ro,noload ;;
            xfs) options=ro,norecovery ;;
            *) options=ro ;;
            esac
            grep -qw "$type" /proc/filesystems || modprobe "$type" 2>/dev/null || continue
            mount -t "$type" -o "$options" "$device" "$root_place/lower" 2>/dev/null || continue
            [ ! -d "$root_place/lower/usr/bin" ] && [ ! -d "$root_place/lower/bin" ] || return 0
            umount "$root_place/lower"
        done
    done
    die "no file system with programs was found in the image of the root"
}

# enter_root disk|share
enter_root() {
    mkdir -p "$root_place"
    mount -t tmpfs -o mode=755,size=80% dixtrap-root "$root_place"
    mkdir "$root_place/lower" "$root_place/upper" "$root_place/work" "$root"
    case $1 in
    share) mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose dixtrap-root "$root_place/lower" ||
        die "the share of the root cannot be mounted" ;;
    disk) mount_disk ;;
    esac
    mount -t overlay -o "lowerdir=$root_place/lower,upperdir=$root_place/upper,workdir=$root_place/work" \
        dixtrap-root "$root" || die "the root cannot be given a writable layer (overlay)"
    for folder in proc sys dev etc run tmp root; do
        mkdir -p "$root/$folder"
    done
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount -t devtmpfs devtmpfs "$root/dev"
    mkdir -p "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o mode=620,ptmxmode=666 devpts "$root/dev/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
    if [ -n "$mounted" ]; then
        mkdir -p "$root$DIXTRAP_MNT"
        mount -o bind "$DIXTRAP_MNT" "$root$DIXTRAP_MNT"
    fi
    hostname dixtrap 2>/dev/null || :
    grep -qsw dixtrap "$root/etc/hosts" || echo "127.0.0.1 localhost dixtrap" >>"$root/etc/hosts"
    ip link set lo up 2>/dev/null || ifconfig lo up 2>/dev/null || :
    cp "$DIXTRAP_GUEST" "$root/run/dixtrap-guest"
    chroot "$root" /bin/sh -c : 2>/dev/null || die "the root has no /bin/sh that runs on this machine"
}

# in_root COMMAND [ARGUMENT…]: runs it in the mounted file system, or in / on a bare disk. Its exit status is in
# root_status: what it wrote counts all the same.
in_root() {
    [ -z "$stopped" ] || return 0
    # shellcheck disable=SC2016 # for the shell in the root
    env -i HOME=/root TERM=dumb LANG=C.UTF-8 USER=root LOGNAME=root \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        TARGET="$TARGET" DIXTRAP_DEV="$DIXTRAP_DEV" DIXTRAP_FS="$DIXTRAP_FS" DIXTRAP_MNT="$DIXTRAP_MNT" \
        DIXTRAP_SECONDS="$DIXTRAP_SECONDS" DIXTRAP_GUEST=/run/dixtrap-guest \
        "$(command -v chroot)" "$root" /bin/sh -c 'cd "${DIXTRAP_MNT:-/}" && exec "$@"' sh "$@" || root_status=$?
}

# Ends what the command left running.
end_processes() {
    for signal in TERM TERM TERM TERM TERM KILL KILL; do
        left=
        for process in /proc/[0-9]*; do
            if [ "$(readlink "$process/root" 2>/dev/null)" = "$root" ]; then
                left=yes
                kill -"$signal" "${process#/proc/}" 2>/dev/null || :
            fi
        done
        [ -n "$left" ] || return 0
        sleep 1
    done
}

leave_root() {
    [ -d "$root_place" ] || return 0
    end_processes
    awk -v place="$root_place" '$2 == place || index($2, place "/") == 1 { print $2 }' /proc/mounts |
        sed '1!G;h;$!d' | while read -r place; do
        umount "$place" 2>/dev/null || umount -l "$place"
    done
    rmdir "$root_place"
}

take_apart() { leave_root; }
