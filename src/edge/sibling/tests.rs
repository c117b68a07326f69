use std::net::SocketAddr;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::cid::{CidConfig, ConfigId, FirstOctet, Key, Nonce};
use crate::control::Birth;
use crate::edge::endpoints::Endpoints;
use crate::edge::socket::{Batch, Injected, InjectedQueue, Origin};
use crate::fleet::{Identity, NodeId, View};
use crate::steer::{Arrival, Slots, Steer};
use crate::telemetry::{Metrics, Reason};
use crate::wire::{Ecn, Path};

/// One process of the node, as far as its siblings see it.
struct Process {
    siblings: Arc<Siblings>,
    steering: Arc<Steering>,
    metrics: Metrics,
    injected: InjectedQueue,
    envelopes: mpsc::Receiver<Bytes>,
    tasks: JoinSet<()>,
}

impl Process {
    fn start(directory: &TempDir, birth: Birth) -> Self {
        let registration =
            Registration::new(directory.path(), NodeId::default(), birth, None, 0).unwrap();
        let instance = registration.own().instance;
        let metrics = Metrics::default();
        let config = config();
        let slots = Slots::single(config.cid_len());
        let view = View::new(Identity::Node(NodeId::default(), instance), []);
        let steer = Steer::new([config].into_iter().collect(), view, slots);
        let steering = Steering::testing(steer, &metrics);
        let siblings = Arc::new(Siblings::new(registration));
        steering.join(Arc::clone(&siblings));
        let (endpoints, injected) = Endpoints::testing(slots, QUEUED);
        steering.serve(endpoints);
        let (envelopes_in, envelopes) = mpsc::channel(1);
        let receiver = Receiver::new(Arc::clone(&steering), Some(envelopes_in));
        let mut tasks = JoinSet::new();
        let serving = Arc::clone(&siblings);
        tasks.spawn(async move { serving.serve(receiver, CancellationToken::new()).await });
        Self {
            siblings,
            steering,
            metrics,
            injected,
            envelopes,
            tasks,
        }
    }

    fn instance(&self) -> InstanceId {
        self.siblings.own().instance
    }

    fn dropped(&self, reason: &'static str) -> u64 {
        let dropped = &self.metrics.datagrams_dropped;
        dropped.get_or_create(&Reason { reason }).get()
    }

    /// A short-header packet for a connection of this process.
    fn packet(&self, len: usize, fill: u8) -> Vec<u8> {
        let id = Identity::Node(NodeId::default(), self.instance()).server_id();
        let nonce = Nonce::new(&[9; 12]).unwrap();
        let cid = config().encode(&id, &nonce, 0).unwrap();
        let mut packet = vec![0x40];
        packet.extend_from_slice(&cid);
        packet.resize(len, fill);
        packet
    }

    async fn taken(&mut self) -> Injected {
        timeout(PATIENCE, self.injected.next()).await.unwrap()
    }
}

fn config() -> CidConfig {
    let key = Key::from_bytes([5; 16]);
    CidConfig::new(ConfigId::default(), 4, 12, FirstOctet::Random, Some(&key)).unwrap()
}

fn birth() -> Birth {
    Birth::first([3; 8])
}

fn path() -> Path {
    Path {
        source: SocketAddr::from(([192, 0, 2, 7], 4000)),
        destination: SocketAddr::from(([192, 0, 2, 1], 443)),
    }
}

fn batch(bytes: &[u8], stride: usize, ecn: Ecn) -> Batch<'_> {
    let origin = Origin {
        ingress: Some(NodeId::new(5).unwrap()),
        ..Origin::direct(path(), ecn)
    };
    Batch {
        bytes,
        stride,
        origin,
    }
}

async fn census(process: &Process, so: impl FnMut(&Census) -> bool) {
    let mut census = process.siblings.census();
    timeout(PATIENCE, census.wait_for(so))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_batch_reaches_the_process_that_owns_it_with_its_path_and_mark() {
    let directory = tempfile::tempdir().unwrap();
    let mut old = Process::start(&directory, birth());
    let new = Process::start(&directory, birth().next());
    new.siblings.refresh(&new.steering);
    let batch = [old.packet(100, 1), old.packet(100, 2), old.packet(60, 3)].concat();
    new.steering
        .pass(old.instance(), &self::batch(&batch, 100, Ecn::Ce));
    for (len, fill) in [(100, 1), (100, 2), (60, 3)] {
        let taken = old.taken().await;
        let Origin {
            path: kept,
            ecn,
            arrival,
            ingress,
        } = taken.origin;
        assert_eq!((kept, ecn, arrival), (path(), Ecn::Ce, Arrival::Sibling));
        assert_eq!(ingress, NodeId::new(5).ok());
        assert_eq!((taken.bytes.len(), taken.bytes[59]), (len, fill));
    }
    assert_eq!(new.metrics.datagrams_passed.get(), 3);
}

#[tokio::test]
async fn a_broken_way_to_a_sibling_that_lives_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let mut old = Process::start(&directory, birth());
    let new = Process::start(&directory, birth().next());
    new.siblings.refresh(&new.steering);
    let packet = old.packet(100, 1);
    let pass = || {
        let batch = batch(&packet, 100, Ecn::NotEct);
        new.steering.pass(old.siblings.own().instance, &batch);
    };
    pass();
    timeout(PATIENCE, old.injected.next()).await.unwrap();
    old.tasks.shutdown().await;
    let (serving, steering) = (Arc::clone(&old.siblings), Arc::clone(&old.steering));
    old.tasks.spawn(async move {
        let receiver = Receiver::new(steering, None);
        serving.serve(receiver, CancellationToken::new()).await;
    });
    new.siblings.refresh(&new.steering);
    pass();
    timeout(PATIENCE, old.injected.next()).await.unwrap();
}

