#!/bin/sh
# description: The machine's mkfs makes a feature that the kernel does not know, and cannot leave it out.
# fs: ext4
# stable-writes: off
# expect: race
# outcome: skip
# reason: mkfs.ext4 of this machine makes what this kernel cannot mount: EXT4-fs
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
mkfs=$(command -v mkfs.ext4)
mkdir -p /tmp/too-new
cat >/tmp/too-new/mkfs.ext4 <<END
#!/bin/sh
for disk do :; done
$mkfs -q -F -O ^metadata_csum "\$disk" || exit
printf '\\200' | dd of="\$disk" bs=1 seek=1123 conv=notrunc 2>/dev/null
END
chmod +x /tmp/too-new/mkfs.ext4
PATH=/tmp/too-new:$PATH
prepare "$@"
work buffered "$TARGET"
finish
