//! Claims about one process that takes over from another.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::StatusCode;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use wayhold::client::{Http3Client, Patience, TcpClient, Trust, tls_config};

use crate::process::{Process, outcome, signal, wayhold};
use crate::stage::{Directory, PATIENCE, turn};
use crate::transfer::{Download, Upload, connect, get, text};

/// A process with its successors, which are killed with this.
struct Family {
    process: Process,
    directory: Directory,
    successors: Vec<u32>,
    upgrades: usize,
}

impl Drop for Family {
    fn drop(&mut self) {
        for id in &self.successors {
            // One that is gone already is what most tests end with.
            drop(
                std::process::Command::new("kill")
                    .args(["-KILL", &id.to_string()])
                    .stderr(Stdio::null())
                    .status(),
            );
        }
    }
}

impl Family {
    /// Runs the program through a link that the test can put something else behind.
    async fn start(more: &str) -> Self {
        let directory = Directory::new();
        directory.certify();
        let config = format!(
            "listen = [{{ addr = \"127.0.0.1:0\", cert = \"tls.pem\", key = \"tls.key\" }}]\n{more}"
        );
        fs::write(directory.file("wayhold.toml"), config).unwrap();
        let program = directory.file("wayhold");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_wayhold"), &program).unwrap();
        let process = Process::launch(run(&directory, &program), false).await;
        Self {
            process,
            directory,
            successors: Vec::new(),
            upgrades: 0,
        }
    }

