//! What the gateway asks of the kernel beyond the standard library: socket options and limits of
//! the process. The only module with unsafe code.

pub mod process;
pub mod socket;
