//! A client that makes a gateway hold as much as it can.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, TransportConfig, VarInt};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use wayhold::client::{Trust, tls_config};

/// What it does on each of its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attack {
    /// It asks for content without end, and acknowledges nothing.
    Unacknowledged,
    /// It sends content that the backend does not read.
    Unread,
    /// The same in small pieces, each in a large packet, to a handler: on the way to a backend the kernel
    /// takes more than a test has the time to send so.
    Scattered,
    /// It sends a header section up to the limit, and not its end.
    Heads,
    /// All of these: the first two on every stream, or where there are several the last on half of them,
    /// with priorities for what never comes, a control frame and an insertion that do not end, and a full
    /// dynamic table.
    Everything,
}

impl Attack {
    pub(crate) const ALL: [Self; 5] = [
        Self::Unacknowledged,
        Self::Unread,
        Self::Scattered,
        Self::Heads,
        Self::Everything,
    ];

    fn sends_head(self, index: usize) -> bool {
        self == Self::Heads || (self == Self::Everything && index % 2 == 1)
    }

    fn sends_content(self, index: usize) -> bool {
        let sends = matches!(self, Self::Unread | Self::Scattered | Self::Everything);
        sends && !self.sends_head(index)
    }

    pub(crate) fn scatters(self) -> bool {
        self == Self::Scattered
    }
}

/// A connection whose client runs only while it begins.
pub(crate) struct Hostile {
    _runtime: Runtime,
    _endpoint: Endpoint,
    _connection: Connection,
    _open: Vec<(SendStream, RecvStream)>,
    _one_way: [SendStream; 2],
}

impl Hostile {
    pub(crate) fn begin(
        address: SocketAddr,
        trust: &Trust,
        attack: Attack,
        streams: usize,
    ) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (endpoint, connection, one_way, open) = runtime.block_on(async {
            let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            let connecting = endpoint.connect_with(config(trust, attack), address, "localhost");
            let connection = connecting.unwrap().await.unwrap();
            let mut control = connection.open_uni().await.unwrap();
            control.write_all(&[0, 4, 0]).await.unwrap();
            let mut encoder = connection.open_uni().await.unwrap();
            encoder.write_all(&[2]).await.unwrap();
            if attack == Attack::Everything {
                control.write_all(&priorities(streams)).await.unwrap();
                encoder.write_all(&insertions()).await.unwrap();
            }
            let mut begun = Vec::new();
            for index in 0..streams {
                let (mut send, receive) = connection.open_bi().await.unwrap();
                begin(&mut send, attack, index).await;
                begun.push((index, send, receive));
            }
            let mut filling = JoinSet::new();
            for (index, mut send, receive) in begun {
                filling.spawn(async move {
                    if attack.sends_content(index) {
                        fill(&mut send, attack).await;
                    }
                    (send, receive)
                });
            }
            let open = filling.join_all().await;
            // Everything that was written has come by then.
            sleep(QUIET).await;
            (endpoint, connection, [control, encoder], open)
        });
        Self {
            _runtime: runtime,
            _endpoint: endpoint,
            _connection: connection,
            _open: open,
            _one_way: one_way,
        }
    }
}

/// Begins a stream: with most of a large head, or with a whole small one.
async fn begin(send: &mut SendStream, attack: Attack, index: usize) {
    if attack.sends_head(index) {
        let mut head = [1, 0x80, 0, 0x7f, 0xff, 0, 0].to_vec();
        head.extend(line(b"x", &vec![b'y'; 32_700]));
        head.truncate(32_000);
        for piece in head.chunks(900) {
            send.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        return;
    }
    let content = attack.sends_content(index);
    let method: &[u8] = if content { b"POST" } else { b"GET" };
    let lines = [
        line(b":method", method),
        line(b":scheme", b"https"),
        line(b":authority", b"localhost"),
        line(b":path", b"/"),
    ];
    let section = [&[0, 0][..], &lines.concat()].concat();
    let length = u16::try_from(section.len()).unwrap() | 0x4000;
    let frame = [&[1][..], &length.to_be_bytes(), &section].concat();
    send.write_all(&frame).await.unwrap();
    if !content {
        send.finish().unwrap();
    }
}

/// Sends content until nobody has taken any for a while.
async fn fill(send: &mut SendStream, attack: Attack) {
    // No multiple of anything, in frames that are none either.
    let frames = if attack.scatters() {
        [&[0, 0x40, 250][..], &[b'x'; 250]].concat()
    } else {
        [&[0, 0x43, 0x84][..], &[b'x'; 900]].concat().repeat(9)
    };
    while let Ok(Ok(())) = timeout(QUIET, send.write_all(&frames)).await {
        if attack.scatters() {
            // The packet goes out before there is more for it.
            tokio::task::yield_now().await;
        }
    }
}

/// As many as are kept, and the beginning of a frame that never ends.
fn priorities(streams: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for index in (streams..128).take(64) {
        let id = u32::try_from(4 * index).unwrap() | 0x8000_0000;
        let id = id.to_be_bytes();
        out.extend([0x80, 0x0f, 0x07, 0x00, 8]);
        out.extend(id);
        out.extend(b"u=1 ");
    }
    out.extend([0x80, 0x0f, 0x07, 0x00, 0x4f, 0xff]);
    out.extend(vec![0; 4000]);
    out
}

/// As many small ones as fit into the dynamic table, and most of an insertion that never ends: a Huffman
/// string of characters of 30 bits, as long as may be.
fn insertions() -> Vec<u8> {
    let mut out = vec![0x3f, 0xe1, 0x1f];
    out.extend(b"\x44name\x04word".repeat(102));
    out.extend([0x40, 0xff, 0xe9, 0x75]);
    out.extend(vec![0xff; 15_000]);
    out
}

/// A literal line with a literal name (RFC 9204, section 4.5.6).
fn line(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = integer(0x20, 3, name.len());
    out.extend_from_slice(name);
    out.extend(integer(0, 7, value.len()));
    out.extend_from_slice(value);
    out
}

/// An integer with a prefix of so many bits (RFC 7541, section 5.1).
fn integer(flags: u8, prefix: u32, value: usize) -> Vec<u8> {
    let most = (1 << prefix) - 1;
    let byte = |value: usize| u8::try_from(value).unwrap();
    if value < most {
        return vec![flags | byte(value)];
    }
    let mut out = vec![flags | byte(most)];
    let mut rest = value - most;
    while rest >= 128 {
        out.push(byte(rest % 128) | 128);
        rest /= 128;
    }
    out.push(byte(rest));
    out
}

fn config(trust: &Trust, attack: Attack) -> ClientConfig {
    let mut tls = Arc::unwrap_or_clone(tls_config(trust).unwrap());
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut transport = TransportConfig::default();
    // Room for everything that a gateway would send ahead.
    transport
        .stream_receive_window(VarInt::from_u32(64 << 20))
        .receive_window(VarInt::from_u32(64 << 20))
        .send_window(64 << 20)
        .pad_to_mtu(attack.scatters());
    config.transport_config(Arc::new(transport));
    config
}

const QUIET: Duration = Duration::from_millis(500);
