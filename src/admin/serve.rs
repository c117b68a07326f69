use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answer::{Asked, answer};
use super::{Admin, AdminState};

impl Admin {
    /// Answers operators until `shutdown` resolves, then closes every connection at once.
    ///
    /// Accept errors are logged and never end it. Dropping the future ends it like `shutdown`.
    pub async fn serve(self, state: Arc<AdminState>, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = pin!(shutdown);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                Some(ended) = connections.join_next() => if let Err(error) = ended {
                    tracing::error!(%error, "an admin connection panicked");
                },
                accepted = self.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok(stream) => {
                        connections.spawn(serve_connection(stream, Arc::clone(&state)));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the admin listener cannot accept");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }
}

/// One deadline for the whole connection bounds a client that sends slowly, reads slowly or idles.
/// While it waits for its command, it is the gateway that takes the time.
async fn serve_connection(stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<AdminState>) {
    let commanded = AtomicBool::new(false);
    let service = service_fn(|request| {
        let (state, commanded) = (&state, &commanded);
        async move {
            let asked = Asked::of(&request);
            commanded.store(matches!(asked, Asked::Command(_)), Ordering::Relaxed);
            Ok::<_, Infallible>(answer(asked, state).await)
        }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEADER_BYTES)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut ended = timeout(CONNECTION_DEADLINE, connection.as_mut()).await;
    if ended.is_err() && commanded.load(Ordering::Relaxed) {
        ended = timeout(COMMAND_DEADLINE, connection).await;
    }
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection failed"),
        Err(_) => tracing::debug!("an admin connection was too slow"),
    }
}

const MAX_CONNECTIONS: usize = 16;
const CONNECTION_DEADLINE: Duration = Duration::from_secs(5);
/// Longer than a hook may run and its settling last, one minute each.
const COMMAND_DEADLINE: Duration = Duration::from_secs(150);
/// hyper's least.
const MAX_HEADER_BYTES: usize = 8192;
/// Out of file descriptors, accept fails at once and again; this keeps the loop off the CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::SocketAddr;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::registry::Registry;
    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpStream, UnixListener, UnixStream};
    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::super::{AdminError, Command, CommandFuture, Console, Phase};
    use super::*;
    use crate::config::AdminAddress;

    /// A directory of its own for each test, removed at the end.
    struct Directory(TempDir);

    impl Directory {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn socket(&self) -> PathBuf {
            self.0.path().join("admin.sock")
        }
    }

    /// A gateway that is asked, and notes what for.
    #[derive(Clone)]
    struct Gateway {
        phase: Arc<Mutex<Phase>>,
        commands: Arc<Mutex<Vec<Command>>>,
    }

    impl Console for Gateway {
        fn phase(&self) -> Phase {
            *self.phase.lock().unwrap()
        }

        fn status(&self) -> serde_json::Value {
            serde_json::json!({ "node": 7 })
        }

        fn locate(&self, cid: &str) -> Result<serde_json::Value, String> {
            if cid == "aa" {
                Ok(serde_json::json!({ "cid": cid }))
            } else {
                Err("no connection ID".to_owned())
            }
        }

