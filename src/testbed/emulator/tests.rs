use std::time::{Duration, Instant};

use bytes::Bytes;

use super::router::{Port, Router, Transfer};
use super::{Chosen, Direction, Fate, Limits, Trace};
use crate::link::{Loss, PerMillion, Profile};
use crate::testbed::now;

const DELAY: Duration = Duration::from_millis(25);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// An IPv4 packet with a UDP header that has these ports, and this number.
fn packet(from: u16, to: u16, number: u8) -> Bytes {
    let mut bytes = [0; 29];
    bytes[0] = 0x45;
    bytes[9] = 17;
    bytes[20..22].copy_from_slice(&from.to_be_bytes());
    bytes[22..24].copy_from_slice(&to.to_be_bytes());
    bytes[28] = number;
    Bytes::copy_from_slice(&bytes)
}

fn number(bytes: &Bytes) -> u8 {
    bytes[28]
}

fn router() -> Router {
    let mut router = Router::new(Limits::default());
    router.set_profiles(Profile::of(DELAY), Profile::of(DELAY), 1);
    router
}

/// Delivers all that has arrived by then, in batches of at most three, this much late.
fn deliver(router: &mut Router, at: Instant, late: Duration) -> Vec<(Port, u8)> {
    let mut delivered = Vec::new();
    loop {
        let mut batch: Vec<Transfer> = Vec::new();
        router.arrived(at, 3, &mut batch);
        if batch.is_empty() {
            return delivered;
        }
        assert!(batch.iter().all(|transfer| transfer.to == batch[0].to));
        for transfer in batch {
            router.delivered(&transfer, at + late);
            delivered.push((transfer.to, number(&transfer.bytes)));
        }
    }
}

#[test]
fn packets_arrive_in_order_after_the_delay_and_not_before() {
    let (mut router, start) = (router(), now());
    assert_eq!(router.next(), None);
    for sent in 0..10 {
        router.accept(Port::Client, start, packet(1, 2, sent));
    }
    assert_eq!(router.next(), Some(start + DELAY));
    let just_before = start + DELAY.saturating_sub(Duration::from_nanos(1));
    assert_eq!(deliver(&mut router, just_before, ms(0)), []);
    let expected: Vec<_> = (0..10).map(|sent| (Port::Node(0), sent)).collect();
    assert_eq!(deliver(&mut router, start + DELAY, ms(0)), expected);
    assert_eq!(router.next(), None);
}

#[test]
fn a_route_holds_for_what_is_sent_after_it() {
    let (mut router, start) = (router(), now());
    router.accept(Port::Client, start, packet(1, 2, 0));
    router.set_route(1);
    router.accept(Port::Client, start + ms(1), packet(1, 2, 1));
    // Both nodes reach the client, whoever gets its packets.
    router.accept(Port::Node(0), start + ms(2), packet(2, 1, 2));
    router.accept(Port::Node(1), start + ms(3), packet(2, 1, 3));
    let (to_node, to_client) = ([Port::Node(0), Port::Node(1)], [Port::Client; 2]);
    let expected: Vec<_> = to_node.into_iter().chain(to_client).zip(0..).collect();
    assert_eq!(deliver(&mut router, start + ms(100), ms(0)), expected);
}

#[test]
fn chosen_packets_of_the_chosen_flow_are_lost_and_no_others() {
    let (mut router, start) = (router(), now());
    router.accept(Port::Client, start, packet(7, 443, 0));
    router.choose_losses(
        Direction::ToNode,
        Chosen {
            numbers: vec![2, 3],
            client_port: Some(7),
        },
    );
    router.record();
    for (from, sent) in [(7, 1), (9, 2), (7, 3), (9, 4), (7, 5), (7, 6)] {
        router.accept(Port::Client, start, packet(from, 443, sent));
    }
    router.accept(Port::Node(0), start, packet(443, 7, 7));
    router.accept(Port::Node(0), start, packet(443, 7, 8));
    let delivered = deliver(&mut router, start + DELAY, ms(0));
    let numbers: Vec<_> = delivered.into_iter().map(|(_, number)| number).collect();
    assert_eq!(numbers, [0, 1, 2, 4, 6, 7, 8]);
    let lost: Vec<_> = lost(&router.take());
    assert_eq!(lost, [(3, Loss::Chosen), (5, Loss::Chosen)]);
}

