# shellcheck shell=sh disable=SC2034,SC3028,SC3041,SC3047
# What the scenarios share; POSIX sh. A scenario calls prepare, then work, then finish. One that puts
# another device on the disk calls "take DISK" instead of prepare, makes the device, and goes on with
# "prepare_on DEVICE"; what it takes apart after the unmount it does in a function take_apart.
#
# Inputs, all with defaults:
#   DIXTRAP_DEV      the disk (the first argument of the script); everything on it is lost
#   DIXTRAP_FS       a name of the file "filesystems" (the first one of the script's "# fs:" line)
#   DIXTRAP_STABLE   on or off: sets the queue's stable_writes before the mount; empty: leaves it
#   DIXTRAP_SECONDS  how long to write (10)
#   DIXTRAP_MNT      where to mount (a new directory)
#   DIXTRAP_GUEST    the helper program (dixtrap-guest, from PATH or beside the script)
#   DIXTRAP_OWNERS   the disk whose blocks' owners are told before the unmount (empty: nothing is told)
#   DIXTRAP_TELL     a FIFO for what dixtrap has to know, and DIXTRAP_HEARD another one, out of which it
#                    answers (empty: it is printed)
#   DIXTRAP_LIB      where lib.sh and "filesystems" lie (beside the script)
#
# A command that fails ends the script, and with it the cell; one that may fail says so: "… || :". In
# bash, which is the shell of dixtrap's own guests, that holds for every part of a pipeline and for what
# runs in the background too.
#
# prepare sets TARGET: the disk itself on "raw", else a file on the mounted file system.
# Exit status: 0 done, 77 cannot be done here (with the reason), anything else went wrong.
# Interrupting (Ctrl-C, SIGTERM) ends the writing early; what was mounted is unmounted all the same.

set -eu

DIXTRAP_LIB=${DIXTRAP_LIB:-$(dirname "$0")}
DIXTRAP_FS=${DIXTRAP_FS:-$(sed -n 's/^# fs: *\([^ ]*\).*/\1/p' "$0")}
DIXTRAP_STABLE=${DIXTRAP_STABLE:-}
DIXTRAP_SECONDS=${DIXTRAP_SECONDS:-10}
DIXTRAP_MNT=${DIXTRAP_MNT:-}
DIXTRAP_GUEST=${DIXTRAP_GUEST:-}

mounted=
made_mnt=
stopped=
told=
failure=
begun=
last_job=
TARGET=
device_start=

# Tells dixtrap something, over a channel of its own, so that a script may do with its outputs what it
# likes; by hand prints it. Who says "writing" goes on when what is written counts.
say() {
    if [ -z "${DIXTRAP_TELL:-}" ]; then
        printf 'dixtrap: %s\n' "$*"
        return
    fi
    printf 'dixtrap: %s\n' "$*" >"$DIXTRAP_TELL"
    if [ "$*" = writing ]; then
        read -r _ <"$DIXTRAP_HEARD" || :
    fi
}
skip() { told=yes && say "skip: $*"; exit 77; }
die() { told=yes && say "error: $*"; exit 1; }
fail() { told=yes && say "fail: $*"; exit 1; }

# Notes what failed: note_failure STATUS FILE LINE COMMAND. In a subshell nobody else would hear of it.
note_failure() {
    failure="$4 (line $3 of $2) failed ($1)"
    [ "${BASH_SUBSHELL:-0}" = 0 ] || [ -n "$stopped" ] || say "error: $failure"
}

# A part of a pipeline that failed, though its last one did not: check_pipeline "STATUS…" FILE LINE. Who
# writes to a reader that has read enough dies of SIGPIPE (141), and that is no failure.
check_pipeline() {
    case $1,$-,$stopped in
    *' 0',*e*,) ;;
    *) return 0 ;;
    esac
    for part in ${1% 0}; do
        case $part in
        0 | 141) ;;
        *) die "a part of the pipeline before line $3 of $2 failed ($1)" ;;
        esac
    done
}

# Waits for what runs in the background: for all of it without arguments, and then fails where any of it
# did, which the shell's own wait does not.
wait() {
    if [ $# -gt 0 ]; then
        for job; do
            case $job in
            %*) job=$(jobs -p "$job") || : ;;
            esac
            begun=$(without "$job")
        done
        command wait "$@"
        return
    fi
    for job in $(jobs -p); do
        begun="$(without "$job") $job"
    done
    waited=0
    for job in $begun; do
        command wait "$job" || waited=$?
    done
    begun=
    command wait
    return $waited
}

# The jobs that were begun, without one of them.
without() {
    for job in $begun; do
        [ "$job" = "$1" ] || printf ' %s' "$job"
    done
}

