//! When the service address is on a node.

use crate::network::{Network, SERVICE};
use crate::node::{Node, configure};
use crate::stage::{Directory, play, target};
use crate::transfer::{connect, text};

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
