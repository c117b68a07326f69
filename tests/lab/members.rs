//! Members come and go while clients are served.

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::network::Network;
use crate::node::{Fleet, Node, PATIENT, configure, write_fleet};
use crate::stage::{Directory, play, target, until};
use crate::transfer::{Download, connect};

pub(crate) fn a_member_joins_and_leaves_by_reload_and_no_request_is_lost() {
    let (network, directory) = (Network::new(1500).unwrap(), Directory::new());
    play(&network.client, async || {
        configure(&directory, PATIENT).await;
        write_fleet(&directory, PATIENT, 1..=2);
        let start = |number| (number, Node::start(&network, &directory, number));
        let mut fleet = Fleet::of([1, 2].map(start)).await;
        network.lead_to(&[1, 2]).unwrap();
        let (over, mut clients) = (CancellationToken::new(), JoinSet::new());
        for seed in 0..CLIENTS {
            let client = connect(&directory, &target()).await;
            let over = over.clone();
            clients.spawn(async move {
                while !over.is_cancelled() {
                    Download::begin(&client, seed, 40_000).await.finish().await;
                }
                client
            });
        }

        write_fleet(&directory, PATIENT, 1..=3);
        fleet.add(3, Node::start(&network, &directory, 3));
        for number in [1, 2] {
            fleet.node(number).command("/reload").await;
        }
        fleet.until_confirmed().await;
        network.lead_to(&[3]).unwrap();
        let forwarded = "wayhold_datagrams_forwarded_total";
        until("the new member forwards", async || {
            fleet.node(3).metric(forwarded).await > 0
        })
        .await;
        let own = connect(&directory, &target()).await;
        let mut download = Download::begin(&own, 9, 8_000_000).await;

        network.lead_to(&[1, 2]).unwrap();
        let leaving = fleet.node(3);
        leaving.command("/drain").await;
        download.read_to(4_000_000).await;
        download.finish().await;
        own.close().await;
        let open = r#"wayhold_connections{transport="quic"}"#;
        until("nobody is left", async || leaving.metric(open).await == 0).await;
        assert_eq!(leaving.metric("wayhold_datagrams_dropped_total").await, 0);
        let left = fleet.take(3);
        left.terminate();
        assert_eq!(left.end().await, Some(0));
        write_fleet(&directory, PATIENT, 1..=2);
        for number in [1, 2] {
            fleet.node(number).command("/reload").await;
        }

        let served = fleet.sum("wayhold_requests_total").await;
        until("requests go on", async || {
            fleet.sum("wayhold_requests_total").await > served + 5 * CLIENTS
        })
        .await;
        over.cancel();
        let clients = clients.join_all().await;
        fleet.assert_nothing_dropped(CLIENTS).await;
        for client in clients {
            client.close().await;
        }
    });
}

const CLIENTS: u64 = 8;
