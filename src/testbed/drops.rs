use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How many datagrams the kernel dropped at the sockets that take what is sent to this address, for
/// want of room.
///
/// Linux only, from `/proc/net/udp` and `/proc/net/udp6`. Sockets that are closed are forgotten. A
/// batch that its sender gave to the kernel as one (GSO) counts once, so a count is exact only for
/// datagrams that were sent one by one.
///
/// The kernel gives these tables out in pieces, each from the place where the one before ended, and that
/// is a number of sockets: when others open or close in between, a socket is shown twice or not at all.
/// So the tables are read until two readings in a row show the same sockets.
///
/// # Errors
/// The tables cannot be read, or no two readings are alike.
pub fn kernel_drops(local: SocketAddr) -> io::Result<u64> {
    settled(|| {
        let mut drops = drops(&fs::read_to_string("/proc/net/udp")?, local);
        // Absent where IPv6 is switched off.
        let ipv6 = fs::read_to_string("/proc/net/udp6").unwrap_or_default();
        drops.extend(self::drops(&ipv6, local));
        Ok(drops)
    })
}

/// The drops of each socket, by its inode.
type Drops = BTreeMap<u64, u64>;

fn settled(mut read: impl FnMut() -> io::Result<Drops>) -> io::Result<u64> {
    let mut before = read()?;
    for _ in 0..READINGS {
        let after = read()?;
        if after.keys().eq(before.keys()) {
            return Ok(after.values().sum());
        }
        before = after;
    }
    Err(io::Error::other(
        "no two readings of the sockets' table are alike",
    ))
}

fn drops(table: &str, local: SocketAddr) -> Drops {
    let of_line = |line: &str| {
        let mut fields = line.split_whitespace();
        let (address, port) = fields.nth(1)?.rsplit_once(':')?;
        let address = parse_address(address)?;
        let takes = address.is_unspecified() || address == local.ip().to_canonical();
        if !takes || u16::from_str_radix(port, 16) != Ok(local.port()) {
            return None;
        }
        let inode = fields.nth(7)?.parse().ok()?;
        Some((inode, fields.next_back()?.parse().ok()?))
    };
    table.lines().skip(1).filter_map(of_line).collect()
}

/// Reads an address as the kernel prints it: 32-bit words in the machine's byte order.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?;
        Some(u128::from(u32::from_be_bytes(word.to_ne_bytes())))
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from_bits(u32::try_from(word(0)?).ok()?).into()),
        32 => {
            let bits = word(0)? << 96 | word(8)? << 64 | word(16)? << 32 | word(24)?;
            Some(Ipv6Addr::from_bits(bits).to_canonical())
        }
        _ => None,
    }
}

/// Each is some hundred microseconds, and few readings are wrong.
const READINGS: u32 = 100;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn drops_are_summed_over_the_sockets_of_one_address() {
        let table = "\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  101: 0100007F:1151 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1234 2 0000000000000000 7
  102: 00000000:1151 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1235 2 0000000000000000 5
  104: 0200007F:1151 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1237 2 0000000000000000 1
  103: 0100007F:1152 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1236 2 0000000000000000 9
";
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let sum = |table, port| settled(|| Ok(drops(table, at(port)))).unwrap();
        assert_eq!(sum(table, 0x1151), 12);
        assert_eq!(sum(table, 0x1152), 9);
        assert_eq!(sum(table, 0x1153), 0);
        assert_eq!(sum("", 0x1151), 0);
    }

    #[test]
    fn a_socket_that_a_reading_shows_twice_or_not_at_all_counts_once() {
        let twice = "\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  101: 0100007F:1151 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1234 2 0000000000000000 7
  101: 0100007F:1151 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1234 2 0000000000000000 7
";
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0x1151));
        let mut readings = ["", twice, "", twice, twice].into_iter();
        let read = || Ok(drops(readings.next().expect("two are alike"), local));
        assert_eq!(settled(read).unwrap(), 7);
        let mut odd = false;
        let changing = || {
            odd = !odd;
            Ok(drops(if odd { twice } else { "" }, local))
        };
        assert!(settled(changing).is_err());
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_are_read_as_the_kernel_prints_them() {
        let read = |hex| parse_address(hex).map(|address| address.to_string());
        assert_eq!(read("0100007F").as_deref(), Some("127.0.0.1"));
        assert_eq!(
            read("0000000000000000FFFF00000100007F").as_deref(),
            Some("127.0.0.1")
        );
        assert_eq!(
            read("00000000000000000000000001000000").as_deref(),
            Some("::1")
        );
        assert_eq!(read("7F"), None);
        assert_eq!(read("0100007G"), None);
    }

    #[test]
    fn the_kernel_counts_what_an_unread_socket_drops() {
        let full = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&full)
            .set_recv_buffer_size(4096)
            .unwrap();
        let local = full.local_addr().unwrap();
        let sent = 64;
        for _ in 0..sent {
            sender.send_to(&[0; 1200], local).unwrap();
        }
        full.set_nonblocking(true).unwrap();
        let dropped = kernel_drops(local).unwrap();
        let mut received = 0;
        while full.recv(&mut [0; 1500]).is_ok() {
            received += 1;
        }
        assert_eq!(received + dropped, sent);
        assert!(dropped > 0);
    }
}
