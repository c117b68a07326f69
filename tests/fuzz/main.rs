//! Targets for fuzzing: what any bytes do to the parts of the gateway that read bytes of others.
//!
//! Each target makes something of its input and holds what comes of it to properties: that it does not
//! depend on where a stream was cut, that another implementation reads the same, that what was read can
//! be written again. `cargo test --test fuzz` runs the corpus and a few thousand inputs that are the same
//! each time. CONTRIBUTING.md has the commands for more.

mod capsule;
mod cid;
#[cfg(feature = "gateway")]
mod config;
mod connection;
mod fields;
mod frames;
mod input;
mod message;
mod qpack;
#[cfg(not(fuzzing))]
mod runner;
mod session;
mod table;
mod tunnel;
mod wire;

/// Makes a test of each target, with how many inputs `cargo test` gives it.
macro_rules! targets {
    ($($(#[$condition:meta])? $name:ident: $target:path, $inputs:literal;)*) => {$(
        $(#[$condition])?
        #[test]
        fn $name() {
            #[cfg(fuzzing)]
            bolero::check!().with_max_len(input::MAX_LEN).for_each(|input: &[u8]| $target(input));
            #[cfg(not(fuzzing))]
            runner::run(stringify!($name), $target, $inputs);
        }
    )*};
}

targets! {
    capsule: capsule::target, 5000;
    cid: cid::target, 4000;
    #[cfg(feature = "gateway")]
    config: config::target, 1000;
    connection: connection::target, 3000;
    frames: frames::target, 5000;
    message: message::target, 5000;
    qpack_decode: qpack::decode, 5000;
    qpack_encode: qpack::encode, 5000;
    qpack_table: table::target, 5000;
    session: session::target, 3000;
    tunnel: tunnel::target, 2000;
    wire: wire::target, 10000;
}
