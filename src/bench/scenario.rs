use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One point of the matrix: a mode under one value of each factor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// What is between the two sides.
    pub layer: Layer,
    /// What the client does.
    pub mode: Mode,
    /// The round-trip time of the emulated network, without what hosts add.
    pub rtt_ms: u32,
    /// Packets that the emulated network loses.
    pub losses: Losses,
    /// What either direction carries in a second; none is without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_mbit: Option<u32>,
    /// The MTU of the path, IP header included.
    pub mtu: u16,
    /// What the node proves itself with.
    pub certificate: Certificate,
    /// How the two sides agree on a secret.
    pub key_exchange: KeyExchange,
    /// Whether both sides of QUIC search for a larger MTU (RFC 8899).
    pub mtu_discovery: bool,
    /// The UDP payload with which both sides of QUIC begin, in bytes.
    pub initial_mtu: u16,
    /// The round-trip time that both sides of QUIC assume at first (RFC 9002, section 6.2.2).
    pub initial_rtt_ms: u32,
    /// Under load, handshakes begun in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered_per_second: Option<u32>,
}

impl Scenario {
    /// The centre of the matrix for a mode: 50 ms, no loss, ECDSA P-256, X25519, what the gateway does
    /// by default.
    pub const fn of(layer: Layer, mode: Mode) -> Self {
        Self {
            layer,
            mode,
            rtt_ms: 50,
            losses: Losses::None,
            rate_mbit: None,
            mtu: 1500,
            certificate: Certificate::EcdsaP256,
            key_exchange: KeyExchange::X25519,
            mtu_discovery: true,
            initial_mtu: 1200,
            initial_rtt_ms: 333,
            offered_per_second: None,
        }
    }
}

/// A text that names none of the values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no {kind} is called `{name}`; there are {known}")]
pub struct NoSuchName {
    /// What was looked for.
    pub kind: &'static str,
    /// The text.
    pub name: String,
    /// The names that there are, separated by commas.
    pub known: String,
}

/// Declares an enum whose values have names, by which they are written and read everywhere.
macro_rules! named {
    ($(#[$about:meta])* $name:ident, $kind:literal { $($(#[$doc:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $text)] $value,)+
        }

        impl $name {
            /// All values, in the order in which they are shown.
            pub const ALL: &[Self] = &[$(Self::$value),+];

            /// The name by which it is written and read.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $name {
            type Err = NoSuchName;

            fn from_str(name: &str) -> Result<Self, NoSuchName> {
                let found = Self::ALL.iter().find(|value| value.name() == name);
                found.copied().ok_or_else(|| NoSuchName {
                    kind: $kind,
                    name: name.to_owned(),
                    known: Self::ALL.iter().map(|value| value.name()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}
pub(super) use named;

named! {
    /// What is between the two sides.
    Layer, "layer" {
        /// Nothing: both sides run without IO, on one thread.
        Floor = "floor",
        /// Kernel sockets in network namespaces, and a link emulator between them.
        Link = "link",
        /// Kernel sockets on this machine's loopback interface.
        Loopback = "loopback",
        /// A network as it is, up to somebody's server.
        Target = "target",
    }
}

named! {
    /// What the client does, up to the first byte of a response.
    Mode, "mode" {
        /// The cryptographic operations of a handshake and nothing else.
        Crypto = "crypto",
        /// A full TLS 1.3 handshake without a transport.
        TlsFull = "tls-full",
        /// TLS 1.3 that resumes a session, without a transport.
        TlsResumed = "tls-resumed",
        /// The same with a request in early data.
        Tls0Rtt = "tls-0rtt",
        /// TCP and a full TLS 1.3 handshake.
        TcpFull = "tcp-full",
        /// TCP, and TLS resumes a session.
        TcpResumed = "tcp-resumed",
        /// The same with the request in early data.
        Tcp0Rtt = "tcp-0rtt",
        /// TCP Fast Open (RFC 7413) and a full handshake.
        TcpFastOpen = "tcp-fast-open",
        /// QUIC and a full handshake.
        QuicFull = "quic-full",
        /// The same after a Retry packet (RFC 9000, section 8.1.2).
        QuicRetry = "quic-retry",
        /// A full handshake with an address token of an earlier connection (RFC 9000, section 8.1.3).
        QuicToken = "quic-token",
        /// QUIC that resumes a session.
        QuicResumed = "quic-resumed",
        /// The same with the request in 0-RTT packets.
        Quic0Rtt = "quic-0rtt",
        /// An open QUIC connection goes on from another port.
        QuicRebind = "quic-rebind",
        /// An open QUIC connection goes on from another address.
        QuicAddress = "quic-address",
        /// An open QUIC connection's packets reach another node, which forwards them.
        QuicFlip = "quic-flip",
        /// A client that lost its TCP connection connects again, with a full handshake.
        TcpReconnect = "tcp-reconnect",
        /// The same, and TLS resumes the session.
        TcpReconnectResumed = "tcp-reconnect-resumed",
        /// The same with the request in early data.
        TcpReconnect0Rtt = "tcp-reconnect-0rtt",
    }
}

named! {
    /// What a node proves itself with.
    Certificate, "certificate" {
        /// A leaf of an ECDSA P-256 root.
        EcdsaP256 = "ecdsa-p256",
        /// A leaf of an RSA root, both with 2048 bits.
        Rsa2048 = "rsa-2048",
        /// A leaf of an Ed25519 root.
        Ed25519 = "ed25519",
        /// ECDSA P-256 with intermediates, some 6 kB in all.
        LongChain = "long-chain",
        /// A leaf of an ML-DSA-44 root (FIPS 204).
        MlDsa44 = "ml-dsa-44",
        /// A leaf of an ML-DSA-65 root (FIPS 204).
        MlDsa65 = "ml-dsa-65",
    }
}

named! {
    /// How the two sides agree on a secret (RFC 8446, section 4.2.7).
    KeyExchange, "key exchange" {
        /// X25519.
        X25519 = "x25519",
        /// ECDHE over P-256.
        P256 = "secp256r1",
        /// X25519 and ML-KEM-768 together.
        X25519MlKem768 = "x25519mlkem768",
        /// X25519, after the client guessed a group that the node does not have (`HelloRetryRequest`).
        HelloRetryRequest = "hello-retry-request",
    }
}

/// Packets that the emulated network loses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Losses {
    /// None.
    #[default]
    None,
    /// So many of a thousand, each by chance.
    Random(u16),
    /// So many of a thousand, in bursts of four on average.
    Bursts(u16),
    /// The client's packet of this number, from 1.
    Client(u16),
    /// The node's packet of this number, from 1.
    Node(u16),
}
