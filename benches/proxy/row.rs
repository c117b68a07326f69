//! The rows: what the client does, and what of it is one operation.

use std::sync::Arc;

use http::StatusCode;
use rustls::ClientConfig;
use tokio::task::JoinSet;
use wayhold::client::Target;

use super::Result;
use super::backend::{LARGE, SMALL};
use super::client::{Connection, Version};

/// What an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Connection,
    OneAtATime,
    ManyAtOnce,
    Download,
}

/// One line of the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) version: Version,
    pub(crate) work: Work,
}

impl Row {
    pub(crate) fn all() -> Vec<Self> {
        let works = [
            Work::Connection,
            Work::OneAtATime,
            Work::ManyAtOnce,
            Work::Download,
        ];
        let rows = [Version::Http3, Version::Http2]
            .into_iter()
            .flat_map(|version| works.map(|work| Self { version, work }));
        rows.collect()
    }

    pub(crate) fn name(self) -> String {
        let version = match self.version {
            Version::Http2 => "h2",
            Version::Http3 => "h3",
        };
        let work = match self.work {
            Work::Connection => "new connection and 1 GET",
            Work::OneAtATime => "GET, one at a time",
            Work::ManyAtOnce => "GET, 16 at a time",
            Work::Download => "10 MB download",
        };
        format!("{version} {work}")
    }

    /// How many samples are taken in a round, and how many operations are in each.
    pub(crate) fn plan(self) -> (usize, u32) {
        match self.work {
            Work::Connection => (4, 25),
            Work::OneAtATime => (4, 200),
            Work::ManyAtOnce => (4, 50 * AT_ONCE),
            Work::Download => (4, 1),
        }
    }
}

/// Does the work `count` times. `connection` is one that is open already.
pub(crate) async fn run(
    row: Row,
    count: u32,
    connection: &Arc<Connection>,
    (target, tls): (&Target, &ClientConfig),
) -> Result<()> {
    match row.work {
        Work::Connection => {
            for _ in 0..count {
                let connection = Connection::open(row.version, target, tls).await?;
                get(&connection, target, "/small", SMALL).await?;
            }
        }
        Work::OneAtATime => {
            for _ in 0..count {
                get(connection, target, "/small", SMALL).await?;
            }
        }
        Work::ManyAtOnce => {
            let mut clients = JoinSet::new();
            for _ in 0..AT_ONCE {
                let (connection, target) = (Arc::clone(connection), target.clone());
                clients.spawn(async move {
                    for _ in 0..count / AT_ONCE {
                        get(&connection, &target, "/small", SMALL).await?;
                    }
                    Ok::<_, super::Error>(())
                });
            }
            while let Some(done) = clients.join_next().await {
                done??;
            }
        }
        Work::Download => {
            for _ in 0..count {
                get(connection, target, "/large", LARGE).await?;
            }
        }
    }
    Ok(())
}

/// One request whose answer must be the right one.
async fn get(connection: &Connection, target: &Target, path: &str, bytes: usize) -> Result<()> {
    match connection.get(target, path).await? {
        (StatusCode::OK, received) if received == bytes => Ok(()),
        (status, received) => {
            Err(format!("{path} was answered with {status} and {received} of {bytes} bytes").into())
        }
    }
}

const AT_ONCE: u32 = 16;
