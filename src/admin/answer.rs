use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, ORIGIN};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;

use super::{AdminState, Command, Phase};

/// What a request of an operator asks for. Its body is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked<'r> {
    Page(Page<'r>),
    Command(Command),
    /// The path is known, and takes only these methods.
    Otherwise(&'static str),
    /// A browser sent it on behalf of a page, which has no business here.
    Foreign,
    Unknown,
}

/// What can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page<'r> {
    Live,
    Ready,
    Metrics,
    Status,
    Where(&'r str),
}

impl<'r> Asked<'r> {
    pub(super) fn of<B>(request: &'r Request<B>) -> Self {
        let method = request.method();
        let command = match request.uri().path() {
            "/drain" => Command::Drain,
            "/undrain" => Command::Undrain,
            "/reload" => Command::Reload,
            "/upgrade" => Command::Upgrade,
            path => return Self::page(path, request.uri().query(), method),
        };
        if *method != Method::POST {
            Self::Otherwise("POST")
        } else if request.headers().contains_key(ORIGIN) {
            Self::Foreign
        } else {
            Self::Command(command)
        }
    }

    fn page(path: &str, query: Option<&'r str>, method: &Method) -> Self {
        let cid = query.and_then(|query| query.strip_prefix("cid="));
        let page = match path {
            "/livez" => Page::Live,
            "/readyz" => Page::Ready,
            "/metrics" => Page::Metrics,
            "/status" => Page::Status,
            "/where" => Page::Where(cid.unwrap_or_default()),
            _ => return Self::Unknown,
        };
        if matches!(*method, Method::GET | Method::HEAD) {
            Self::Page(page)
        } else {
            Self::Otherwise("GET, HEAD")
        }
    }
}

/// Answers one request.
pub(super) async fn answer(asked: Asked<'_>, state: &AdminState) -> Response<Full<Bytes>> {
    match asked {
        Asked::Page(page) => self::page(page, state),
        Asked::Command(command) => match state.console.command(command).await {
            Ok(done) => text(StatusCode::OK, &done),
            Err(refusal) => text(StatusCode::CONFLICT, &refusal),
        },
        Asked::Otherwise(methods) => {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
            let allowed = HeaderValue::from_static(methods);
            response.headers_mut().insert(ALLOW, allowed);
            response
        }
        Asked::Foreign => text(StatusCode::FORBIDDEN, "no commands from web pages"),
        Asked::Unknown => text(StatusCode::NOT_FOUND, "not found"),
    }
}

fn page(page: Page<'_>, state: &AdminState) -> Response<Full<Bytes>> {
    match page {
        Page::Live => text(StatusCode::OK, "live"),
        Page::Ready => readiness(state.console.phase()),
        Page::Metrics => metrics(state),
        Page::Status => json(&state.console.status()),
        Page::Where(cid) => match state.console.locate(cid) {
            Ok(location) => json(&location),
            Err(reason) => text(StatusCode::BAD_REQUEST, &reason),
        },
    }
}

fn readiness(phase: Phase) -> Response<Full<Bytes>> {
    let status = if phase == Phase::Ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
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

fn json(value: &serde_json::Value) -> Response<Full<Bytes>> {
    full(StatusCode::OK, JSON, format!("{value}\n"))
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
