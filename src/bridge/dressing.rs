//! What a route does to the messages that pass through it.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Uri};
use http::{request, response};

use super::BridgeError;
use super::template::Scene;
use crate::config::{self, FieldLine, Rewrite, Template};
use crate::request::{ClientFacts, HandshakeKind, RequestError, fields};

/// All that a route does to messages. A route that does nothing has none.
#[derive(Debug)]
pub(super) struct Dressing {
    request: Edits,
    response: Edits,
    host: Option<Authority>,
    /// Without a closing slash.
    prefix: Option<String>,
    server_timing: Option<ServerTiming>,
}

/// What is done to fields, in this order.
#[derive(Debug, Default)]
struct Edits {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, Value)>,
    add: Vec<(HeaderName, Value)>,
}

/// The value of a field.
#[derive(Debug)]
enum Value {
    Fixed(HeaderValue),
    Template(Template),
}

#[derive(Clone, Copy, Debug)]
struct ServerTiming;

impl Dressing {
    /// None if the route does nothing to messages. `number` is the route's, for the error.
    pub(super) fn new(
        route: &config::Route,
        number: usize,
    ) -> Result<Option<Box<Self>>, BridgeError> {
        let unchanged = route.rewrite == Rewrite::default()
            && route.request.is_empty()
            && route.response.is_empty()
            && !route.server_timing;
        if unchanged {
            return Ok(None);
        }
        let host = route.rewrite.host.as_deref();
        let host = host
            .map(Authority::try_from)
            .transpose()
            .map_err(|_invalid| BridgeError::Answer(number))?;
        let prefix = route.rewrite.prefix.as_deref();
        Ok(Some(Box::new(Self {
            request: Edits::new(&route.request),
            response: Edits::new(&route.response),
            host,
            prefix: prefix.map(|prefix| prefix.trim_end_matches('/').to_owned()),
            server_timing: route.server_timing.then_some(ServerTiming),
        })))
    }

    /// Changes a request that the gateway has made its own already, so that nothing of a client takes
    /// away what is added here.
    pub(super) fn dress_request(
        &self,
        parts: &mut request::Parts,
        scene: &Scene<'_>,
    ) -> Result<(), RequestError> {
        self.request.apply(&mut parts.headers, scene)?;
        if self.host.is_none() && self.prefix.is_none() {
            return Ok(());
        }
        let mut uri = parts.uri.clone().into_parts();
        if let Some(host) = &self.host {
            uri.authority = Some(host.clone());
        }
        if let Some(prefix) = &self.prefix {
            uri.path_and_query = Some(rewritten(prefix, scene)?);
        }
        parts.uri = Uri::from_parts(uri).map_err(|_invalid| RequestError::Malformed("target"))?;
        Ok(())
    }

    pub(super) fn dress_response(
        &self,
        parts: &mut response::Parts,
        scene: &Scene<'_>,
    ) -> Result<(), RequestError> {
        self.response.apply(&mut parts.headers, scene)?;
        if self.server_timing.is_some()
            && let Ok(value) = HeaderValue::try_from(server_timing(scene.client))
        {
            parts.headers.append(SERVER_TIMING, value);
        }
        Ok(())
    }
}

impl Edits {
    fn new(edits: &config::FieldEdits) -> Self {
        let lines = |lines: &[FieldLine]| {
            lines
                .iter()
                .map(|line| (line.name.clone(), Value::new(&line.value)))
                .collect()
        };
        Self {
            remove: edits.remove.clone(),
            set: lines(&edits.set),
            add: lines(&edits.add),
        }
    }

    fn apply(&self, fields: &mut HeaderMap, scene: &Scene<'_>) -> Result<(), RequestError> {
        for name in &self.remove {
            remove(fields, name);
        }
        for (name, value) in &self.set {
            let value = value.of(scene)?;
            remove(fields, name);
            fields.insert(name, value);
        }
        for (name, value) in &self.add {
            fields.append(name, value.of(scene)?);
        }
        Ok(())
    }
}

impl Value {
    fn new(template: &Template) -> Self {
        match template.fixed().map(HeaderValue::from_str) {
            Some(Ok(fixed)) => Self::Fixed(fixed),
            _ => Self::Template(template.clone()),
        }
    }

    fn of(&self, scene: &Scene<'_>) -> Result<HeaderValue, RequestError> {
        match self {
            Self::Fixed(value) => Ok(value.clone()),
            Self::Template(template) => scene.render(template),
        }
    }
}

/// Puts a prefix in the place of the route's. What follows it begins with one slash, however many the
/// client wrote: a backend could take what follows two for a host. Dot segments are in neither part.
fn rewritten(prefix: &str, scene: &Scene<'_>) -> Result<PathAndQuery, RequestError> {
    let rest = scene.rest();
    let mut path = prefix.to_owned();
    if !rest.is_empty() || path.is_empty() {
        path.push('/');
        path.push_str(rest.trim_start_matches('/'));
    }
    if let Some(query) = scene.uri.query() {
        path.push('?');
        path.push_str(query);
    }
    PathAndQuery::try_from(path).map_err(|_invalid| RequestError::Malformed("target"))
}

/// How the client is connected (W3C Server Timing); nothing of it is about backends.
fn server_timing(client: &ClientFacts) -> String {
    let mut text = String::new();
    if let Some(kind) = client.handshake_kind().map(HandshakeKind::name) {
        text = format!("handshake;desc={kind}, ");
    }
    let changes = client.path.changes();
    let node = client.owner;
    text + &format!("path-changes;desc=\"{changes}\", node;desc=\"{node}\"")
}

/// Removes a field in every spelling that CGI folds into the same variable.
fn remove(headers: &mut HeaderMap, name: &HeaderName) {
    fields::remove_where(headers, |other| fields::is_alike(other, name.as_str()));
}

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
