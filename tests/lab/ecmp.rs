//! The router spreads flows over the nodes by their ports, and the NAT changes these.

use crate::network::{NODES, Network, OTHER_PUBLIC};
use crate::node::Fleet;
use crate::stage::{Directory, play, target};
use crate::transfer::{Download, connect};

pub(crate) fn ecmp_by_port_and_a_rebinding_nat_cost_no_client_its_connection() {
    let (network, directory) = (Network::new(1500).unwrap(), Directory::new());
    network.lead_to(&[1, 2, 3]).unwrap();
    play(&network.client, async || {
        let fleet = Fleet::start(&network, &directory, "").await;
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
        // Three of five ports in a row lead to the owner by chance for one client in 200, and not for
        // all clients of three nodes.
        assert!(fleet.sum("wayhold_datagrams_forwarded_total").await > 0);
        for kind in ["port", "address"] {
            let series = format!("wayhold_path_changes_total{{kind=\"{kind}\"}}");
            assert!(fleet.sum(&series).await > 0, "{kind}");
        }
        fleet
            .assert_nothing_lost(u64::try_from(clients.len()).unwrap())
            .await;
        for client in clients {
            client.close().await;
        }
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
