//! Claims about the certificates of clients.

use rcgen::ExtendedKeyUsagePurpose;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::process::Command;
use wayhold::Gateway;
use wayhold::testbed::Backend;

use super::authority::params;
use super::{Authority, Told, load, openssl, run};
use crate::python::python;
use crate::stage::{Directory, Node, turn, until};

/// A gateway before a backend that tells what it is told, and the backend.
async fn start(directory: &Directory, listen: &str) -> (Node, Backend) {
    let backend = Backend::start(Told).await.unwrap();
    let text = config(listen, &backend);
    let gateway = Gateway::builder().config(load(directory, &text));
    (Node::start(gateway.bind().unwrap()), backend)
}

fn config(listen: &str, backend: &Backend) -> String {
    format!(
        "{listen}\n[[route]]\nto = [\"http://{}\"]\n",
        backend.address()
    )
}

fn listen(auth: &str, more: &str) -> String {
    format!(
        "[[listen]]\naddr = \"127.0.0.1:0\"\ncert = \"tls.pem\"\nkey = \"tls.key\"\n\
         client_auth = \"{auth}\"\nclient_ca = \"clients.pem\"\n{more}\n"
    )
}

/// A gateway's certificate, and authorities of clients.
fn certify(directory: &Directory) -> Authority {
    Authority::new(directory, "ca.pem").serve(directory, "tls", &["localhost", "127.0.0.1"]);
    let clients = Authority::new(directory, "clients.pem");
    clients.client(directory, "client");
    clients
}

fn field(directory: &Directory, file: &str) -> String {
    let pem = std::fs::read(directory.file(file)).unwrap();
    let text = String::from_utf8(pem.clone()).unwrap();
    let base64: String = text
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with('-'))
        .collect();
    assert!(!CertificateDer::from_pem_slice(&pem).unwrap().is_empty());
    format!("leaf=:{base64}:")
}