#[tokio::test]
async fn what_a_sibling_wrongly_passes_on_stops_here() {
    let directory = tempfile::tempdir().unwrap();
    let old = Process::start(&directory, birth());
    let new = Process::start(&directory, birth().next());
    new.siblings.refresh(&new.steering);
    old.siblings.refresh(&old.steering);
    let packet = new.packet(100, 1);
    new.steering
        .pass(old.instance(), &batch(&packet, 100, Ecn::NotEct));
    until(|| old.dropped("hop_limit") == 1).await;
}

#[tokio::test]
async fn a_process_sees_its_successor_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let old = Process::start(&directory, birth());
    census(&old, |census| !census.superseded).await;
    let new = Process::start(&directory, birth().next());
    census(&old, |census| census.superseded).await;
    assert_eq!(old.siblings.live(), [new.siblings.own()]);
    drop(new);
    census(&old, |census| !census.superseded).await;
    assert!(old.siblings.live().is_empty());
}

#[tokio::test]
async fn a_process_of_another_lineage_supersedes_nobody_and_ends_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let old = Process::start(&directory, birth());
    let stranger = Process::start(&directory, Birth::first([4; 8]).next());
    until(|| old.siblings.live().len() == 1).await;
    assert!(!old.siblings.census().borrow().superseded);
    stranger.siblings.refresh(&stranger.steering);
    stranger.siblings.announce_ending();
    assert!(!old.siblings.census().borrow().ending);
}

#[tokio::test]
async fn the_end_of_the_node_is_told_to_all_older_processes() {
    let directory = tempfile::tempdir().unwrap();
    let oldest = Process::start(&directory, birth());
    let old = Process::start(&directory, birth().next());
    let new = Process::start(&directory, birth().next().next());
    new.siblings.refresh(&new.steering);
    new.siblings.announce_ending();
    census(&oldest, |census| census.ending).await;
    census(&old, |census| census.ending).await;
}

#[tokio::test]
async fn an_envelope_goes_to_the_process_before() {
    let directory = tempfile::tempdir().unwrap();
    let mut oldest = Process::start(&directory, birth());
    let mut old = Process::start(&directory, birth().next());
    let new = Process::start(&directory, birth().next().next());
    new.siblings.refresh(&new.steering);
    old.siblings.refresh(&old.steering);
    new.siblings.pass_envelope(b"sealed").unwrap();
    let envelope = timeout(PATIENCE, old.envelopes.recv()).await.unwrap();
    assert_eq!(envelope.unwrap(), &b"sealed"[..]);
    old.siblings.pass_envelope(b"older").unwrap();
    let envelope = timeout(PATIENCE, oldest.envelopes.recv()).await.unwrap();
    assert_eq!(envelope.unwrap(), &b"older"[..]);
    oldest.siblings.refresh(&oldest.steering);
    assert_eq!(oldest.siblings.pass_envelope(b"oldest"), Err(NO_SIBLING));
}

#[tokio::test]
async fn what_nobody_takes_in_time_is_dropped_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let mut old = Process::start(&directory, birth());
    let new = Process::start(&directory, birth().next());
    new.siblings.refresh(&new.steering);
    old.tasks.shutdown().await;
    let packet = old.packet(1200, 1);
    for _ in 0..100_000 {
        new.steering
            .pass(old.instance(), &batch(&packet, 1200, Ecn::NotEct));
    }
    let lost = new.dropped(SIBLING_FULL) + new.dropped(SIBLING_ERROR);
    assert_eq!(lost + new.metrics.datagrams_passed.get(), 100_000);
    assert!(lost > 0);
    new.steering
        .pass(InstanceId(200), &batch(&packet, 1200, Ecn::NotEct));
    assert_eq!(new.dropped(NO_SIBLING), 1);
}

#[tokio::test]
async fn a_message_of_no_form_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let old = Process::start(&directory, birth());
    let other =
        Registration::new(directory.path(), NodeId::default(), birth().next(), None, 0).unwrap();
    let scan = other.scan(|_| false).unwrap();
    let (_, socket) = scan.joined.first().unwrap();
    socket.send(&[IoSlice::new(&[0xff; 9])]).unwrap();
    until(|| old.dropped(SIBLING_MESSAGE) == 1).await;
}

#[track_caller]
fn until(mut so: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let waiting = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(2));
            while !so() {
                ticks.tick().await;
            }
        };
        assert!(
            timeout(PATIENCE, waiting).await.is_ok(),
            "waited in vain at {caller}"
        );
    }
}

const QUEUED: usize = 16;
const PATIENCE: Duration = Duration::from_secs(20);
