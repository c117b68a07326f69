use std::fs::File;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::sync::oneshot;
use wayhold::Gateway;
use wayhold::config::{AdminAddress, Config, Fleet, Listen, Member};
use wayhold::control::write_key_file;
use wayhold::fleet::{FleetKey, Keyring};

use super::{GATEWAY, MERGED, OWNER, address, bind, node};

/// Something that forwards, on a thread of its own.
pub(crate) struct Forwarder {
    /// Where it receives.
    pub(crate) address: SocketAddr,
    processor: File,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Forwarder {
    /// Receives and sends single datagrams.
    pub(crate) fn bare(to: SocketAddr) -> Self {
        Self::passing(async move |socket| {
            let mut buffer = [0; 2048];
            loop {
                let (len, _) = socket.recv_from(&mut buffer).await?;
                socket.send_to(&buffer[..len], to).await?;
            }
        })
    }

    /// Receives and sends what the kernel merged.
    pub(crate) fn bare_merged(to: SocketAddr) -> Self {
        Self::passing(async move |socket| {
            let state = UdpSocketState::new((&socket).into())?;
            let mut buffer = vec![0; MERGED];
            loop {
                socket.readable().await?;
                let mut slices = [IoSliceMut::new(&mut buffer)];
                let mut meta = [RecvMeta::default()];
                let receive = || state.recv((&socket).into(), &mut slices, &mut meta);
                if socket.try_io(Interest::READABLE, receive).is_err() {
                    continue;
                }
                let [RecvMeta { len, stride, .. }] = meta;
                let transmit = Transmit {
                    destination: to,
                    ecn: None,
                    contents: &buffer[..len],
                    segment_size: (len > stride).then_some(stride),
                    src_ip: None,
                };
                let send = || state.try_send((&socket).into(), &transmit);
                socket.async_io(Interest::WRITABLE, send).await?;
            }
        })
    }

    /// A gateway in whose fleet `owner` is the other node's end of the tunnel.
    pub(crate) fn gateway(key: &FleetKey, owner: &UdpSocket) -> Self {
        let relay = bind();
        let key_file = std::env::temp_dir().join(format!("wayhold-bench-{}", std::process::id()));
        write_key_file(&key_file, &Keyring::new(key.clone())).expect("the file is new");
        let members = vec![
            Member::new(node(GATEWAY), address(&relay)),
            Member::new(node(OWNER), address(owner)),
        ];
        let mut config = Config::default();
        config.listen = vec![Listen::new((Ipv4Addr::LOCALHOST, 0).into())];
        config.admin.listen = AdminAddress::Off;
        config.node.id = node(GATEWAY);
        config.fleet = Some(Fleet::new(&key_file, members));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a name");
        let builder = Gateway::builder()
            .config(config)
            .relay_socket(relay)
            .identity(
                made.cert.pem().as_bytes(),
                made.signing_key.serialize_pem().as_bytes(),
            );
        let forwarder = Self::start(async move |ready: Ready| {
            let gateway = builder.bind().expect("free ports of loopback");
            let stopped = ready.report(gateway.local_addresses()[0]);
            let served = gateway.serve(async { drop(stopped.await) }).await;
            served.expect("there are no requests");
        });
        std::fs::remove_file(&key_file).expect("it was written");
        forwarder
    }

    fn passing(
        pass: impl AsyncFnOnce(tokio::net::UdpSocket) -> io::Result<()> + Send + 'static,
    ) -> Self {
        Self::start(async move |ready| {
            let socket = bind();
            socket.set_nonblocking(true).expect("every socket can");
            let stopped = ready.report(address(&socket));
            let socket = tokio::net::UdpSocket::from_std(socket).expect("a good socket");
            tokio::select! {
                _ = stopped => {}
                ended = pass(socket) => ended.expect("loopback takes it"),
            }
        })
    }

    fn start(run: impl AsyncFnOnce(Ready) + Send + 'static) -> Self {
        let (at, started) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("the system has room for it");
            runtime.block_on(run(Ready { at, stopped }));
        });
        let (address, processor) = started.recv().expect("it starts");
        Self {
            address,
            processor,
            stop,
            thread,
        }
    }

    /// How long it has run on a processor, once it waits for more to do: proc(5) has it up to the last
    /// switch to another thread.
    pub(crate) fn processor_time(&self) -> Duration {
        let mut before = self.switched_out();
        loop {
            std::thread::sleep(Duration::from_millis(1));
            let after = self.switched_out();
            if after == before {
                return after;
            }
            before = after;
        }
    }

    fn switched_out(&self) -> Duration {
        let mut text = [0; 64];
        let len = self.processor.read_at(&mut text, 0).expect("it runs");
        let text = std::str::from_utf8(&text[..len]).expect("it is three numbers");
        let nanoseconds = text.split(' ').next().expect("it is three numbers");
        Duration::from_nanos(nanoseconds.parse().expect("it is three numbers"))
    }

    pub(crate) fn end(self) {
        drop(self.stop);
        self.thread.join().expect("it does not panic");
    }
}

/// What a forwarder tells once it is bound, and what it waits for then.
struct Ready {
    at: mpsc::Sender<(SocketAddr, File)>,
    stopped: oneshot::Receiver<()>,
}

impl Ready {
    fn report(self, address: SocketAddr) -> oneshot::Receiver<()> {
        let processor = File::open("/proc/thread-self/schedstat").expect("the kernel counts");
        self.at.send((address, processor)).expect("it is awaited");
        self.stopped
    }
}
