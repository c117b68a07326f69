//! Claims about tunnels for the WebSocket protocol (RFC 6455; RFC 8441; RFC 9220) between clients and backends
//! of every version of HTTP.

pub(crate) mod backend;
mod client;

use std::net::UdpSocket;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use wayhold::Gateway;
use wayhold::bridge::pattern;
use wayhold::testbed::Move;

use self::backend::{Backend, Offers, Speaks, ask_http2, switch};
use self::client::{HANDSHAKE, Last, Over, Tunnel, ask_http1, handshake};
use crate::stage::{Directory, Node, PATIENCE, Stage, turn, until};

/// A gateway before a backend.
struct Stand {
    node: Node,
    directory: Directory,
    _turn: tokio::sync::SemaphorePermit<'static>,
}

impl Stand {
    async fn before(backend: &Backend, more: &str) -> Self {
        let turn = turn().await;
        let directory = Directory::new();
        directory.certify();
        // Keys of the configuration come before its routes.
        let config = directory.config(&format!("{more}\n{}", backend.route()));
        let gateway = Gateway::builder().config(config).bind().unwrap();
        Self {
            node: Node::start(gateway),
            directory,
            _turn: turn,
        }
    }

    async fn open(&self, over: Over) -> Result<Tunnel, u16> {
        Tunnel::open(over, &self.directory, self.node.address).await
    }

    /// Asks the node to end, and waits until it takes no more connections.
    async fn drain(&self) {
        self.node.drain();
        let refused = async { while TcpStream::connect(self.node.address).await.is_ok() {} };
        timeout(PATIENCE, refused).await.unwrap();
    }

    async fn until_none_is_open(&self) {
        until(|| self.node.metrics.connect_tunnels.get() == 0).await;
    }
}

fn large(seed: u64) -> Vec<u8> {
    let mut message = vec![0; LARGE];
    pattern(seed, 0, &mut message);
    message
}

/// Larger than all that a tunnel holds back.
const LARGE: usize = 3_000_000;

