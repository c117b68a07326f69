use std::ffi::CStr;
use std::io;
use std::net::Ipv4Addr;

use netlink_bindings::nftables::{Chained, NatRangeFlags, Nfgenmsg, Request};
use netlink_bindings::traits::{NetlinkRequest, Protocol};

use super::netlink::{IPV4, Netlink, failed};

/// Has the kernel give every flow that leaves this address and a random port, from the next packet
/// of each flow on.
pub(super) fn translate(netlink: &mut Netlink, address: Ipv4Addr) -> io::Result<()> {
    let fault = |error| failed("translate addresses", error);
    let generation = {
        let request = Request::new().op_getgen_do(&Nfgenmsg::new());
        let mut reply = netlink.socket().request(&request)?;
        let (_, attributes) = reply.recv_one().map_err(fault)?;
        attributes.get_id().map_err(io::Error::other)?
    };
    let mut batch = Chained::new(netlink.socket().reserve_seq(BATCH));
    batch
        .request()
        .op_batch_begin_do(&batch_header())
        .encode()
        .push_genid(generation);
    // A table can only be deleted if it is there, so it is made first.
    let table = |batch: &mut Chained<'_>| {
        let mut request = batch.request().set_create().op_newtable_do(&header());
        request.encode().push_name(TABLE);
    };
    table(&mut batch);
    batch
        .request()
        .op_deltable_do(&header())
        .encode()
        .push_name(TABLE);
    table(&mut batch);
    chain(&mut batch);
    rule(&mut batch, address);
    batch.request().op_batch_end_do(&batch_header());
    let batch = batch.finalize();
    netlink
        .socket()
        .request_chained(&batch)?
        .recv_all()
        .map_err(fault)?;
    forget(netlink)
}

/// Has the kernel forget every flow, so that each gets another port with its next packet.
pub(super) fn forget(netlink: &mut Netlink) -> io::Result<()> {
    netlink.order("forget flows", &Flush)
}

fn chain(batch: &mut Chained<'_>) {
    let mut request = batch.request().set_create().op_newchain_do(&header());
    request
        .encode()
        .push_table(TABLE)
        .push_name(CHAIN)
        .push_type(c"nat")
        .nested_hook()
        .push_num(POSTROUTING)
        .push_priority(SOURCE_NAT);
}

fn rule(batch: &mut Chained<'_>, address: Ipv4Addr) {
    let mut request = batch
        .request()
        .set_create()
        .set_append()
        .op_newrule_do(&header());
    request
        .encode()
        .push_table(TABLE)
        .push_chain(CHAIN)
        .nested_expressions()
        .nested_elem()
        .nested_data_immediate()
        .push_dreg(REGISTER)
        .nested_data()
        .push_value(&address.octets())
        .end_nested()
        .end_nested()
        .end_nested()
        .nested_elem()
        .nested_data_nat()
        .push_type(0)
        .push_family(u32::from(IPV4))
        .push_reg_addr_min(REGISTER)
        .push_flags(NatRangeFlags::ProtoRandomFully as u32);
}

fn header() -> Nfgenmsg {
    let mut header = Nfgenmsg::new();
    header.nfgen_family = IPV4;
    header
}

fn batch_header() -> Nfgenmsg {
    let mut header = Nfgenmsg::new();
    header.set_res_id(NFTABLES);
    header
}

/// Deletes every entry of the connection tracking, for which `netlink_bindings` has no request.
struct Flush;

impl NetlinkRequest for Flush {
    type ReplyType<'a> = ();

    fn protocol(&self) -> Protocol {
        Protocol::Raw {
            protonum: NETFILTER,
            request_type: (CONNTRACK << 8) | DELETE,
        }
    }

    fn flags(&self) -> u16 {
        0
    }

    fn payload(&self) -> &[u8] {
        // A `struct nfgenmsg` for every family, and no attribute that would name an entry.
        &[0; 4]
    }

    fn decode_reply(_: &[u8]) {}
}

const TABLE: &CStr = c"wayhold-lab";
const CHAIN: &CStr = c"nat";
const REGISTER: u32 = 1;
/// Of the sequence numbers of one batch, which has seven messages.
const BATCH: u32 = 16;
/// What netlink calls netfilter, and its subsystems (`linux/netlink.h`, `linux/netfilter/nfnetlink.h`).
const NETFILTER: u16 = 12;
const CONNTRACK: u16 = 1;
const NFTABLES: u16 = 10;
/// `IPCTNL_MSG_CT_DELETE`.
const DELETE: u16 = 2;
/// `NF_INET_POST_ROUTING` and `NF_IP_PRI_NAT_SRC`.
const POSTROUTING: u32 = 4;
const SOURCE_NAT: i32 = 100;
