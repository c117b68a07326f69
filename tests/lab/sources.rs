//! A router that drops packets whose source it would not answer on the same way.

use std::fs;

use crate::network::{NODES, Network};
use crate::node::Fleet;
use crate::stage::{Directory, play, target, until};
use crate::transfer::{Download, connect};

pub(crate) fn a_router_that_filters_sources_drops_direct_replies_until_the_route_is_back() {
    let (network, directory) = (Network::new(1500).unwrap(), Directory::new());
    filter(&network, STRICT);
    play(&network.client, async || {
        let fleet = Fleet::start(&network, &directory, "").await;
        let client = connect(&directory, &target()).await;
        let mut download = Download::begin(&client, 3, 8_000_000).await;
        assert_eq!(filtered(&network), 0);
        network.lead_to(&[2]).unwrap();
        let rest = async {
            until("a reply was dropped", async || filtered(&network) > 0).await;
            network.lead_to(&[1]).unwrap();
        };
        tokio::join!(rest, download.read_to(8_000_000));
        download.finish().await;
        fleet.assert_nothing_lost(1).await;
        client.close().await;
    });
}

pub(crate) fn a_router_that_asks_for_any_way_back_lets_direct_replies_pass() {
    let (network, directory) = (Network::new(1500).unwrap(), Directory::new());
    filter(&network, LOOSE);
    network.lead_to(&[2]).unwrap();
    play(&network.client, async || {
        let fleet = Fleet::start(&network, &directory, "").await;
        let client = connect(&directory, &target()).await;
        let mut download = Download::begin(&client, 3, 4_000_000).await;
        network.lead_to(&[3]).unwrap();
        download.read_to(2_000_000).await;
        download.finish().await;
        assert_eq!(filtered(&network), 0);
        fleet.assert_nothing_lost(1).await;
        client.close().await;
    });
}

/// Has the router look at the sources of what comes from nodes (RFC 3704, section 2).
fn filter(network: &Network, mode: &str) {
    for number in 1..=NODES {
        let variable = format!("ipv4/conf/node{number}/rp_filter");
        network.router.set_variable(&variable, mode).unwrap();
    }
}

/// How many packets the router has dropped for their source.
fn filtered(network: &Network) -> u64 {
    let counters = network
        .router
        .run(|| fs::read_to_string("/proc/thread-self/net/netstat"));
    let counters = counters.unwrap().unwrap();
    let lines: Vec<_> = counters
        .lines()
        .filter(|line| line.starts_with("TcpExt:"))
        .collect();
    let column = lines[0]
        .split(' ')
        .position(|name| name == "IPReversePathFilter")
        .unwrap();
    lines[1].split(' ').nth(column).unwrap().parse().unwrap()
}

/// The answer would have to leave by the interface that the packet came in by.
const STRICT: &str = "1";
/// There has to be a route for the answer.
const LOOSE: &str = "2";
