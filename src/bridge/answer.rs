//! What a route answers without a backend. The body of the request is not read: the transport stops or
//! drains it, as for every answer that comes before the end of the request.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

use super::BridgeError;
use super::template::Scene;
use crate::config::{self, Template};
use crate::request::{Body, RequestError};

/// An answer that is ready but for what the request brings.
#[derive(Debug)]
pub(super) enum Answer {
    Redirect {
        status: StatusCode,
        to: Template,
    },
    Fixed {
        status: StatusCode,
        content_type: HeaderValue,
        body: Bytes,
    },
}

impl Answer {
    /// `route` is its number, for the error.
    pub(super) fn new(answer: &config::Answer, route: usize) -> Result<Self, BridgeError> {
        let status = |status| {
            StatusCode::from_u16(status)
                .ok()
                .filter(|status| !status.is_informational())
                .ok_or(BridgeError::Answer(route))
        };
        Ok(match answer {
            config::Answer::Redirect { status: code, to } => Self::Redirect {
                status: status(*code)?,
                to: to.template().clone(),
            },
            config::Answer::Fixed {
                status: code,
                content_type,
                body,
            } => Self::Fixed {
                status: status(*code)?,
                content_type: content_type
                    .fixed()
                    .and_then(|text| HeaderValue::try_from(text).ok())
                    .ok_or(BridgeError::Answer(route))?,
                body: Bytes::from(body.0.clone()),
            },
        })
    }

    /// The response; without its body to HEAD, which the service sees to.
    pub(super) fn respond(&self, scene: &Scene<'_>) -> Result<Response<Body>, RequestError> {
        let mut response = Response::new(Body::empty());
        let (status, body) = match self {
            Self::Redirect { status, to } => {
                let to = scene.render(to)?;
                response.headers_mut().insert(header::LOCATION, to);
                (*status, Bytes::new())
            }
            Self::Fixed {
                status,
                content_type,
                body,
            } => {
                if !body.is_empty() {
                    let fields = response.headers_mut();
                    fields.insert(header::CONTENT_TYPE, content_type.clone());
                }
                (*status, body.clone())
            }
        };
        *response.status_mut() = status;
        if !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            let length = HeaderValue::from(body.len());
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, length);
        }
        Ok(response.map(|_empty| Body::full(body)))
    }
}
