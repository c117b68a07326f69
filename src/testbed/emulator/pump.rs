use std::io::{self, PipeReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::router::{Port, Router, Transfer};
use super::{Shared, State};
use crate::link::Loss;
use crate::sys::link_socket::Batch;
use crate::sys::timer::Timer;
use crate::testbed::lab::Tap;
use crate::testbed::now;

/// The cables' ends.
#[derive(Debug)]
pub(super) struct Ports {
    /// The client's, then the nodes'.
    taps: Vec<Tap>,
}

/// Carries packets between the ports, as the router says.
pub(super) struct Pump {
    shared: Arc<Shared>,
    /// Ends when the emulator is to stop, whatever the thread waits for.
    woken: PipeReader,
    timer: Timer,
    batch: Batch,
    arrived: Vec<Transfer>,
}

impl Ports {
    pub(super) fn new(client: Tap, nodes: Vec<Tap>) -> Self {
        let mut taps = nodes;
        taps.insert(0, client);
        Self { taps }
    }

    /// How many nodes there are.
    pub(super) fn nodes(&self) -> usize {
        self.taps.len() - 1
    }

    /// How many packets the kernel has dropped at all of them.
    pub(super) fn dropped(&self) -> io::Result<u64> {
        self.taps.iter().map(|tap| tap.socket.dropped()).sum()
    }

    fn tap(&self, port: Port) -> &Tap {
        match port {
            Port::Client => &self.taps[0],
            Port::Node(node) => &self.taps[node + 1],
        }
    }
}

impl Pump {
    pub(super) fn new(shared: Arc<Shared>, woken: PipeReader, mtu: u16) -> io::Result<Self> {
        Ok(Self {
            shared,
            woken,
            timer: Timer::new()?,
            batch: Batch::new(mtu),
            arrived: Vec::with_capacity(TOGETHER),
        })
    }

    /// Runs until the emulator is to stop, or something fails.
    pub(super) fn run(mut self) {
        if let Err(error) = self.carry() {
            self.shared.state().failure = Some(error);
        }
    }

    fn carry(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let taps = &shared.ports.taps;
        let mut waited: Vec<BorrowedFd<'_>> = taps.iter().map(|tap| tap.socket.as_fd()).collect();
        let woken = self.woken.try_clone()?;
        waited.push(woken.as_fd());
        let mut ready = vec![true; waited.len()];
        loop {
            let next = {
                let mut state = shared.state();
                for (index, ready) in ready.iter().enumerate().take(taps.len()) {
                    if *ready {
                        self.receive(&mut state, index)?;
                    }
                }
                self.deliver(&mut state.router)?;
                if state.stop {
                    return Ok(());
                }
                state.router.next()
            };
            let time = next.map(|at| at.saturating_duration_since(now() + AHEAD));
            if time == Some(Duration::ZERO) {
                // Too near to sleep: look at all sockets again.
                ready.fill(true);
                continue;
            }
            ready.fill(false);
            for index in self.timer.wait(&waited, time)? {
                ready[index] = true;
            }
        }
    }

    fn receive(&mut self, state: &mut State, index: usize) -> io::Result<()> {
        let port = match index.checked_sub(1) {
            None => Port::Client,
            Some(node) => Port::Node(node),
        };
        self.shared
            .ports
            .tap(port)
            .socket
            .receive(&mut self.batch)?;
        for arrival in self.batch.packets() {
            if arrival.truncated {
                state.router.too_long();
            } else {
                let bytes = Bytes::copy_from_slice(arrival.bytes);
                state.router.accept(port, arrival.at, bytes);
            }
        }
        Ok(())
    }

    /// Delivers all that has arrived.
    fn deliver(&mut self, router: &mut Router) -> io::Result<()> {
        loop {
            // Read before anything is sent: a receiver may answer before the call returns.
            let at = now();
            self.arrived.clear();
            router.arrived(at, TOGETHER, &mut self.arrived);
            let Some(first) = self.arrived.first() else {
                return Ok(());
            };
            let tap = self.shared.ports.tap(first.to);
            let mut rest = &self.arrived[..];
            while let Some((first, others)) = rest.split_first() {
                let packets = rest.iter().map(|transfer| &transfer.bytes[..]);
                match tap.socket.send(tap.neighbour, packets) {
                    Ok(sent) => {
                        let (done, left) = rest.split_at(sent);
                        for transfer in done {
                            router.delivered(transfer, at);
                        }
                        rest = left;
                    }
                    Err(error) => {
                        router.refused(first, loss(error)?);
                        rest = others;
                    }
                }
            }
        }
    }
}

/// What it means for a packet that it could not be sent.
fn loss(error: io::Error) -> io::Result<Loss> {
    match error.raw_os_error() {
        Some(libc::ENOBUFS | libc::EAGAIN) => Ok(Loss::Queue),
        Some(libc::EMSGSIZE) => Ok(Loss::Mtu),
        Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => Ok(Loss::Cut),
        _ => Err(error),
    }
}

/// Packets that are sent by one call: so few that the last is not much later than the first.
const TOGETHER: usize = 16;
/// How long before its time a packet is not slept for any more. Waking a thread takes some 100 us on a
/// virtual machine, by which packets would be late at the median.
const AHEAD: Duration = Duration::from_micros(100);
