use std::path::PathBuf;
use std::time::Duration;

use crate::testbed::Move;

/// What one run of the demo does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The `wayhold` program that the nodes run.
    pub program: PathBuf,
    /// How long the run lasts at least; it goes on until the minimums are met, for at most three
    /// times as long.
    pub duration: Duration,
    /// What each transport must have been through at the end.
    pub minimums: Minimums,
    /// What is broken on purpose. A broken run ends at its first lost requests and need not reach
    /// the minimums.
    pub fault: Option<Break>,
    /// Whether the run goes on until so many requests are answered, with planned events only.
    pub soak: Option<Soak>,
}

/// How long a soak lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Soak {
    /// Requests that are to be answered over HTTP/3.
    pub requests: u64,
    /// When the run ends though they are not; it has failed then.
    pub limit: Duration,
}

/// What happens to all clients, or to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The route leads to the next node.
    Flip,
    /// The NATs give every client a new port.
    Rebind,
    /// Every client has a new address and port.
    Address,
    /// A node leaves the route and is told to drain, and comes back later.
    Drain,
    /// A node's process gives way to a new one.
    Upgrade,
    /// A step of a rotation: the fleet's next key is announced or activated.
    Rotate,
    /// Every node reads a configuration with other routes.
    Reload,
    /// A fourth node joins the fleet.
    Join,
    /// It drains and leaves the fleet.
    Leave,
    /// A node's process is killed without a warning.
    Kill,
}

/// What the demo does to the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Takes the node of this index out of the route, and drains it.
    Drain(usize),
    /// Takes the drain back.
    Undrain(usize),
    /// Lets a new process take over.
    Upgrade(usize),
    /// Makes a new key, and has all nodes read it.
    Rotate,
    /// Has all nodes read other routes.
    Reload,
    /// Lets the guest join.
    Join,
    /// Drains the guest.
    Leave,
    /// Lets the guest go for good.
    Part,
}

/// What makes a run mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minimums {
    /// Requests answered in full, on each transport.
    pub requests: u64,
    /// Body bytes in each direction, on each transport.
    pub bytes: u64,
    /// Rebinds.
    pub rebinds: u64,
    /// Address changes.
    pub addresses: u64,
    /// Flips.
    pub flips: u64,
    /// Percent of all moves that found a body in flight on both transports.
    pub in_flight_percent: u64,
}

/// What can be broken on purpose, to show that the demo notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// Nodes take a datagram with another node's connection ID for their own.
    Steer,
    /// Nodes also give a copy of such a datagram to their own endpoint, which accepts any
    /// connection ID as one that it may have issued.
    Validate,
    /// The relay claims flips that it does not make.
    Relay,
}

impl Plan {
    /// The demo as documented, with this program, duration and fault.
    pub fn new(program: PathBuf, duration: Duration, fault: Option<Break>) -> Self {
        Self {
            program,
            duration,
            minimums: Minimums::default(),
            fault,
            soak: None,
        }
    }

    /// The soak as documented.
    pub fn soak(program: PathBuf, soak: Soak) -> Self {
        Self {
            program,
            duration: soak.limit,
            minimums: Minimums::NONE,
            fault: None,
            soak: Some(soak),
        }
    }

    /// What is done to the nodes and when, counted from the first move. A broken run ends before
    /// any of it could teach something.
    pub(super) fn acts(&self) -> Box<dyn Iterator<Item = (Duration, Act)> + Send> {
        match (self.fault, self.soak) {
            (Some(_), _) => Box::new(std::iter::empty()),
            (None, None) => Box::new(cycle(0, self.duration).into_iter()),
            (None, Some(_)) => Box::new((0..).zip(0_usize..).flat_map(|(times, number)| {
                soak_cycle(number)
                    .into_iter()
                    .filter(move |(_, act)| *act != Act::Rotate || times % ROTATE_EVERY == 0)
                    .map(move |(at, act)| (CYCLE * times + at, act))
            })),
        }
    }

    /// The kinds of event that belong to the run.
    pub(super) fn events(&self) -> &'static [Event] {
        match self.soak {
            None => &DEMO_EVENTS,
            Some(_) => &SOAK_EVENTS,
        }
    }

    /// Whether the last node is killed at the end.
    pub(super) fn kills(&self) -> bool {
        self.fault.is_none() && self.soak.is_none()
    }

    /// How long a request may take before it is lost: forty times the longest pause between two
    /// moves, or eight times in a broken run, which has nothing to wait for. A soak is long enough to
    /// be disturbed by something else on the machine, and waits longer.
    pub fn deadline(&self) -> Duration {
        match (self.fault, self.soak) {
            (None, None) => Duration::from_secs(10),
            (None, Some(_)) => Duration::from_secs(30),
            (Some(_), _) => Duration::from_secs(2),
        }
    }

    /// Keys of every node's `fleet`, one on a line.
    ///
    /// In a soak nobody dies. A machine that is busy with other things may still leave a process without
    /// a processor for longer than the 800 ms after which a fleet must take it for dead and reset its
    /// connections; no node can tell the two apart.
    pub(super) fn fleet_keys(&self) -> &'static str {
        match self.soak {
            None => "",
            Some(_) => "silent_after = \"5s\"",
        }
    }

    /// When the run ends whatever was reached.
    pub fn hard_limit(&self) -> Duration {
        match self.fault {
            None if self.soak.is_none() => self.duration * 3,
            _ => self.duration,
        }
    }
}

