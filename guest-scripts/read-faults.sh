#!/bin/sh
# description: The disk spoils or fails one read after the other; each has to end with its own error and line in the kernel's log.
# device: scsi
# fs: raw
# stable-writes: any
# expect: survey
# min-blocks: 4
# needs:
# inject: flip=data,at=out,op=read,lba=1000000s
# inject: flip=guard,at=out,op=read,lba=1000064s
# inject: flip=ref,at=out,op=read,lba=1000128s
# inject: flip=data,at=medium,op=read,lba=1000192s
# inject: flip=ref,at=medium,op=read,lba=1000256s
# inject: medium-error,op=read,lba=1000320s
# inject: sense=4/44/00,op=read,lba=1000384s
# inject: busy,op=read,lba=1000448s
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
check_protection
say writing
for sector in 1000000 1000064 1000128 1000192 1000256 1000320 1000384 1000448; do
    expect_of ok write "$sector"
done
# Data or tags that spoil on their way to the guest: the guest's own check, which counts in the disk's
# blocks or in sectors.
expect_of EILSEQ read 1000000 "guard tag error at sector \(1000000\|125000\) "
expect_of EILSEQ read 1000064 "guard tag error at sector \(1000064\|125008\) "
expect_of "$wrong_tag" read 1000128 "ref tag error at location \(1000128\|125016\) "
# Data or tags that spoiled on the medium: the drive's check.
expect_of EILSEQ read 1000192 "protection error, dev .*, sector 1000192 "
expect_of "$wrong_tag" read 1000256 "protection error, dev .*, sector 1000256 "
# Other failures of a drive.
expect_of ENODATA read 1000320 "critical medium error, dev .*, sector 1000320 "
expect_of EREMOTEIO read 1000384 "critical target error, dev .*, sector 1000384 "
expect_of ok read 1000448
all_as_expected
finish
