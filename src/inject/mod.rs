//! Fault injection: one small language for `--inject`, `dixtrap ctl … inject` and tests.
//!
//! A specification is a fault and conditions, separated by commas, in any order:
//!
//! ```text
//! flip=guard,at=medium,op=write,lba=100..200,count=1
//! ```
//!
//! [`HELP`] is the whole language. The module knows which request gets which fault; the trap
//! carries it out, writes an `inject` record each time, and remembers the blocks
//! that it spoiled, so that what was injected is never counted as found.

mod fault;
mod injector;
mod ops;
mod parse;
mod spec;

pub use fault::{Fault, Part, Place, Sense, Status};
pub use injector::{FaultHit, Injector, Site, Stage, misdirected};
pub use ops::{Op, OpSet};
pub use parse::SpecError;
pub use spec::{LbaRange, Spec};

/// The language, as help texts print it.
pub const HELP: &str = "\
FAULT[,CONDITION]... with one fault:
  flip=data|guard|app|ref  invert the lowest bit of a block's data or of one of its tags;
                           where: at=medium (as it is stored; with op=read just before it is read),
                           at=in (on the way in, before the drive's check),
                           at=out (on the way out, after the drive's check);
                           byte=N says which byte of the data (0)
  misdirect=+N|-N          the write goes N blocks further on, or back
  lost                     the write is acknowledged and stored nowhere
  torn=N                   the write is acknowledged and only its first N blocks are stored
  sense=KEY/ASC/ASCQ       the request fails with this sense data, in hex (blk: I/O error)
  medium-error             sense 3/11/00 for reads, 3/0c/00 for the rest (blk: I/O error)
  busy                     the request is refused as BUSY (blk: I/O error)
  no-answer                the request is never answered
and conditions:
  op=OP[+OP]...            read, write, verify, discard, zeroes, flush, other or any
                           [flip: write (at=out: read); misdirect, lost, torn: write; others: any]
  lba=N | lba=A..B         requests that touch block N, or blocks A up to and without B; the fault hits
                           the first of them that the request has
  lun=N                    requests to this logical unit (scsi)
  nth=N                    not before the Nth request that matches [1]
  p=X                      each request with this probability, above 0 and up to 1 [1]
  count=N | count=all      this many times [1]";
