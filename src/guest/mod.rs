//! What runs inside the guest: `dixtrap-guest`, as PID 1, as the agent on its virtio-serial port, and
//! by hand in anybody's guest. Imports nothing of the stages on the host.

pub mod agent;
pub mod attempt;
pub mod facts;
pub mod fresh;
pub mod init;
pub mod mapper;
pub mod mirror;
pub mod owners;
pub mod protocol;
pub mod tell;
pub mod work;