# What ran in the background and has ended must have ended well; nobody may have waited for it.
check_jobs() {
    [ -z "$stopped" ] || return 0
    for job in $begun; do
        if ! kill -0 "$job" 2>/dev/null; then
            command wait "$job" && continue
            say "error: what ran in the background failed ($?)"
            told=yes
            return 1
        fi
    done
}

if [ -n "${BASH_VERSION:-}" ]; then
    set -ET
    # shellcheck disable=SC3028,SC3047,SC3054,SC2154
    trap 'note_failure "$?" "${BASH_SOURCE[0]##*/}" "$LINENO" "$BASH_COMMAND"' ERR
    # shellcheck disable=SC3028,SC3047,SC3054
    trap 'case ${PIPESTATUS[*]} in *" "*) check_pipeline "${PIPESTATUS[*]}" "${BASH_SOURCE[0]##*/}" "$LINENO" ;; esac
        case ${!-} in "$last_job") ;; *) last_job=${!-} begun="$begun ${!-}" ;; esac' DEBUG
fi

# What a scenario takes apart after the unmount; one that has something to do defines its own.
take_apart() { :; }

# Unmounts; what has just ended may take a moment to let go of its files.
unmount() {
    for _ in 1 2 3 4 5 6 7 8 9; do
        umount "$DIXTRAP_MNT" 2>/dev/null && return 0
        sleep 1
    done
    umount "$DIXTRAP_MNT"
}

# Unmounts, whatever the script ended by, and keeps its exit status. Who was asked to end has done what
# was wanted, however its last command took it.
cleanup() {
    status=$?
    set +e
    [ -z "${BASH_VERSION:-}" ] || trap - DEBUG ERR
    trap - EXIT
    trap '' INT TERM HUP
    if [ -n "$stopped$told" ]; then
        if [ "$status" != 0 ] && [ -z "$told" ]; then
            sync
            tell_owners
            status=0
        fi
    elif [ "$status" = 0 ]; then
        check_jobs || status=1
    elif [ -n "$failure" ]; then
        say "error: $failure"
    fi
    if [ -n "$mounted" ]; then
        unmount || { say "error: cannot unmount $DIXTRAP_MNT"; status=1; }
    fi
    mounted=
    take_apart || { say "error: cannot take apart what was put on the disk"; status=1; }
    [ -z "$made_mnt" ] || rmdir "$DIXTRAP_MNT" 2>/dev/null
    exit "$status"
}

# A signal reaches the running command as well; the writers end well on it, and the script goes on.
trap 'stopped=yes' INT TERM HUP
trap cleanup EXIT

# Finds the helper program.
find_guest() {
    if [ -z "$DIXTRAP_GUEST" ]; then
        DIXTRAP_GUEST=$(command -v dixtrap-guest) || DIXTRAP_GUEST=$DIXTRAP_LIB/dixtrap-guest
    fi
    [ -x "$DIXTRAP_GUEST" ] || die "no helper program: copy dixtrap-guest beside this script, or name it in DIXTRAP_GUEST"
}

# Checks that the disk is one, and that nobody uses it.
check_device() {
    [ -n "$DIXTRAP_DEV" ] || die "which disk? sh $0 /dev/vdb (everything on it is lost)"
    [ -b "$DIXTRAP_DEV" ] || die "$DIXTRAP_DEV is not a block device"
    ! grep -q "^${DIXTRAP_DEV}[0-9p]* " /proc/mounts /proc/swaps || die "$DIXTRAP_DEV is in use"
}

# Looks the file system up: sets fs_type, fs_package, fs_options and fs_mkfs.
look_up_fs() {
    while read -r name fs_type _drivers fs_package fs_options fs_mkfs; do
        # The default may be a pattern of the script's header: its first match is meant.
        # shellcheck disable=SC2254
        case $name in
        '' | '#'*) ;;
        $DIXTRAP_FS) DIXTRAP_FS=$name && return 0 ;;
        esac
    done <"$DIXTRAP_LIB/filesystems"
    die "file system '$DIXTRAP_FS' is not known: see $DIXTRAP_LIB/filesystems"
}

# Sets stable_writes. A file system samples it when it is mounted, so this comes first.
set_stable_writes() {
    [ -n "$DIXTRAP_STABLE" ] || return 0
    knob=/sys/class/block/${DIXTRAP_DEV##*/}/queue/stable_writes
    [ -e "$knob" ] || skip "this kernel has no $knob (Linux 5.10 and later do)"
    case $DIXTRAP_STABLE in
    on) value=1 ;;
    off) value=0 ;;
    *) die "DIXTRAP_STABLE is '$DIXTRAP_STABLE': use on or off" ;;
    esac
    echo "$value" >"$knob" || skip "$knob cannot be set"
    [ "$(cat "$knob")" = "$value" ] || skip "$knob does not keep the value $value"
}

