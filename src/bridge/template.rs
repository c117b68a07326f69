//! What a template becomes for one request.

use http::header::HeaderValue;
use http::uri::Uri;

use crate::config::{Part, Template, Variable};
use crate::request::{ClientFacts, RequestError};

/// What the variables of a template stand for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    pub(super) client: &'a ClientFacts,
    /// What the client asks for.
    pub(super) uri: &'a Uri,
    /// The path of the route, without a closing slash.
    pub(super) prefix: &'a str,
}

impl Scene<'_> {
    /// # Errors
    /// What the request brings is no field value, which the service lets nobody bring.
    pub(super) fn render(&self, template: &Template) -> Result<HeaderValue, RequestError> {
        let mut text = String::new();
        for part in template.parts() {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Variable(variable) => self.put(*variable, &mut text),
            }
        }
        HeaderValue::try_from(text).map_err(|_invalid| RequestError::Malformed("target"))
    }

    fn put(&self, variable: Variable, text: &mut String) {
        match variable {
            Variable::Client => text.push_str(&self.client.origin().to_string()),
            Variable::Host => text.push_str(self.uri.host().unwrap_or_default()),
            Variable::Path => text.push_str(self.uri.path()),
            Variable::Rest => text.push_str(self.rest()),
            Variable::Query => {
                if let Some(query) = self.uri.query() {
                    text.push('?');
                    text.push_str(query);
                }
            }
            Variable::RequestId => {
                let id = self.client.request_id().and_then(|id| id.to_str().ok());
                text.push_str(id.unwrap_or_default());
            }
            Variable::Node => text.push_str(&self.client.owner.to_string()),
            Variable::Protocol => text.push_str(self.client.protocol.name()),
        }
    }

    /// What follows the path of the route: nothing, or a slash and more.
    pub(super) fn rest(&self) -> &str {
        self.uri
            .path()
            .strip_prefix(self.prefix)
            .unwrap_or_default()
    }
}
