//! What the gateway asks of the kernel beyond the standard library: socket options, limits of the
//! process, and sockets between processes. The only module with unsafe code.

pub mod activation;
pub mod packets;
pub mod process;
pub mod socket;