#[test]
fn without_a_port_all_packets_of_the_direction_count() {
    let (mut router, start) = (router(), now());
    let chosen = Chosen {
        numbers: vec![1],
        client_port: None,
    };
    router.choose_losses(Direction::ToClient, chosen);
    router.record();
    router.accept(Port::Client, start, packet(1, 2, 0));
    // Neither a header nor a port is needed for that.
    router.accept(Port::Node(0), start, Bytes::from_static(b"?"));
    router.accept(Port::Node(0), start, packet(2, 1, 1));
    let trace = router.take();
    let lost = |index: usize| trace.packets[index].fate == Fate::Lost(Loss::Chosen);
    assert_eq!([0, 1, 2].map(lost), [false, true, false]);
}

#[test]
fn a_trace_says_of_each_packet_what_became_of_it_and_how_late() {
    let (mut router, start) = (router(), now());
    router.accept(Port::Client, start, packet(1, 2, 0));
    router.record();
    // Read later from its socket, but sent before.
    router.accept(Port::Client, start + ms(2), packet(1, 2, 1));
    router.accept(Port::Node(0), start + ms(1), packet(2, 1, 2));
    router.accept(Port::Client, start + ms(9), packet(1, 2, 3));
    let (at, late) = (start + ms(2) + DELAY, Duration::from_micros(700));
    deliver(&mut router, at, late);
    let trace = router.take();
    let numbers: Vec<_> = trace
        .packets
        .iter()
        .map(|packet| number(&packet.bytes))
        .collect();
    assert_eq!(numbers, [2, 1, 3]);
    let delivered = |late| Fate::Delivered {
        at: at + Duration::from_micros(700),
        late,
    };
    let fates: Vec<_> = trace.packets.iter().map(|packet| packet.fate).collect();
    assert_eq!(
        fates,
        [delivered(late + ms(1)), delivered(late), Fate::UnderWay]
    );
    // What was under way does not end up in the next trace.
    router.record();
    deliver(&mut router, start + ms(100), ms(0));
    assert!(router.take().packets.is_empty());
    let lateness = router.lateness();
    assert_eq!(lateness.packets, 4);
    assert_eq!(lateness.late, 4);
    assert_eq!(lateness.worst + DELAY, ms(91));
}

#[test]
fn a_trace_has_a_limit_and_counts_what_is_beyond() {
    for (packets, bytes) in [(3, usize::MAX), (usize::MAX, 3 * 29 + 28)] {
        let limits = Limits {
            packets,
            bytes,
            ..Limits::default()
        };
        let (mut router, start) = (Router::new(limits), now());
        router.record();
        for number in 0..5 {
            router.accept(Port::Client, start, packet(1, 2, number));
        }
        let trace = router.take();
        assert_eq!((trace.packets.len(), trace.left_out), (3, 2));
        router.record();
        router.accept(Port::Client, start, packet(1, 2, 5));
        let trace = router.take();
        assert_eq!((trace.packets.len(), trace.left_out), (1, 0));
    }
}

#[test]
fn nothing_is_written_down_unless_somebody_wants_it() {
    let mut router = router();
    router.accept(Port::Client, now(), packet(1, 2, 0));
    let trace = router.take();
    assert_eq!((trace.packets.len(), trace.left_out), (0, 0));
}

