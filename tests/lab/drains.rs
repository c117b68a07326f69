//! A node that drains has its route withdrawn by the operator's command.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::network::{NODES, Network};
use crate::node::{Fleet, PATIENT, configure};
use crate::stage::{Directory, play, target, until};
use crate::transfer::{Download, connect};

pub(crate) fn a_drain_withdraws_the_route_and_loses_nothing_and_undrain_announces_it() {
    let (network, directory) = (Network::new(1500).unwrap(), Directory::new());
    play(&network.client, async || {
        configure(&directory, PATIENT).await;
        let file = directory.file("wayhold.toml");
        let mut file = OpenOptions::new().append(true).open(file).unwrap();
        file.write_all(HOOKS.as_bytes()).unwrap();
        let over = CancellationToken::new();
        let claim = async {
            drain_and_undrain(&network, &directory).await;
            over.cancel();
        };
        tokio::join!(claim, follow(&network, &directory, &over));
    });
}

async fn drain_and_undrain(network: &Network, directory: &Directory) {
    let fleet = Fleet::configured(network, directory).await;
    let draining = fleet.node(1);
    until("every route is announced", async || {
        (1..=NODES).all(|number| announced(directory, number))
    })
    .await;
    let mut clients = Vec::new();
    while open(&fleet, 1).await < 2 {
        assert!(clients.len() < 64, "no two flows of 64 have reached node 1");
        clients.push(connect(directory, &target()).await);
    }
    let mut downloads = Vec::new();
    for (seed, client) in (0..).zip(&clients) {
        downloads.push(Download::begin(client, seed, 6_000_000).await);
    }
    let all = async {
        for download in &mut downloads {
            download.read_to(2_000_000).await;
        }
    };
    tokio::join!(draining.command("/drain"), all);
    assert!(!announced(directory, 1));
    for download in &mut downloads {
        download.read_to(4_000_000).await;
    }
    let others = clients.len();
    for _ in 0..8 {
        clients.push(connect(directory, &target()).await);
    }
    for download in downloads {
        download.finish().await;
    }
    // What its peers got of its clients' packets came to it by the tunnel.
    assert!(draining.metric("wayhold_datagrams_tunnelled_total").await > 0);
    until("its clients have gone", async || open(&fleet, 1).await == 0).await;
    for client in &clients[others..] {
        Download::begin(client, 1, 40_000).await.finish().await;
    }

    draining.command("/undrain").await;
    until("a client has come back", async || {
        clients.push(connect(directory, &target()).await);
        open(&fleet, 1).await > 0
    })
    .await;
    for losses in [
        "wayhold_requests_failed_total",
        "wayhold_connections_refused_total",
        "wayhold_datagrams_dropped_total",
        "wayhold_hook_failures_total",
    ] {
        assert_eq!(fleet.sum(losses).await, 0, "{losses}");
    }
    for client in clients {
        client.close().await;
    }
}

/// Leads the route to the nodes that have announced it, as a routing daemon does.
async fn follow(network: &Network, directory: &Directory, over: &CancellationToken) {
    let mut led = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    while !over.is_cancelled() {
        ticks.tick().await;
        let announced: Vec<_> = (1..=NODES)
            .filter(|number| announced(directory, *number))
            .collect();
        if announced != led && !announced.is_empty() {
            network.lead_to(&announced).unwrap();
            led = announced;
        }
    }
}

fn announced(directory: &Directory, number: u8) -> bool {
    fs::exists(directory.file(&format!("announced-{number}"))).unwrap()
}

async fn open(fleet: &Fleet, number: u8) -> u64 {
    let open = r#"wayhold_connections{transport="quic"}"#;
    fleet.node(number).metric(open).await
}

const HOOKS: &str = r#"
[hooks]
announce = ["sh", "-c", "touch announced-$WAYHOLD_NODE"]
withdraw = ["sh", "-c", "rm announced-$WAYHOLD_NODE"]
settle = "200ms"
"#;
