use std::collections::BTreeMap;
use std::time::Duration;

use crate::bench::Metric;
use crate::sys::allocation::Allocations;
use crate::sys::processor::{ProcessorClock, Split, thread_time};

/// What shows how long a node ran on processors.
#[derive(Clone, Debug)]
pub(super) enum NodeClock {
    /// Nothing: it is on another machine, or nobody said which process it is.
    None,
    /// The clocks of these threads of this process.
    Threads(Vec<u32>),
    /// The clock of a process.
    Process(u32),
}

/// The clocks of both sides at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    client: Duration,
    client_split: Split,
    client_allocations: Option<Allocations>,
    node: Option<Duration>,
    node_split: Option<Split>,
    node_allocations: Option<Allocations>,
}

/// What both sides spent where, over many samples.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shares {
    client: Split,
    node: Split,
}

impl NodeClock {
    /// Reads the clocks. The calling thread is the client.
    pub(super) fn read(&self) -> Reading {
        Reading {
            client_split: Split::own(),
            node: self.node(),
            node_split: self.node_split(),
            node_allocations: self.node_allocations(),
            client_allocations: Allocations::own(),
            client: thread_time(),
        }
    }

    /// Reads the client's clock alone, before the node has come to its end.
    pub(super) fn read_client() -> (Duration, Option<Allocations>) {
        (thread_time(), Allocations::own())
    }

    fn node(&self) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::Threads(threads) => threads
                .iter()
                .map(|thread| ProcessorClock::of_thread(*thread).ok()?.read().ok())
                .sum(),
            Self::Process(process) => ProcessorClock::of_process(*process).ok()?.read().ok(),
        }
    }

    fn node_split(&self) -> Option<Split> {
        match self {
            Self::None => None,
            Self::Threads(threads) => threads.iter().try_fold(Split::default(), |sum, thread| {
                let split = Split::of_thread(*thread).ok()?;
                Some(plus(sum, split))
            }),
            Self::Process(process) => Split::of_process(*process).ok(),
        }
    }

    fn node_allocations(&self) -> Option<Allocations> {
        let Self::Threads(threads) = self else {
            return None;
        };
        threads
            .iter()
            .try_fold(Allocations::default(), |sum, thread| {
                let of_thread = Allocations::of_thread(*thread)?;
                Some(Allocations {
                    count: sum.count + of_thread.count,
                    bytes: sum.bytes + of_thread.bytes,
                })
            })
    }
}

impl Reading {
    /// What was spent since. The client's part ends earlier than the node's.
    pub(super) fn spent(
        &self,
        client: (Duration, Option<Allocations>),
        after: &Self,
    ) -> BTreeMap<Metric, f64> {
        let microseconds = |time: Duration| time.as_secs_f64() * 1e6;
        let node = after.node.zip(self.node);
        let mut spent = BTreeMap::new();
        let mut insert = |metric, value: Option<f64>| {
            spent.extend(value.map(|value| (metric, value)));
        };
        let (client_time, client_allocations) = client;
        let client_time = client_time.saturating_sub(self.client);
        insert(Metric::ClientCpu, Some(microseconds(client_time)));
        let node = node.map(|(after, before)| microseconds(after.saturating_sub(before)));
        insert(Metric::NodeCpu, node);
        let client = client_allocations.zip(self.client_allocations);
        let client = client.map(|(after, before)| after - before);
        insert(
            Metric::ClientAllocations,
            client.map(|spent| float(spent.count)),
        );
        insert(
            Metric::ClientAllocated,
            client.map(|spent| float(spent.bytes)),
        );
        let node = after.node_allocations.zip(self.node_allocations);
        let node = node.map(|(after, before)| after - before);
        insert(
            Metric::NodeAllocations,
            node.map(|spent| float(spent.count)),
        );
        insert(Metric::NodeAllocated, node.map(|spent| float(spent.bytes)));
        spent
    }
}

impl Shares {
    /// Adds what a sample took.
    pub(super) fn add(&mut self, before: &Reading, after: &Reading) {
        self.client = plus(self.client, minus(after.client_split, before.client_split));
        if let (Some(before), Some(after)) = (before.node_split, after.node_split) {
            self.node = plus(self.node, minus(after, before));
        }
    }

    /// Which part of a side's time was spent in the kernel; none before there is enough to tell, because
    /// the kernel only samples it.
    pub(super) fn kernel(&self) -> [(Metric, Metric, Option<f64>); 2] {
        let share = |split: Split| {
            let sum = split.user + split.kernel;
            (sum >= ENOUGH).then(|| split.kernel.as_secs_f64() / sum.as_secs_f64())
        };
        [
            (Metric::ClientCpu, Metric::ClientKernel, share(self.client)),
            (Metric::NodeCpu, Metric::NodeKernel, share(self.node)),
        ]
    }
}

fn plus(a: Split, b: Split) -> Split {
    Split {
        user: a.user + b.user,
        kernel: a.kernel + b.kernel,
    }
}

fn minus(a: Split, b: Split) -> Split {
    Split {
        user: a.user.saturating_sub(b.user),
        kernel: a.kernel.saturating_sub(b.kernel),
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "a handshake allocates far less than 2^53"
)]
fn float(count: u64) -> f64 {
    count as f64
}

/// Of the ticks in which the kernel samples, a hundred at least.
const ENOUGH: Duration = Duration::from_secs(1);
