//! The addresses of this machine.

#![expect(
    unsafe_code,
    reason = "getifaddrs has no safe form in the libraries used"
)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of all interfaces of this process's network namespace, as they are now.
///
/// # Errors
/// The system's.
pub fn local_addresses() -> io::Result<Vec<IpAddr>> {
    let mut first = std::ptr::null_mut();
    // SAFETY: the function writes one pointer, which outlives the call.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut next = first.cast_const();
    while !next.is_null() {
        // SAFETY: the list is whole until it is freed below, and `next` is an element of it.
        let interface = unsafe { &*next };
        addresses.extend(read(interface.ifa_addr));
        next = interface.ifa_next;
    }
    // SAFETY: `first` came from getifaddrs, and nothing refers to the list any more.
    unsafe { libc::freeifaddrs(first) };
    Ok(addresses)
}

/// The address of an element of the list, if it is one of IP.
fn read(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: every address begins with its family.
    let family = unsafe { (*address).sa_family };
    match i32::from(family) {
        libc::AF_INET => {
            // SAFETY: an address of this family is of this type, which may lie at any byte.
            let address = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
            let bits = u32::from_be(address.sin_addr.s_addr);
            Some(IpAddr::V4(Ipv4Addr::from_bits(bits)))
        }
        libc::AF_INET6 => {
            // SAFETY: an address of this family is of this type, which may lie at any byte.
            let address = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(IpAddr::V6(Ipv6Addr::from(address.sin6_addr.s6_addr)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn every_address_can_be_bound_and_loopback_is_among_them() {
        let addresses = local_addresses().unwrap();
        assert!(addresses.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
        for address in addresses {
            // A link-local address needs its interface beside it.
            if let IpAddr::V6(address) = address
                && address.is_unicast_link_local()
            {
                continue;
            }
            UdpSocket::bind((address, 0)).unwrap();
        }
    }
}
