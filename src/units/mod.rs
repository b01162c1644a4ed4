//! Numbers that must not mix, and the small languages that spell them on a command line.

mod blocks;
mod duration;
mod mode;
mod size;
mod window;

pub use blocks::{BlockCount, BlockRange, BlockSize, Lba, QueueIndex};
pub use duration::{DurationError, format_duration, parse_duration, parse_limit};
pub use mode::{SocketMode, SocketModeError};
pub use size::{ByteSize, SizeError};
pub use window::{WindowSpec, WindowSpecError};