impl Event {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Flip,
        Self::Rebind,
        Self::Address,
        Self::Drain,
        Self::Upgrade,
        Self::Rotate,
        Self::Reload,
        Self::Join,
        Self::Leave,
        Self::Kill,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flip => "flip",
            Self::Rebind => "rebind",
            Self::Address => "address",
            Self::Drain => "drain",
            Self::Upgrade => "upgrade",
            Self::Rotate => "rotate",
            Self::Reload => "reload",
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Kill => "kill",
        }
    }

    /// Whether nodes tell clients to connect again after it.
    pub(super) fn sends_clients_away(self) -> bool {
        matches!(self, Self::Drain | Self::Upgrade | Self::Leave)
    }

    /// Whether it makes clients connect again.
    pub(super) fn ends_connections(self) -> bool {
        self.sends_clients_away() || self == Self::Kill
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

impl From<Move> for Event {
    fn from(made: Move) -> Self {
        match made {
            Move::Flip => Self::Flip,
            Move::Rebind => Self::Rebind,
            Move::Address => Self::Address,
        }
    }
}

impl Minimums {
    /// Nothing.
    pub const NONE: Self = Self {
        requests: 0,
        bytes: 0,
        rebinds: 0,
        addresses: 0,
        flips: 0,
        in_flight_percent: 0,
    };
}

impl Default for Minimums {
    fn default() -> Self {
        Self {
            requests: 1000,
            bytes: 100_000_000,
            rebinds: 40,
            addresses: 8,
            flips: 20,
            in_flight_percent: 90,
        }
    }
}

/// What happens when, without end: every 250 ms a NAT rebinding, every eighth time with a new
/// address, and every 500 ms a flip in between, so that each kind also happens alone.
pub(super) fn schedule() -> impl Iterator<Item = (Duration, Move)> {
    (1..).map(|tick: u32| {
        let event = match tick {
            _ if tick.is_multiple_of(ADDRESS_EVERY) => Move::Address,
            _ if tick.is_multiple_of(2) => Move::Rebind,
            _ => Move::Flip,
        };
        (tick, event)
    })
    // Odd ticks are flips; every second of them is left out.
    .filter(|(tick, _)| tick % 4 != 3)
    .map(|(tick, event)| (TICK * tick, event))
}

/// One drain, one upgrade and two rotations within this time; the next cycle takes the next nodes.
fn cycle(number: usize, length: Duration) -> [(Duration, Act); 5] {
    let (first, second) = (number % NODES, (number + 1) % NODES);
    [
        (length * 15 / 100, Act::Drain(first)),
        (length * 30 / 100, Act::Undrain(first)),
        (length * 40 / 100, Act::Upgrade(second)),
        (length * 60 / 100, Act::Rotate),
        (length * 80 / 100, Act::Rotate),
    ]
}

/// Everything that is planned, within [`CYCLE`].
fn soak_cycle(number: usize) -> [(Duration, Act); 9] {
    let (first, second) = (number % NODES, (number + 1) % NODES);
    [
        (CYCLE * 5 / 100, Act::Join),
        (CYCLE * 20 / 100, Act::Drain(first)),
        (CYCLE * 30 / 100, Act::Undrain(first)),
        (CYCLE * 40 / 100, Act::Upgrade(second)),
        (CYCLE * 55 / 100, Act::Rotate),
        (CYCLE * 60 / 100, Act::Reload),
        (CYCLE * 70 / 100, Act::Rotate),
        (CYCLE * 80 / 100, Act::Leave),
        (CYCLE * 90 / 100, Act::Part),
    ]
}

const DEMO_EVENTS: [Event; 7] = [
    Event::Flip,
    Event::Rebind,
    Event::Address,
    Event::Drain,
    Event::Upgrade,
    Event::Rotate,
    Event::Kill,
];
const SOAK_EVENTS: [Event; 9] = [
    Event::Flip,
    Event::Rebind,
    Event::Address,
    Event::Drain,
    Event::Upgrade,
    Event::Rotate,
    Event::Reload,
    Event::Join,
    Event::Leave,
];
/// Nodes of the fleet.
pub(super) const NODES: usize = 3;
/// The node that is killed, which is neither drained nor upgraded before.
pub(super) const VICTIM: usize = 2;
const CYCLE: Duration = Duration::from_secs(20);
/// Cycles from one new key to the next: 13 minutes, because a key must rest for 12.
const ROTATE_EVERY: u32 = 39;
const TICK: Duration = Duration::from_millis(125);
const ADDRESS_EVERY: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_seconds_hold_what_the_minimums_ask_for() {
        let minimums = Minimums::default();
        let events: Vec<_> = schedule()
            .take_while(|(at, _)| *at <= Duration::from_secs(20))
            .map(|(_, event)| event)
            .collect();
        let count = |kind| events.iter().filter(|event| **event == kind).count() as u64;
        assert_eq!(count(Move::Rebind), 70);
        assert_eq!(count(Move::Address), 10);
        assert_eq!(count(Move::Flip), 40);
        assert!(count(Move::Rebind) >= minimums.rebinds);
        assert!(count(Move::Address) >= minimums.addresses);
        assert!(count(Move::Flip) >= minimums.flips);
    }

    #[test]
    fn moves_come_in_order_at_their_intervals() {
        let events: Vec<_> = schedule().take(7).collect();
        let at = |ms| Duration::from_millis(ms);
        assert_eq!(
            events,
            [
                (at(125), Move::Flip),
                (at(250), Move::Rebind),
                (at(500), Move::Rebind),
                (at(625), Move::Flip),
                (at(750), Move::Rebind),
                (at(1000), Move::Rebind),
                (at(1125), Move::Flip),
            ]
        );
    }
}
