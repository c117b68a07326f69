//! The parts of quinn that an HTTP version is written on.

pub(in crate::edge) use quinn::{
    Connection, ReadError, RecvStream, SendDatagramError, SendStream, VarInt, WriteError,
};
