//! Limits that a handler sets for a request, and what refused clients are told.

use std::time::Duration;

use super::*;

/// Reads bodies, of which those for `/large` may be larger and those for `/small` must be smaller.
struct Picky;

impl Handler for Picky {
    async fn handle(
        &self,
        request: Request<Body>,
        _client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        request.into_body().collect().await?;
        Ok(Response::new(Body::empty()))
    }

    fn body_bytes(&self, request: &Request<Body>) -> Option<u64> {
        match request.uri().path() {
            "/large" => Some(8),
            "/small" => Some(2),
            "/any" => Some(0),
            "/panics" => panic!("on purpose"),
            _ => None,
        }
    }
}

#[tokio::test]
async fn a_handler_sets_the_limit_of_a_body_in_place_of_the_configured_one() {
    let limits = Limits {
        body_bytes: 4,
        ..Limits::default()
    };
    let policy = Policy {
        handler: SharedHandler::new(Picky),
        rules: Rules::new(&limits, &Timeouts::default(), None),
        provenance: Provenance::new(&Forwarded::default(), &Trace::default()),
        access: AccessLog::On,
    };
    let service = Service::new(policy, Metrics::default());
    for (path, length, status) in [
        ("/", 4, 200),
        ("/", 5, 413),
        ("/large", 8, 200),
        ("/large", 9, 413),
        ("/small", 2, 200),
        ("/small", 3, 413),
        ("/any", 4000, 200),
        ("/panics", 1, 500),
    ] {
        let target = format!("https://gw.test{path}");
        let text = "x".repeat(length);
        let declared = length.to_string();
        let fields = [("content-length", declared.as_str())];
        for fields in [&fields[..], &[]] {
            let body = Body::full(text.clone());
            let response = respond(&service, request("POST", &target, fields, body)).await;
            assert_eq!(
                response.status().as_u16(),
                status,
                "{path} {length} {fields:?}"
            );
        }
    }
}

#[tokio::test]
async fn whoever_is_refused_is_told_when_to_come_again_or_what_to_bring() {
    let after = Duration::from_millis(2500);
    for (error, status, field) in [
        (
            RequestError::RateLimited { after },
            429,
            ("retry-after", "3"),
        ),
        (
            RequestError::TokenMissing,
            401,
            ("www-authenticate", "Bearer realm=\"wayhold\""),
        ),
        (
            RequestError::TokenRefused,
            401,
            (
                "www-authenticate",
                "Bearer realm=\"wayhold\", error=\"invalid_token\"",
            ),
        ),
        (RequestError::TokenUnverifiable, 503, ("retry-after", "1")),
        (
            RequestError::ResponseTooLarge,
            502,
            ("proxy-status", "wayhold; error=http_response_body_size"),
        ),
    ] {
        let service = service(
            &Limits::default(),
            move |_request| async move { Err(error) },
        );
        let response = respond(&service, get(&[])).await;
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers()[field.0], field.1);
    }
}