    /// Puts a shell script in the program's place.
    fn replace(&self, script: &str) {
        let program = self.directory.file("wayhold");
        fs::remove_file(&program).unwrap();
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Whoever reads now.
    fn reader(&self) -> u32 {
        self.successors
            .last()
            .copied()
            .unwrap_or_else(|| self.process.id())
    }

    async fn upgrade(&mut self) {
        signal("-USR2", self.reader()).await;
        self.upgrades += 1;
        let line = self
            .process
            .said("another process has taken over", self.upgrades)
            .await;
        let id = line.split("pid=").nth(1).unwrap();
        let id = id.split(' ').next().unwrap().parse().unwrap();
        self.successors.push(id);
    }

    async fn instance(&self) -> u64 {
        let (status, page) = self.process.ask("/status").await.unwrap();
        assert_eq!(status, 200);
        let page: Value = serde_json::from_str(&page).unwrap();
        page["instance"].as_u64().unwrap()
    }

    async fn http3(&self) -> Http3Client {
        connect(&self.directory, &self.process.target()).await
    }

    async fn http2(&self) -> TcpClient {
        let tls = tls_config(&self.trust()).unwrap();
        TcpClient::connect(&self.process.target(), &tls, Patience::default())
            .await
            .unwrap()
    }

    async fn http1(&self) -> TlsStream<TcpStream> {
        let mut tls = Arc::unwrap_or_clone(tls_config(&self.trust()).unwrap());
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = TcpStream::connect(self.process.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
        connector.connect(name, stream).await.unwrap()
    }

    fn trust(&self) -> Trust {
        Trust::File(self.directory.file("tls.pem"))
    }
}

fn run(directory: &Directory, program: &Path) -> Command {
    let mut command = Command::new(program);
    let like = wayhold(directory, &[]);
    for (name, value) in like.as_std().get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .args(["run", "-c", "wayhold.toml"])
        .current_dir(directory)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Fetches without a pause over connections of its own until told to stop; gives how many responses
/// were whole. Anything else panics.
async fn fetch(client: Http3Client, stop: Arc<AtomicBool>) -> u64 {
    let mut whole = 0;
    while !stop.load(Ordering::Relaxed) {
        let path = format!("/bytes/3000?seed={whole}");
        let answer = timeout(PATIENCE, text_of(&client, &path)).await;
        assert_eq!(answer.unwrap(), 3000);
        whole += 1;
    }
    whole
}

async fn text_of(client: &Http3Client, path: &str) -> usize {
    let mut response = client.send(get(path)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.body_mut().collect(1 << 20).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_over_every_protocol_run_through_an_upgrade() {
    let _turn = turn().await;
    let mut family = Family::start("log.access = false").await;
    let (over_udp, over_tcp) = (family.http3().await, family.http2().await);
    let mut old_http1 = family.http1().await;
    let request = format!(
        "GET /bytes/{LARGE}?seed=1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    );
    old_http1.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 15];
    old_http1.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    let mut download = Download::begin(&over_udp, 1, LARGE).await;
    let mut upload = Upload::begin(&over_udp, 2);
    upload.send(1 << 20).await;
    let mut streamed = over_tcp
        .send(get(&format!("/bytes/{LARGE}?seed=3")))
        .await
        .unwrap();
    let before = family.instance().await;

    family.upgrade().await;

    assert_ne!(family.instance().await, before);
    upload.send(3 << 20).await;
    upload.finish().await;
    download.read_to(LARGE / 2).await;
    download.finish().await;
    let streamed = streamed.body_mut().collect(usize::MAX).await.unwrap();
    assert_eq!(u64::try_from(streamed.len()).unwrap(), LARGE);
    let mut rest = Vec::new();
    old_http1.read_to_end(&mut rest).await.unwrap();
    assert!(u64::try_from(rest.len()).unwrap() > LARGE);
    let new = family.http3().await;
    assert!(text(&new, "/").await.contains("h3"));
    assert!(
        text(&over_udp, "/").await.contains("h3"),
        "the old connection lives on"
    );
    assert!(
        family
            .process
            .metric("wayhold_datagrams_passed_total")
            .await
            > 0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_processes_follow_each_other() {
    let _turn = turn().await;
    let mut family = Family::start("log.access = false").await;
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        clients.spawn(fetch(family.http3().await, Arc::clone(&stop)));
    }
    // And some that connect anew for each request.
    for _ in 0..2 {
        let (stop, begun) = (Arc::clone(&stop), Arc::clone(&begun));
        let (target, trust) = (family.process.target(), family.trust());
        clients.spawn(async move {
            let tls = tls_config(&trust).unwrap();
            let mut whole = 0;
            while !stop.load(Ordering::Relaxed) {
                let client = Http3Client::connect(&target, &tls, Patience::default()).await;
                let client = client.unwrap();
                assert_eq!(text_of(&client, "/bytes/3000?seed=1").await, 3000);
                client.close().await;
                let over_tcp = TcpClient::connect(&target, &tls, Patience::default()).await;
                let over_tcp = over_tcp.unwrap();
                let mut response = over_tcp.send(get("/bytes/3000?seed=1")).await.unwrap();
                assert_eq!(response.body_mut().collect(4000).await.unwrap().len(), 3000);
                over_tcp.close().await;
                whole += 1;
                begun.fetch_add(1, Ordering::Relaxed);
            }
            whole
        });
    }
    for _ in 0..UPGRADES {
        let before = begun.load(Ordering::Relaxed);
        family.upgrade().await;
        crate::stage::until(|| begun.load(Ordering::Relaxed) > before + 2).await;
    }
    stop.store(true, Ordering::Relaxed);
    let whole = clients.join_all().await;
    assert!(whole.iter().all(|whole| *whole > 0), "{whole:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_of_the_first_of_three_generations_is_still_served() {
    let _turn = turn().await;
    let mut family = Family::start("").await;
    let first = family.http3().await;
    let mut download = Download::begin(&first, 5, LARGE).await;
    family.upgrade().await;
    let second = family.http3().await;
    assert!(text(&second, "/").await.contains("h3"));
    family.upgrade().await;
    let third = family.http3().await;
    for client in [&first, &second, &third] {
        assert!(text(client, "/").await.contains("h3"));
    }
    download.read_to(LARGE / 2).await;
    download.finish().await;
    // The end of the last process is the end of all.
    signal("-TERM", family.reader()).await;
    for client in [first, second, third] {
        client.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_process_ends_when_its_time_is_over() {
    let _turn = turn().await;
    let mut family = Family::start("upgrade.keep = \"100ms\"").await;
    let client = family.http3().await;
    assert!(text(&client, "/").await.contains("h3"));
    family.upgrade().await;
    let old = family.process.id();
    gone(old).await;
    assert!(
        family.process.ask("/livez").await.is_ok(),
        "the admin socket is the new one's"
    );
    let new = family.http3().await;
    assert!(text(&new, "/").await.contains("h3"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_that_fails_leaves_the_old_one_reading() {
    let _turn = turn().await;
    let family = Family::start("upgrade.timeout = \"500ms\"").await;
    let client = family.http3().await;
    let before = family.instance().await;
    for (times, (script, said)) in [
        ("exit 7", "exit status: 7"),
        ("kill -KILL $$", "signal: 9"),
        ("exec sleep 600", "was not prepared within 0.5 s"),
        (
            "echo hello >&0; exec sleep 600",
            "channel between the two processes",
        ),
        // These were prepared, and the old process has stopped reading for them.
        (
            r#"printf '{"say":"prepared","version":"0","instance":7}' >&0; exit 8"#,
            "ended before it took over: exit status: 8",
        ),
        (
            r#"printf '{"say":"prepared","version":"0","instance":7}' >&0; exec sleep 600"#,
            "was not reading within 2 s",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        family.replace(script);
        signal("-USR2", family.process.id()).await;
        let line = family.process.said("the upgrade failed", times + 1).await;
        assert!(line.contains(said), "{script}: {line}");
        assert!(text(&client, "/").await.contains("h3"));
        let another = family.http3().await;
        assert!(text(&another, "/").await.contains("h3"));
        another.close().await;
        assert_eq!(family.instance().await, before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_configuration_that_is_refused_is_named_by_the_old_process() {
    let _turn = turn().await;
    let family = Family::start("workers = 2\n").await;
    let file = family.directory.file("wayhold.toml");
    let config = fs::read_to_string(&file).unwrap();
    for (times, (config, said)) in [
        (
            format!("{config}node.instance = 7\n"),
            "node.instance is fixed",
        ),
        (
            format!("{config}runtime_dir = \"elsewhere\"\n"),
            "an upgrade cannot change node.id or runtime_dir",
        ),
        (
            format!("{config}node.id = 7\n"),
            "an upgrade cannot change node.id or runtime_dir",
        ),
        (
            format!("{config}cid.config_id = 3\n"),
            "an upgrade cannot change cid",
        ),
        (
            config.replace("workers = 2", "workers = 3"),
            "the listener 0 has 2 sockets and is to have 3 workers; restart",
        ),
        (
            config.replace("127.0.0.1:0", "127.0.0.2:0"),
            "the socket listen.0.udp that was handed over is at 127.0.0.1",
        ),
        (
            config.replace("cert =", "tcp = false, cert ="),
            "no place for the socket listen.0.tcp",
        ),
        (
            "listne = 1".to_owned(),
            "the new process cannot take over: wayhold.toml:1: listne: unknown key",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(&file, config).unwrap();
        signal("-USR2", family.process.id()).await;
        let line = family.process.said("the upgrade failed", times + 1).await;
        assert!(line.contains(said), "{line}");
        assert!(family.process.ask("/livez").await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_waits_for_the_result_and_says_it() {
    let _turn = turn().await;
    let mut family = Family::start("").await;
    let command = ["upgrade", "-c", "wayhold.toml"];
    let (code, said, _) = outcome(&family.directory, &command).await;
    assert_eq!(code, Some(0), "{said}");
    let id = said
        .split("pid=")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    family.successors.push(id.parse().unwrap());
    assert!(
        said.contains(&format!("instance={}", family.instance().await)),
        "{said}"
    );
    assert!(
        said.contains(concat!("version=", env!("CARGO_PKG_VERSION"))),
        "{said}"
    );
    family.replace("exit 9");
    let (code, _, complaint) = outcome(&family.directory, &command).await;
    assert_eq!(code, Some(1));
    assert!(complaint.contains("exit status: 9"), "{complaint}");
    let (code, ..) = outcome(&family.directory, &["drain", "-c", "wayhold.toml"]).await;
    assert_eq!(code, Some(0));
    let (code, _, complaint) = outcome(&family.directory, &command).await;
    assert_eq!(code, Some(1));
    assert!(complaint.contains("undrain it first"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fixed_instance_refuses_upgrades() {
    let _turn = turn().await;
    let family = Family::start("node.instance = 3").await;
    signal("-USR2", family.process.id()).await;
    let line = family.process.said("the upgrade failed", 1).await;
    assert!(line.contains("node.instance is fixed"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_without_a_place_for_an_instance_refuse_upgrades() {
    let _turn = turn().await;
    let directory = Directory::new();
    directory.certify();
    let config = "cid.profile = \"aws-nlb\"\n\
        listen = [{ addr = \"127.0.0.1:0\", cert = \"tls.pem\", key = \"tls.key\" }]";
    fs::write(directory.file("wayhold.toml"), config).unwrap();
    let mut command = run(&directory, Path::new(env!("CARGO_BIN_EXE_wayhold")));
    command.env("AWS_LBC_QUIC_SERVER_ID", "AQIDBAUGBwg=");
    let process = Process::launch(command, false).await;
    let client = connect(&directory, &process.target()).await;
    signal("-USR2", process.id()).await;
    let line = process.said("the upgrade failed", 1).await;
    assert!(line.contains("cannot tell two processes"), "{line}");
    assert!(text(&client, "/").await.contains("h3"));
    client.close().await;
    process.terminate().await;
    assert_eq!(process.end().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_process_reads_again_when_the_new_one_is_killed() {
    let _turn = turn().await;
    let mut family = Family::start("").await;
    let old = family.http3().await;
    assert!(text(&old, "/").await.contains("h3"));
    let before = family.instance().await;
    family.upgrade().await;
    assert_ne!(family.instance().await, before);
    signal("-KILL", family.reader()).await;
    family.process.said("this one reads again", 1).await;
    assert!(text(&old, "/").await.contains("h3"));
    let new = family.http3().await;
    assert!(text(&new, "/").await.contains("h3"));
    assert_eq!(family.instance().await, before);
    family.successors.clear();
    family.upgrade().await;
    assert_ne!(family.instance().await, before);
    assert!(text(&old, "/").await.contains("h3"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_manager_hears_of_every_step() {
    let _turn = turn().await;
    let directory = Directory::new();
    let manager = UnixDatagram::bind(directory.file("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    directory.certify();
    let listen = "listen = [{ addr = \"127.0.0.1:0\", cert = \"tls.pem\", key = \"tls.key\" }]";
    fs::write(directory.file("wayhold.toml"), listen).unwrap();
    let mut command = run(&directory, Path::new(env!("CARGO_BIN_EXE_wayhold")));
    command.env("NOTIFY_SOCKET", directory.file("notify"));
    let process = Process::launch(command, false).await;
    let mut family = Family {
        process,
        directory,
        successors: Vec::new(),
        upgrades: 0,
    };
    let heard = async |manager: UnixDatagram| {
        let hearing = spawn_blocking(move || {
            let mut buffer = [0; 256];
            let length = manager.recv(&mut buffer).unwrap();
            (
                manager,
                String::from_utf8(buffer[..length].to_vec()).unwrap(),
            )
        });
        hearing.await.unwrap()
    };
    let (manager, first) = heard(manager).await;
    assert_eq!(first, "READY=1");
    family.upgrade().await;
    let (manager, one) = heard(manager).await;
    let (manager, other) = heard(manager).await;
    let mut both = [one, other];
    both.sort();
    assert_eq!(
        both,
        [format!("MAINPID={}", family.reader()), "READY=1".into()]
    );
    signal("-TERM", family.reader()).await;
    let (_, last) = heard(manager).await;
    assert_eq!(last, "STOPPING=1");
    gone(family.process.id()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_systemd_opened_is_used_and_handed_over() {
    let _turn = turn().await;
    let directory = Directory::new();
    directory.certify();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let config =
        format!("listen = [{{ addr = \"{address}\", cert = \"tls.pem\", key = \"tls.key\" }}]");
    // One socket makes one worker, whatever the configuration says.
    let config = format!("workers = 2\n{config}");
    fs::write(directory.file("wayhold.toml"), config).unwrap();
    // A shell stands in for systemd: the socket becomes descriptor 3 of the process that it becomes.
    let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ exec \"$0\" run -c wayhold.toml";
    let mut command = run(&directory, Path::new("sh"));
    let like = command.as_std().get_envs();
    let environment: Vec<_> = like
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    command = Command::new("sh");
    command
        .args(["-c", script, env!("CARGO_BIN_EXE_wayhold")])
        .envs(environment)
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", "listen.0.udp")
        .current_dir(&directory)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(socket)))
        .kill_on_drop(true);
    let process = Process::launch(command, false).await;
    assert_eq!(process.address, address);
    let mut family = Family {
        process,
        directory,
        successors: Vec::new(),
        upgrades: 0,
    };
    let old = family.http3().await;
    assert!(text(&old, "/").await.contains("h3"));
    family.upgrade().await;
    let new = family.http3().await;
    for client in [&old, &new] {
        assert!(text(client, "/").await.contains("h3"));
    }
    for client in [old, new] {
        client.close().await;
    }
    signal("-TERM", family.reader()).await;
    gone(family.process.id()).await;
}

/// Waits until there is no such process, or only what its parent has not looked at yet.
async fn gone(id: u32) {
    crate::stage::until(|| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    })
    .await;
}

const LARGE: u64 = 24 << 20;
const UPGRADES: usize = 3;
