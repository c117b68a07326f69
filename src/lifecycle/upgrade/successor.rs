use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::message::{Channel, Message, Secret, borrowed};
use super::predecessor::{unexpected, within};
use super::{Program, UpgradeError};
use crate::control::Birth;
use crate::fleet::{InstanceId, Keyring};
use crate::lifecycle::Inherited;
use crate::sys::packets::PacketSocket;

/// The process that takes over from this one, as seen from this one. Dropping it before it took over
/// kills it.
#[derive(Debug)]
pub struct Successor {
    channel: Channel,
    pub(super) child: Option<Child>,
}

/// What a new process says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Its version.
    pub version: String,
    /// Its instance.
    pub instance: InstanceId,
}

impl Successor {
    /// Starts a program with this process's environment, standard output and standard error, and the
    /// channel as its standard input. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`UpgradeError::Start`] and [`UpgradeError::Channel`].
    pub fn start(program: &Program) -> Result<Self, UpgradeError> {
        let (own, theirs) = PacketSocket::pair()?;
        let child = Command::new(&program.path)
            .args(&program.arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .map_err(|source| UpgradeError::Start {
                program: program.path.clone(),
                source,
            })?;
        Self::new(own, Some(child))
    }

    pub(super) fn new(socket: PacketSocket, child: Option<Child>) -> Result<Self, UpgradeError> {
        let channel = Channel::new(socket)?;
        Ok(Self { channel, child })
    }

    /// Its process ID.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Hands over the sockets and waits until it is prepared, for at most `limit`.
    ///
    /// # Errors
    /// [`UpgradeError`].
    pub(crate) async fn prepare(
        &mut self,
        birth: Birth,
        sockets: &Inherited,
        limit: Duration,
    ) -> Result<Prepared, UpgradeError> {
        let prepared = within("prepared", limit, async {
            self.hand(birth, sockets).await?;
            match self.channel.hear().await? {
                (Message::Prepared { version, instance }, _) => Ok(Prepared {
                    version,
                    instance: InstanceId(instance),
                }),
                (Message::Failed { reason }, _) => Err(UpgradeError::Refused(reason)),
                _ => Err(unexpected()),
            }
        });
        let prepared = prepared.await;
        self.explain(prepared).await
    }

    /// Tells it to read, which this process must have stopped to do, and waits until it does.
    ///
    /// # Errors
    /// [`UpgradeError`]; it is gone then, or will be when this is dropped.
    pub(crate) async fn take_over(mut self) -> Result<(), UpgradeError> {
        let taken = within("reading", TAKE, async {
            self.channel.say(&Message::Take).await?;
            match self.channel.hear().await? {
                (Message::Taken, _) => Ok(()),
                (Message::Failed { reason }, _) => Err(UpgradeError::Refused(reason)),
                _ => Err(unexpected()),
            }
        });
        let taken = taken.await;
        self.explain(taken).await?;
        // From here on it lives its own life; the runtime reaps it if it ends before this process.
        drop(self.child.take());
        Ok(())
    }

    async fn hand(&self, birth: Birth, inherited: &Inherited) -> Result<(), UpgradeError> {
        let keyring = inherited.keyring().map(Keyring::to_text);
        let keyring = keyring.map(|text| Secret(text.to_string()));
        let sockets = inherited.sockets();
        let mut left = sockets.len();
        for sockets in sockets.chunks(PacketSocket::MAX_DESCRIPTORS) {
            left -= sockets.len();
            let message = Message::Sockets {
                birth: birth.to_string(),
                names: sockets.iter().map(|(name, _)| name.to_string()).collect(),
                more: left > 0,
                kept: inherited.kept().cloned(),
                keyring: keyring.clone(),
            };
            let sockets = borrowed(sockets.iter().map(|(_, socket)| socket));
            self.channel.hand(&message, &sockets).await?;
        }
        Ok(())
    }

    /// Finds out how the process ended, if that is why the channel broke.
    async fn explain<T>(&mut self, result: Result<T, UpgradeError>) -> Result<T, UpgradeError> {
        let gone = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionReset
            )
        };
        match (result, &mut self.child) {
            (Err(UpgradeError::Channel(error)), Some(child)) if gone(&error) => {
                let status = match timeout(REAP, child.wait()).await {
                    Ok(Ok(status)) => status.to_string(),
                    _ => "it closed the channel".to_owned(),
                };
                Err(UpgradeError::Ended(status))
            }
            (result, _) => result,
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            drop(child.start_kill());
        }
    }
}

/// Nothing is read meanwhile, and what the sockets' buffers cannot hold is lost.
const TAKE: Duration = Duration::from_secs(2);
const REAP: Duration = Duration::from_secs(1);
