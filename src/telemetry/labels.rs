//! The labels of what is counted about requests.

use prometheus_client::encoding::EncodeLabelSet;

/// The labels of a finished request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answered {
    /// The protocol's ALPN name.
    pub protocol: &'static str,
    /// `2xx` and so on.
    pub status: &'static str,
}

/// The label of a request in early data, by when it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Early {
    answered: &'static str,
}

/// The label of an informational response, by what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Informed {
    outcome: &'static str,
}

impl Early {
    /// Before the end of the handshake.
    pub const AT_ONCE: Self = Self {
        answered: "at_once",
    };
    /// After the end of the handshake.
    pub const WAITED: Self = Self { answered: "waited" };
}

impl Informed {
    /// It was sent to the client.
    pub const SENT: Self = Self { outcome: "sent" };
    /// It was more than a request may have, or than its client takes.
    pub const EXCESS: Self = Self { outcome: "excess" };
    /// The response had begun.
    pub const LATE: Self = Self { outcome: "late" };
    /// The client's protocol is served by what cannot send it.
    pub const UNSUPPORTED: Self = Self {
        outcome: "unsupported",
    };
}
