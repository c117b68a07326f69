use std::time::{Duration, Instant};

use super::status::{Finding, LASTING, Sign};
use super::{Member, PeerStatus, Timing};
use crate::fleet::{Association, Epoch, NodeId, PeerState, PeerView};
use crate::wire::{BootId, Hearing, REPORT_VERSION, Report, SealedHeartbeat, TUNNEL_VERSION};

/// What is known of one peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) association: Association,
    pub(super) state: PeerState,
    member: Member,
    /// When this process began to listen for it.
    since: Instant,
    /// The last proof of life.
    proven: Option<Instant>,
    /// The first proof of life after which none was missing for longer than the detection time.
    steady: Option<Instant>,
    told: Option<Told>,
    /// The process and its clock of the last heartbeat that proved nothing.
    unproven: Option<(BootId, u64)>,
    signs: [Sign; Finding::ALL.len()],
}

/// What the peer said of itself and others when it last proved to be alive.
#[derive(Debug)]
struct Told {
    at: Instant,
    draining: bool,
    minting: Epoch,
    same_config: bool,
    clock_apart: Duration,
    reachable: Vec<(NodeId, Hearing)>,
}

impl Peer {
    pub(super) fn new(now: Instant, member: Member, association: Association) -> Self {
        Self {
            association,
            state: PeerState::Live,
            member,
            since: now,
            proven: None,
            steady: None,
            told: None,
            unproven: None,
            signs: Default::default(),
        }
    }

    /// Listens anew for a peer that was no member for a while.
    pub(super) fn rejoin(&mut self, now: Instant, member: Member) {
        self.member = member;
        self.listen(now);
    }

    /// Counts silence from here.
    pub(super) fn listen(&mut self, now: Instant) {
        self.since = now;
        (self.proven, self.steady, self.told) = (None, None, None);
        self.state = PeerState::Live;
    }

    pub(super) fn relocate(&mut self, member: Member) {
        self.member = member;
    }

