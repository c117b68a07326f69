use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys;
use crate::telemetry::{Metrics, UdpSocket};

/// Carries the kernel's count of a socket's dropped datagrams over to the metrics.
#[derive(Debug)]
pub(in crate::edge) struct Drops {
    socket: UdpSocket,
    metrics: Metrics,
    counted: AtomicU32,
}

impl Drops {
    /// Counts under this label.
    pub(in crate::edge) fn new(socket: UdpSocket, metrics: Metrics) -> Self {
        Self {
            socket,
            metrics,
            counted: AtomicU32::new(0),
        }
    }

    /// Adds what was dropped since the last call. The kernel's counter wraps, and so does the
    /// difference.
    pub(in crate::edge) fn count(&self, socket: &impl AsFd) {
        let Ok(now) = sys::socket::dropped_datagrams(socket) else {
            return;
        };
        let before = self.counted.swap(now, Ordering::Relaxed);
        let counter = self.metrics.socket_drops.get_or_create(&self.socket);
        counter.inc_by(now.wrapping_sub(before).into());
    }
}

#[cfg(test)]
mod tests {
    use std::net;

    use super::*;

    #[test]
    fn what_a_full_socket_drops_is_counted_once() {
        let receiver = net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let metrics = Metrics::default();
        let drops = Drops::new(UdpSocket::SERVICE, metrics.clone());
        let counted = || {
            metrics
                .socket_drops
                .get_or_create(&UdpSocket::SERVICE)
                .get()
        };
        drops.count(&receiver);
        assert_eq!(counted(), 0);
        let sent = 10_000;
        for _ in 0..sent {
            sender
                .send_to(&[0; 1200], receiver.local_addr().unwrap())
                .unwrap();
        }
        receiver.set_nonblocking(true).unwrap();
        let received = std::iter::from_fn(|| receiver.recv(&mut [0; 1200]).ok()).count();
        for _ in 0..2 {
            drops.count(&receiver);
            assert_eq!(counted(), u64::try_from(sent - received).unwrap());
        }
        assert!(counted() > 0, "the test's flood filled the buffer");
    }
}
