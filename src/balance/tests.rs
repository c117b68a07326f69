//! Whole pools, in virtual time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use super::testing::start;
use super::*;

const MS: Duration = Duration::from_millis(1);

fn member(identity: u64) -> Member {
    Member {
        identity,
        weight: 1,
        zone: Zone::Own,
        priority: 0,
    }
}

fn pool_of(terms: PoolTerms, members: impl IntoIterator<Item = Member>) -> Pool<u64> {
    let with_handles = members.into_iter().map(|member| (member, member.identity));
    Pool::new(terms, with_handles, start())
}

fn by(choice: Choice) -> PoolTerms {
    PoolTerms {
        choice,
        ..PoolTerms::default()
    }
}

fn wish(random: u64, now: Instant) -> Wish<'static> {
    Wish {
        now,
        random,
        key: None,
        before: None,
        tried: &[],
        repeatable: Repeatable::Yes,
    }
}

/// Picks, and gives the name and the ID of the backend.
fn pick(pool: &mut Pool<u64>, wish: &Wish<'_>) -> (u64, BackendId) {
    let (picked, name) = pool.pick(wish).unwrap();
    (*name, picked.id)
}

/// How many of `count` requests, which end at once, go to each of the backends 0 to `backends`.
fn shares(pool: &mut Pool<u64>, backends: usize, count: u64) -> Vec<u64> {
    let mut shares = vec![0; backends];
    for random in 0..count {
        let (name, id) = pick(pool, &wish(random, start()));
        shares[usize::try_from(name).unwrap()] += 1;
        pool.tell(id, Answer::Good(MS), start());
        pool.end(id);
    }
    shares
}

fn eject(pool: &mut Pool<u64>, name: u64, now: Instant) {
    let id = pool
        .states(now)
        .find(|(_, handle, _)| **handle == name)
        .map(|(id, ..)| id)
        .unwrap();
    let mut changes = (0..5).filter_map(|_| pool.tell(id, Answer::Failed, now));
    assert_eq!(changes.next(), Some(Change::Out(id, Unfit::Failures)));
}

#[test]
fn every_choice_shares_out_by_weight() {
    for choice in [Choice::Latency, Choice::RoundRobin] {
        let mut weighted = member(1);
        weighted.weight = 3;
        let mut pool = pool_of(by(choice), [member(0), weighted]);
        let shares = shares(&mut pool, 2, 4000);
        assert!((2800..=3400).contains(&shares[1]), "{choice:?} {shares:?}");
    }
}

#[test]
fn turns_are_spread_out_evenly() {
    let mut heavy = member(0);
    heavy.weight = 3;
    let mut pool = pool_of(by(Choice::RoundRobin), [heavy, member(1), member(2)]);
    let order: Vec<u64> = (0..5)
        .map(|random| pick(&mut pool, &wish(random, start())).0)
        .collect();
    assert_eq!(order, [0, 1, 0, 2, 0]);
}

#[test]
fn the_fewest_requests_for_the_weight_win() {
    let mut heavy = member(2);
    heavy.weight = 2;
    let mut pool = pool_of(by(Choice::LeastRequests), [member(0), member(1), heavy]);
    let mut under_way = [0; 3];
    for random in 0..400 {
        let (name, _) = pick(&mut pool, &wish(random, start()));
        under_way[usize::try_from(name).unwrap()] += 1;
    }
    assert_eq!(under_way, [100, 100, 200]);
}

#[test]
fn a_backend_that_is_slow_gets_little_and_gets_more_when_it_has_recovered() {
    let mut pool = pool_of(by(Choice::Latency), (0..3).map(member));
    let mut serve = |from: u64, to: u64, slow: Duration| {
        let mut to_slow = 0;
        for random in from..to {
            let now = start() + MS * u32::try_from(random).unwrap();
            let (name, id) = pick(&mut pool, &wish(random, now));
            let took = if name == 0 { slow } else { MS };
            to_slow += u64::from(name == 0);
            pool.tell(id, Answer::Good(took), now);
            pool.end(id);
        }
        to_slow
    };
    let while_slow = serve(0, 10_000, 100 * MS);
    assert!(
        while_slow < 1500,
        "two draws of nine can be of it twice: {while_slow}"
    );
    serve(10_000, 200_000, MS);
    let afterwards = serve(200_000, 210_000, MS);
    assert!((2800..3900).contains(&afterwards), "{afterwards}");
}

