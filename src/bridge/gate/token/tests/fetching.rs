//! Keys that are fetched, and keys of files that change.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::super::fetch::{FetchError, fetch};
use super::*;

/// An issuer's site, which gives these answers in turn and the last one for ever.
struct Site {
    url: String,
    ca: PathBuf,
    asked: Arc<AtomicUsize>,
    answers: Arc<Mutex<VecDeque<String>>>,
    _directory: TempDir,
    _serving: JoinSet<()>,
}

impl Site {
    async fn start(answers: &[String]) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let ca = directory.path().join("ca.pem");
        std::fs::write(&ca, made.cert.pem()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let answers = Arc::new(Mutex::new(answers.iter().cloned().collect::<VecDeque<_>>()));
        let (count, script) = (Arc::clone(&asked), Arc::clone(&answers));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let read = stream.read_buf(&mut head).await;
                    if read.is_err() || read.is_ok_and(|read| read == 0) {
                        break;
                    }
                }
                let answer = {
                    let mut script = script.lock().unwrap();
                    let first = script.pop_front().unwrap();
                    if script.is_empty() {
                        script.push_back(first.clone());
                    }
                    first
                };
                drop(stream.write_all(answer.as_bytes()).await);
                drop(stream.shutdown().await);
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self {
            url: format!("https://localhost:{port}/jwks.json"),
            ca,
            asked,
            answers,
            _directory: directory,
            _serving: serving,
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn answers_from_now(&self, answer: String) {
        *self.answers.lock().unwrap() = VecDeque::from([answer]);
    }

    /// Tokens with the keys of this site, which are followed.
    fn tokens(&self, change: impl FnOnce(&mut JwtKeys)) -> (Tokens, JoinSet<()>) {
        let mut from = JwtKeys {
            url: Some(self.url.clone()),
            ca: Some(self.ca.clone()),
            refresh_min: Duration::from_millis(20),
            ..JwtKeys::default()
        };
        change(&mut from);
        let tokens = tokens_of(&jwt(&PINNED, from)).unwrap();
        let mut tasks = JoinSet::new();
        tokens.follow(&mut tasks);
        (tokens, tasks)
    }

    async fn until_asked(&self, times: usize) {
        until(|| self.asked() >= times).await;
    }
}

async fn until(so: impl Fn() -> bool) {
    let waiting = async {
        while !so() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(20), waiting)
        .await
        .expect("it comes to be");
}

fn ok(fields: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n{fields}\r\n{body}")
}

fn reads(tokens: &Tokens, outcome: &'static str) -> u64 {
    let label = crate::telemetry::KeyOutcome {
        jwt: "login".into(),
        outcome,
    };
    tokens.metrics.key_reads.get_or_create(&label).get()
}

#[tokio::test]
async fn before_the_first_fetch_nobody_passes_and_the_gateway_says_that_it_is_not_the_client() {
    let issuer = Issuer::new();
    let site = Site::start(&[ok("", &issuer.jwks().to_string())]).await;
    let from = JwtKeys {
        url: Some(site.url.clone()),
        ca: Some(site.ca.clone()),
        ..JwtKeys::default()
    };
    let tokens = tokens_of(&jwt(&PINNED, from)).unwrap();
    let token = issuer.sign(&es256(), &claims());
    let error = tokens.admit(&mut bearing(&token)).unwrap_err();
    assert_eq!(error, RequestError::TokenUnverifiable);
    assert_eq!(error.status().as_u16(), 503);
    assert_eq!(outcome(&tokens, &bearing("a.b.c")), Err(Refusal::Malformed));
    let mut tasks = JoinSet::new();
    tokens.follow(&mut tasks);
    until(|| outcome(&tokens, &bearing(&token)).is_ok()).await;
    assert_eq!(site.asked(), 1);
}

#[tokio::test]
async fn an_unknown_key_is_fetched_once_for_any_number_of_tokens_that_name_one() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let mut rotated = new.jwk("p256");
    rotated["kid"] = "next".into();
    let both = json!({"keys": [old.jwk("p256"), rotated]}).to_string();
    let site = Site::start(&[ok("", &old.jwks().to_string()), ok("", &both)]).await;
    // So that nothing but a token that names an unknown key leads to the second fetch.
    let (tokens, _tasks) = site.tokens(|from| from.refresh_min = Duration::from_secs(2));
    let known = bearing(&old.sign(&es256(), &claims()));
    until(|| outcome(&tokens, &known).is_ok()).await;
    let next = bearing(&new.sign(&json!({"alg": "ES256", "kid": "next"}), &claims()));
    let bogus = bearing(&new.sign(&json!({"alg": "ES256", "kid": "bogus"}), &claims()));
    for _ in 0..1000 {
        assert_eq!(outcome(&tokens, &bogus), Err(Refusal::UnknownKey));
        assert_eq!(outcome(&tokens, &next), Err(Refusal::UnknownKey));
    }
    assert_eq!(site.asked(), 1, "not before the interval is over");
    until(|| outcome(&tokens, &next).is_ok()).await;
    assert_eq!(outcome(&tokens, &known).map(drop), Ok(()));
    assert_eq!(outcome(&tokens, &bogus), Err(Refusal::UnknownKey));
    assert_eq!(site.asked(), 2);
}

