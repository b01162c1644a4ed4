//! T10 protection information: eight bytes that travel with every logical block.
//!
//! Pure: no I/O, no clock, no guest memory. Source: SBC-4 §4.21 (protection information model).

mod checks;
mod generate;
mod guard;
mod kind;
mod mismatch;
mod protect;
mod tuple;
mod verify;

pub use checks::{Checks, ExpectedApp};
pub use generate::{generate, generate_over};
pub use guard::{
    CrcBackend, Guard, IpGuard, Store, copy_guard, copy_guard_from, copy_guards_compared,
    copy_guards_from, deliver_guards, guard, guards, ip_guard,
};
pub use kind::PiType;
pub use mismatch::{Check, Mismatch};
pub use protect::{Compared, Expected, Protect, Refusal, Source, Transfer};
pub use tuple::{AppTag, GuardTag, RefTag, TUPLE_BYTES, Tuple};
pub use verify::verify;
