//! How a process begins, gives way to another, and ends, beyond what one configuration says.

mod inherited;
mod notify;
mod upgrade;

pub use inherited::{Inherited, InheritedError, SocketName};
pub use notify::{Notifier, State};
pub use upgrade::{Predecessor, Prepared, Program, Successor, UpgradeError};