    /// How long nothing was heard.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.proven.unwrap_or(self.since))
    }

    /// When nothing will have been heard for this long.
    pub(super) fn silent_at(&self, after: Duration) -> Instant {
        self.proven.unwrap_or(self.since) + after
    }

    /// Takes a proof of life.
    pub(super) fn prove(&mut self, now: Instant, timing: &Timing) {
        if self.proven.is_none() || self.silence(now) >= timing.silent_after {
            self.steady = Some(now);
        }
        self.proven = Some(now);
    }

    /// Keeps what a live peer said; `same_config` is whether its digest is this node's.
    pub(super) fn tell(
        &mut self,
        now: Instant,
        wall: Duration,
        report: &Report<'_>,
        same_config: impl FnOnce(&[u8; 8]) -> bool,
    ) {
        let entries = report.reachable.iter();
        self.told = Some(Told {
            at: now,
            draining: report.draining,
            minting: Epoch(report.minting),
            same_config: same_config(&report.config),
            clock_apart: wall.abs_diff(Duration::from_millis(report.wall)),
            reachable: entries
                .map(|(node, hearing)| (NodeId::from_bytes(node), hearing))
                .collect(),
        });
    }

    /// Whether this peer, as far as it said within the detection time, hears another.
    pub(super) fn hears(&self, now: Instant, other: NodeId, timing: &Timing) -> Option<Hearing> {
        let told = self.fresh(now, timing)?;
        let entry = told.reachable.iter().find(|(node, _)| *node == other);
        entry.map(|(_, hearing)| *hearing)
    }

    /// Whether it is known to speak version 2 now.
    pub(super) fn reports(&self, now: Instant, timing: &Timing) -> bool {
        self.fresh(now, timing).is_some()
    }

    pub(super) fn view(&self, now: Instant, timing: &Timing) -> PeerView {
        let steady = self.steady.is_some_and(|since| {
            now.saturating_duration_since(since) >= timing.interval * STEADY_INTERVALS
        });
        PeerView {
            node: self.member.node,
            state: self.state,
            welcomes: self.state == PeerState::Live && steady && !self.is_draining(now, timing),
        }
    }

    pub(super) fn status(&self, now: Instant, timing: &Timing) -> PeerStatus {
        let told = self.fresh(now, timing);
        let version = match told {
            Some(_) => Some(REPORT_VERSION),
            None => self.speaks_version_1(now, timing).then_some(TUNNEL_VERSION),
        };
        PeerStatus {
            node: self.member.node,
            relay: self.member.relay,
            state: self.state,
            welcomes: self.view(now, timing).welcomes,
            draining: self.is_draining(now, timing),
            heard: self.proven.map(|_| self.silence(now)),
            process: self.association.confirmed(),
            version,
            epochs: self.association.known_epochs(),
            minting: told.map(|told| told.minting),
            heard_by: Vec::new(),
            unheard_by: Vec::new(),
            findings: self.findings(now, timing),
        }
    }

    pub(super) fn note(&mut self, now: Instant, finding: Finding) {
        let at = Finding::ALL.iter().position(|known| *known == finding);
        self.signs[at.expect("ALL has every finding")].note(now);
    }

    /// Looks at an authentic heartbeat that proves nothing: another process of the peer's node may
    /// send it, or the peer may hear another process of this node.
    pub(super) fn suspect(
        &mut self,
        now: Instant,
        wall: Duration,
        timing: &Timing,
        sealed: &SealedHeartbeat<'_>,
    ) {
        let Some(report) = sealed.report else {
            return;
        };
        let boot = sealed.heartbeat.boot;
        // Recordings do not go on, and are of another time.
        let goes_on = |(known, last)| known != boot || report.wall > last;
        let apart = wall.abs_diff(Duration::from_millis(report.wall));
        if apart > RECENT || !self.unproven.is_none_or(goes_on) {
            return;
        }
        self.unproven = Some((boot, report.wall));
        if self.association.answers_another(&sealed.heartbeat) {
            self.note(now, Finding::OwnNodeTaken);
        }
        let confirmed = self.association.confirmed();
        let other = confirmed.is_some_and(|confirmed| confirmed.boot != boot);
        if other && self.silence(now) < timing.silent_after {
            self.note(now, Finding::DuplicateNode);
        }
    }

    pub(super) fn findings(&self, now: Instant, timing: &Timing) -> Vec<Finding> {
        let told = self.fresh(now, timing);
        let lasting = |(finding, sign): (&Finding, &Sign)| sign.is_lasting(now).then_some(*finding);
        let mut findings: Vec<_> = Finding::ALL
            .iter()
            .zip(&self.signs)
            .filter_map(lasting)
            .collect();
        let old = self.speaks_version_1(now, timing)
            && self
                .steady
                .is_some_and(|since| now.saturating_duration_since(since) >= LASTING);
        let states = [
            (
                told.is_some_and(|told| !told.same_config),
                Finding::OtherConfig,
            ),
            (old, Finding::OtherVersion),
            (
                told.is_some_and(|told| told.clock_apart >= CLOCK_APART),
                Finding::ClockApart,
            ),
        ];
        findings.extend(
            states
                .iter()
                .filter_map(|(holds, finding)| holds.then_some(*finding)),
        );
        findings.sort_unstable();
        findings.dedup();
        findings
    }

    fn is_draining(&self, now: Instant, timing: &Timing) -> bool {
        self.fresh(now, timing).is_some_and(|told| told.draining)
    }

    fn speaks_version_1(&self, now: Instant, timing: &Timing) -> bool {
        let lives = self.proven.is_some() && self.silence(now) < timing.silent_after;
        lives && !self.reports(now, timing)
    }

    fn fresh(&self, now: Instant, timing: &Timing) -> Option<&Told> {
        let fresh = |told: &&Told| now.saturating_duration_since(told.at) < timing.silent_after;
        self.told.as_ref().filter(fresh)
    }
}

/// A peer that came back takes new connections after proofs of life for so many intervals.
const STEADY_INTERVALS: u32 = 3;
const CLOCK_APART: Duration = Duration::from_secs(30);
/// How far the clock of a second process under one node ID may be from this node's.
const RECENT: Duration = Duration::from_secs(60);
