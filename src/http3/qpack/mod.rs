//! Field compression (RFC 9204).
//!
//! Both directions use the static table and the Huffman code. The dynamic table has capacity 0: the
//! gateway allows the client none, and uses none that the client allows. So no section ever waits for
//! another stream, and a client's encoder stream and decoder stream have next to nothing to say.
//!
//! A dynamic table would stand between [`Section`] and the lines: `skip_dynamic` is where every
//! reference to it ends up, and [`EncoderStream`] where every insertion does.

mod decode;
pub(super) mod encode;
mod huffman;
mod integer;
mod static_table;
mod streams;

pub(super) use decode::{Line, Section};
pub(super) use streams::{DecoderStream, EncoderStream};
