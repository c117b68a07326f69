use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::NoSuchName;
use super::scenario::named;

named! {
    /// A figure of a sample. The name ends with the unit, unless it is a count or a ratio.
    Metric, "metric" {
        /// Until the transport is connected: TCP's handshake; QUIC's first packet of the node.
        Connect = "connect_ms",
        /// Until the client may send a request.
        Ready = "ready_ms",
        /// Until the handshake is complete at the client (RFC 9001, section 4.1.1).
        Handshake = "handshake_ms",
        /// Until the handshake is confirmed at the client (RFC 9001, section 4.1.2).
        Confirmed = "confirmed_ms",
        /// Until the first byte of the response.
        FirstByte = "first_byte_ms",
        /// From the move to the first byte of a response after it.
        Recovery = "recovery_ms",
        /// Packets of the client until its handshake is complete.
        ClientPacketsHandshake = "client_packets_handshake",
        /// Packets of the node until the client's handshake is complete.
        NodePacketsHandshake = "node_packets_handshake",
        /// Bytes of the client until its handshake is complete, IP headers included.
        ClientBytesHandshake = "client_bytes_handshake",
        /// Bytes of the node until the client's handshake is complete, IP headers included.
        NodeBytesHandshake = "node_bytes_handshake",
        /// Packets of the client until the first byte.
        ClientPackets = "client_packets",
        /// Packets of the node until the first byte.
        NodePackets = "node_packets",
        /// Bytes of the client until the first byte, IP headers included.
        ClientBytes = "client_bytes",
        /// Bytes of the node until the first byte, IP headers included.
        NodeBytes = "node_bytes",
        /// UDP payload that the node sent before the client's address was validated, over what it received
        /// (RFC 9000, section 8).
        Amplification = "amplification",
        /// Processor time of the client's thread.
        ClientCpu = "client_cpu_us",
        /// Of that, in the kernel.
        ClientKernel = "client_kernel_us",
        /// Processor time of the node's thread.
        NodeCpu = "node_cpu_us",
        /// Of that, in the kernel.
        NodeKernel = "node_kernel_us",
        /// Allocations of the client.
        ClientAllocations = "client_allocations",
        /// Allocations of the node.
        NodeAllocations = "node_allocations",
        /// Bytes that the client allocated.
        ClientAllocated = "client_allocated_bytes",
        /// Bytes that the node allocated.
        NodeAllocated = "node_allocated_bytes",
        /// Processor time of the client over that of the cryptographic operations in the same run.
        ClientFloorRatio = "client_floor_ratio",
        /// Processor time of the node over that of the cryptographic operations in the same run.
        NodeFloorRatio = "node_floor_ratio",
        /// Handshakes completed in a second.
        HandshakeRate = "handshakes_per_second",
        /// Handshakes in a second of the node's processor time.
        HandshakeRatePerCore = "handshakes_per_second_per_core",
        /// From the intended start of a handshake to its first byte, under load.
        Latency = "latency_ms",
        /// Memory of the node for each more idle connection.
        ConnectionMemory = "connection_memory_kib",
    }
}
