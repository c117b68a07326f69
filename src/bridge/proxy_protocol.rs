//! The PROXY protocol, version 2: telling a backend who the client of a connection is, ahead of everything
//! else on it.

use std::net::{IpAddr, SocketAddr};

use crate::request::{ClientFacts, Protocol};

/// Whom a connection to a backend is for. It serves no one else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// The address and port of the client.
    source: SocketAddr,
    /// What the client reached.
    destination: SocketAddr,
    protocol: Protocol,
    proof: Proof,
}

/// Whether the client proved by a certificate who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    None,
    Certificate,
}

impl Origin {
    /// The client's address as it was last validated when its request began.
    pub(super) fn of(client: &ClientFacts) -> Self {
        Self {
            source: client.address,
            destination: client.local,
            protocol: client.protocol,
            proof: match client.certificate {
                None => Proof::None,
                Some(_) => Proof::Certificate,
            },
        }
    }

    /// The header with the command PROXY. The transport is always named a stream, because a stream is
    /// what is passed on, and some recipients ignore the addresses of anything else.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut addresses = Vec::with_capacity(36);
        let canonical = [self.source, self.destination].map(|address| address.ip().to_canonical());
        let family = match canonical {
            [IpAddr::V4(source), IpAddr::V4(destination)] => {
                addresses.extend(source.octets());
                addresses.extend(destination.octets());
                TCP_OVER_IPV4
            }
            [source, destination] => {
                addresses.extend(mapped(source));
                addresses.extend(mapped(destination));
                TCP_OVER_IPV6
            }
        };
        addresses.extend(self.source.port().to_be_bytes());
        addresses.extend(self.destination.port().to_be_bytes());
        append(&mut addresses, TYPE_ALPN, self.protocol.name().as_bytes());
        // A session that is resumed has its certificate from an earlier connection, so it is said of the
        // session and not of the connection.
        let (flags, verified) = match self.proof {
            Proof::None => (CLIENT_TLS, NOT_VERIFIED),
            Proof::Certificate => (CLIENT_TLS | CLIENT_CERTIFICATE, VERIFIED),
        };
        // The edge takes no other version.
        let mut tls = vec![flags, 0, 0, 0, verified];
        append(&mut tls, SUBTYPE_TLS_VERSION, b"TLSv1.3");
        append(&mut addresses, TYPE_TLS, &tls);
        header(PROXY, family, &addresses)
    }
}

/// The header of a connection that the gateway makes for itself.
pub(super) fn local() -> Vec<u8> {
    header(LOCAL, UNSPECIFIED, &[])
}

fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = Vec::with_capacity(16 + rest.len());
    header.extend(SIGNATURE);
    header.extend([VERSION | command, family]);
    header.extend(length(rest));
    header.extend(rest);
    header
}

fn append(to: &mut Vec<u8>, kind: u8, value: &[u8]) {
    to.push(kind);
    to.extend(length(value));
    to.extend(value);
}

fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len())
        .expect("everything in a header is short")
        .to_be_bytes()
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const VERSION: u8 = 0x20;
const LOCAL: u8 = 0x0;
const PROXY: u8 = 0x1;
const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
const TYPE_ALPN: u8 = 0x01;
const TYPE_TLS: u8 = 0x20;
const SUBTYPE_TLS_VERSION: u8 = 0x21;
const CLIENT_TLS: u8 = 0x01;
const CLIENT_CERTIFICATE: u8 = 0x04;
const VERIFIED: u8 = 0;
/// Any other number than 0, which is for a certificate that was verified.
const NOT_VERIFIED: u8 = 1;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn origin(source: &str, destination: &str, protocol: Protocol) -> Origin {
        let [source, destination] = [source, destination].map(|text| text.parse().unwrap());
        Origin::of(&ClientFacts::new(Arc::default(), source, destination).over(protocol))
    }

    const TLS: &[u8] = b"\x20\x00\x0f\x01\x00\x00\x00\x01\x21\x00\x07TLSv1.3";

    #[test]
    fn a_client_of_ipv4_is_told_of_in_these_bytes() {
        let mut expected = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21\x11".to_vec();
        expected.extend([0, 12 + 5 + 18]);
        expected.extend([192, 0, 2, 7, 198, 51, 100, 1]);
        expected.extend([0x13, 0x88, 0x01, 0xbb]);
        expected.extend(b"\x01\x00\x02h3");
        expected.extend(TLS);
        for (source, destination) in [
            ("192.0.2.7:5000", "198.51.100.1:443"),
            ("[::ffff:192.0.2.7]:5000", "[::ffff:198.51.100.1]:443"),
        ] {
            let header = origin(source, destination, Protocol::Http3).header();
            assert_eq!(header, expected, "{source}");
        }
    }

    #[test]
    fn a_client_of_ipv6_is_told_of_in_these_bytes() {
        let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x21".to_vec();
        expected.extend([0, 36 + 11 + 18]);
        expected.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 51, 100, 1]);
        expected.extend([0x13, 0x88, 0x01, 0xbb]);
        expected.extend(b"\x01\x00\x08http/1.1");
        expected.extend(TLS);
        let given = origin("[2001:db8::7]:5000", "198.51.100.1:443", Protocol::Http1);
        assert_eq!(given.header(), expected);
    }

    #[test]
    fn a_connection_of_the_gateway_itself_names_nobody() {
        assert_eq!(local(), b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00");
    }
}