/// Sends large messages and receives them again meanwhile. `moves` is called when some have come back and
/// others are on their way.
async fn converse<S>(socket: WebSocketStream<S>, moves: impl AsyncFnOnce())
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut to, mut from) = socket.split();
    let sending = async {
        for seed in 0..4 {
            to.send(Message::binary(large(seed))).await.unwrap();
        }
        to
    };
    let receiving = async {
        let mut moves = Some(moves);
        for seed in 0..4 {
            let message = timeout(PATIENCE, from.next()).await.unwrap();
            let message = message.unwrap().unwrap();
            assert!(message.into_data() == large(seed), "message {seed}");
            if let Some(moves) = moves.take() {
                moves().await;
            }
        }
        from
    };
    let (mut to, mut from) = tokio::join!(sending, receiving);
    to.send(Message::Close(None)).await.unwrap();
    let closed = timeout(PATIENCE, from.next()).await.unwrap();
    assert!(matches!(closed, Some(Ok(Message::Close(_)))), "{closed:?}");
    let ended = timeout(PATIENCE, from.next()).await.unwrap();
    assert!(ended.is_none(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_pass_both_ways_between_every_pair_of_versions() {
    for speaks in Speaks::ALL {
        let backend = Backend::echoing(speaks).await;
        let stand = Stand::before(&backend, "").await;
        for over in Over::ALL {
            let tunnel = stand.open(over).await.unwrap();
            assert_eq!(stand.node.metrics.connect_tunnels.get(), 1, "{over:?}");
            let mut tasks = JoinSet::new();
            converse(tunnel.websocket(&mut tasks).await, async || {}).await;
            stand.until_none_is_open().await;
        }
        for reason in ["client_gone", "upstream_gone", "body_timeout"] {
            assert_eq!(stand.node.failed(reason), 0, "{speaks:?} {reason}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_of_another_library_is_answered() {
    let backend = Backend::echoing(Speaks::Http1).await;
    let stand = Stand::before(&backend, "").await;
    let socket = handshake(&stand.directory, stand.node.address).await;
    converse(socket, async || {}).await;
    stand.until_none_is_open().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_goes_on_through_a_rebinding_and_a_flip_in_the_middle_of_messages() {
    for speaks in Speaks::ALL {
        let backend = Backend::echoing(speaks).await;
        let stage = Stage::built(2, &backend.route(), |builder| builder).await;
        let address = stage.relay.address();
        let tunnel = Tunnel::open(Over::Http3, &stage.directory, address).await;
        let tunnel = tunnel.unwrap();
        let Tunnel::Http3(_, _, raw) = &tunnel else {
            panic!("it is over HTTP/3");
        };
        let endpoint = raw.endpoint.clone();
        let mut tasks = JoinSet::new();
        let socket = tunnel.websocket(&mut tasks).await;
        converse(socket, async || {
            stage.relay.make(Move::Flip).await.unwrap();
            endpoint
                .rebind(UdpSocket::bind("127.0.0.1:0").unwrap())
                .unwrap();
            stage.until_moved().await;
        })
        .await;
        assert!(stage.sum(|metrics| metrics.datagrams_forwarded.get()) > 0);
        let answered = |metrics: &wayhold::telemetry::Metrics| {
            u64::try_from(metrics.connect_tunnels.get()).unwrap()
        };
        until(|| stage.sum(answered) == 0).await;
    }
}

#[tokio::test]
async fn either_direction_ends_alone() {
    for speaks in Speaks::ALL {
        let backend = Backend::bind(speaks).await;
        let stand = Stand::before(&backend, "").await;
        for over in Over::ALL {
            let open = async || {
                let asked = async { backend.asked().await.open().await };
                let (tunnel, end) = tokio::join!(stand.open(over), asked);
                (tunnel.unwrap(), end)
            };
            let (mut tunnel, mut end) = open().await;
            tunnel.send(b"question").await;
            tunnel.finish().await;
            assert_eq!(end.receive(8).await, b"question");
            assert!(end.ends().await, "{over:?} to {speaks:?}");
            end.send(b"answer").await;
            end.finish().await;
            let answer = Last::End(b"answer".to_vec());
            assert_eq!(tunnel.last().await, answer, "{over:?} to {speaks:?}");
            stand.until_none_is_open().await;

            let (mut tunnel, mut end) = open().await;
            end.send(b"statement").await;
            end.finish().await;
            let statement = Last::End(b"statement".to_vec());
            assert_eq!(tunnel.last().await, statement, "{over:?} to {speaks:?}");
            assert_eq!(stand.node.metrics.connect_tunnels.get(), 1);
            tunnel.send(b"reply").await;
            tunnel.finish().await;
            assert_eq!(end.receive(5).await, b"reply");
            assert!(end.ends().await, "{over:?} to {speaks:?}");
            stand.until_none_is_open().await;
        }
        assert_eq!(stand.node.failed("client_gone"), 0);
    }
}

#[tokio::test]
async fn a_tunnel_that_either_side_breaks_off_is_never_ended() {
    for speaks in Speaks::ALL {
        let backend = Backend::bind(speaks).await;
        let stand = Stand::before(&backend, "").await;
        for over in Over::ALL {
            let open = async || {
                let asked = async { backend.asked().await.open().await };
                let (tunnel, end) = tokio::join!(stand.open(over), asked);
                (tunnel.unwrap(), end)
            };
            let (mut tunnel, mut end) = open().await;
            tunnel.send(b"begun").await;
            assert_eq!(end.receive(5).await, b"begun");
            tunnel.reset();
            if over == Over::Http1 {
                drop(tunnel);
            }
            assert!(!end.ends().await, "{over:?} to {speaks:?}");
            stand.until_none_is_open().await;

            let (mut tunnel, mut end) = open().await;
            end.send(b"begun").await;
            assert_eq!(tunnel.receive(5).await, b"begun");
            end.reset();
            assert_eq!(tunnel.last().await, Last::Reset, "{over:?} to {speaks:?}");
            stand.until_none_is_open().await;
        }
        assert_eq!(stand.node.failed("client_gone"), 3, "{speaks:?}");
        assert_eq!(stand.node.failed("upstream_gone"), 3, "{speaks:?}");
    }
}

#[tokio::test]
async fn what_a_backend_refuses_is_an_ordinary_response() {
    for speaks in Speaks::ALL {
        let backend = Backend::bind(speaks).await;
        let stand = Stand::before(&backend, "").await;
        for over in Over::ALL {
            let refusing = async { backend.asked().await.refuse(403).await };
            let opening = stand.open(over);
            let ((), refused) = tokio::join!(refusing, opening);
            assert_eq!(refused.err(), Some(403), "{over:?} to {speaks:?}");
        }
        assert_eq!(stand.node.failed("no_tunnel"), 0);
    }
}

#[tokio::test]
async fn what_only_looks_like_a_switch_opens_no_tunnel() {
    let backend = Backend::bind(Speaks::Http1).await;
    let stand = Stand::before(&backend, "").await;
    let wrong_accept = switch("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let no_accept = "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    for head in [&wrong_accept, no_accept] {
        let switching = async { backend.asked().await.switch_wrongly(head).await };
        let ((), refused) = tokio::join!(switching, stand.open(Over::Http3));
        assert_eq!(refused.err(), Some(502), "{head}");
    }
    assert_eq!(stand.node.failed("upstream_malformed"), 2);
    let answering = async { backend.asked().await.refuse(200).await };
    let ((), refused) = tokio::join!(answering, stand.open(Over::Http3));
    assert_eq!(refused.err(), Some(502));
    assert_eq!(stand.node.failed("no_tunnel"), 1);
}

#[tokio::test]
async fn a_backend_that_offers_no_tunnels_is_asked_for_none() {
    let backend = Backend::bind(Speaks::Http2).await;
    let stand = Stand::before(&backend, "").await;
    for over in Over::ALL {
        let mut serving = JoinSet::new();
        let opening = stand.open(over);
        let connecting = backend.connection();
        tokio::pin!(opening, connecting);
        let refused = loop {
            tokio::select! {
                refused = &mut opening => break refused,
                stream = &mut connecting, if serving.is_empty() => {
                    serving.spawn(async move { drop(ask_http2(stream, Offers::Nothing).await) });
                }
            }
        };
        assert_eq!(refused.err(), Some(502), "{over:?}");
    }
    assert_eq!(stand.node.failed("no_tunnel"), 3);
}

#[tokio::test]
async fn a_handshake_that_is_none_reaches_no_backend() {
    let backend = Backend::bind(Speaks::Http1).await;
    let stand = Stand::before(&backend, "").await;
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let twice = format!("{HANDSHAKE}Sec-WebSocket-Key: {key}\r\n");
    for (status, line, fields) in [
        ("400", "GET /chat HTTP/1.1", HANDSHAKE.replace(key, "")),
        (
            "400",
            "GET /chat HTTP/1.1",
            HANDSHAKE.replace(key, "bm9uY2U="),
        ),
        ("400", "GET /chat HTTP/1.1", twice),
        (
            "400",
            "GET /chat HTTP/1.1",
            HANDSHAKE.replace("Connection: Upgrade", "X: y"),
        ),
        ("400", "POST /chat HTTP/1.1", HANDSHAKE.to_owned()),
        (
            "400",
            "GET /chat HTTP/1.1",
            format!("{HANDSHAKE}Content-Length: 0\r\n"),
        ),
        (
            "501",
            "GET /chat HTTP/1.1",
            HANDSHAKE.replace("websocket", "gopher"),
        ),
        (
            "501",
            "GET /chat HTTP/1.1",
            HANDSHAKE.replace("websocket", "h2c, websocket"),
        ),
        (
            "501",
            "CONNECT localhost:443 HTTP/1.1",
            "Host: localhost:443\r\n".to_owned(),
        ),
    ] {
        let request = format!("{line}\r\n{fields}\r\n");
        let asking = ask_http1(&stand.directory, stand.node.address, &request);
        let (head, _stream) = timeout(PATIENCE, asking).await.unwrap();
        assert_eq!(client::status(&head), status, "{request}");
    }
    assert_eq!(stand.node.failed("malformed"), 6);
    assert_eq!(stand.node.failed("not_implemented"), 3);
}

#[tokio::test]
async fn a_drain_waits_for_a_tunnel_and_its_grace_ends_it() {
    for over in Over::ALL {
        let backend = Backend::bind(Speaks::Http1).await;
        let stand = Stand::before(&backend, "shutdown.grace = \"20s\"").await;
        let asked = async { backend.asked().await.open().await };
        let (tunnel, mut end) = tokio::join!(stand.open(over), asked);
        let mut tunnel = tunnel.unwrap();
        stand.drain().await;
        tunnel.send(b"still").await;
        assert_eq!(end.receive(5).await, b"still");
        end.send(b"here").await;
        assert_eq!(tunnel.receive(4).await, b"here", "{over:?}");
        end.finish().await;
        tunnel.finish().await;
        assert_eq!(tunnel.last().await, Last::End(vec![]), "{over:?}");
        drop(tunnel);
        stand.node.ended().await.unwrap();

        let stand = Stand::before(&backend, "shutdown.grace = \"100ms\"").await;
        let asked = async { backend.asked().await.open().await };
        let (tunnel, mut end) = tokio::join!(stand.open(over), asked);
        let _tunnel = tunnel.unwrap();
        stand.drain().await;
        assert!(!end.ends().await, "{over:?}");
    }
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_passes_is_ended_on_both_sides() {
    let backend = Backend::bind(Speaks::Http1).await;
    let stand = Stand::before(&backend, "timeouts.tunnel_idle = \"50ms\"").await;
    for over in Over::ALL {
        let asked = async { backend.asked().await.open().await };
        let (tunnel, mut end) = tokio::join!(stand.open(over), asked);
        assert_eq!(tunnel.unwrap().last().await, Last::Reset, "{over:?}");
        assert!(!end.ends().await, "{over:?}");
    }
    assert_eq!(stand.node.failed("body_timeout"), 3);
}

/// Far more than sockets, windows and the gateway's own pieces hold.
const FLOOD: usize = 256 << 20;

#[tokio::test]
async fn a_client_that_does_not_read_stops_its_backend() {
    let backend = Backend::bind(Speaks::Http1).await;
    let stand = Stand::before(&backend, "timeouts.body_idle = \"1s\"").await;
    for over in Over::ALL {
        let asked = async { backend.asked().await.open().await };
        let (tunnel, end) = tokio::join!(stand.open(over), asked);
        let _unread = tunnel.unwrap();
        let backend::End::Http1(mut stream) = end else {
            panic!("it speaks HTTP/1.1");
        };
        let mut sent = 0;
        let piece = vec![7; 1 << 16];
        let flooding = async {
            while sent < FLOOD {
                let Ok(more) = stream.write(&piece).await else {
                    return;
                };
                sent += more;
            }
        };
        timeout(PATIENCE, flooding).await.unwrap();
        assert!(sent < FLOOD, "{over:?} took {sent} bytes");
    }
}