        fn command(&self, command: Command) -> CommandFuture<'_> {
            Box::pin(async move {
                if command == Command::Reload {
                    tokio::time::sleep(2 * CONNECTION_DEADLINE).await;
                    return Err("line 3 is wrong".to_owned());
                }
                self.commands.lock().unwrap().push(command);
                Ok("done".to_owned())
            })
        }
    }

    struct Running {
        gateway: Gateway,
        requests: Counter,
        stop: oneshot::Sender<()>,
        tasks: JoinSet<()>,
    }

    impl Running {
        fn start(admin: Admin) -> Self {
            let requests = Counter::default();
            let mut registry = Registry::with_prefix("wayhold");
            registry.register("requests", "Requests answered", requests.clone());
            let gateway = Gateway {
                phase: Arc::default(),
                commands: Arc::default(),
            };
            let state = AdminState {
                registry,
                console: Box::new(gateway.clone()),
            };
            let (stop, stopped) = oneshot::channel();
            let mut tasks = JoinSet::new();
            tasks.spawn(admin.serve(Arc::new(state), async { drop(stopped.await) }));
            Self {
                gateway,
                requests,
                stop,
                tasks,
            }
        }

        async fn stop(mut self) {
            self.stop.send(()).unwrap();
            self.tasks.join_next().await.unwrap().unwrap();
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "reads the paused clock of a test"
    )]
    fn now() -> Instant {
        Instant::now()
    }

    fn bind_at(path: &Path) -> Result<Admin, AdminError> {
        Admin::bind(&AdminAddress::Unix(path.to_owned()))
    }

    async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }

    async fn ask(path: &Path, method: &str, target: &str) -> String {
        let stream = UnixStream::connect(path).await.unwrap();
        exchange(
            stream,
            &format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n"),
        )
        .await
    }

    #[tokio::test]
    async fn operator_reads_health_status_and_metrics() {
        let directory = Directory::new();
        let path = directory.socket();
        let running = Running::start(bind_at(&path).unwrap());
        running.requests.inc();

        let live = ask(&path, "GET", "/livez").await;
        assert!(live.starts_with("HTTP/1.1 200 OK\r\n"), "{live}");
        assert!(live.ends_with("\r\n\r\nlive\n"), "{live}");

        let metrics = ask(&path, "GET", "/metrics?all=1").await;
        assert!(metrics.contains(
            "\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"
        ));
        assert!(
            metrics.contains("\nwayhold_requests_total 1\n"),
            "{metrics}"
        );
        assert!(metrics.ends_with("# EOF\n"), "{metrics}");

        let status = ask(&path, "GET", "/status").await;
        assert!(status.contains("\r\ncontent-type: application/json\r\n"));
        assert!(status.ends_with("\r\n\r\n{\"node\":7}\n"), "{status}");
        running.stop().await;
    }

    #[tokio::test]
    async fn ready_only_between_start_and_drain() {
        let directory = Directory::new();
        let path = directory.socket();
        let running = Running::start(bind_at(&path).unwrap());
        for (phase, status, word) in [
            (Phase::Starting, 503, "starting"),
            (Phase::Ready, 200, "ready"),
            (Phase::Withdrawing, 503, "withdrawing"),
            (Phase::Draining, 503, "draining"),
            (Phase::Ending, 503, "ending"),
        ] {
            *running.gateway.phase.lock().unwrap() = phase;
            let response = ask(&path, "GET", "/readyz").await;
            assert!(
                response.starts_with(&format!("HTTP/1.1 {status} ")),
                "{response}"
            );
            assert!(
                response.ends_with(&format!("\r\n\r\n{word}\n")),
                "{response}"
            );
        }
        running.stop().await;
    }

    #[tokio::test]
    async fn only_known_paths_and_their_methods_are_answered() {
        let directory = Directory::new();
        let path = directory.socket();
        let running = Running::start(bind_at(&path).unwrap());
        assert!(
            ask(&path, "GET", "/")
                .await
                .starts_with("HTTP/1.1 404 Not Found\r\n")
        );
        for (method, target, allowed) in [
            ("POST", "/livez", "GET, HEAD"),
            ("GET", "/drain", "POST"),
            ("HEAD", "/reload", "POST"),
        ] {
            let response = ask(&path, method, target).await;
            assert!(
                response.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"),
                "{response}"
            );
            assert!(
                response.contains(&format!("\r\nallow: {allowed}\r\n")),
                "{response}"
            );
        }
        let head = ask(&path, "HEAD", "/livez").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(
            head.ends_with("\r\n\r\n"),
            "a HEAD response has no body: {head}"
        );
        assert_eq!(*running.gateway.commands.lock().unwrap(), []);
        running.stop().await;
    }

    #[tokio::test]
    async fn commands_are_done_and_never_for_a_web_page() {
        let directory = Directory::new();
        let path = directory.socket();
        let running = Running::start(bind_at(&path).unwrap());
        for target in ["/drain", "/undrain"] {
            let done = ask(&path, "POST", target).await;
            assert!(done.starts_with("HTTP/1.1 200 OK\r\n"), "{done}");
            assert!(done.ends_with("\r\n\r\ndone\n"), "{done}");
        }
        let page = "POST /drain HTTP/1.1\r\nHost: x\r\nOrigin: http://evil.example\r\n\r\n";
        let stream = UnixStream::connect(&path).await.unwrap();
        let refused = exchange(stream, page).await;
        assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
        let commands = running.gateway.commands.lock().unwrap().clone();
        assert_eq!(commands, [Command::Drain, Command::Undrain]);
        running.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_may_take_longer_than_a_slow_client_and_tells_why_it_failed() {
        let directory = Directory::new();
        let path = directory.socket();
        let running = Running::start(bind_at(&path).unwrap());
        let refused = ask(&path, "POST", "/reload").await;
        assert!(
            refused.starts_with("HTTP/1.1 409 Conflict\r\n"),
            "{refused}"
        );
        assert!(refused.ends_with("\r\n\r\nline 3 is wrong\n"), "{refused}");
        running.stop().await;
    }

    #[tokio::test]
    async fn a_connection_id_is_looked_up() {
        let directory = Directory::new();
        let path = directory.socket();
        let running = Running::start(bind_at(&path).unwrap());
        let found = ask(&path, "GET", "/where?cid=aa").await;
        assert!(found.ends_with("\r\n\r\n{\"cid\":\"aa\"}\n"), "{found}");
        let wrong = ask(&path, "GET", "/where").await;
        assert!(wrong.starts_with("HTTP/1.1 400 "), "{wrong}");
        running.stop().await;
    }

    #[tokio::test]
    async fn garbage_and_endless_headers_are_refused() {
        let directory = Directory::new();
        let path = directory.socket();
        let running = Running::start(bind_at(&path).unwrap());
        let garbage = UnixStream::connect(&path).await.unwrap();
        let response = exchange(garbage, "\x16\x03\x01 hello\r\n\r\n").await;
        assert!(response.starts_with("HTTP/1.1 400 "), "{response}");

        let mut endless = UnixStream::connect(&path).await.unwrap();
        endless
            .write_all(b"GET /livez HTTP/1.1\r\nx: ")
            .await
            .unwrap();
        while endless.write_all(&[b'a'; 1024]).await.is_ok() {}
        assert!(
            ask(&path, "GET", "/livez")
                .await
                .starts_with("HTTP/1.1 200 ")
        );
        running.stop().await;
    }

    #[tokio::test]
    async fn loopback_tcp_serves_and_other_addresses_are_refused() {
        let admin = Admin::bind(&AdminAddress::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        let local: SocketAddr = admin.local().parse().unwrap();
        assert_ne!(local.port(), 0);
        let running = Running::start(admin);
        let stream = TcpStream::connect(local).await.unwrap();
        let response = exchange(stream, "GET /livez HTTP/1.0\r\n\r\n").await;
        assert!(response.starts_with("HTTP/1.0 200 OK\r\n"), "{response}");
        running.stop().await;

        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let address = address.parse().unwrap();
            let refused = Admin::bind(&AdminAddress::Tcp(address)).unwrap_err();
            assert!(matches!(refused, AdminError::NotLoopback(found) if found == address));
        }
    }

    #[tokio::test]
    async fn taken_tcp_port_is_an_error_that_names_it() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = Admin::bind(&AdminAddress::Tcp(address)).unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }

    #[tokio::test]
    async fn listener_that_is_off_ends_with_the_gateway() {
        let admin = Admin::bind(&AdminAddress::Off).unwrap();
        assert_eq!(admin.local(), "off");
        Running::start(admin).stop().await;
    }

    #[tokio::test]
    async fn socket_and_its_directory_are_private() {
        let directory = Directory::new();
        let path = directory.0.path().join("made/for it/admin.sock");
        let admin = bind_at(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(mode(&directory.0.path().join("made")), 0o700);
        assert_eq!(admin.local(), format!("unix:{}", path.display()));
    }

    #[tokio::test]
    async fn stale_socket_of_a_dead_process_is_replaced() {
        let directory = Directory::new();
        let path = directory.socket();
        drop(UnixListener::bind(&path).unwrap());
        assert!(
            path.exists(),
            "tokio leaves the file, as a killed process does"
        );
        let running = Running::start(bind_at(&path).unwrap());
        assert!(
            ask(&path, "GET", "/livez")
                .await
                .starts_with("HTTP/1.1 200 ")
        );
        running.stop().await;
    }

    #[tokio::test]
    async fn live_socket_is_never_taken_over() {
        let directory = Directory::new();
        let path = directory.socket();
        let running = Running::start(bind_at(&path).unwrap());
        assert!(matches!(bind_at(&path), Err(AdminError::Occupied(found)) if found == path));
        assert!(
            ask(&path, "GET", "/livez")
                .await
                .starts_with("HTTP/1.1 200 ")
        );
        running.stop().await;
    }

    #[tokio::test]
    async fn file_that_is_no_socket_is_left_alone() {
        let directory = Directory::new();
        let path = directory.socket();
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind_at(&path), Err(AdminError::NotASocket(found)) if found == path));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn path_too_long_for_a_socket_is_an_error() {
        let directory = Directory::new();
        let path = directory.0.path().join("x".repeat(200));
        assert!(matches!(bind_at(&path), Err(AdminError::Bind { .. })));
    }

    #[tokio::test]
    async fn socket_is_removed_at_the_end_unless_a_successor_owns_the_name() {
        let directory = Directory::new();
        let path = directory.socket();
        let running = Running::start(bind_at(&path).unwrap());
        running.stop().await;
        assert!(!path.exists());

        let old = bind_at(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let successor = bind_at(&path).unwrap();
        drop(old);
        assert!(path.exists(), "the successor's socket stays");
        drop(successor);
        assert!(!path.exists());
    }

    #[tokio::test(start_paused = true)]
    async fn slow_clients_are_cut_off_at_the_deadline() {
        let directory = Directory::new();
        let path = directory.socket();
        let running = Running::start(bind_at(&path).unwrap());
        let begun = now();
        let mut silent = UnixStream::connect(&path).await.unwrap();
        let mut half = UnixStream::connect(&path).await.unwrap();
        half.write_all(b"GET /livez HTTP/1.1\r\nHost")
            .await
            .unwrap();
        let mut buffer = Vec::new();
        assert_eq!(silent.read_to_end(&mut buffer).await.unwrap(), 0);
        assert_eq!(half.read_to_end(&mut buffer).await.unwrap(), 0);
        let waited = begun.elapsed();
        assert!(waited >= CONNECTION_DEADLINE, "{waited:?}");
        assert!(waited < CONNECTION_DEADLINE * 2, "{waited:?}");
        running.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn flood_of_connections_is_bounded_and_passes() {
        let directory = Directory::new();
        let path = directory.socket();
        let running = Running::start(bind_at(&path).unwrap());
        let begun = now();
        let mut flood = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            flood.push(UnixStream::connect(&path).await.unwrap());
        }
        let response = ask(&path, "GET", "/livez").await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        assert!(
            begun.elapsed() >= CONNECTION_DEADLINE,
            "answered while all places were taken"
        );
        running.stop().await;
    }

    #[tokio::test]
    async fn panic_in_the_gateway_ends_only_its_connection() {
        let directory = Directory::new();
        let path = directory.socket();
        let gateway = Gateway {
            phase: Arc::default(),
            commands: Arc::default(),
        };
        // A poisoned lock panics.
        let poisoned = Arc::clone(&gateway.phase);
        let holder = std::thread::spawn(move || {
            let _held = poisoned.lock();
            panic!("planted")
        });
        assert!(holder.join().is_err());
        let state = AdminState {
            registry: Registry::default(),
            console: Box::new(gateway),
        };
        let mut tasks = JoinSet::new();
        let admin = bind_at(&path).unwrap();
        tasks.spawn(admin.serve(Arc::new(state), std::future::pending()));
        assert_eq!(ask(&path, "GET", "/readyz").await, "");
        assert!(
            ask(&path, "GET", "/livez")
                .await
                .starts_with("HTTP/1.1 200 ")
        );
    }
}
