use std::fs;
use std::time::Duration;

use super::LoadError;

/// How hard a step was for the client and the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Pressure {
    /// How late handshakes began after their intended start, in rising order.
    pub late: Vec<Duration>,
    /// The share of the time for which the client's thread ran.
    pub client: f64,
    /// The share of the machine's processor time that nobody used.
    pub idle: f64,
}

impl Pressure {
    /// Why the figures would be the client's and not the node's, if that is so.
    pub fn refusal(&self) -> Option<String> {
        let late = self.late.get(self.late.len() * 99 / 100).copied();
        if self.client > CLIENT_MOST {
            return Some(format!(
                "the client is the bottleneck: its thread ran for {:.0} % of the time, and {:.0} % is the \
                 most",
                self.client * 100.0,
                CLIENT_MOST * 100.0
            ));
        }
        if self.idle < IDLE_LEAST {
            return Some(format!(
                "the machine is the bottleneck: {:.0} % of its processor time was left, and {:.0} % is \
                 the least",
                self.idle * 100.0,
                IDLE_LEAST * 100.0
            ));
        }
        late.filter(|late| *late > LATE_MOST).map(|late| {
            format!(
                "the client is the bottleneck: one handshake of a hundred began more than {late:.1?} \
                 late, and {LATE_MOST:?} is the most"
            )
        })
    }
}

/// The machine's processor time so far, in the kernel's ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    idle: u64,
    all: u64,
}

impl Idle {
    pub(super) fn read() -> Result<Self, LoadError> {
        let failed = |source| LoadError::Clock {
            whom: "the machine",
            source,
        };
        let text = fs::read_to_string("/proc/stat").map_err(failed)?;
        Self::parse(&text).ok_or_else(|| failed(std::io::ErrorKind::InvalidData.into()))
    }

    /// Reads the first line of `proc_stat(5)`.
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line
            .split_ascii_whitespace()
            .map(|ticks| ticks.parse().ok())
            .collect::<Option<_>>()?;
        // User, nice, system, idle, iowait, irq, softirq, steal; guests are in user.
        let all = ticks.iter().take(8).sum();
        Some(Self {
            idle: ticks.get(3)? + ticks.get(4)?,
            all,
        })
    }

    /// The share that was idle since an earlier reading.
    #[expect(clippy::cast_precision_loss, reason = "the ticks of a few seconds")]
    pub(super) fn since(&self, before: &Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        self.idle.saturating_sub(before.idle) as f64 / all as f64
    }
}

/// Above this the client waits for its own turn often enough to show in the tail.
const CLIENT_MOST: f64 = 0.7;
/// Below this node, client and kernel take turns on the same processors.
const IDLE_LEAST: f64 = 0.1;
/// The runtime's timer has steps of 1 ms.
const LATE_MOST: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn pressure(client: f64, idle: f64, late: u64) -> Pressure {
        let mut all = vec![Duration::from_micros(900); 98];
        all.extend([Duration::from_millis(late); 2]);
        Pressure {
            late: all,
            client,
            idle,
        }
    }

    #[test]
    fn figures_of_a_client_that_kept_up_are_reported() {
        assert_eq!(pressure(0.69, 0.11, 5).refusal(), None);
    }

    #[test]
    fn a_client_without_time_left_is_the_bottleneck() {
        let reason = pressure(0.71, 0.5, 1).refusal().unwrap();
        assert!(reason.starts_with("the client is the bottleneck: its thread ran"));
    }

    #[test]
    fn a_machine_without_time_left_is_the_bottleneck() {
        let reason = pressure(0.3, 0.09, 1).refusal().unwrap();
        assert!(reason.starts_with("the machine is the bottleneck"));
    }

    #[test]
    fn a_client_that_begins_late_is_the_bottleneck() {
        let reason = pressure(0.3, 0.5, 6).refusal().unwrap();
        assert!(reason.contains("began more than 6.0ms late"), "{reason}");
    }

    #[test]
    fn idle_time_is_read_between_two_moments() {
        let before = Idle::parse("cpu  10 0 10 70 10 0 0 0 5 0\ncpu0 1 2 3\n").unwrap();
        let after = Idle::parse("cpu  40 0 30 110 20 0 0 0 9 0\n").unwrap();
        assert!((after.since(&before) - 0.5).abs() < 1e-9);
        assert!(Idle::parse("intr 5\n").is_none());
    }
}
