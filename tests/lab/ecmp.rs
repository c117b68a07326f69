//! The router spreads flows over the nodes by their ports, and the NAT changes these.

use crate::network::{NODES, Network, OTHER_PUBLIC};
use crate::node::{Fleet, PATIENT};
use crate::stage::{Directory, play, target};
use crate::transfer::{Download, connect};

pub(crate) fn ecmp_by_port_and_a_rebinding_nat_cost_no_client_its_connection() {
    let (network, directory) = (Network::new(1500).unwrap(), Directory::new());
    network.lead_to(&[1, 2, 3]).unwrap();
    play(&network.client, async || {
        let fleet = Fleet::start(&network, &directory, PATIENT).await;
        let mut clients = Vec::new();
        while !every_node_serves(&fleet).await {
            assert!(clients.len() < 64, "no flow of 64 has reached some node");
            clients.push(connect(&directory, &target()).await);
        }
        let mut downloads = Vec::new();
        for (seed, client) in (0..).zip(&clients) {
            downloads.push(Download::begin(client, seed, 6_000_000).await);
        }
        for rebinding in 1..=5 {
            if rebinding == 3 {
                fleet.until_moved("port").await;
                network.nat.translate(OTHER_PUBLIC).unwrap();
            } else {
                network.nat.forget_flows().unwrap();
            }
            for download in &mut downloads {
                download.read_to(rebinding * 1_000_000).await;
            }
        }
        for download in downloads {
            download.finish().await;
        }
        // A new port leads to the owner by chance one time in three, not each time for each client.
        assert!(fleet.sum("wayhold_datagrams_forwarded_total").await > 0);
        fleet.until_moved("address").await;
        fleet
            .assert_nothing_lost(u64::try_from(clients.len()).unwrap())
            .await;
        for client in clients {
            client.close().await;
        }
    });
}

pub(crate) fn ecmp_by_address_leaves_a_client_of_a_rebinding_nat_at_its_node() {
    let (network, directory) = (Network::new(1500).unwrap(), Directory::new());
    let policy = "ipv4/fib_multipath_hash_policy";
    network.router.set_variable(policy, "0").unwrap();
    network.lead_to(&[1, 2, 3]).unwrap();
    play(&network.client, async || {
        let fleet = Fleet::start(&network, &directory, PATIENT).await;
        let client = connect(&directory, &target()).await;
        let mut download = Download::begin(&client, 8, 6_000_000).await;
        for rebinding in 1..=5 {
            network.nat.forget_flows().unwrap();
            download.read_to(rebinding * 1_000_000).await;
        }
        download.finish().await;
        fleet.until_moved("port").await;
        assert_eq!(fleet.sum("wayhold_datagrams_forwarded_total").await, 0);
        fleet.assert_nothing_lost(1).await;
        client.close().await;
    });
}

async fn every_node_serves(fleet: &Fleet) -> bool {
    for number in 1..=NODES {
        let open = fleet
            .node(number)
            .metric(r#"wayhold_connections{transport="quic"}"#);
        if open.await == 0 {
            return false;
        }
    }
    true
}
