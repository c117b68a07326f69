use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::time::timeout;

use super::UpgradeError;
use super::message::{Channel, Message};
use crate::control::Birth;
use crate::fleet::{InstanceId, Keyring};
use crate::lifecycle::Inherited;
use crate::sys::packets::PacketSocket;

/// The process that this one takes over from, as seen from this one.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
}

impl Predecessor {
    /// The process that started this one to take over: its end of the channel is this process's
    /// standard input. `None` if standard input is anything else. Needs a tokio runtime.
    pub fn of_this_process() -> Option<Self> {
        let input = io::stdin().as_fd().try_clone_to_owned().ok()?;
        let socket = PacketSocket::from_descriptor(input).ok()?;
        Self::new(socket).ok()
    }

    pub(super) fn new(socket: PacketSocket) -> io::Result<Self> {
        let channel = Channel::new(socket)?;
        Ok(Self { channel })
    }

    /// Waits for its sockets, for at most 10 s.
    ///
    /// # Errors
    /// [`UpgradeError`].
    pub async fn sockets(&self) -> Result<Inherited, UpgradeError> {
        within("heard", STEP, async {
            let mut inherited = None;
            loop {
                let (message, sockets) = self.channel.hear().await?;
                let Message::Sockets {
                    birth,
                    names,
                    more,
                    kept,
                    keyring,
                } = message
                else {
                    return Err(unexpected());
                };
                let birth: Birth = birth.parse().map_err(|_err| unexpected())?;
                let inherited = inherited.get_or_insert_with(|| Inherited::from_predecessor(birth));
                if let Some(keyring) = keyring {
                    let keyring = Keyring::from_text(&keyring.0).map_err(|_err| unexpected())?;
                    inherited.keep_keyring(keyring);
                }
                if let Some(kept) = kept {
                    inherited.keep(kept);
                }
                if names.len() != sockets.len() {
                    return Err(unexpected());
                }
                for (name, socket) in names.iter().zip(sockets) {
                    inherited.push(name.parse()?, socket);
                }
                if !more {
                    break;
                }
            }
            inherited.ok_or_else(unexpected)
        })
        .await
    }

    /// Says that this process is prepared, and waits for at most 10 s until the other has stopped
    /// reading.
    ///
    /// # Errors
    /// [`UpgradeError`]; the other process goes on then.
    pub async fn prepared(&self, instance: InstanceId) -> Result<(), UpgradeError> {
        let prepared = Message::Prepared {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: instance.0,
        };
        within("told to take over", STEP, async {
            self.channel.say(&prepared).await?;
            match self.channel.hear().await? {
                (Message::Take, _) => Ok(()),
                _ => Err(unexpected()),
            }
        })
        .await
    }

    /// Says that this process reads. From here on the other one cannot go back.
    ///
    /// One that is gone by now needs not be told.
    pub async fn taken(self) {
        drop(timeout(STEP, self.channel.say(&Message::Taken)).await);
    }

    /// Says why this process cannot take over.
    pub async fn fail(self, reason: String) {
        drop(timeout(STEP, self.channel.say(&Message::Failed { reason })).await);
    }
}

/// Does a step within its time.
pub(super) async fn within<T>(
    step: &'static str,
    limit: Duration,
    doing: impl Future<Output = Result<T, UpgradeError>>,
) -> Result<T, UpgradeError> {
    match timeout(limit, doing).await {
        Ok(done) => done,
        Err(_elapsed) => Err(UpgradeError::TimedOut { step, limit }),
    }
}

pub(super) fn unexpected() -> UpgradeError {
    io::Error::new(io::ErrorKind::InvalidData, "an unexpected message").into()
}

const STEP: Duration = Duration::from_secs(10);
