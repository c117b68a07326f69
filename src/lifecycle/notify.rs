use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Tells the service manager how this process is doing (`sd_notify(3)`), where there is one.
///
/// It speaks to the socket of the environment variable `NOTIFY_SOCKET` and never waits. What cannot
/// be told is lost: the service manager has its own timeouts.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    to: Option<SocketAddr>,
}

/// What the service manager is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// This process serves.
    Ready,
    /// This process reads its configuration again, at this time of the monotonic clock in
    /// microseconds; [`State::Ready`] follows.
    Reloading(u64),
    /// This process ends.
    Stopping,
    /// The process with this ID is the service's main process from now on.
    MainPid(u32),
}

impl Notifier {
    /// Speaks to the service manager that started this process, if any did.
    pub fn from_environment() -> Self {
        Self::new(std::env::var_os("NOTIFY_SOCKET"))
    }

    fn new(socket: Option<OsString>) -> Self {
        let address = |path: OsString| match path.as_bytes().split_first()? {
            (b'@', name) => SocketAddr::from_abstract_name(name).ok(),
            (b'/', _) => SocketAddr::from_pathname(&path).ok(),
            _ => None,
        };
        Self {
            to: socket.and_then(address),
        }
    }

    /// Tells a state.
    pub fn tell(&self, state: State) {
        let Some(to) = &self.to else { return };
        let message = match state {
            State::Ready => "READY=1".to_owned(),
            State::Reloading(now) => format!("RELOADING=1\nMONOTONIC_USEC={now}"),
            State::Stopping => "STOPPING=1".to_owned(),
            State::MainPid(pid) => format!("MAINPID={pid}"),
        };
        if let Err(error) = send(to, &message) {
            tracing::warn!(%error, "cannot tell the service manager");
        }
    }
}

fn send(to: &SocketAddr, message: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message.as_bytes(), to).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_reaches_the_socket() {
        let name = format!("wayhold-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier::new(Some(format!("@{name}").into()));
        for (state, said) in [
            (State::Ready, "READY=1"),
            (State::Reloading(7), "RELOADING=1\nMONOTONIC_USEC=7"),
            (State::Stopping, "STOPPING=1"),
            (State::MainPid(12), "MAINPID=12"),
        ] {
            notifier.tell(state);
            let mut buffer = [0; 64];
            let length = manager.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], said.as_bytes());
        }
    }

    #[test]
    fn without_a_service_manager_nothing_happens() {
        for socket in [
            None,
            Some(""),
            Some("relative"),
            Some("/nonexistent/notify"),
        ] {
            Notifier::new(socket.map(OsString::from)).tell(State::Ready);
        }
    }
}
