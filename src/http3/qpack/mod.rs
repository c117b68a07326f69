//! Field compression (RFC 9204).
//!
//! Both directions use the static table and the Huffman code. Requests may also use a dynamic [`Table`] of
//! 4 KiB for each connection, and no section may wait for it: clients refer only to what they know to have
//! come, so there is nothing that a lost packet holds up. Responses use none.

mod answers;
mod decode;
pub(super) mod encode;
mod encoder_stream;
mod huffman;
mod integer;
mod static_table;
mod streams;
mod table;

pub(super) use answers::Answers;
pub(super) use decode::{Line, Section};
pub(super) use encoder_stream::{Counts, EncoderStream};
pub(super) use streams::DecoderStream;
pub(super) use table::{MAX_CAPACITY, Table};