# Makes one partition over the whole disk.
make_partition() {
    command -v fdisk >/dev/null || skip "fdisk is missing: install fdisk"
    # An old table would be asked about; without one the answers are: new, primary, 1, all of it.
    dd if=/dev/zero of="$DIXTRAP_DEV" bs=64k count=1 conv=fsync 2>/dev/null || die "cannot write to $DIXTRAP_DEV"
    # What it has done counts, not what it says.
    printf 'o\nn\np\n1\n\n\nw\n' | fdisk "$DIXTRAP_DEV" >/dev/null 2>&1 || :
    for TARGET in "${DIXTRAP_DEV}1" "${DIXTRAP_DEV}p1"; do
        [ ! -b "$TARGET" ] || return 0
    done
    die "fdisk made no partition on $DIXTRAP_DEV"
}

# Runs the table's command on the disk, with WORDS where the table has a bracket: make_fs [WORDS].
make_fs() {
    # Word splitting is what turns the table's command into words.
    # shellcheck disable=SC2046
    set -- $(printf '%s' "$fs_mkfs" | sed "s/\\[[^]]*\\]/${1:-}/") "$DIXTRAP_DEV"
    "$@"
}

# Makes the file system once more, without what kernels older than its program cannot mount: with the first
# of the table's alternatives that the program knows.
make_older_fs() {
    older=$(printf '%s' "$fs_mkfs" | sed -n 's/.*\[\([^]]*\)\].*/\1/p')
    while [ -n "$older" ]; do
        if make_fs "${older%%|*}" 2>/dev/null; then
            echo "made again for an older kernel, with ${older%%|*}"
            return 0
        fi
        case $older in
        *'|'*) older=${older#*|} ;;
        *) older= ;;
        esac
    done
    return 1
}

# Mounts with the first of the table's mount options that the kernel takes; else sets refusal to what the
# kernel said.
try_mount() {
    options=$fs_options
    mark="dixtrap: mounts at $(cut -d' ' -f1 /proc/uptime)"
    { echo "$mark" >/dev/kmsg; } 2>/dev/null || :
    while [ -n "$options" ]; do
        option=${options%%|*}
        [ "$option" != - ] || option=
        if mount -t "$fs_type" ${option:+-o "$option"} "$DIXTRAP_DEV" "$DIXTRAP_MNT"; then
            return 0
        fi
        case $options in
        *'|'*) options=${options#*|} ;;
        *) options= ;;
        esac
    done
    refusal=$(dmesg | sed "1,/$mark/d" | sed 's/^\[[^]]*\] //')
    return 1
}

# What the kernel said of features that it does not know, out of its refusal.
unknown_features() {
    printf '%s\n' "$refusal" |
        grep -im1 -E "(unknown|unsupported|unrecogni[sz]ed).*(feature|option|version)|feature.*(unknown|not supported|cannot be mounted)"
}

# Makes the file system and mounts it. What this machine's program makes may be newer than the kernel.
make_and_mount() {
    program=${fs_mkfs%% *}
    command -v "$program" >/dev/null || skip "$program is missing: install $fs_package"
    if [ "$fs_type" = swap ]; then
        make_fs || die "$program failed on $DIXTRAP_DEV"
        return
    fi
    grep -qw "$fs_type" /proc/filesystems || modprobe "$fs_type" 2>/dev/null || :
    grep -qw "$fs_type" /proc/filesystems || skip "this kernel has no driver for $fs_type"
    make_fs || die "$program failed on $DIXTRAP_DEV"
    if [ -z "$DIXTRAP_MNT" ]; then
        DIXTRAP_MNT=$(mktemp -d) || die "cannot make a directory to mount on"
        made_mnt=yes
    fi
    mkdir -p "$DIXTRAP_MNT"
    if ! try_mount; then
        newer=$(unknown_features) || die "cannot mount $DIXTRAP_DEV as $fs_type"
        { make_older_fs && try_mount; } || skip "$program of this machine makes what this kernel cannot mount: $newer"
    fi
    mounted=yes
}

# Checks the disk and sets its knob; what is put on the disk from here on may inherit it.
take() {
    DIXTRAP_DEV=${1:-${DIXTRAP_DEV:-}}
    find_guest
    check_device
    look_up_fs
    set_stable_writes
}

# From here on there is a TARGET to write to.
prepare() {
    take "$@"
    prepare_on "$DIXTRAP_DEV"
}

# Makes the file system on a device, which may be another one than the disk.
prepare_on() {
    DIXTRAP_DEV=$1
    case $fs_type in
    disk) TARGET=$DIXTRAP_DEV ;;
    partition) make_partition ;;
    *)
        make_and_mount
        TARGET=$DIXTRAP_MNT/target
        ;;
    esac
}