#[test]
fn a_key_stays_with_its_backend_and_overflows_to_a_second() {
    let mut pool = pool_of(by(Choice::Hash), (0..4).map(member));
    let keyed = |key, random| Wish {
        key: Some(key),
        ..wish(random, start())
    };
    let home = pick(&mut pool, &keyed(7, 0)).0;
    let mut all = vec![home];
    for random in 1..100 {
        all.push(pick(&mut pool, &keyed(7, random)).0);
    }
    let at = |name: u64| all.iter().filter(|picked| **picked == name).count();
    assert!(
        (25..=40).contains(&at(home)),
        "a quarter more than the share: {all:?}"
    );
    assert_eq!(
        pick(
            &mut pool_of(by(Choice::Hash), (0..4).map(member)),
            &keyed(7, 9)
        )
        .0,
        home
    );
}

#[test]
fn a_client_goes_back_to_its_backend_while_that_is_fit() {
    let mut pool = pool_of(by(Choice::RoundRobin), (0..3).map(member));
    let again = |random| Wish {
        before: Some(2),
        ..wish(random, start())
    };
    assert!((0..20).all(|random| pick(&mut pool, &again(random)).0 == 2));
    eject(&mut pool, 2, start());
    assert!((0..20).all(|random| pick(&mut pool, &again(random)).0 != 2));
}

#[test]
fn what_has_failed_at_a_backend_goes_to_another_if_there_is_one() {
    let mut pool = pool_of(by(Choice::Latency), (0..2).map(member));
    let (first, tried) = pick(&mut pool, &wish(1, start()));
    for random in 0..50 {
        let again = Wish {
            tried: &[tried],
            ..wish(random, start())
        };
        assert_ne!(pick(&mut pool, &again).0, first);
    }
    let mut lonely = pool_of(by(Choice::Latency), [member(0)]);
    let (_, tried) = pick(&mut lonely, &wish(1, start()));
    let again = Wish {
        tried: &[tried],
        ..wish(2, start())
    };
    assert_eq!(pick(&mut lonely, &again).0, 0);
}

#[test]
fn the_own_zone_is_kept_to_until_it_cannot_bear_everything() {
    let elsewhere = |identity| Member {
        zone: Zone::Other,
        ..member(identity)
    };
    let members = || (0..4).map(member).chain((4..8).map(elsewhere));
    let mut pool = pool_of(by(Choice::Latency), members());
    let here = |shares: &[u64]| shares[..4].iter().sum::<u64>();
    assert_eq!(here(&shares(&mut pool, 8, 1000)), 1000);
    eject(&mut pool, 0, start());
    assert_eq!(here(&shares(&mut pool, 8, 1000)), 1000);
    eject(&mut pool, 1, start());
    let spilt = 1000 - here(&shares(&mut pool, 8, 1000));
    assert!(
        (200..400).contains(&spilt),
        "half of the zone bears 0.7: {spilt}"
    );
    eject(&mut pool, 2, start());
    eject(&mut pool, 3, start());
    assert_eq!(here(&shares(&mut pool, 8, 1000)), 0);
}

#[test]
fn when_too_few_are_fit_health_counts_for_nothing() {
    let mut pool = pool_of(PoolTerms::default(), (0..8).map(member));
    (0..6).for_each(|name| eject(&mut pool, name, start()));
    let (picked, name) = pool.pick(&wish(1, start())).unwrap();
    assert_eq!(picked.how, How::Fit);
    assert!(*name >= 6, "a quarter is enough");
    eject(&mut pool, 6, start());
    let hows: Vec<_> = (0..20)
        .map(|random| pool.pick(&wish(random, start())).unwrap().0.how)
        .collect();
    assert!(hows.iter().all(|how| *how == How::Panic));
    let shares = shares(&mut pool, 8, 800);
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
}

