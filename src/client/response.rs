use std::fmt;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Method, StatusCode, header};
use http_body::Body as _;

use super::error::within;
use super::http3::{Http3Receiver, Upload};
use super::{ClientError, Stage, now};

/// The body of a response, received piece by piece.
///
/// Dropping it before its end cancels the request.
pub struct ResponseBody {
    source: Source,
    idle: Duration,
    announced: Option<u64>,
    progress: Progress,
    began: Instant,
}

/// How far a response has come, with times since its request began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// When the header section was there.
    pub first_byte: Duration,
    /// When the last piece so far was there.
    pub last_byte: Duration,
    /// Body bytes so far.
    pub received: u64,
}

pub(super) enum Source {
    Http2(hyper::body::Incoming),
    Http3 {
        stream: Http3Receiver,
        // The other half of an exchange whose response came before the request had ended.
        upload: Option<Upload>,
    },
}

impl ResponseBody {
    pub(super) fn new(
        source: Source,
        idle: Duration,
        announced: Option<u64>,
        began: Instant,
    ) -> Self {
        let first_byte = now().saturating_duration_since(began);
        Self {
            source,
            idle,
            announced,
            began,
            progress: Progress {
                first_byte,
                last_byte: first_byte,
                received: 0,
            },
        }
    }

    /// The next piece of the body, or `None` at its end.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`] when nothing comes, [`ClientError::Length`] when the body is not
    /// as long as announced, and what the protocol has to say when it broke off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        let chunk = within(self.idle, Stage::Body, self.source.chunk()).await??;
        let progress = &mut self.progress;
        progress.received += chunk.as_ref().map_or(0, Bytes::len) as u64;
        progress.last_byte = now().saturating_duration_since(self.began);
        let (received, ended) = (progress.received, chunk.is_none());
        match self.announced {
            Some(announced) if received > announced || (ended && received < announced) => {
                Err(ClientError::Length {
                    announced,
                    received,
                })
            }
            _ => Ok(chunk),
        }
    }

    /// Receives the rest and returns it, up to `limit` bytes.
    ///
    /// # Errors
    /// Those of [`ResponseBody::chunk`]; a body of more than `limit` bytes is
    /// [`ClientError::Length`].
    pub async fn collect(&mut self, limit: usize) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if body.len() + chunk.len() > limit {
                return Err(ClientError::Length {
                    announced: limit as u64,
                    received: self.progress.received,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// How far the response has come.
    pub fn progress(&self) -> Progress {
        self.progress
    }
}

impl Source {
    async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        match self {
            Self::Http2(incoming) => http2_chunk(incoming).await,
            Self::Http3 { stream, upload } => http3_chunk(stream, upload).await,
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

async fn http2_chunk(incoming: &mut hyper::body::Incoming) -> Result<Option<Bytes>, ClientError> {
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *incoming).poll_frame(cx)).await;
        match frame.transpose()?.map(http_body::Frame::into_data) {
            None => return Ok(None),
            Some(Ok(data)) => return Ok(Some(data)),
            Some(Err(_trailers)) => {}
        }
    }
}

async fn http3_chunk(
    stream: &mut Http3Receiver,
    upload: &mut Option<Upload>,
) -> Result<Option<Bytes>, ClientError> {
    let receive = stream.recv_data();
    tokio::pin!(receive);
    let data = loop {
        let Some(sending) = upload else {
            break receive.await?;
        };
        tokio::select! {
            data = &mut receive => break data?,
            sent = sending => {
                *upload = None;
                sent?;
            }
        }
    };
    Ok(data.map(|mut data| data.copy_to_bytes(data.remaining())))
}

/// The length that a response says its body has (RFC 9110, section 8.6).
pub(super) fn announced(method: &Method, status: StatusCode, headers: &HeaderMap) -> Option<u64> {
    let bodyless = method == Method::HEAD
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodyless {
        return Some(0);
    }
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
