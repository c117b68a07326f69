//! What is asked of the kernel beyond the standard library: socket options, limits of the process,
//! sockets between processes and at interfaces, timers, namespaces. The only module with unsafe code.

pub mod activation;
pub mod link_socket;
pub mod namespace;
pub mod packets;
pub mod process;
pub mod socket;
pub mod timer;
pub mod worker_program;
