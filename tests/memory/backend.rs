//! A backend that reads heads and no content, and answers without end when it is let.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    gate: Arc<watch::Sender<bool>>,
    _runtime: Runtime,
}

impl Backend {
    pub(crate) fn start() -> Self {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            // What the kernel takes for a backend that reads nothing costs the gateway nothing.
            socket.set_recv_buffer_size(4096).unwrap();
            socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            socket.listen(256).unwrap()
        });
        let address = listener.local_addr().unwrap();
        let gate = Arc::new(watch::Sender::new(false));
        let serving = Arc::clone(&gate);
        runtime.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, serving.subscribe()));
            }
        });
        Self {
            address,
            gate,
            _runtime: runtime,
        }
    }

    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }
}

async fn serve(mut stream: TcpStream, mut gate: watch::Receiver<bool>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    drop(gate.wait_for(|open| *open).await);
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n";
    let mut written = stream.write_all(head).await;
    let piece = vec![b'x'; 64 << 10];
    while written.is_ok() {
        written = stream.write_all(&piece).await;
    }
}
