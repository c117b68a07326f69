//! How much fits through the links between nodes.

use crate::network::Network;
use crate::node::{Fleet, PATIENT, configure, finish, wayhold};
use crate::stage::{Directory, play, target};
use crate::transfer::{Download, Upload, connect};

pub(crate) fn a_link_of_1280_between_nodes_is_refused_with_the_mtu_it_needs() {
    let (network, directory) = (Network::new(1280).unwrap(), Directory::new());
    play(network.node(1), async || {
        configure(&directory, "link_mtu = 1280").await;
        for (command, code) in [("check", 1), ("run", 3)] {
            let arguments = [command, "-c", "wayhold.toml", "--node-id", "1"];
            let refused = finish(wayhold(&directory, &arguments)).await;
            let errors = String::from_utf8(refused.stderr).unwrap();
            assert_eq!(refused.status.code(), Some(code), "{errors}");
            assert!(errors.contains("less than the 1297 bytes"), "{errors}");
        }
    });
}

pub(crate) fn a_link_of_1300_between_nodes_carries_the_largest_datagrams() {
    largest_datagrams_pass(1300);
}

pub(crate) fn a_link_of_1500_between_nodes_carries_the_largest_datagrams() {
    largest_datagrams_pass(1500);
}

/// The largest datagrams of clients are as large as the link allows, and the tunnel refuses larger
/// ones: so none of them may be lost, and there must be many.
fn largest_datagrams_pass(mtu: u16) {
    let (network, directory) = (Network::new(mtu).unwrap(), Directory::new());
    network.lead_to(&[2]).unwrap();
    play(&network.client, async || {
        let more = format!("{PATIENT}\nlink_mtu = {mtu}");
        let fleet = Fleet::start(&network, &directory, &more).await;
        let client = connect(&directory, &target()).await;
        let mut download = Download::begin(&client, 5, 3_000_000).await;
        let mut upload = Upload::begin(&client, 4);
        // Long enough for both sides to find out how much fits through the path.
        tokio::join!(upload.send(1_000_000), download.read_to(1_000_000));
        network.lead_to(&[3]).unwrap();
        tokio::join!(upload.send(4_000_000), download.finish());
        upload.finish().await;
        let forwarded = fleet.node(3).metric("wayhold_datagrams_forwarded_total");
        let datagrams = forwarded.await;
        assert!(datagrams > 4_000_000 / 1452, "{datagrams}");
        fleet.assert_nothing_lost(1).await;
        client.close().await;
    });
}

pub(crate) fn a_link_smaller_than_configured_costs_large_datagrams_and_says_so() {
    let (network, directory) = (Network::new(1300).unwrap(), Directory::new());
    network.lead_to(&[2]).unwrap();
    play(&network.client, async || {
        let more = format!("{PATIENT}\nlink_mtu = 1500");
        let fleet = Fleet::start(&network, &directory, &more).await;
        let client = connect(&directory, &target()).await;
        let mut upload = Upload::begin(&client, 4);
        upload.send(1_000_000).await;
        network.lead_to(&[3]).unwrap();
        upload.send(1_000_000).await;
        // The client takes the loss of its large datagrams for a smaller path and goes on.
        upload.finish().await;
        let lost = r#"wayhold_datagrams_dropped_total{reason="tunnel_error"}"#;
        assert!(fleet.node(3).metric(lost).await > 0);
        client.close().await;
    });
}
