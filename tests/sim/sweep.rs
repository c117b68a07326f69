//! Flips at every packet of the handshake, one after the other.

use std::time::Duration;

use wayhold::link::{PerMillion, Profile};

use crate::issuer::CID_LIFETIME;
use crate::plan::{Astray, ClientPlan, EarlyData, Plan, ms};
use crate::tls::Hello;
use crate::trace::Keep;
use crate::world::World;

/// A fleet of three in calm weather, and one client of the first node.
fn plan(hello: Hello, retry: bool, astray: Astray) -> Plan {
    Plan {
        seed: u64::from(astray.from),
        nodes: 3,
        workers: 2,
        retry: vec![retry; 4],
        early_data: EarlyData::Off,
        clients: vec![ClientPlan {
            hello,
            start: Duration::ZERO,
            node: 0,
            astray: vec![astray],
        }],
        access: Profile::of(ms(15)),
        relay: Profile::of(ms(3)),
        strays: PerMillion::NEVER,
        faults: Vec::new(),
        end: ms(1000),
        cid_lifetime: CID_LIFETIME,
    }
}

#[test]
fn a_flip_at_any_packet_of_the_handshake_loses_no_connection() {
    for hello in [Hello::OnePacket, Hello::TwoPackets] {
        for retry in [false, true] {
            for count in [1, 2, u32::MAX - LONGEST] {
                for from in 0..LONGEST {
                    let astray = Astray {
                        from,
                        count,
                        node: 1,
                    };
                    let case = format!("{hello:?}, Retry {retry}, {astray:?}");
                    let mut world = World::new(plan(hello, retry, astray), None, Keep::Lines);
                    let outcome = world.run();
                    let lines = world.trace.lines().join("\n");
                    assert_eq!(outcome, Ok(()), "{case}\n{lines}");
                    assert_eq!(world.checker.counts.get("connection lost"), None, "{case}");
                    let took = world.clients[0].first_took;
                    assert!(took.is_some_and(|took| took <= LONGEST), "{case}: {took:?}");
                }
            }
        }
    }
}

/// Datagrams that a client sends at most until its first fetch is complete.
const LONGEST: u32 = 24;
