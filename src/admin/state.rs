use std::fmt;
use std::pin::Pin;

use prometheus_client::registry::Registry;

use crate::edge::Phase;

/// What the admin listener shows and does.
pub struct AdminState {
    /// The metrics behind `/metrics`.
    pub registry: Registry,
    /// The gateway behind everything else.
    pub console: Box<dyn Console>,
}

/// What operators may see of a gateway, and ask of it.
pub trait Console: Send + Sync {
    /// The phase behind `/readyz`.
    fn phase(&self) -> Phase;

    /// The object behind `/status`; it must not block.
    fn status(&self) -> serde_json::Value;

    /// Where packets with this connection ID in hexadecimal go.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    fn locate(&self, cid: &str) -> Result<serde_json::Value, String>;

    /// Does what an operator asks, to its end, even if the future is dropped.
    fn command(&self, command: Command) -> CommandFuture<'_>;
}

/// Resolves to a line for the operator: what was done, or why nothing was.
pub type CommandFuture<'a> = Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>>;

/// What an operator may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send new clients elsewhere.
    Drain,
    /// Take a drain back.
    Undrain,
    /// Read the configuration and every file again.
    Reload,
    /// Let a new process take over.
    Upgrade,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState")
            .field("phase", &self.console.phase())
            .finish_non_exhaustive()
    }
}
