//! A node dies, or only seems to.

use std::sync::Arc;

use tokio::task::JoinSet;
use wayhold::client::{ClientError, Http3Client, Patience};

use crate::certificates::{Counting, counting_tls};
use crate::network::Network;
use crate::node::{Fleet, Node, PATIENT};
use crate::stage::{Directory, play, target, until};
use crate::transfer::{Upload, connect, get, text};

pub(crate) fn clients_of_a_killed_node_are_reset_once_it_is_known_and_resume_elsewhere() {
    let (network, directory) = (Network::new(1500).unwrap(), Directory::new());
    play(&network.client, async || {
        let mut fleet = Fleet::start(&network, &directory, "").await;
        let lives = lives().await;
        network.lead_to(&[2]).unwrap();
        fleet.take(1).kill().await;
        for life in lives.join_all().await {
            life.assert_reset();
            life.assert_resumes().await;
        }
        let heir = fleet.node(2);
        assert!(heir.metric("wayhold_resets_total").await >= CLIENTS);
        assert_eq!(fleet.node(3).metric("wayhold_resets_total").await, 0);
        let dead = r#"wayhold_fleet_peers{state="dead"}"#;
        until("one node is dead", async || heir.metric(dead).await == 1).await;
    });
}

pub(crate) fn a_restarted_node_resets_at_once_what_its_killed_process_had() {
    let (network, directory) = (Network::new(1500).unwrap(), Directory::new());
    play(&network.client, async || {
        let mut fleet = Fleet::start(&network, &directory, PATIENT).await;
        let lives = lives().await;
        fleet.take(1).kill().await;
        fleet.add(1, Node::start(&network, &directory, 1));
        network.lead_to(&[1, 2]).unwrap();
        for life in lives.join_all().await {
            life.assert_reset();
            life.assert_resumes().await;
        }
        assert!(fleet.node(1).metric("wayhold_resets_total").await >= CLIENTS);
        assert_eq!(fleet.node(2).metric("wayhold_resets_total").await, 0);
        assert_eq!(fleet.sum(r#"wayhold_fleet_peers{state="dead"}"#).await, 0);
    });
}

pub(crate) fn a_node_that_one_peer_does_not_hear_is_not_dead_and_keeps_its_clients() {
    let (network, directory) = (Network::new(1500).unwrap(), Directory::new());
    play(&network.client, async || {
        // Short enough to be waited for, and long enough for every process to get the CPU.
        let fleet = Fleet::start(&network, &directory, "silent_after = \"2s\"").await;
        let client = connect(&directory, &target()).await;
        let mut upload = Upload::begin(&client, 2);
        upload.send(500_000).await;
        network.part(1, 2).unwrap();
        network.lead_to(&[2]).unwrap();
        let ingress = fleet.node(2);
        let dropped = r#"wayhold_datagrams_dropped_total{reason="owner_silent"}"#;
        let reunion = async {
            until("the owner is silent", async || {
                ingress.metric(dropped).await > 0
            })
            .await;
            network.reunite(1, 2).unwrap();
        };
        // More than client and node hold back, so this ends only after the reunion.
        tokio::join!(upload.send(8_000_000), reunion);
        upload.finish().await;
        assert_eq!(fleet.sum("wayhold_resets_total").await, 0);
        client.close().await;
    });
}

/// A client with something in flight until its connection ended.
struct Life {
    tls: Arc<rustls::ClientConfig>,
    certificates: Arc<Counting>,
    ended: ClientError,
}

impl Life {
    fn assert_reset(&self) {
        let ended = format!("{:?}", self.ended);
        assert!(ended.contains("Reset"), "{ended}");
    }

    /// Asserts that the client connects again without a full handshake and is served.
    async fn assert_resumes(&self) {
        assert_eq!(self.certificates.seen(), 1);
        let client = Http3Client::connect(&target(), &self.tls, Patience::default()).await;
        let client = client.unwrap();
        assert!(text(&client, "/").await.starts_with("wayhold: "));
        assert_eq!(self.certificates.seen(), 1);
        client.close().await;
    }
}

/// Clients that ask one request after the other until one fails; each has been answered.
async fn lives() -> JoinSet<Life> {
    let mut lives = JoinSet::new();
    for _ in 0..CLIENTS {
        let (tls, certificates) = counting_tls();
        let tls = Arc::new(tls);
        let client = Http3Client::connect(&target(), &tls, Patience::default()).await;
        let client = client.unwrap();
        ask(&client).await.unwrap();
        lives.spawn(async move {
            let ended = loop {
                if let Err(ended) = ask(&client).await {
                    break ended;
                }
            };
            Life {
                tls,
                certificates,
                ended,
            }
        });
    }
    lives
}

async fn ask(client: &Http3Client) -> Result<(), ClientError> {
    let mut response = client.send(get("/bytes/40000?seed=1")).await?;
    response.body_mut().collect(40_000).await?;
    Ok(())
}

const CLIENTS: u64 = 8;
