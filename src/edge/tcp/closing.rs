use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Sends a last message and closes.
pub(super) async fn say_goodbye(mut stream: impl AsyncRead + AsyncWrite + Unpin, message: &str) {
    match timeout(SILENCE, stream.write_all(message.as_bytes())).await {
        Ok(Ok(())) => close(stream).await,
        Ok(Err(error)) => tracing::debug!(%error, "the client did not wait for the last message"),
        Err(_elapsed) => tracing::debug!("the client does not take the last message"),
    }
}

/// Tells the client that nothing more comes, and waits until it closes or falls silent.
///
/// To close with bytes unread, or when bytes are still to come, resets the connection; and a reset
/// takes away what was sent and has not arrived. A client of HTTP/2 sends window updates until it
/// has everything.
pub(super) async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    match timeout(CLOSING_TIME, read_rest(&mut stream)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the client did not wait for the end"),
        Err(_elapsed) => tracing::debug!("the client did not close"),
    }
}

async fn read_rest(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    timeout(SILENCE, stream.shutdown()).await??;
    let mut unwanted = [0; 4096];
    let mut left = CLOSING_BYTES;
    while left > 0
        && let Ok(read) = timeout(SILENCE, stream.read(&mut unwanted)).await
    {
        match read? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}

const CLOSING_TIME: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(2);
/// Holds tens of thousands of window updates.
const CLOSING_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::sleep;

    use super::*;

    #[tokio::test]
    async fn a_client_that_talks_while_it_receives_gets_everything() {
        const LEN: usize = 4 << 20;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let (mut client, (mut stream, _)) = (client.unwrap(), accepted.unwrap());
        let serving = async {
            stream.write_all(&vec![7; LEN]).await.unwrap();
            close(stream).await;
        };
        let receiving = async move {
            let mut received = 0;
            let mut piece = vec![0; 16 << 10];
            loop {
                match client.read(&mut piece).await.unwrap() {
                    0 => break received,
                    len => received += len,
                }
                client.write_all(b"window update").await.unwrap();
            }
        };
        let ((), received) = tokio::join!(serving, receiving);
        assert_eq!(received, LEN);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_neither_talks_nor_closes_is_waited_for_a_moment() {
        let (_client, stream) = duplex(1024);
        tokio::select! {
            () = close(stream) => {}
            () = sleep(2 * SILENCE) => panic!("the wait has no end"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_stops_talking_is_cut() {
        let (mut client, stream) = duplex(1024);
        let chatter = async {
            while client.write_all(b"x").await.is_ok() {
                sleep(SILENCE / 2).await;
            }
        };
        tokio::select! {
            ((), ()) = async { tokio::join!(close(stream), chatter) } => {}
            () = sleep(2 * CLOSING_TIME) => panic!("the wait has no end"),
        }
    }
}
