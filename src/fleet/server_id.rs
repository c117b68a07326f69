use super::{InstanceId, NodeId};
use crate::cid::ServerId;

/// Bytes of the default profile's server ID: three of node and one of instance.
pub const SERVER_ID_LEN: usize = 4;

/// The default profile's server ID of one process of a node.
pub fn server_id(node: NodeId, instance: InstanceId) -> ServerId {
    let [a, b, c] = node.to_bytes();
    ServerId::from_array([a, b, c, instance.0])
}

/// Reads what [`server_id`] wrote; none if the length is another, as under other profiles.
pub fn split_server_id(server_id: &ServerId) -> Option<(NodeId, InstanceId)> {
    let &[a, b, c, instance] = server_id.as_array::<SERVER_ID_LEN>()?;
    Some((NodeId::from_bytes([a, b, c]), InstanceId(instance)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_and_instance_come_back() {
        let node = NodeId::new(0x0001_02ff).unwrap();
        let id = server_id(node, InstanceId(9));
        assert_eq!(id.as_ref(), [1, 2, 0xff, 9]);
        assert_eq!(split_server_id(&id), Some((node, InstanceId(9))));
    }

    #[test]
    fn another_length_names_no_node() {
        assert_eq!(split_server_id(&ServerId::new(&[1; 3]).unwrap()), None);
        assert_eq!(split_server_id(&ServerId::new(&[1; 8]).unwrap()), None);
    }
}
