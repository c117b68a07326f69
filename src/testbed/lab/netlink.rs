use std::ffi::{CStr, CString};
use std::io;
use std::net::Ipv4Addr;

use netlink_bindings::rt_link::{self, Ifinfomsg};
use netlink_bindings::traits::NetlinkRequest;
use netlink_bindings::{ethtool, rt_addr, rt_neigh, rt_route};
use netlink_socket2::{NetlinkSocket, ReplyError};

use super::Prefix;

/// Requests to the kernel about the network namespace of the thread that made this.
pub(super) struct Netlink(NetlinkSocket);

/// An interface as the kernel knows it.
pub(super) struct Interface {
    pub(super) index: u32,
    /// Of the interface at the other end of a veth pair, in its own namespace.
    pub(super) peer: u32,
    pub(super) hardware_address: Vec<u8>,
    /// Whether it carries packets: both ends of the pair are up, and the kernel has taken note.
    pub(super) carries: bool,
}

impl Netlink {
    pub(super) fn new() -> Self {
        Self(NetlinkSocket::new())
    }

    /// Makes a veth pair of which one end has this name; the kernel names the other.
    pub(super) fn add_pair(&mut self, name: &str) -> io::Result<()> {
        let mut request = rt_link::Request::new()
            .set_create()
            .set_excl()
            .op_newlink_do(&Ifinfomsg::new());
        request
            .encode()
            .push_ifname(&c_string(name)?)
            .nested_linkinfo()
            .push_kind(c"veth");
        self.order("make a veth pair", &request)
    }

    pub(super) fn interface(&mut self, name: &str) -> io::Result<Interface> {
        let mut request = rt_link::Request::new().op_getlink_do(&Ifinfomsg::new());
        request.encode().push_ifname(&c_string(name)?);
        let mut reply = self.0.request(&request)?;
        let failed = |error| failed("find an interface", error);
        let (header, attributes) = reply.recv_one().map_err(failed)?;
        Ok(Interface {
            index: header.ifi_index.cast_unsigned(),
            peer: attributes.get_link().unwrap_or_default(),
            hardware_address: attributes.get_address().unwrap_or_default().to_vec(),
            carries: attributes.get_operstate() == Ok(OPERATIONAL),
        })
    }

    /// Names an interface and moves it to the namespace of this descriptor.
    pub(super) fn move_away(&mut self, index: u32, name: &str, namespace: i32) -> io::Result<()> {
        let mut request = rt_link::Request::new().op_setlink_do(&about(index));
        request
            .encode()
            .push_ifname(&c_string(name)?)
            .push_net_ns_fd(namespace.cast_unsigned());
        self.order("move an interface", &request)
    }

    pub(super) fn bring_up(&mut self, index: u32) -> io::Result<()> {
        let mut header = about(index);
        (header.ifi_flags, header.ifi_change) = (UP, UP);
        let request = rt_link::Request::new().op_setlink_do(&header);
        self.order("bring an interface up", &request)
    }

    pub(super) fn set_mtu(&mut self, index: u32, mtu: u16) -> io::Result<()> {
        let mut request = rt_link::Request::new().op_setlink_do(&about(index));
        request.encode().push_mtu(mtu.into());
        self.order("set an MTU", &request)
    }

    /// Has every packet leave with its checksum, and no larger than the MTU.
    pub(super) fn disable_offloads(&mut self, name: &str) -> io::Result<()> {
        let mut request = ethtool::Request::new().op_features_set_do();
        // The library counts the requests and the answers of this family as one sequence.
        request.header_mut().cmd = FEATURES_SET;
        let name = c_string(name)?;
        let mut wanted = request
            .encode()
            .nested_header()
            .push_dev_name(&name)
            .push_flags(ethtool::HeaderFlags::OmitReply as u32)
            .end_nested()
            .nested_wanted()
            .nested_bits();
        for feature in OFFLOADS {
            // A bit that is named and has no value is cleared.
            wanted = wanted.nested_bit().push_name(feature).end_nested();
        }
        drop(wanted);
        self.order("switch offloads off", &request)
    }

    pub(super) fn add_address(&mut self, index: u32, address: Prefix) -> io::Result<()> {
        let mut request = rt_addr::Request::new()
            .set_create()
            .op_newaddr_do(&address_header(index, address));
        request.encode().push_local(address.address.into());
        self.order("add an address", &request)
    }

