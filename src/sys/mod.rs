//! What is asked of the kernel beyond the standard library: socket options, limits of the process,
//! namespaces. The only module with unsafe code.

pub mod namespace;
pub mod process;
pub mod socket;
pub mod worker_program;