# Runs a writer of the helper program for DIXTRAP_SECONDS: work KIND PATH [OPTION…].
work() {
    [ -z "$stopped" ] || return 0
    say "writing"
    work_status=0
    "$DIXTRAP_GUEST" work "$@" --seconds "$DIXTRAP_SECONDS" || work_status=$?
    case $work_status in
    0) ;;
    77) told=yes && exit 77 ;; # the helper has said why
    *) die "the writer '$1' failed" ;;
    esac
}

# Needs a module that is no file system: need MODULE PATH, where PATH is there once it is loaded.
need() {
    [ -e "$2" ] || modprobe "$1" 2>/dev/null || :
    [ -e "$2" ] || skip "this kernel has no driver $1"
}

# Tells whose the blocks of the disk DIXTRAP_OWNERS are, as long as that can be found out: JSON lines
# for dixtrap, which sets it. A scenario that gave prepare_on a device of its own making says in
# device_start at which sector of the disk that begins.
tell_owners() {
    [ -n "${DIXTRAP_OWNERS:-}" ] && [ -n "$TARGET" ] || return 0
    place=$TARGET
    [ "$fs_type" != swap ] || place=$DIXTRAP_DEV
    [ -z "$mounted" ] || place=$DIXTRAP_MNT
    "$DIXTRAP_GUEST" owners "$DIXTRAP_OWNERS" "$place" ${device_start:+--start "$device_start"} ||
        say "nobody can tell whose the blocks were"
}

# Checks that this kernel exchanges protection information with the disk. Sets wrong_tag to what a
# transfer ends with whose reference tag is wrong: Type 3's is the program's, and nobody checks it.
check_protection() {
    integrity=/sys/class/block/${DIXTRAP_DEV##*/}/integrity
    [ -e "$integrity/format" ] || skip "this kernel has no $integrity (CONFIG_BLK_DEV_INTEGRITY)"
    case $(cat "$integrity/format") in
    T10-DIF-*) ;;
    *) skip "the kernel registered no protection information for $DIXTRAP_DEV" ;;
    esac
    [ "$(cat "$integrity/write_generate")" = 1 ] || skip "the kernel does not generate protection information"
    [ "$(cat "$integrity/read_verify")" = 1 ] || skip "the kernel does not verify protection information"
    wrong_tag=EILSEQ
    ! grep -q TYPE3 "$integrity/format" || wrong_tag=ok
}

# Writes to TARGET and reads it back, which the guest verifies: through the page cache, and in transfers that
# are too large for one request, so that the kernel has to split them and the reference tags with them.
write_and_verify() {
    work buffered "$TARGET" --size 16M
    sync
    echo 3 >/proc/sys/vm/drop_caches
    cat "$TARGET" >/dev/null || spoiled "what was written cannot be read back"
    dd if=/dev/zero of="$TARGET" bs=8M count=2 oflag=direct conv=notrunc 2>/dev/null || spoiled "a large write failed"
    dd if="$TARGET" of=/dev/null bs=8M iflag=direct 2>/dev/null || spoiled "a large write cannot be read back"
}

# Something was not written or read: the kernel's word on protection information makes that its own doing.
spoiled() {
    line=$(dmesg | grep -m1 -E '(guard|app|ref) tag error|protection error') || die "$1"
    fail "$1: ${line#*] }"
}

# What was not as expected, so far: of the kernel, and of its words, which may change.
wrong=
unsaid=

# One transfer of 4096 bytes, what it should end with, and what the kernel's log should say of an error:
# expect_of ok|ERRNO read|write|sync SECTOR [PATTERN].
expect_of() {
    [ -z "$stopped" ] || return 0
    mark="dixtrap: $2 of sector $3 at $(cut -d' ' -f1 /proc/uptime)"
    echo "$mark" >/dev/kmsg
    got=$("$DIXTRAP_GUEST" attempt "$2" "$DIXTRAP_DEV" "$3") || die "no $2 of sector $3 was attempted"
    if [ "$got" != "$1" ]; then
        wrong="$wrong; $2 of sector $3 ended with $got, not $1"
    elif [ "$1" != ok ] && [ -n "${4:-}" ] && ! dmesg | sed "1,/$mark/d" | grep -q -- "$4"; then
        unsaid="$unsaid; the kernel's log says nothing like '$4' of the $2 of sector $3"
    fi
}

# Tells what was not as expected.
all_as_expected() {
    [ -z "$wrong" ] || fail "${wrong#; }"
    [ -z "$unsaid" ] || die "${unsaid#; }"
}

# Has everything written out and unmounts, so that the next scenario finds an idle disk.
finish() {
    trap '' INT TERM HUP
    check_jobs || exit
    sync
    tell_owners
    say "done"
    exit 0
}
