use std::time::Duration;

use crate::testbed::Move;

/// What one run of the demo does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How long the run lasts at least; it goes on until the minimums are met, for at most three
    /// times as long.
    pub duration: Duration,
    /// What each transport must have been through at the end.
    pub minimums: Minimums,
    /// What is broken on purpose. A broken run ends at its first lost requests and need not reach
    /// the minimums.
    pub fault: Option<Break>,
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
    /// The demo as documented, with this duration and fault.
    pub fn new(duration: Duration, fault: Option<Break>) -> Self {
        Self {
            duration,
            minimums: Minimums::default(),
            fault,
        }
    }

    /// How long a request may take before it is lost: forty times the longest pause between two
    /// moves, or eight times in a broken run, which has nothing to wait for.
    pub fn deadline(&self) -> Duration {
        match self.fault {
            None => Duration::from_secs(10),
            Some(_) => Duration::from_secs(2),
        }
    }

    /// When the run ends whatever was reached.
    pub fn hard_limit(&self) -> Duration {
        match self.fault {
            None => self.duration * 3,
            Some(_) => self.duration,
        }
    }
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