    pub(super) fn remove_address(&mut self, index: u32, address: Prefix) -> io::Result<()> {
        let mut request = rt_addr::Request::new().op_deladdr_do(&address_header(index, address));
        request.encode().push_local(address.address.into());
        self.order("remove an address", &request)
    }

    /// Sends packets to a destination to these gateways, each flow to one, in place of where they
    /// went.
    pub(super) fn set_route(&mut self, to: Prefix, gateways: &[Ipv4Addr]) -> io::Result<()> {
        let mut header = rt_route::Rtmsg::new();
        header.rtm_family = IPV4;
        header.rtm_dst_len = to.length;
        header.rtm_table = libc::RT_TABLE_MAIN;
        header.rtm_protocol = libc::RTPROT_STATIC;
        header.rtm_type = libc::RTN_UNICAST;
        let mut request = rt_route::Request::new()
            .set_create()
            .set_replace()
            .op_newroute_do(&header);
        request
            .encode()
            .push_dst(to.address.into())
            .push_multipath(&next_hops(gateways));
        self.order("set a route", &request)
    }

    /// Names the hardware address of a neighbour for good, so that no packet waits for ARP.
    pub(super) fn add_neighbour(
        &mut self,
        index: u32,
        address: Ipv4Addr,
        hardware_address: &[u8],
    ) -> io::Result<()> {
        let mut header = rt_neigh::Ndmsg::new();
        header.ndm_family = IPV4;
        header.ndm_ifindex = index.cast_signed();
        header.ndm_state = libc::NUD_PERMANENT;
        let mut request = rt_neigh::Request::new()
            .set_create()
            .set_replace()
            .op_newneigh_do(&header);
        request
            .encode()
            .push_dst(address.into())
            .push_lladdr(hardware_address);
        self.order("add a neighbour", &request)
    }

    /// Sends a request and waits for the kernel's agreement.
    pub(super) fn order(&mut self, what: &str, request: &impl NetlinkRequest) -> io::Result<()> {
        let mut reply = self.0.request(request)?;
        reply.recv_ack().map_err(|error| failed(what, error))
    }

    pub(super) fn socket(&mut self) -> &mut NetlinkSocket {
        &mut self.0
    }
}

/// The kernel says more than a number, and an [`io::Error`] alone would lose it.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn failed(what: &str, error: ReplyError) -> io::Error {
    let kind = error.as_io_error().kind();
    io::Error::new(kind, format!("cannot {what}: {error}"))
}

fn about(index: u32) -> Ifinfomsg {
    let mut header = Ifinfomsg::new();
    header.ifi_index = index.cast_signed();
    header
}

fn address_header(index: u32, address: Prefix) -> rt_addr::Ifaddrmsg {
    let mut header = rt_addr::Ifaddrmsg::new();
    header.ifa_family = IPV4;
    header.ifa_prefixlen = address.length;
    header.ifa_index = index;
    header
}

/// The next hops of a route as a sequence of `rtnexthop`, each with its gateway (rtnetlink(7)).
fn next_hops(gateways: &[Ipv4Addr]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for gateway in gateways {
        bytes.extend(16_u16.to_ne_bytes());
        // No flags, weight 1, any interface.
        bytes.extend([0; 6]);
        bytes.extend(8_u16.to_ne_bytes());
        bytes.extend(libc::RTA_GATEWAY.to_ne_bytes());
        bytes.extend(gateway.octets());
    }
    bytes
}

fn c_string(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(io::Error::other)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::as_conversions,
    reason = "2 fits"
)]
pub(super) const IPV4: u8 = libc::AF_INET as u8;
#[expect(clippy::as_conversions, reason = "1 fits")]
const UP: u32 = libc::IFF_UP as u32;
/// `IF_OPER_UP` (`linux/if.h`, RFC 2863).
const OPERATIONAL: u8 = 6;
/// `ETHTOOL_MSG_FEATURES_SET` (`linux/ethtool_netlink.h`).
const FEATURES_SET: u8 = 12;
const OFFLOADS: [&CStr; 7] = [
    c"tx-checksum-ip-generic",
    c"tx-checksum-sctp",
    c"tx-generic-segmentation",
    c"tx-tcp-segmentation",
    c"tx-tcp6-segmentation",
    c"tx-udp-segmentation",
    c"rx-gro",
];
