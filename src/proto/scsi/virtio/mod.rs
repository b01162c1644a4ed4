//! virtio-scsi (VIRTIO 1.2 §5.6) around a SCSI target.
//!
//! | file | what it knows |
//! |---|---|
//! | `device` | the rings: control, event, requests |
//! | `features`, `config_space` | what is negotiated |
//! | `header`, `response` | the bytes before and after a command |
//! | `address` | eight bytes → a logical unit |
//! | `request` | a request ring's requests, up to their windows and answers |
//! | `management` | task management: requests that act on held requests |
//! | `event` | what the device tells of its own accord |

mod address;
mod config_space;
mod device;
mod event;
mod features;
mod header;
mod management;
mod request;
mod response;

pub use device::{ScsiDevice, request_queues};
pub use features::feature_names;
pub use request::{CommandInFlight, HeldCommand};
