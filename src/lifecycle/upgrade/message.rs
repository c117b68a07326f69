use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::lifecycle::Kept;
use crate::sys::packets::{PacketSocket, WatchedPackets};

/// What two processes say to each other during an upgrade, one JSON object a message. Unknown fields
/// are passed over, so that another version may say more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(super) enum Message {
    /// The old process: the sockets with these names come with this message.
    Sockets {
        /// Its birth.
        birth: String,
        /// One name for each socket.
        names: Vec<String>,
        /// Whether there are more.
        more: bool,
        /// What it was configured with.
        kept: Option<Kept>,
        /// The keys of a node without a fleet.
        keyring: Option<Secret>,
    },
    /// The new process: everything is built and nothing is read yet.
    Prepared {
        /// Its version.
        version: String,
        /// Its instance.
        instance: u8,
    },
    /// The new process: it cannot take over.
    Failed {
        /// Why.
        reason: String,
    },
    /// The old process: it has stopped reading.
    Take,
    /// The new process: it reads.
    Taken,
}

/// A text that shows in no output.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ZeroizeOnDrop)]
#[serde(transparent)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// One end of the channel.
#[derive(Debug)]
pub(super) struct Channel(WatchedPackets);

impl Channel {
    pub(super) fn new(socket: PacketSocket) -> io::Result<Self> {
        WatchedPackets::new(Arc::new(socket)).map(Self)
    }

    pub(super) async fn say(&self, message: &Message) -> io::Result<()> {
        self.hand(message, &[]).await
    }

    pub(super) async fn hand(
        &self,
        message: &Message,
        sockets: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let text = Zeroizing::new(serde_json::to_vec(message).map_err(io::Error::other)?);
        self.0.send_with(&text, sockets).await
    }

    /// Waits for what the other process says next.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when it is gone.
    pub(super) async fn hear(&self) -> io::Result<(Message, Vec<OwnedFd>)> {
        let (text, sockets) = self.0.receive_with(MAX_MESSAGE).await?;
        let text = Zeroizing::new(text);
        if text.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let message = serde_json::from_slice(&text)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok((message, sockets))
    }
}

pub(super) fn borrowed<'a>(sockets: impl IntoIterator<Item = &'a OwnedFd>) -> Vec<BorrowedFd<'a>> {
    sockets.into_iter().map(AsFd::as_fd).collect()
}

const MAX_MESSAGE: usize = 64 << 10;
