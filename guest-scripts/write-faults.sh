#!/bin/sh
# description: The disk refuses, loses or misdirects one write after the other; each has to end with its own error and line in the kernel's log.
# device: scsi
# fs: raw
# stable-writes: any
# expect: survey
# min-blocks: 4
# needs:
# inject: flip=data,at=in,op=write,lba=1100000s
# inject: flip=guard,at=in,op=write,lba=1100064s
# inject: flip=ref,at=in,op=write,lba=1100128s
# inject: flip=data,at=in,op=write,lba=1100192s
# inject: sense=7/27/07,op=write,lba=1100256s
# inject: busy,op=write,lba=1100320s
# inject: misdirect=+8s,op=write,lba=1100384s
# inject: lost,op=write,lba=1100448s
. "${DIXTRAP_LIB:-$(dirname "$0")}/lib.sh"
prepare "$@"
check_protection
say writing
# Data or tags that spoil on their way to the drive: the drive's check.
expect_of EILSEQ write 1100000 "protection error, dev .*, sector 1100000 "
expect_of EILSEQ write 1100064 "protection error, dev .*, sector 1100064 "
expect_of "$wrong_tag" write 1100128 "protection error, dev .*, sector 1100128 "
# The caller of a buffered write hears of it from its fsync.
expect_of EIO sync 1100192 "protection error, dev .*, sector 1100192 "
# Other failures of a drive.
expect_of ENOSPC write 1100256 "critical space allocation error, dev .*, sector 1100256 "
expect_of ok write 1100320
# A write that went elsewhere shows when its victim is read: the reference tag is another block's.
expect_of ok write 1100384
expect_of "$wrong_tag" read 1100392 "protection error, dev .*, sector 1100392 "
# No protection information tells that a write was lost: the old block is a whole one.
expect_of ok write 1100448
expect_of ok read 1100448
all_as_expected
finish