#[test]
fn a_full_pool_and_one_without_backends_say_so() {
    let terms = PoolTerms {
        requests: 2,
        ..PoolTerms::default()
    };
    let mut pool = pool_of(terms, (0..2).map(member));
    let taken: Vec<_> = (0..4)
        .map(|random| pick(&mut pool, &wish(random, start())).1)
        .collect();
    assert_eq!(pool.pick(&wish(5, start())).unwrap_err(), NoBackend::Full);
    pool.end(taken[2]);
    assert!(pool.pick(&wish(6, start())).is_ok());
    let mut empty = pool_of(terms, []);
    assert_eq!(empty.pick(&wish(0, start())).unwrap_err(), NoBackend::Unfit);
}

#[test]
fn members_come_and_go_and_those_that_stay_keep_their_state() {
    let mut pool = pool_of(by(Choice::RoundRobin), (0..3).map(member));
    let (name, going) = pick(&mut pool, &wish(0, start()));
    assert_eq!(name, 0);
    eject(&mut pool, 1, start());
    let later = (1..5).map(|name| (member(name), name + 100));
    pool.replace(later, start());
    let handles: Vec<u64> = pool.states(start()).map(|(_, handle, _)| *handle).collect();
    assert_eq!(handles, [101, 102, 103, 104], "who stays keeps its place");
    let unfit: Vec<_> = pool
        .states(start())
        .map(|(.., state)| state.unfit)
        .collect();
    assert_eq!(unfit, [Some(Unfit::Failures), None, None, None]);
    pool.tell(going, Answer::Failed, start());
    pool.end(going);
    let new = pool
        .states(start())
        .filter(|(.., state)| state.share < 1.0)
        .count();
    assert_eq!(new, 2, "who is new grows into its share");
}

#[test]
fn the_first_backends_of_an_empty_pool_have_their_share_at_once() {
    let mut pool = pool_of(by(Choice::RoundRobin), []);
    pool.replace((0..2).map(|name| (member(name), name)), start());
    assert!(pool.states(start()).all(|(.., state)| state.share >= 1.0));
}

#[test]
fn a_priority_is_used_only_while_too_few_of_those_before_it_are_fit() {
    let at = |identity, priority| Member {
        priority,
        ..member(identity)
    };
    let mut pool = pool_of(
        by(Choice::RoundRobin),
        [at(0, 10), at(1, 10), at(2, 20), at(3, 30)],
    );
    assert_eq!(shares(&mut pool, 4, 100), [50, 50, 0, 0]);
    eject(&mut pool, 0, start());
    assert_eq!(shares(&mut pool, 4, 100), [0, 100, 0, 0]);
    eject(&mut pool, 1, start());
    assert_eq!(shares(&mut pool, 4, 100), [0, 0, 100, 0]);
    eject(&mut pool, 2, start());
    assert_eq!(shares(&mut pool, 4, 100), [0, 0, 0, 100]);
}

#[test]
fn what_probes_said_is_forgotten_when_nobody_probes() {
    let mut pool = pool_of(by(Choice::RoundRobin), (0..2).map(member));
    let (_, id) = pick(&mut pool, &wish(0, start()));
    pool.end(id);
    for _ in 0..3 {
        pool.probed(id, false, start());
    }
    let unfit = |pool: &Pool<u64>| {
        let states = pool.states(start());
        states.filter(|(.., state)| state.unfit.is_some()).count()
    };
    assert_eq!(unfit(&pool), 1);
    pool.unprobed(start());
    assert_eq!(unfit(&pool), 0);
}

#[test]
fn what_fails_much_more_than_the_others_is_ejected_at_the_end_of_the_interval() {
    let mut pool = pool_of(by(Choice::RoundRobin), (0..3).map(member));
    let end = start() + Duration::from_secs(5);
    for random in 0..300 {
        let (name, id) = pick(&mut pool, &wish(random, start()));
        let answer = if name == 1 {
            Answer::Error(MS)
        } else {
            Answer::Good(MS)
        };
        assert_eq!(pool.tell(id, answer, start()), None);
        pool.end(id);
    }
    assert_eq!(pool.review(start() + Duration::from_millis(4999)), []);
    let changes = pool.review(end);
    assert!(matches!(changes[..], [Change::Out(_, Unfit::SuccessRate)]));
    assert_eq!(pool.review(end), []);
}

