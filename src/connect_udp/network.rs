//! Networks of IP addresses, and those that are not for strangers' packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Addresses that begin with the same bits. Read from `10.0.0.0/8`, `2001:db8::/32` or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// None if the prefix is longer than an address, or bits behind it are set.
    pub(super) fn new(address: IpAddr, bits: u8) -> Option<Self> {
        let network = Self { address, bits };
        let fits = bits <= width(address);
        (fits && network.masked(address) == number(address)).then_some(network)
    }

    /// One address.
    pub(super) fn host(address: IpAddr) -> Self {
        Self {
            address,
            bits: width(address),
        }
    }

    /// Whether an address begins with these bits. One of IPv4 in the form of IPv6 is none of IPv4.
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && self.masked(address) == number(self.address)
    }

    /// Whether all of its addresses are in another one.
    fn is_within(self, other: Self) -> bool {
        self.bits >= other.bits && other.contains(self.address)
    }

    pub(super) fn is_one_address(self) -> bool {
        self.bits == width(self.address)
    }

    /// Whether a rule for this network means an address that it contains: no special range around the
    /// address is wider known than the network is.
    pub(super) fn names(self, address: IpAddr) -> bool {
        special(address).all(|range| self.is_within(range))
    }

    fn masked(self, address: IpAddr) -> u128 {
        let behind = u32::from(width(address).saturating_sub(self.bits));
        let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
        number(address) & mask
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_bad| NetworkError::Address)?;
        let Some(bits) = bits else {
            return Ok(Self::host(address));
        };
        let digits = bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = bits.parse().ok().filter(|_| digits);
        let bits = bits.ok_or(NetworkError::Length)?;
        Self::new(address, bits).ok_or(NetworkError::Length)
    }
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// What stands first is no address.
    #[error("not an IP address")]
    Address,
    /// The length is longer than the address, or bits behind it are set.
    #[error("the length does not fit the address; bits behind it must be 0")]
    Length,
}

/// Whether an address is of a kind that is refused unless it is named: anything but global unicast.
pub(super) fn is_special(address: IpAddr) -> bool {
    special(address).next().is_some()
}

fn special(address: IpAddr) -> impl Iterator<Item = Network> {
    let v4 = SPECIAL_V4
        .iter()
        .map(|&([a, b, c, d], bits)| (IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits));
    let v6 = SPECIAL_V6
        .iter()
        .map(|&(high, low, bits)| (IpAddr::V6(v6(high, low)), bits));
    v4.chain(v6)
        .map(|(address, bits)| Network { address, bits })
        .filter(move |range| range.contains(address))
}

/// An address by its two halves.
fn v6(high: u64, low: u64) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low))
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The special-purpose registry of IPv4 (RFC 6890), multicast and what is reserved.
const SPECIAL_V4: [([u8; 4], u8); 16] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
    ([255, 255, 255, 255], 32),
];

/// Of IPv6 only `2000::/3` is global unicast (RFC 4291, section 2.4), and not all of it. What is around
/// that is in two halves; the others are narrower, so that a rule has to name them. What embeds an IPv4
/// address (`::/96`, `64:ff9b::/96`, `64:ff9b:1::/48`, `2002::/16`, and Teredo in `2001::/23`) would
/// be a way around the rules for that.
const SPECIAL_V6: [(u64, u64, u8); 17] = [
    (0, 0, 3),
    (0, 0, 96),
    (0, 0, 128),
    (0, 1, 128),
    (0x0064_ff9b_0000_0000, 0, 96),
    (0x0064_ff9b_0001_0000, 0, 48),
    (0x0100_0000_0000_0000, 0, 64),
    (0x2001_0000_0000_0000, 0, 23),
    (0x2001_0db8_0000_0000, 0, 32),
    (0x2002_0000_0000_0000, 0, 16),
    (0x3fff_0000_0000_0000, 0, 20),
    (0x4000_0000_0000_0000, 0, 2),
    (0x8000_0000_0000_0000, 0, 1),
    (0xfc00_0000_0000_0000, 0, 7),
    (0xfe80_0000_0000_0000, 0, 10),
    (0xfec0_0000_0000_0000, 0, 10),
    (0xff00_0000_0000_0000, 0, 8),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn network(text: &str) -> Option<Network> {
        let (address, bits) = text.split_once('/').unwrap();
        Network::new(address.parse().unwrap(), bits.parse().unwrap())
    }

    #[test]
    fn a_network_contains_what_begins_like_it() {
        for (text, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("0.0.0.0/0", "255.255.255.255", "::"),
            ("10.1.2.3/32", "10.1.2.3", "10.1.2.2"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::"),
            ("::/0", "ffff::", "0.0.0.0"),
            ("::1/128", "::1", "::"),
        ] {
            let network = network(text).unwrap();
            assert!(network.contains(address(inside)), "{text}");
            assert!(!network.contains(address(outside)), "{text}");
        }
        for text in ["10.0.0.0/33", "10.0.0.1/8", "::1/127", "::/129"] {
            assert_eq!(network(text), None, "{text}");
        }
    }

    #[test]
    fn only_global_unicast_is_not_special() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:1::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "4000::",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
        ] {
            assert!(is_special(address(text)), "{text}");
        }
        for text in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00::1",
            "3ffe::1",
        ] {
            assert!(!is_special(address(text)), "{text}");
        }
    }

    #[test]
    fn a_network_names_only_what_it_lies_within() {
        for (text, inside, names) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.1.0.0/16", "10.1.2.3", true),
            ("8.0.0.0/6", "10.1.2.3", false),
            ("0.0.0.0/0", "127.0.0.1", false),
            ("0.0.0.0/0", "1.1.1.1", true),
            ("240.0.0.0/4", "255.255.255.255", false),
            ("::/0", "::1", false),
            ("::/3", "::1", false),
            ("8000::/1", "fc00::1", false),
            ("fd00::/8", "fd00::1", true),
            ("::1/128", "::1", true),
        ] {
            let network = network(text).unwrap();
            assert_eq!(network.names(address(inside)), names, "{text} {inside}");
        }
    }
}
