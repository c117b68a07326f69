//! Claims about who passes to a route: rates that a reload keeps, and tokens that another implementation
//! made: `PyJWT`.

use std::fs;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use wayhold::client::Http3Client;
use wayhold::request::{Body, ClientFacts, Handler, RequestError};
use wayhold::testbed::Backend;

use crate::process::{Process, outcome};
use crate::python::Python;
use crate::stage::{Directory, PATIENCE, turn};
use crate::transfer::{connect, get};

/// Answers with who it is told that the client is, and with the length of what it got as a token.
struct Told;

impl Handler for Told {
    async fn handle(
        &self,
        request: Request<Body>,
        _client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        let all = |name: &str| {
            let values = request.headers().get_all(name).iter();
            let values = values.map(|value| value.to_str().unwrap());
            values.collect::<Vec<_>>().join("+")
        };
        let token = all("authorization").len();
        Ok(Response::new(Body::full(format!(
            "{} {token}",
            all("x-user")
        ))))
    }
}

fn write_config(directory: &Directory, backend: &Backend, more: &str) {
    let text = format!(
        "listen = [{{ addr = \"127.0.0.1:0\", cert = \"tls.pem\", key = \"tls.key\" }}]\n\
         [[route]]\nto = [\"http://{}\"]\n{more}",
        backend.address()
    );
    fs::write(directory.file("wayhold.toml"), text).unwrap();
}

async fn answer(client: &Http3Client, token: &str) -> (StatusCode, HeaderMap, String) {
    let mut request = get("/");
    let fields = request.headers_mut();
    if !token.is_empty() {
        let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        fields.insert("authorization", value);
    }
    fields.append("x-user", HeaderValue::from_static("root"));
    fields.append("x_user", HeaderValue::from_static("root"));
    let mut response = client.send(request).await.unwrap();
    let body = response.body_mut().collect(1 << 20).await.unwrap();
    let body = String::from_utf8(body).unwrap();
    (response.status(), response.headers().clone(), body)
}

async fn status(client: &Http3Client, token: &str) -> StatusCode {
    answer(client, token).await.0
}

/// Asks until the answer has this status.
async fn until(client: &Http3Client, token: &str, wanted: StatusCode) {
    let asking = async {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
        while status(client, token).await != wanted {
            ticks.tick().await;
        }
    };
    let asked = tokio::time::timeout(PATIENCE, asking).await;
    assert!(asked.is_ok(), "never {wanted}");
}