const SHOWN: [&str; 4] = ["-cert", "client.pem", "-key", "client.key"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_is_told_who_the_client_is_and_never_what_it_claims() {
    let (_turn, directory) = (turn().await, Directory::new());
    let root = certify(&directory);
    let below = root.below("below");
    below.client_with(&directory, "chained", &below.pem());
    let (node, _backend) = start(&directory, &listen("optional", "")).await;
    let url = format!("https://localhost:{}/", node.address.port());
    let resolve = format!("localhost:{}:127.0.0.1", node.address.port());
    let claim = "client-cert: :AAAA:";
    let common = [
        "-sS",
        "--cacert",
        "ca.pem",
        "--resolve",
        &resolve,
        "-H",
        claim,
        "-H",
        "client-cert-chain: :AAAA:",
    ];
    for version in ["--http2", "--http1.1"] {
        let of = |shown: &[&'static str]| [&common[..], &[version, &url], shown].concat();
        let Some(said) = run(&directory, "curl", &of(&[]), "").await else {
            return;
        };
        assert_eq!(said, "leaf=\nchain=\n");
        let shown = ["--cert", "client.pem", "--key", "client.key"];
        let said = run(&directory, "curl", &of(&shown), "").await.unwrap();
        assert_eq!(
            said,
            format!("{}\nchain=\n", field(&directory, "client.pem"))
        );
        let shown = ["--cert", "chained.pem", "--key", "chained.key"];
        let said = run(&directory, "curl", &of(&shown), "").await.unwrap();
        assert!(
            said.starts_with(&field(&directory, "chained.pem")),
            "{said}"
        );
        assert_eq!(said.matches("chain=:").count(), 1, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_is_counted_by_why() {
    let (_turn, directory) = (turn().await, Directory::new());
    let root = certify(&directory);
    Authority::new(&directory, "strangers.pem").client(&directory, "stranger");
    let mut expired = params(&["expired"], ExtendedKeyUsagePurpose::ClientAuth);
    expired.not_before = rcgen::date_time_ymd(2019, 1, 1);
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    root.issue(&directory, "expired", expired);
    let server = params(&["server"], ExtendedKeyUsagePurpose::ServerAuth);
    root.issue(&directory, "server", server);
    let below = root.below("below");
    let long: Vec<_> = (0..9).map(|_| below.pem()).collect();
    below.client_with(&directory, "long", &long.concat());
    let (node, _backend) = start(&directory, &listen("required", "")).await;
    for (file, reason) in [
        ("", "client_certificate_missing"),
        ("stranger", "client_certificate_unknown_ca"),
        ("expired", "client_certificate_expired"),
        ("server", "client_certificate_purpose"),
        ("long", "client_certificate_invalid"),
    ] {
        let [cert, key] = ["pem", "key"].map(|kind| format!("{file}.{kind}"));
        let shown = ["-cert", &cert, "-cert_chain", &cert, "-key", &key];
        let shown: &[&str] = if file.is_empty() { &[] } else { &shown };
        let Some(said) = openssl(&directory, node.address, "localhost", shown).await else {
            return;
        };
        assert!(!said.contains("200 OK"), "{file}: {said}");
        assert_eq!(node.refused(reason), 1, "{file}: {said}");
    }
    let said = openssl(&directory, node.address, "localhost", &SHOWN)
        .await
        .unwrap();
    assert!(
        said.contains("200 OK") && said.contains(&field(&directory, "client.pem")),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_certificate_is_refused_and_all_are_when_the_list_has_run_out() {
    let (_turn, directory) = (turn().await, Directory::new());
    let root = certify(&directory);
    let mut revoked = params(&["revoked"], ExtendedKeyUsagePurpose::ClientAuth);
    revoked.serial_number = Some(rcgen::SerialNumber::from(7));
    root.issue(&directory, "revoked", revoked);
    root.revoke(&directory, "clients.crl", (7, 2090));
    let listen = listen("required", "client_crl = \"clients.crl\"");
    let (node, backend) = start(&directory, &listen).await;
    let shown = ["-cert", "revoked.pem", "-key", "revoked.key"];
    let Some(said) = openssl(&directory, node.address, "localhost", &shown).await else {
        return;
    };
    assert!(!said.contains("200 OK"), "{said}");
    assert_eq!(node.refused("client_certificate_revoked"), 1);
    let said = openssl(&directory, node.address, "localhost", &SHOWN).await;
    assert!(said.unwrap().contains("200 OK"));
    root.revoke(&directory, "clients.crl", (7, 2021));
    let text = config(&listen, &backend);
    node.handle.reload(load(&directory, &text)).await.unwrap();
    let said = openssl(&directory, node.address, "localhost", &SHOWN).await;
    assert!(!said.unwrap().contains("200 OK"));
    assert_eq!(node.refused("client_certificate_unknown_ca"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resumed_session_brings_who_the_client_is_and_ends_with_the_authorities() {
    let (_turn, directory) = (turn().await, Directory::new());
    certify(&directory);
    let early = "tcp.early_data = \"owner\"\nquic.early_data = \"owner\"\n";
    let listen = format!("{early}{}", listen("required", ""));
    let (node, backend) = start(&directory, &listen).await;
    let first = [&SHOWN[..], &["-sess_out", "session"]].concat();
    let Some(said) = openssl(&directory, node.address, "localhost", &first).await else {
        return;
    };
    assert!(
        said.contains("New, TLSv1.3") && said.contains("200 OK"),
        "{said}"
    );
    let again = ["-sess_in", "session"];
    let said = openssl(&directory, node.address, "localhost", &again)
        .await
        .unwrap();
    assert!(said.contains("Reused, TLSv1.3"), "{said}");
    assert!(said.contains(&field(&directory, "client.pem")), "{said}");
    assert!(
        said.contains("Max Early Data: 0") && !said.contains("Max Early Data: 16384"),
        "{said}"
    );
    // The same authorities and one more are other authorities.
    let more = Authority::new(&directory, "more.pem").pem();
    let both = std::fs::read_to_string(directory.file("clients.pem")).unwrap() + &more;
    std::fs::write(directory.file("clients.pem"), both).unwrap();
    let text = config(&listen, &backend);
    node.handle.reload(load(&directory, &text)).await.unwrap();
    let said = openssl(&directory, node.address, "localhost", &again)
        .await
        .unwrap();
    assert!(
        !said.contains("Reused") && !said.contains("200 OK"),
        "{said}"
    );
    assert_eq!(node.refused("client_certificate_missing"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_without_a_certificate_does_not_resume_where_one_is_required() {
    let (_turn, directory) = (turn().await, Directory::new());
    certify(&directory);
    let (node, backend) = start(&directory, &listen("optional", "")).await;
    let first = ["-sess_out", "session"];
    let Some(said) = openssl(&directory, node.address, "localhost", &first).await else {
        return;
    };
    assert!(said.contains("leaf=\n"), "{said}");
    let text = config(&listen("required", ""), &backend);
    node.handle.reload(load(&directory, &text)).await.unwrap();
    let again = ["-sess_in", "session"];
    let said = openssl(&directory, node.address, "localhost", &again)
        .await
        .unwrap();
    assert!(!said.contains("200 OK"), "{said}");
    assert_eq!(node.refused("client_certificate_missing"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_not_let_in_by_the_name_of_another_listener() {
    let (_turn, directory) = (turn().await, Directory::new());
    certify(&directory);
    Authority::new(&directory, "ca.pem").serve(&directory, "open", &["open.example"]);
    let listeners = format!(
        "[[listen]]\naddr = \"127.0.0.1:0\"\ncert = \"open.pem\"\nkey = \"open.key\"\n{}",
        listen("required", "")
    );
    let (node, _backend) = start(&directory, &listeners).await;
    for (asked, host, status) in [
        ("open.example", "open.example", "200 OK"),
        ("open.example", "localhost", "421 Misdirected"),
        ("localhost", "localhost", "421 Misdirected"),
        ("localhost", "LOCALHOST.", "421 Misdirected"),
    ] {
        let more = ["-servername", asked];
        let Some(said) = openssl(&directory, node.address, host, &more).await else {
            return;
        };
        assert!(said.contains(status), "{asked} {host}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_two_listeners_guard_differently_is_a_warning() {
    let directory = Directory::new();
    certify(&directory);
    let open = "[[listen]]\naddr = \"127.0.0.1:0\"\ncert = \"tls.pem\"\nkey = \"tls.key\"\n";
    let warnings = |text: &str| {
        let mut all = wayhold::check(&load(&directory, text)).unwrap();
        // The keys of a test can be read by others.
        all.retain(|warning| !warning.contains("can be read by others"));
        all
    };
    assert_eq!(warnings(&listen("required", "")), [""; 0]);
    let warned = warnings(&format!("{open}{}", listen("required", "")));
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(
        warned[0].contains("ask for different client certificates"),
        "{warned:?}"
    );
}

/// Over QUIC a client has its answer to the handshake before the gateway has looked at its certificate.
const PROGRAM: &str = r#"
import asyncio, ssl, sys
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated

class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.end = asyncio.get_running_loop().create_future()
        self.body = b""

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated) and not self.end.done():
            self.end.set_result(f"closed {event.error_code:#x}")
        for event in self.http.handle_event(event):
            if isinstance(event, DataReceived):
                self.body += event.data
                if event.stream_ended and not self.end.done():
                    self.end.set_result(self.body.decode())

async def main(port, shown):
    configuration = QuicConfiguration(alpn_protocols=H3_ALPN, server_name="localhost")
    configuration.load_verify_locations("ca.pem")
    if shown:
        configuration.load_cert_chain(f"{shown}.pem", f"{shown}.key")
    async with connect("127.0.0.1", port, configuration=configuration, create_protocol=Client) as client:
        print("connected")
        stream = client._quic.get_next_available_stream_id()
        client.http.send_headers(stream, [(b":method", b"GET"), (b":scheme", b"https"),
            (b":authority", b"localhost"), (b":path", b"/")], end_stream=True)
        client.transmit()
        print(await asyncio.wait_for(client.end, 20))

asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_quic_a_client_without_a_certificate_is_cut_off_after_its_handshake() {
    let (_turn, directory) = (turn().await, Directory::new());
    certify(&directory);
    let (node, _backend) = start(&directory, &listen("required", "")).await;
    let Some(python) = python("aioquic").await else {
        return;
    };
    let port = node.address.port().to_string();
    let ask = async |shown: &str| {
        let mut command = Command::new(&python);
        let command = command
            .args(["-c", PROGRAM, &port, shown])
            .current_dir(&directory);
        let output = command.output().await.unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(ask("").await, "connected\nclosed 0x174\n");
    until(|| node.refused("client_certificate_missing") == 1).await;
    let said = ask("client").await;
    assert!(said.contains(&field(&directory, "client.pem")), "{said}");
}
