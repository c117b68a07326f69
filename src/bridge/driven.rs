use std::pin::pin;

/// Drives a connection of hyper until the answer is there.
pub(super) async fn driven<T, E: From<hyper::Error>>(
    answer: impl Future<Output = Result<T, E>>,
    connection: impl Future<Output = hyper::Result<()>>,
) -> Result<T, E> {
    let mut answer = pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // It may end with the answer that it has just read.
        ended = connection => {
            ended?;
            answer.await
        }
    }
}
