use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;

use super::{AdminState, Phase};

/// Answers one request of an operator. The request's body is not read.
pub(super) fn answer<B>(request: &Request<B>, state: &AdminState) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "live"),
        "/readyz" => readiness(state.readiness.phase()),
        "/metrics" => metrics(state),
        "/status" => full(StatusCode::OK, JSON, format!("{}\n", (state.status)())),
        _ => text(StatusCode::NOT_FOUND, "not found"),
    }
}

fn readiness(phase: Phase) -> Response<Full<Bytes>> {
    let status = match phase {
        Phase::Ready => StatusCode::OK,
        Phase::Starting | Phase::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    text(status, phase.name())
}

fn metrics(state: &AdminState) -> Response<Full<Bytes>> {
    let mut exposition = String::new();
    match prometheus_client::encoding::text::encode(&mut exposition, &state.registry) {
        Ok(()) => full(StatusCode::OK, OPEN_METRICS, exposition),
        Err(std::fmt::Error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be encoded",
        ),
    }
}

fn text(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    full(status, TEXT, format!("{line}\n"))
}

fn full(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
