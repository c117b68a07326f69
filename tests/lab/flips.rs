//! The route to the service moves.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wayhold::bridge::pattern;

use crate::network::{Network, OTHER_PUBLIC};
use crate::node::{Fleet, PATIENT, wayhold};
use crate::python::Python;
use crate::stage::{Directory, PATIENCE, play, target};
use crate::transfer::{Download, Upload, connect, digest};

pub(crate) fn a_route_flip_in_the_middle_of_transfers_loses_nothing() {
    let (network, directory) = (Network::new(1500).unwrap(), Directory::new());
    play(&network.client, async || {
        let fleet = Fleet::start(&network, &directory, PATIENT).await;
        let client = connect(&directory, &target()).await;
        let mut download = Download::begin(&client, 1, 12_000_000).await;
        let mut upload = Upload::begin(&client, 2);
        for (flip, node) in (1..).zip([2, 3, 1, 3]) {
            network.lead_to(&[node]).unwrap();
            tokio::join!(download.read_to(flip * 2_500_000), upload.send(500_000));
        }
        tokio::join!(download.finish(), upload.finish());
        for node in [2, 3] {
            let node = fleet.node(node);
            assert!(node.metric("wayhold_datagrams_forwarded_total").await > 0);
            assert_eq!(node.metric("wayhold_requests_total").await, 0);
        }
        fleet.assert_nothing_lost(1).await;
        client.close().await;
    });
}

pub(crate) fn a_route_that_flaps_every_500_ms_loses_no_request() {
    let (network, directory) = (Network::new(1500).unwrap(), Directory::new());
    play(&network.client, async || {
        let fleet = Fleet::start(&network, &directory, PATIENT).await;
        let (over, mut clients) = (CancellationToken::new(), JoinSet::new());
        for seed in 0..CLIENTS {
            let client = connect(&directory, &target()).await;
            let over = over.clone();
            clients.spawn(async move {
                let mut requests = 0;
                while !over.is_cancelled() {
                    Download::begin(&client, seed, 40_000).await.finish().await;
                    requests += 1;
                }
                (client, requests)
            });
        }
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        for flips in 0..8 {
            ticks.tick().await;
            network.lead_to(&[flips % 3 + 1]).unwrap();
        }
        over.cancel();
        let (mut open, mut sent) = (Vec::new(), 0);
        for (client, requests) in clients.join_all().await {
            open.push(client);
            sent += requests;
        }
        assert_eq!(fleet.sum("wayhold_requests_total").await, sent);
        fleet.assert_nothing_lost(CLIENTS).await;
        for client in open {
            client.close().await;
        }
    });
}

pub(crate) fn the_get_command_follows_the_address_through_flips() {
    let (network, directory) = (Network::new(1500).unwrap(), Directory::new());
    play(&network.client, async || {
        let fleet = Fleet::start(&network, &directory, PATIENT).await;
        let url = format!("https://192.0.2.1/bytes/{}?seed=9", 3 * PART);
        let mut get = wayhold(&directory, &["get", &url, "--ca", "tls.pem"]);
        let mut get = get.stdout(Stdio::piped()).spawn().unwrap();
        // What is not read here holds the rest back, so the route moves in the middle.
        let mut body = get.stdout.take().unwrap();
        for (part, node) in (0..3).zip([2, 3, 1]) {
            let (mut got, mut sent) = (vec![0; PART], vec![0; PART]);
            let read = body.read_exact(&mut got);
            timeout(PATIENCE, read).await.unwrap().unwrap();
            pattern(9, part * PART as u64, &mut sent);
            assert!(got == sent, "in part {part}");
            network.lead_to(&[node]).unwrap();
        }
        let ended = timeout(PATIENCE, get.wait()).await;
        assert!(ended.unwrap().unwrap().success());
        assert_eq!(fleet.sum("wayhold_requests_total").await, 1);
        for node in [2, 3] {
            let forwarded = "wayhold_datagrams_forwarded_total";
            assert!(fleet.node(node).metric(forwarded).await > 0);
        }
    });
}

pub(crate) fn a_client_of_other_make_survives_flips_and_rebindings() {
    let (network, directory) = (Network::new(1500).unwrap(), Directory::new());
    play(&network.client, async || {
        let fleet = Fleet::start(&network, &directory, PATIENT).await;
        let trusted = directory.file("tls.pem");
        let client = Python::aioquic(target().address, &trusted);
        let Some(mut client) = client.await else {
            return;
        };
        client.ask("start /bytes/5000000?seed=6").await;
        network.lead_to(&[2]).unwrap();
        let uploaded = client.ask("upload /upload 1000000").await;
        assert_eq!(uploaded["status"], 200);
        network.lead_to(&[3]).unwrap();
        let large = client.ask("finish").await;
        assert_eq!(large["status"], 200);
        assert_eq!(large["sha256"], digest(6, 5_000_000));
        // It sends no pings, so it is silent before each move and found by its next request.
        network.nat.forget_flows().unwrap();
        fetch(&mut client).await;
        network.nat.translate(OTHER_PUBLIC).unwrap();
        fetch(&mut client).await;
        client.ask("rebind").await;
        fetch(&mut client).await;
        fleet.assert_nothing_lost(1).await;
        for node in [2, 3] {
            let forwarded = "wayhold_datagrams_forwarded_total";
            assert!(fleet.node(node).metric(forwarded).await > 0);
        }
        client.quit().await;
    });
}

async fn fetch(client: &mut Python) {
    let got = client.ask("get /bytes/100000?seed=5").await;
    assert_eq!(got["sha256"], digest(5, 100_000));
}

const CLIENTS: u64 = 8;
/// More than client and node hold back.
const PART: usize = 6_000_000;