/// A client every 2 ms, and three backends of which one dies and comes back. A request to a dead
/// backend fails after 1 ms and is sent again, to others.
#[test]
fn one_of_three_that_dies_is_out_within_a_second_and_back_within_five() {
    let mut pool = pool_of(PoolTerms::default(), (0..3).map(member));
    let mut budget = RetryBudget::new(RetryTerms::default(), start());
    let (dies, recovers) = (start() + 2_000 * MS, start() + 30_000 * MS);
    let (mut lost, mut out, mut back) = (0, None, None);
    for number in 0..20_000_u32 {
        let now = start() + number * 2 * MS;
        let dead = now >= dies && now < recovers;
        let mut tried: Vec<BackendId> = Vec::new();
        budget.request(now);
        loop {
            let wish = Wish {
                tried: &tried,
                ..wish(u64::from(number) << 8 | tried.len() as u64, now)
            };
            let (name, id) = pick(&mut pool, &wish);
            let failed = name == 0 && dead;
            let answer = if failed {
                Answer::Failed
            } else {
                Answer::Good(MS)
            };
            match pool.tell(id, answer, now) {
                Some(Change::Out(..)) => out = out.or(Some(now)),
                Some(Change::Back(..)) => back = Some(now),
                None => {}
            }
            pool.end(id);
            if !failed {
                break;
            }
            tried.push(id);
            if tried.len() > 2 || !budget.retry(now) {
                lost += 1;
                break;
            }
        }
    }
    assert_eq!(lost, 0);
    assert!(out.unwrap() - dies < Duration::from_secs(1));
    assert!(back.unwrap() - recovers < Duration::from_secs(5));
}

/// What came of requests to a backend with 16 slots that needs 10 ms for each.
struct Served {
    in_time: usize,
    refused: usize,
    p99: Duration,
}

/// Requests that come `per_second`, evenly, for twenty seconds, before 16 slots of 10 ms with a queue.
fn overload(per_second: u32, terms: PatienceTerms) -> Served {
    let (service, slots) = (10 * MS, 16);
    let mut patience = Patience::new(terms, start());
    let mut busy: BinaryHeap<Reverse<Instant>> = BinaryHeap::new();
    let mut queue: VecDeque<Instant> = VecDeque::new();
    let (mut times, mut refused) = (Vec::new(), 0);
    for number in 0..per_second * 20 {
        let now = start() + Duration::from_secs(1) * number / per_second;
        while let Some(Reverse(free)) = busy.peek().copied().filter(|Reverse(free)| *free <= now) {
            busy.pop();
            while queue
                .front()
                .is_some_and(|came| free - *came > patience.bound(free))
            {
                queue.pop_front();
                refused += 1;
            }
            if let Some(came) = queue.pop_front() {
                busy.push(Reverse(free + service));
                times.push(free + service - came);
            }
            if queue.is_empty() {
                patience.emptied(free);
            }
        }
        if busy.len() < slots {
            busy.push(Reverse(now + service));
            times.push(service);
        } else {
            queue.push_back(now);
        }
    }
    times.sort_unstable();
    Served {
        in_time: times.len(),
        refused,
        p99: times[times.len() * 99 / 100],
    }
}

#[test]
fn under_three_times_the_load_goodput_holds_and_nobody_waits_long() {
    let peak = overload(1600, PatienceTerms::default());
    assert_eq!(peak.refused, 0);
    let over = overload(4800, PatienceTerms::default());
    assert!(
        over.in_time * 10 >= peak.in_time * 9,
        "{} of {}",
        over.in_time,
        peak.in_time
    );
    assert!(over.refused > 50_000);
    assert!(over.p99 < 30 * MS, "{:?}", over.p99);
    let patient = PatienceTerms {
        burst: Duration::from_secs(60),
        standing: Duration::from_secs(60),
    };
    let without = overload(4800, patient);
    assert!(
        without.p99 > Duration::from_secs(2),
        "the test shows nothing: {:?}",
        without.p99
    );
}
