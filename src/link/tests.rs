use super::*;

const DELAY: Duration = Duration::from_millis(10);

#[expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other beginning"
)]
fn start() -> Instant {
    Instant::now()
}

/// The times after `start` at which packets arrive that are sent one millisecond apart.
fn arrivals(link: &mut Link, packets: u32) -> Vec<Option<Duration>> {
    let start = start();
    let send = |number: u32| {
        let fate = link.send(start + Duration::from_millis(number.into()), 1200);
        match fate {
            Fate::Arrives { at, .. } => Some(at - start),
            Fate::Lost(_) => None,
        }
    };
    (0..packets).map(send).collect()
}

fn with(change: impl FnOnce(&mut Profile)) -> Link {
    let mut profile = Profile::of(DELAY);
    change(&mut profile);
    Link::new(profile, 7)
}

#[test]
fn a_plain_link_takes_its_delay() {
    let fate = Link::new(Profile::of(DELAY), 1).send(start(), 1200);
    assert!(matches!(fate, Fate::Arrives { again: None, .. }));
    let expected: Vec<_> = (0..5)
        .map(|number| Some(DELAY + Duration::from_millis(number)))
        .collect();
    assert_eq!(arrivals(&mut with(|_| {}), 5), expected);
}

#[test]
fn a_seed_repeats_every_fate() {
    let link = || {
        with(|profile| {
            profile.jitter = DELAY;
            profile.loss = PerMillion::percent(10);
            profile.reordering = PerMillion::percent(10);
            profile.lateness = DELAY;
        })
    };
    assert_eq!(arrivals(&mut link(), 500), arrivals(&mut link(), 500));
}

#[test]
fn jitter_keeps_the_order_and_its_limit() {
    let mut link = with(|profile| profile.jitter = DELAY);
    let times: Vec<_> = arrivals(&mut link, 500).into_iter().flatten().collect();
    assert!(times.is_sorted());
    let sent = (0..).map(Duration::from_millis);
    assert!(
        times
            .iter()
            .zip(sent)
            .all(|(at, sent)| (sent + DELAY..=sent + 2 * DELAY).contains(at))
    );
}

#[test]
fn loss_takes_its_share() {
    let mut link = with(|profile| profile.loss = PerMillion::percent(20));
    let lost = arrivals(&mut link, 5000)
        .iter()
        .filter(|at| at.is_none())
        .count();
    assert!((850..1150).contains(&lost), "{lost}");
}

#[test]
fn losses_come_in_bursts_of_the_mean_length_and_as_often_as_without() {
    for burst in [2, 4, 10] {
        let mut link = with(|profile| {
            profile.loss = PerMillion::percent(5);
            profile.burst = burst;
        });
        let lost: Vec<_> = arrivals(&mut link, 200_000)
            .iter()
            .map(Option::is_none)
            .collect();
        let count = lost.iter().filter(|lost| **lost).count();
        assert!((9000..11_000).contains(&count), "{count}");
        let bursts = lost.windows(2).filter(|pair| pair[1] && !pair[0]).count();
        let number = |count| f64::from(u32::try_from(count).unwrap());
        let mean = number(count) / number(bursts);
        let expected = f64::from(burst);
        assert!((expected * 0.9..expected * 1.1).contains(&mean), "{mean}");
    }
}

#[test]
fn without_bursts_the_fates_of_a_seed_stay_what_they_are() {
    let mut link = with(|profile| {
        profile.jitter = DELAY;
        profile.loss = PerMillion::percent(10);
        profile.reordering = PerMillion::percent(10);
        profile.lateness = DELAY;
    });
    let arrivals = arrivals(&mut link, 500);
    let lost = arrivals.iter().filter(|at| at.is_none()).count();
    let sum: Duration = arrivals.into_iter().flatten().sum();
    assert_eq!((lost, sum.as_nanos()), (43, 121_371_332_126));
}

#[test]
fn a_burst_ends_with_the_profile_that_had_it() {
    let mut link = with(|profile| {
        profile.loss = PerMillion::percent(50);
        profile.burst = 1000;
    });
    while link.send(start(), 1200) != Fate::Lost(Loss::Chance) {}
    link.set_profile(Profile::of(DELAY));
    assert!(matches!(link.send(start(), 1200), Fate::Arrives { .. }));
}

#[test]
fn overtaken_packets_are_late_and_the_others_are_not() {
    let mut link = with(|profile| {
        profile.reordering = PerMillion::percent(10);
        profile.lateness = Duration::from_millis(5);
    });
    let times: Vec<_> = arrivals(&mut link, 1000).into_iter().flatten().collect();
    let overtaken = times.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert!((50..150).contains(&overtaken), "{overtaken}");
    let sent = (0..).map(Duration::from_millis);
    assert!(times.iter().zip(sent).all(|(at, sent)| {
        *at == sent + DELAY || *at == sent + DELAY + Duration::from_millis(5)
    }));
}

#[test]
fn a_copy_arrives_after_its_original() {
    let mut link = with(|profile| {
        profile.duplication = PerMillion::percent(100);
        profile.lateness = Duration::from_millis(3);
    });
    let start = start();
    let at = start + DELAY;
    let again = Some(at + Duration::from_millis(3));
    assert_eq!(link.send(start, 1200), Fate::Arrives { at, again });
}

#[test]
fn a_rate_spaces_packets_and_its_queue_is_bounded() {
    let mut link = with(|profile| {
        profile.bytes_per_second = Some(1_200_000);
        profile.queue = 3600;
    });
    let start = start();
    let fates: Vec<_> = (0..6).map(|_| link.send(start, 1200)).collect();
    for (sent, fate) in (1..).zip(&fates[..3]) {
        let at = start + DELAY + Duration::from_millis(sent);
        assert_eq!(*fate, Fate::Arrives { at, again: None });
    }
    assert_eq!(fates[3..], [Fate::Lost(Loss::Queue); 3]);
    let later = start + Duration::from_millis(1);
    assert!(matches!(link.send(later, 1200), Fate::Arrives { .. }));
}

#[test]
fn what_is_longer_than_the_mtu_is_lost() {
    let mut link = with(|profile| profile.mtu = 1280);
    assert!(matches!(link.send(start(), 1280), Fate::Arrives { .. }));
    assert_eq!(link.send(start(), 1281), Fate::Lost(Loss::Mtu));
}

#[test]
fn a_cut_link_loses_everything_until_it_is_joined() {
    let mut link = with(|_| {});
    link.cut();
    assert_eq!(link.send(start(), 1200), Fate::Lost(Loss::Cut));
    link.join();
    assert!(matches!(link.send(start(), 1200), Fate::Arrives { .. }));
}
