use http::{Request, Response};

use super::{ClientError, Connected, Http3Client, Patience, ResponseBody, Target, TcpClient};
use crate::request::{Body, Protocol};

/// A client of either transport.
#[derive(Debug)]
pub enum Client {
    /// HTTP/3 over QUIC.
    Http3(Http3Client),
    /// HTTP/2 over TLS and TCP.
    Http2(TcpClient),
}

impl Client {
    /// Connects over TCP for HTTP/2, over QUIC for anything else.
    ///
    /// # Errors
    /// As for the client of that transport.
    pub async fn connect(
        protocol: Protocol,
        target: &Target,
        tls: &rustls::ClientConfig,
        patience: Patience,
    ) -> Result<Self, ClientError> {
        Ok(match protocol {
            Protocol::Http2 => Self::Http2(TcpClient::connect(target, tls, patience).await?),
            _ => Self::Http3(Http3Client::connect(target, tls, patience).await?),
        })
    }

    /// Sends a request and returns its response as soon as the header section is there.
    ///
    /// # Errors
    /// As for the client of that transport.
    pub async fn send(
        &self,
        request: Request<Body>,
    ) -> Result<Response<ResponseBody>, ClientError> {
        match self {
            Self::Http3(client) => client.send(request).await,
            Self::Http2(client) => client.send(request).await,
        }
    }

    /// How long connecting took.
    pub fn connected(&self) -> Connected {
        match self {
            Self::Http3(client) => client.connected(),
            Self::Http2(client) => client.connected(),
        }
    }

    /// Closes the connection and waits, at most a second, until the other side was told.
    pub async fn close(self) {
        match self {
            Self::Http3(client) => client.close().await,
            Self::Http2(client) => client.close().await,
        }
    }
}
