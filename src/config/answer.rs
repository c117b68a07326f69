//! What a route answers itself, without a backend.

use std::fmt;

use super::location::Location;
use super::template::Template;

/// The answer to every request of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Sends clients elsewhere.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// Where to.
        to: Location,
    },
    /// Is always the same.
    Fixed {
        /// 200 to 599.
        status: u16,
        /// The media type of the body.
        content_type: Template,
        /// At most [`Answer::MAX_BYTES`].
        body: Content,
    },
}

/// The body of a fixed response.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(pub Vec<u8>);

impl Answer {
    /// The largest body of a fixed response: 1 MiB.
    pub const MAX_BYTES: usize = 1 << 20;
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}
