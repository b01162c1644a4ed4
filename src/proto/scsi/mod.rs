//! SCSI: a block target, and virtio-scsi as the way to reach it.
//!
//! | folder | what it knows |
//! |---|---|
//! | `drive` | SPC-5 and SBC-4: command descriptor blocks in, data, status and sense out |
//! | `virtio` | VIRTIO 1.2 §5.6: headers, logical unit addresses, responses, task management, events |

pub mod drive;
pub mod virtio;