#[tokio::test]
async fn keys_are_fetched_again_when_the_response_says_so_within_the_bounds() {
    let issuer = Issuer::new();
    let set = issuer.jwks().to_string();
    let site = Site::start(&[ok("cache-control: no-store\r\n", &set)]).await;
    let (tokens, tasks) = site.tokens(|_| {});
    site.until_asked(4).await;
    until(|| reads(&tokens, "good") >= 4).await;
    drop(tasks);
    let site = Site::start(&[ok("cache-control: max-age=86400\r\n", &set)]).await;
    let (_tokens, _tasks) = site.tokens(|from| from.refresh_max = Duration::from_millis(20));
    site.until_asked(4).await;
}

#[tokio::test]
async fn the_last_good_keys_stay_when_they_cannot_be_fetched_but_not_for_ever() {
    let issuer = Issuer::new();
    let set = issuer.jwks().to_string();
    let site = Site::start(&[ok("cache-control: max-age=0\r\n", &set)]).await;
    let (tokens, _tasks) = site.tokens(|_| {});
    let token = bearing(&issuer.sign(&es256(), &claims()));
    until(|| outcome(&tokens, &token).is_ok()).await;
    let elsewhere = format!(
        "HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
        site.url
    );
    for (answer, counted) in [
        (elsewhere, "not_fetched"),
        (
            "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_owned(),
            "not_fetched",
        ),
        (ok("", "<html>"), "bad"),
        (ok("", "{\"keys\": []}"), "bad"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_owned(),
            "not_fetched",
        ),
    ] {
        let before = reads(&tokens, counted);
        site.answers_from_now(answer.clone());
        until(|| reads(&tokens, counted) > before).await;
        assert_eq!(outcome(&tokens, &token).map(drop), Ok(()), "{answer}");
    }
    let (short, _tasks) = site.tokens(|from| from.stale_max = Duration::from_millis(1));
    site.answers_from_now(ok("", &set));
    until(|| reads(&short, "good") >= 1).await;
    until(|| outcome(&short, &token) == Err(Refusal::NoKeys)).await;
}

#[tokio::test]
async fn a_site_is_held_to_its_certificate_and_its_answer_to_a_size() {
    let huge = "x".repeat((1 << 20) + 1);
    let site = Site::start(&[ok("", &huge)]).await;
    let other = Site::start(&[ok("", "{}")]).await;
    let answered = fetch(&site.url, Some(&site.ca)).await;
    assert!(matches!(answered, Err(FetchError::Body)), "{answered:?}");
    let untrusted = fetch(&site.url, Some(&other.ca)).await;
    assert!(
        matches!(untrusted, Err(FetchError::Connect(_))),
        "{untrusted:?}"
    );
    let misnamed = site.url.replace("localhost", "127.0.0.1");
    let misnamed = fetch(&misnamed, Some(&site.ca)).await;
    assert!(
        matches!(misnamed, Err(FetchError::Connect(_))),
        "{misnamed:?}"
    );
    assert_eq!(site.asked(), 1);
    let endless = "HTTP/1.1 200 OK\r\n".to_owned() + &"a: b\r\n".repeat(1 << 16);
    let site = Site::start(&[endless]).await;
    assert!(matches!(
        fetch(&site.url, Some(&site.ca)).await,
        Err(FetchError::Http(_))
    ));
}

#[tokio::test]
async fn a_site_that_does_not_answer_holds_up_one_fetch_for_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let site = Site::start(&[ok("", "{}")]).await;
    let port = listener.local_addr().unwrap().port();
    let (tokens, _tasks) = site.tokens(|from| {
        from.url = Some(format!("https://localhost:{port}/"));
        from.timeout = Duration::from_millis(50);
    });
    until(|| reads(&tokens, "not_fetched") >= 2).await;
}

#[tokio::test]
async fn of_two_tasks_one_follows_and_the_other_goes_on_when_it_ends() {
    let issuer = Issuer::new();
    let set = issuer.jwks().to_string();
    let site = Site::start(&[ok("cache-control: no-store\r\n", &set)]).await;
    let (tokens, first) = site.tokens(|_| {});
    site.until_asked(2).await;
    assert!(tokens.keys.is_followed());
    let mut second = JoinSet::new();
    tokens.follow(&mut second);
    drop(first);
    let asked = site.asked();
    site.until_asked(asked + 3).await;
    drop(second);
    until(|| !tokens.keys.is_followed()).await;
}

#[tokio::test]
async fn a_file_that_changed_is_read_again_and_one_that_is_broken_is_not_used() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    std::fs::write(&path, old.jwks().to_string()).unwrap();
    let from = JwtKeys {
        file: Some(path.clone()),
        ..JwtKeys::default()
    };
    let tokens = tokens_of(&jwt(&PINNED, from)).unwrap();
    let mut tasks = JoinSet::new();
    tokens.follow(&mut tasks);
    let [by_old, by_new] = [&old, &new].map(|one| bearing(&one.sign(&es256(), &claims())));
    assert!(outcome(&tokens, &by_old).is_ok());
    assert_eq!(outcome(&tokens, &by_new), Err(Refusal::Signature));
    std::fs::write(&path, "{").unwrap();
    until(|| reads(&tokens, "bad") == 1).await;
    assert!(outcome(&tokens, &by_old).is_ok());
    std::fs::remove_file(&path).unwrap();
    until(|| reads(&tokens, "not_read") == 1).await;
    assert!(outcome(&tokens, &by_old).is_ok());
    std::fs::write(&path, new.jwks().to_string()).unwrap();
    until(|| outcome(&tokens, &by_new).is_ok()).await;
    assert_eq!(outcome(&tokens, &by_old), Err(Refusal::Signature));
}
