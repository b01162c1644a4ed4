#!/bin/sh
# description: The machine's mkfs makes a feature that the kernel does not know; told to leave it out, it does.
# fs: ext4
# stable-writes: off
# expect: race
# outcome: pass
# log: made again for an older kernel, with ,^orphan_file
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
mkfs=$(command -v mkfs.ext4)
mkdir -p /tmp/newer
# The highest bit of s_feature_incompat; without metadata_csum nothing guards the superblock.
cat >/tmp/newer/mkfs.ext4 <<END
#!/bin/sh
case "\$*" in *^orphan_file*) exec $mkfs "\$@" ;; esac
for disk do :; done
$mkfs -q -F -O ^metadata_csum "\$disk" || exit
printf '\\200' | dd of="\$disk" bs=1 seek=1123 conv=notrunc 2>/dev/null
END
chmod +x /tmp/newer/mkfs.ext4
PATH=/tmp/newer:$PATH
prepare "$@"
work buffered "$TARGET"
finish
