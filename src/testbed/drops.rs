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
/// # Errors
/// The tables cannot be read.
pub fn kernel_drops(local: SocketAddr) -> io::Result<u64> {
    let ipv4 = fs::read_to_string("/proc/net/udp")?;
    // Absent where IPv6 is switched off.
    let ipv6 = fs::read_to_string("/proc/net/udp6").unwrap_or_default();
    Ok(sum_drops(&ipv4, local) + sum_drops(&ipv6, local))
}

fn sum_drops(table: &str, local: SocketAddr) -> u64 {
    let of_line = |line: &str| {
        let (address, port) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
        let address = parse_address(address)?;
        let takes = address.is_unspecified() || address == local.ip().to_canonical();
        if !takes || u16::from_str_radix(port, 16) != Ok(local.port()) {
            return None;
        }
        line.split_whitespace().next_back()?.parse::<u64>().ok()
    };
    table.lines().skip(1).filter_map(of_line).sum()
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
        assert_eq!(sum_drops(table, at(0x1151)), 12);
        assert_eq!(sum_drops(table, at(0x1152)), 9);
        assert_eq!(sum_drops(table, at(0x1153)), 0);
        assert_eq!(sum_drops("", at(0x1151)), 0);
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
