//! What is asked of the kernel beyond the standard library: socket options, limits of the process,
//! sockets between processes and at interfaces, addresses, timers, namespaces, processor time, allocations, files. The only
//! module with unsafe code.

pub mod activation;
pub mod addresses;
pub mod allocation;
pub mod file_mark;
pub mod link_socket;
pub mod namespace;
pub mod packets;
pub mod process;
pub mod processor;
pub mod socket;
pub mod timer;
pub mod worker_program;
