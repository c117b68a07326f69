//! Asking a running gateway through its admin listener.

use std::io;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use wayhold::config::AdminAddress;

/// What the gateway answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Sends one request to the gateway that listens here, and waits for its answer.
///
/// # Errors
/// Nobody answers there, or nobody who speaks HTTP. [`is_absent`] tells whether nobody runs.
pub(crate) fn ask(admin: &AdminAddress, method: &str, target: &str) -> anyhow::Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let request = format!("{method} {target} HTTP/1.1\r\nhost: admin\r\n\r\n");
    let answered = async {
        match admin {
            AdminAddress::Off => Err(io::Error::new(io::ErrorKind::NotFound, OFF).into()),
            AdminAddress::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                let stream = stream.with_context(|| nobody(&path.display()))?;
                exchange(stream, &request).await
            }
            AdminAddress::Tcp(address) => {
                let stream = TcpStream::connect(address).await;
                exchange(stream.with_context(|| nobody(address))?, &request).await
            }
        }
    };
    runtime.block_on(async {
        timeout(DEADLINE, answered)
            .await
            .map_err(|_elapsed| anyhow!("the gateway has not answered for {DEADLINE:?}"))?
    })
}

/// Whether an error of [`ask`] says that no gateway runs there.
pub(crate) fn is_absent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        )
    })
}

fn nobody(address: &dyn std::fmt::Display) -> String {
    format!("no gateway answers on {address}")
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> anyhow::Result<Answer> {
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream
        .take(MAX_ANSWER)
        .read_to_string(&mut response)
        .await?;
    parse(&response).context("what answers is no gateway")
}

fn parse(response: &str) -> Option<Answer> {
    let (head, body) = response.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Answer {
        status,
        body: body.to_owned(),
    })
}

const OFF: &str = "admin.listen is off, so no gateway can be asked";
/// Longer than the gateway lets a command take.
const DEADLINE: Duration = Duration::from_secs(160);
/// A thousand times what a gateway answers.
const MAX_ANSWER: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let answer = parse("HTTP/1.1 409 Conflict\r\ncontent-length: 4\r\n\r\nwhy\n").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (409, "why\n"));
        for garbage in ["", "SSH-2.0\r\n\r\n", "HTTP/1.1 \r\n\r\n", "HTTP/1.1 2"] {
            assert!(parse(garbage).is_none(), "{garbage:?}");
        }
    }
}
