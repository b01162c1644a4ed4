//! virtio-blk (VIRTIO 1.2 §5.2).

mod config_space;
mod device;
mod features;
mod request;
mod status;

pub use config_space::ConfigSpace;
pub use device::{BlkDevice, HeldWrite};
pub use features::feature_names;
pub use request::{Command, Layout, Range, RequestError};
