#!/bin/sh
# description: A mount that fails for another reason than a feature is an error, and no excuse.
# fs: ext4
# stable-writes: off
# expect: race
# outcome: error
# reason: cannot mount
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
mkfs=$(command -v mkfs.ext4)
mkdir -p /tmp/broken
cat >/tmp/broken/mkfs.ext4 <<END
#!/bin/sh
for disk do :; done
$mkfs "\$@" && dd if=/dev/zero of="\$disk" bs=1k seek=1 count=1 conv=notrunc 2>/dev/null
END
chmod +x /tmp/broken/mkfs.ext4
PATH=/tmp/broken:$PATH
prepare "$@"
work buffered "$TARGET"
finish