#[test]
fn bytes_under_way_have_a_limit_and_what_is_beyond_is_lost_and_counted() {
    let limits = Limits {
        under_way: 1000,
        ..Limits::default()
    };
    let (mut router, start) = (Router::new(limits), now());
    router.set_profiles(Profile::of(DELAY), Profile::of(DELAY), 1);
    router.record();
    for number in 0..10 {
        router.accept(Port::Client, start, packet(1, 2, number));
    }
    let delivered = deliver(&mut router, start + DELAY, ms(0)).len();
    assert_eq!(delivered, 6);
    assert_eq!(router.lateness().overflowed, 4);
    let lost = lost(&router.take());
    assert_eq!(lost, [6, 7, 8, 9].map(|number| (number, Loss::Queue)));
    // There is room again, and as much as before.
    for number in 0..10 {
        router.accept(Port::Client, start, packet(1, 2, number));
    }
    assert_eq!(deliver(&mut router, start + ms(100), ms(0)).len(), 6);
}

#[test]
fn copies_arrive_and_are_written_down_once() {
    let mut profile = Profile::of(DELAY);
    profile.duplication = PerMillion::ALWAYS;
    profile.lateness = ms(1);
    let (mut router, start) = (router(), now());
    router.set_profiles(profile, profile, 1);
    router.record();
    router.accept(Port::Client, start, packet(1, 2, 0));
    let delivered = deliver(&mut router, start + ms(100), ms(0));
    assert_eq!(delivered, [(Port::Node(0), 0); 2]);
    assert_eq!(router.take().packets.len(), 1);
}

#[test]
fn a_refused_packet_is_lost_and_counted() {
    let (mut router, start) = (router(), now());
    router.record();
    router.accept(Port::Client, start, packet(1, 2, 0));
    let mut batch = Vec::new();
    router.arrived(start + DELAY, 1, &mut batch);
    router.refused(&batch[0], Loss::Cut);
    assert_eq!(lost(&router.take()), [(0, Loss::Cut)]);
    let lateness = router.lateness();
    assert_eq!((lateness.packets, lateness.refused), (0, 1));
}

#[test]
fn a_seed_repeats_every_fate_in_both_directions() {
    let fates = |seed| {
        let mut profile = Profile::of(DELAY);
        profile.loss = PerMillion::percent(30);
        profile.burst = 3;
        let (mut router, start) = (router(), now());
        router.set_profiles(profile, profile, seed);
        router.record();
        for number in 0..100 {
            let at = start + ms(number.into());
            router.accept(Port::Client, at, packet(1, 2, number));
            router.accept(Port::Node(0), at, packet(2, 1, number));
        }
        lost(&router.take())
    };
    assert_eq!(fates(1), fates(1));
    assert_ne!(fates(1), fates(2));
}

#[test]
fn the_flow_of_odd_packets_is_not_guessed() {
    let chosen = Chosen {
        numbers: vec![1],
        client_port: Some(0x0102),
    };
    let fragment = {
        let mut bytes = packet(0x0102, 443, 0).to_vec();
        bytes[7] = 1;
        bytes
    };
    let other_protocol = {
        let mut bytes = packet(0x0102, 443, 0).to_vec();
        bytes[9] = 1;
        bytes
    };
    let whole = packet(0x0102, 443, 0);
    let mut router = router();
    router.choose_losses(Direction::ToNode, chosen);
    router.record();
    for odd in [
        &[][..],
        &[0x4f; 20],
        &whole[..21],
        &fragment,
        &other_protocol,
    ] {
        router.accept(Port::Client, now(), Bytes::copy_from_slice(odd));
    }
    let fates = router.take().packets;
    assert!(fates.iter().all(|packet| packet.fate == Fate::UnderWay));
}

fn lost(trace: &Trace) -> Vec<(u8, Loss)> {
    let lost = trace.packets.iter().filter_map(|packet| match packet.fate {
        Fate::Lost(loss) => Some((number(&packet.bytes), loss)),
        _ => None,
    });
    lost.collect()
}
