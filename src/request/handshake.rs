use tokio::sync::watch;

/// Whether the handshake of a request's connection is complete, which proves that the client itself
/// sent the request and nobody repeated it (RFC 8470, section 3).
#[derive(Clone, Debug, Default)]
pub struct Handshake(Option<watch::Receiver<bool>>);

/// Tells every [`Handshake`] of a connection how it ended; dropping it says that it failed.
#[derive(Debug)]
pub(crate) struct HandshakeEnd(watch::Sender<bool>);

/// The handshake failed, and the connection with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the handshake failed")]
pub struct HandshakeFailed;

impl Handshake {
    /// A handshake that is still under way; one that is complete is the default.
    pub(crate) fn under_way() -> (HandshakeEnd, Self) {
        let (end, handshake) = watch::channel(false);
        (HandshakeEnd(end), Self(Some(handshake)))
    }

    /// Whether it is complete now.
    pub fn is_complete(&self) -> bool {
        self.0.as_ref().is_none_or(|complete| *complete.borrow())
    }

    /// Waits until it is complete; cancel safe. The edge bounds the time by `timeouts.handshake`.
    ///
    /// # Errors
    /// When it failed.
    pub async fn completed(&self) -> Result<(), HandshakeFailed> {
        let Some(complete) = &self.0 else {
            return Ok(());
        };
        let mut complete = complete.clone();
        match complete.wait_for(|complete| *complete).await {
            Ok(_) => Ok(()),
            Err(_) => Err(HandshakeFailed),
        }
    }
}

impl HandshakeEnd {
    /// Says that it is complete.
    pub(crate) fn complete(self) {
        self.0.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_handshake_is_complete_once_its_end_says_so() {
        let (end, handshake) = Handshake::under_way();
        assert!(!handshake.is_complete());
        end.complete();
        assert_eq!(handshake.completed().await, Ok(()));
        assert!(handshake.is_complete());
    }

    #[tokio::test]
    async fn a_handshake_whose_connection_ended_failed() {
        let (end, handshake) = Handshake::under_way();
        drop(end);
        assert_eq!(handshake.completed().await, Err(HandshakeFailed));
        assert!(!handshake.is_complete());
    }

    #[tokio::test]
    async fn a_transport_without_early_data_has_a_complete_handshake() {
        assert!(Handshake::default().is_complete());
        assert_eq!(Handshake::default().completed().await, Ok(()));
    }
}
