//! Claims about clients that few machines have: Chromium, and curl with HTTP/3. The feature
//! `large-clients` has them among the tests; docs/http3.md says how to get these clients.

use std::ffi::OsString;
use std::pin::Pin;
use std::process::{Output, Stdio};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use rcgen::{KeyPair, PublicKeyData};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::{Interval, interval, timeout};
use wayhold::bridge::Origin;
use wayhold::request::{Body, BodyError, ClientFacts, Handler, RequestError};

use crate::stage::{Directory, Solo};
use crate::transfer::{self, sha256};

/// How long a browser may take for four loads, or curl for one command.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves a page that tells what came of it, and otherwise what the origin does.
struct Site(mpsc::UnboundedSender<Value>);

impl Handler for Site {
    async fn handle(
        &self,
        request: Request<Body>,
        client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        let (kind, body) = match request.uri().path() {
            "/page" | "/hints" => {
                // Over TCP there is none.
                let _informed = client
                    .informational
                    .send(StatusCode::EARLY_HINTS, preload());
                ("text/html", Body::full(page()))
            }
            "/style.css" => ("text/css", Body::full("body { margin: 0 }")),
            "/trailers" => ("text/plain", Body::new(Trailing::new())),
            path if path.starts_with("/image") => ("image/svg+xml", Body::full(IMAGE)),
            "/none" => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                return Ok(response);
            }
            "/result" => {
                let content = request.into_body().collect().await?.to_bytes();
                self.0
                    .send(serde_json::from_slice(&content).unwrap())
                    .unwrap();
                ("text/plain", Body::empty())
            }
            _ => return Origin::new().handle(request, client).await,
        };
        let mut response = Response::new(body);
        let fields = response.headers_mut();
        fields.insert("content-type", HeaderValue::from_static(kind));
        fields.insert("trailer", HeaderValue::from_static("x-last"));
        Ok(response)
    }
}

fn page() -> String {
    let image = |number| format!("<img src=\"/image/{number}.svg\">\n");
    let images: String = (0..IMAGES).map(image).collect();
    include_str!("page.html").replace("IMAGES\n", &images)
}

fn preload() -> HeaderMap {
    let value = HeaderValue::from_static("</style.css>; rel=preload; as=style");
    HeaderMap::from_iter([(http::header::LINK, value)])
}

/// Content in pieces, each some time after the other, and trailers at last.
struct Trailing {
    left: usize,
    ticks: Interval,
}

impl Trailing {
    fn new() -> Self {
        Self {
            left: PIECES + 1,
            ticks: interval(Duration::from_millis(10)),
        }
    }
}

impl http_body::Body for Trailing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if self.ticks.poll_tick(cx).is_pending() {
            return Poll::Pending;
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(if self.left == 0 {
            let value = HeaderValue::from_static("yes");
            let name = http::HeaderName::from_static("x-last");
            Frame::trailers(HeaderMap::from_iter([(name, value)]))
        } else {
            Frame::data(Bytes::from_static(&[b'x'; PIECE]))
        })))
    }
}

const IMAGES: usize = 50;
const IMAGE: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1\" height=\"1\"/>";
const PIECES: usize = 20;
const PIECE: usize = 10_000;

