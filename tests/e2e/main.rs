//! Claims about the gateway on real sockets.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod abuse;
mod aioquic;
mod application;
mod bench_command;
mod cancel;
mod certificates;
mod check_command;
mod cid_command;
mod client;
mod demo;
mod dial;
mod drain;
mod early_data;
mod events;
mod fleet_command;
mod garbage;
mod get;
mod grpc;
mod hand_over;
#[cfg(feature = "large-clients")]
mod independent;
mod initial;
mod interim;
mod issued;
mod keys_command;
mod lifecycle;
mod limits;
mod matrix;
mod messages;
mod moves;
mod operate;
mod operator;
mod plain;
mod pools;
mod priority;
mod process;
mod proxy;
mod python;
mod raw;
mod reading;
mod relay;
mod reload;
mod rotation;
mod scripted;
mod sessions;
mod stage;
mod tap;
mod transfer;
mod tunnels;
mod udp;
mod upgrade;
mod websocket;
mod wild;
mod workers;
