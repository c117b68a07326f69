//! When the service address is on a node, and a node's address of its own that clients may prefer.

use std::fs;

use crate::network::{NODES, Network, SERVICE, uplink};
use crate::node::{CONFIG, Fleet, Node, PATIENT, configure};
use crate::python::Python;
use crate::stage::{Directory, play, target, until};
use crate::transfer::{connect, digest, text};

pub(crate) fn a_node_binds_a_service_address_that_comes_later_only_if_the_kernel_may() {
    let (network, directory) = (Network::new(1500).unwrap(), Directory::new());
    let host = network.node(1);
    play(&network.client, async || {
        configure(&directory, "").await;
        host.remove_address("lo", SERVICE).unwrap();
        let refused = Node::start(&network, &directory, 1);
        assert_eq!(refused.end().await, Some(4));

        host.set_variable("ipv4/ip_nonlocal_bind", "1").unwrap();
        let node = Node::start(&network, &directory, 1);
        node.until_ready().await;
        host.add_address("lo", SERVICE).unwrap();
        let client = connect(&directory, &target()).await;
        let greeting = text(&client, "/").await;
        assert!(
            greeting.starts_with("wayhold: you are 198.51.100.2:"),
            "{greeting}"
        );
        client.close().await;
    });
}

pub(crate) fn a_client_that_moves_to_the_preferred_address_needs_no_detour_after_a_flip() {
    let (network, directory) = (Network::new(1500).unwrap(), Directory::new());
    play(&network.client, async || {
        configure(&directory, PATIENT).await;
        let any = CONFIG.replace("192.0.2.1:443", "0.0.0.0:443");
        fs::write(directory.file("wayhold.toml"), any).unwrap();
        let start = |number| {
            let own = format!("{}:443", uplink(number));
            let preferred = [("WAYHOLD_QUIC__PREFERRED_ADDRESS", own)];
            let node = Node::start_with(&network, &directory, number, &preferred);
            (number, node)
        };
        let fleet = Fleet::of((1..=NODES).map(start)).await;
        let trusted = directory.file("tls.pem");
        let Some(mut client) = Python::aioquic(target().address, &trusted).await else {
            return;
        };
        // The NAT lets nothing pass to a new flow but what comes from where that leads.
        until("the client has moved", async || {
            client.ask("get /bytes/1000?seed=1").await;
            let moved = fleet.node(1).metric("wayhold_path_changes_total");
            moved.await > 0
        })
        .await;
        network.lead_to(&[2]).unwrap();
        let got = client.ask("get /bytes/5000000?seed=6").await;
        assert_eq!(got["sha256"], digest(6, 5_000_000));
        until("its way back is kept", async || {
            fleet.node(1).metric("wayhold_return_paths").await == 1
        })
        .await;
        assert_eq!(fleet.sum("wayhold_datagrams_forwarded_total").await, 0);
        fleet.assert_nothing_lost(1).await;
        client.quit().await;
    });
}