const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_an_independent_issuer_pass_and_forged_ones_do_not() {
    let (_turn, directory) = (turn().await, Directory::new());
    directory.certify();
    let files = ["tls.pem", "tls.key"].map(|name| directory.file(name));
    let arguments = files.each_ref().map(|path| path.to_str().unwrap());
    let issuer = Python::start("jwt, cryptography", "gate/issuer.py", &arguments).await;
    let Some(mut issuer) = issuer else { return };
    let port = issuer.answer().await["port"].as_u64().unwrap();
    let backend = Backend::start(Told).await.unwrap();
    let more = format!(
        "jwt = \"login\"\n[[jwt]]\nname = \"login\"\nissuer = \"https://login.test/\"\n\
         audience = [\"api\"]\nalgorithms = {ALGORITHMS:?}\njwks_ca = \"tls.pem\"\n\
         jwks_url = \"https://localhost:{port}/jwks.json\"\njwks_refresh_min = \"1s\"\n\
         claims_to = [\"sub: x-user\"]\npass_on = false\n"
    );
    write_config(&directory, &backend, &more);
    let process = Process::start(&directory, &["-c", "wayhold.toml"]).await;
    let client = connect(&directory, &process.target()).await;
    let mut token = async |command: &str| {
        let answer = issuer.ask(command).await;
        answer["token"].as_str().unwrap_or_default().to_owned()
    };

    let first = token("sign ES256").await;
    until(&client, &first, StatusCode::OK).await;
    for algorithm in ALGORITHMS {
        let signed = token(&format!("sign {algorithm} {{\"sub\": \"{algorithm}\"}}")).await;
        let (status, _, body) = answer(&client, &signed).await;
        assert_eq!((status, body), (StatusCode::OK, format!("{algorithm} 0")));
    }
    let nobody = token("sign ES256 {\"sub\": null}").await;
    assert_eq!(answer(&client, &nobody).await.2, " 0", "and not root");

    let (missing, fields, _) = answer(&client, "").await;
    assert_eq!(missing, StatusCode::UNAUTHORIZED);
    assert_eq!(fields["www-authenticate"], "Bearer realm=\"wayhold\"");
    for (how, reason) in [
        ("none", "algorithm"),
        ("confused", "algorithm"),
        ("embedded", "signature"),
        ("expired", "expired"),
        ("elsewhere", "audience"),
        ("other_issuer", "issuer"),
    ] {
        let forged = token(&format!("forge {how}")).await;
        let series = format!("wayhold_tokens_refused_total{{jwt=\"login\",reason=\"{reason}\"}}");
        let before = process.metric(&series).await;
        let (status, fields, body) = answer(&client, &forged).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{how}");
        let challenge = "Bearer realm=\"wayhold\", error=\"invalid_token\"";
        assert_eq!(fields["www-authenticate"], challenge);
        assert_eq!(body, "401 Unauthorized\nthe token is not valid\n");
        assert_eq!(process.metric(&series).await, before + 1, "{how}");
    }

    token("rotate").await;
    let rotated = token("sign ES256").await;
    until(&client, &rotated, StatusCode::OK).await;
    assert_eq!(status(&client, &first).await, StatusCode::OK);
    issuer.quit().await;
    assert_eq!(status(&client, &rotated).await, StatusCode::OK, "no issuer");
    client.close().await;
    process.terminate().await;
    let ended = process.end().await;
    let log = ended.errors.join("\n");
    for secret in rotated.split('.') {
        assert!(!log.contains(secret), "a token is in the log");
    }
    assert_eq!(ended.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_has_spent_of_its_rate_stays_spent_over_a_reload() {
    let (_turn, directory) = (turn().await, Directory::new());
    directory.certify();
    let backend = Backend::start(Told).await.unwrap();
    write_config(&directory, &backend, "client_rate = \"3/h\"\n");
    let process = Process::start(&directory, &["-c", "wayhold.toml"]).await;
    let client = connect(&directory, &process.target()).await;
    for _ in 0..3 {
        assert_eq!(status(&client, "").await, StatusCode::OK);
    }
    let (limited, fields, _) = answer(&client, "").await;
    assert_eq!(limited, StatusCode::TOO_MANY_REQUESTS);
    let after: u64 = fields["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(after > 1000 && after <= 1200, "{after}");
    assert_eq!(fields["proxy-status"], "wayhold; error=http_request_denied");

    let more = "client_rate = \"3/h\"\nbody_bytes = 5\n[timeouts]\nfirst_byte = \"7s\"\n";
    write_config(&directory, &backend, more);
    let (code, said, _) = outcome(&directory, &["reload", "-c", "wayhold.toml"]).await;
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "reloaded: route, timeouts\n")
    );
    assert_eq!(status(&client, "").await, StatusCode::TOO_MANY_REQUESTS);
    let series = "wayhold_rate_limited_total{route=\"*/\",limit=\"client\"}";
    assert_eq!(process.metric(series).await, 2);

    write_config(&directory, &backend, "client_rate = \"4/h\"\n");
    outcome(&directory, &["reload", "-c", "wayhold.toml"]).await;
    assert_eq!(status(&client, "").await, StatusCode::OK, "another limit");
    client.close().await;
    process.terminate().await;
    assert_eq!(process.end().await.code, Some(0));
}