async fn site() -> (Solo, mpsc::UnboundedReceiver<Value>) {
    let (results, seen) = mpsc::unbounded_channel();
    (Solo::start("", Site(results)).await, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_loads_pages_over_http3_alone() {
    let chromium = program("WAYHOLD_CHROMIUM");
    let (solo, mut results) = site().await;
    let port = solo.node.address.port();
    let mut browser = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu"])
        .args(["--disable-dev-shm-usage", "--disable-background-networking"])
        .args(["--no-proxy-server", "--enable-quic"])
        .arg("--host-resolver-rules=MAP localhost 127.0.0.1")
        .arg(format!("--origin-to-force-quic-on=localhost:{port}"))
        .arg(format!(
            "--ignore-certificate-errors-spki-list={}",
            pin(&solo.directory)
        ))
        .arg(format!(
            "--user-data-dir={}",
            solo.directory.file("profile").display()
        ))
        .arg("--remote-debugging-port=0")
        .arg(format!("https://localhost:{port}/page"))
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // The page, its style sheet, its images, and what it fetches.
    let entries = 2 + IMAGES + 5;
    for load in 0..4 {
        let result = timeout(PATIENCE, results.recv()).await.unwrap().unwrap();
        let expected = json!({
            "protocols": { "h3": entries },
            "informed": true,
            "images": IMAGES,
            "uploaded": true,
            "head": "10",
            "nothing": 204,
            "streamed": PIECES * PIECE,
            "large": 5_000_000,
        });
        assert_eq!(result, expected, "load {load}");
    }
    browser.kill().await.unwrap();
    assert_eq!(solo.node.failed("malformed"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_does_all_that_it_can_over_each_protocol() {
    let (solo, _results) = site().await;
    for (option, version, informed) in [
        ("--http3-only", "HTTP/3", true),
        ("--http2", "HTTP/2", false),
        ("--http1.1", "HTTP/1.1", false),
    ] {
        let curl = Curl {
            solo: &solo,
            option,
        };
        let hints = text(&curl.run(&["--include", "/hints"], b"").await);
        let interim =
            format!("{version} 103 \r\nlink: </style.css>; rel=preload; as=style\r\n\r\n");
        assert_eq!(hints.starts_with(&interim), informed, "{hints}");
        assert!(hints.contains(&format!("{version} 200 ")), "{hints}");

        let large = curl.run(&["/bytes/10000000?seed=7"], b"").await;
        assert_eq!(sha256(&large.stdout), transfer::digest(7, 10_000_000));

        let content: Vec<u8> = (0..10_000_000_u32)
            .map(|index| (index * 31 % 251) as u8)
            .collect();
        let seen = json!({ "bytes": content.len(), "sha256": sha256(&content) });
        for expect in ["Expect: 100-continue", "Expect:"] {
            let args = ["--header", expect, "--data-binary", "@-", "/upload"];
            let uploaded = curl.run(&args, &content).await;
            let uploaded: Value = serde_json::from_slice(&uploaded.stdout).unwrap();
            assert_eq!(uploaded, seen, "{expect}");
        }
        // Nobody reads the content of a request for an image.
        let args = [
            "--header",
            "Expect: 100-continue",
            "--data-binary",
            "@-",
            "/image/1",
        ];
        assert_eq!(curl.run(&args, &content).await.stdout, IMAGE.as_bytes());
        let args = [
            "--write-out",
            "%{response_code}",
            "--header",
            "Expect: more",
            "--data",
            "x",
        ];
        let refused = text(&curl.run(&[&args[..], &["/upload"]].concat(), b"").await);
        assert!(refused.ends_with("417"), "{refused}");

        let head = text(&curl.run(&["--head", "/bytes/10"], b"").await);
        assert!(head.contains("\r\ncontent-length: 10\r\n"), "{head}");
        let wanted = ["--include", "--header", "te: trailers", "/trailers"];
        let trailers = text(&curl.run(&wanted, b"").await);
        assert!(trailers.ends_with("x-last: yes\r\n"), "{option}");

        let format = "%{http_version} %{response_code}\n";
        let many = [
            "--parallel",
            "--parallel-max",
            "50",
            "--write-out",
            format,
            "/image/[1-50]",
        ];
        let many = text(&curl.run(&many, b"").await).replace(IMAGE, "");
        let line = format!("{} 200\n", version.trim_start_matches("HTTP/"));
        assert_eq!(many, line.repeat(50), "{option}");
    }
}

/// curl with an option that chooses a protocol.
struct Curl<'a> {
    solo: &'a Solo,
    option: &'static str,
}

impl Curl<'_> {
    /// Runs it; the last argument is a path.
    async fn run(&self, args: &[&str], input: &[u8]) -> Output {
        let (path, args) = args.split_last().unwrap();
        let port = self.solo.node.address.port();
        let mut curl = Command::new(program("WAYHOLD_CURL"))
            .args(["--silent", "--show-error", "--fail-early", self.option])
            // It may run where it cannot see the certificate's file.
            .args(["--insecure", "--pinnedpubkey"])
            .arg(format!("sha256//{}", pin(&self.solo.directory)))
            .args(["--resolve", &format!("localhost:{port}:127.0.0.1")])
            .args(args)
            .arg(format!("https://localhost:{port}{path}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = curl.stdin.take().unwrap();
        let (_written, output) = tokio::join!(
            async move {
                // It need not read all of it.
                drop(stdin.write_all(input).await);
            },
            timeout(PATIENCE, curl.wait_with_output()),
        );
        let output = output.unwrap().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        output
    }
}

fn program(variable: &str) -> OsString {
    std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} names no program"))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The hash of the certificate's public key, by which a client may know it.
fn pin(directory: &Directory) -> String {
    let key = std::fs::read_to_string(directory.file("tls.key")).unwrap();
    let key = KeyPair::from_pem(&key).unwrap().subject_public_key_info();
    base64(digest(&SHA256, &key).as_ref())
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, index| {
            bits << 8 | u32::from(three.get(index).copied().unwrap_or(0))
        });
        for index in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * index) & 63) as usize];
            text.push(if index <= three.len() {
                letter.into()
            } else {
                '='
            });
        }
    }
    text
}
