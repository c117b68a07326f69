/// In the extensions of a response that opens a tunnel: its handler ends the tunnel when nothing passes,
/// and knows of what passes beside the two bodies ([`Datagrams`](super::Datagrams)).
///
/// Without it, a tunnel in whose bodies nothing passes ends after
/// [`Timeouts::tunnel_idle`](crate::config::Timeouts::tunnel_idle).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepsTime;
