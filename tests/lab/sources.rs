//! A router that drops packets whose source it would not answer on the same way.

use std::fs;
use std::time::Duration;

use tokio::time::timeout;

use crate::network::{NODES, Network, OTHER_PUBLIC};
use crate::node::{Fleet, PATIENT};
use crate::stage::{Directory, play, target};
use crate::transfer::{Download, Upload, connect};

pub(crate) fn a_router_that_filters_sources_drops_direct_replies_until_the_route_is_back() {
    let (network, directory) = (Network::new(1500).unwrap(), Directory::new());
    filter(&network, STRICT);
    play(&network.client, async || {
        let fleet = Fleet::start(&network, &directory, PATIENT).await;
        let client = connect(&directory, &target()).await;
        let mut download = Download::begin(&client, 3, 8_000_000).await;
        assert_eq!(filtered(&network), 0);
        network.lead_to(&[2]).unwrap();
        let hung = timeout(A_WHILE, download.read_to(8_000_000)).await;
        assert!(hung.is_err(), "it went on");
        assert!(filtered(&network) > 0);
        network.lead_to(&[1]).unwrap();
        download.finish().await;
        fleet.assert_nothing_lost(1).await;
        client.close().await;
    });
}

pub(crate) fn replies_through_the_ingress_pass_a_router_that_filters_sources() {
    replies_pass_through_the_ingress(1500);
}

pub(crate) fn replies_through_the_ingress_fit_through_a_link_of_1300() {
    replies_pass_through_the_ingress(1300);
}

/// What is on its way when the route changes is dropped, and sent again.
fn replies_pass_through_the_ingress(mtu: u16) {
    let (network, directory) = (Network::new(mtu).unwrap(), Directory::new());
    filter(&network, STRICT);
    play(&network.client, async || {
        let more = format!("{PATIENT}\nreturn = \"ingress\"\nlink_mtu = {mtu}");
        let fleet = Fleet::start(&network, &directory, &more).await;
        let client = connect(&directory, &target()).await;
        let mut download = Download::begin(&client, 3, 16_000_000).await;
        let mut upload = Upload::begin(&client, 4);
        for (change, node) in (1..).zip([2, 3, 3, 2, 1, 2]) {
            network.lead_to(&[node]).unwrap();
            match change {
                3 => network.nat.forget_flows().unwrap(),
                4 => {
                    fleet.until_moved("port").await;
                    network.nat.translate(OTHER_PUBLIC).unwrap();
                }
                _ => {}
            }
            tokio::join!(download.read_to(change * 2_500_000), upload.send(1_000_000));
        }
        tokio::join!(download.finish(), upload.finish());
        fleet.assert_nothing_lost(1).await;
        let replies = fleet
            .node(1)
            .metric("wayhold_replies_tunnelled_total")
            .await;
        assert!(replies > 10_000_000 / u64::from(mtu), "{replies}");
        for node in [2, 3] {
            let emitted = fleet.node(node).metric("wayhold_replies_emitted_total");
            assert!(emitted.await > 0, "by node {node}");
        }
        fleet.until_moved("address").await;
        client.close().await;
    });
}

pub(crate) fn a_router_that_asks_for_any_way_back_lets_direct_replies_pass() {
    let (network, directory) = (Network::new(1500).unwrap(), Directory::new());
    filter(&network, LOOSE);
    network.lead_to(&[2]).unwrap();
    play(&network.client, async || {
        let fleet = Fleet::start(&network, &directory, PATIENT).await;
        let client = connect(&directory, &target()).await;
        let mut download = Download::begin(&client, 3, 4_000_000).await;
        network.lead_to(&[3]).unwrap();
        download.read_to(2_000_000).await;
        download.finish().await;
        assert_eq!(filtered(&network), 0);
        assert_eq!(fleet.sum("wayhold_replies").await, 0);
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
/// In which a transfer that goes on is over many times.
const A_WHILE: Duration = Duration::from_secs(2);
