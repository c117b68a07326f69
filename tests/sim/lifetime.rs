//! How long connection IDs must be used at least.

use crate::plan::{Plan, ms};
use crate::trace::Keep;
use crate::world::World;

/// A limit of quinn-proto 0.11.19: it repeats a lost `NEW_CONNECTION_ID` frame with a Retire Prior To beyond
/// the frame's own sequence number if the connection ID in it has expired meanwhile, and the client ends the
/// connection (RFC 9000, section 19.15). When this fails, the limit is gone from docs/fleet.md as well.
#[test]
fn connection_ids_that_expire_before_losses_are_repaired_end_connections() {
    let ended = (0..crate::SEEDS).find_map(|seed| {
        let mut plan = Plan::new(seed);
        plan.cid_lifetime = ms(1000);
        let failure = World::new(plan, None, Keep::Sum).run().err()?;
        Some((seed, failure))
    });
    let (seed, failure) = ended.expect("no seed ends a connection");
    println!("with a lifetime of 1 s in seed {seed}: {failure}");
    assert!(failure.contains("NEW_CONNECTION_ID"), "{failure}");
}
