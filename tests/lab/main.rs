//! Claims about fleets on the kernel's own network: processes of `wayhold` in network namespaces that
//! share one address behind a router, and clients behind a NAT.
//!
//! The process gives itself namespaces before any thread starts, which needs no privilege where the
//! system allows it, and goes on as the root of a PID namespace, with which everything ends. Filters
//! and `--list` work as with other tests: `cargo test --test lab -- FILTER`.

#![expect(
    clippy::unwrap_used,
    reason = "all of this is a test, which the lint does not see without the standard harness"
)]

mod addresses;
#[path = "../e2e/certificates.rs"]
mod certificates;
mod deaths;
mod drains;
mod ecmp;
mod emulated;
mod flips;
mod links;
mod members;
mod network;
mod node;
#[path = "../e2e/python.rs"]
mod python;
mod round_trips;
mod sources;
mod stage;
#[path = "../e2e/transfer.rs"]
mod transfer;

use std::process::{Command, ExitCode};
use std::{env, fs, io};

use libtest_mimic::{Arguments, Trial};
use wayhold::sys::namespace::isolate;
use wayhold::sys::process::die_with_parent;
use wayhold::testbed::lab::{Forbidden, Host};

use crate::network::Network;

macro_rules! claims {
    ($($module:ident :: $claim:ident,)*) => {
        vec![$(Trial::test(stringify!($claim), || { $module::$claim(); Ok(()) }),)*]
    };
}

fn claims() -> Vec<Trial> {
    claims![
        addresses::a_node_binds_a_service_address_that_comes_later_only_if_the_kernel_may,
        addresses::a_client_that_moves_to_the_preferred_address_needs_no_detour_after_a_flip,
        deaths::clients_of_a_killed_node_are_reset_once_it_is_known_and_resume_elsewhere,
        deaths::a_restarted_node_resets_at_once_what_its_killed_process_had,
        deaths::a_node_that_one_peer_does_not_hear_is_not_dead_and_keeps_its_clients,
        drains::a_drain_withdraws_the_route_and_loses_nothing_and_undrain_announces_it,
        ecmp::ecmp_by_address_leaves_a_client_of_a_rebinding_nat_at_its_node,
        ecmp::ecmp_by_port_and_a_rebinding_nat_cost_no_client_its_connection,
        emulated::a_smaller_mtu_holds_for_what_hosts_send,
        emulated::an_emulated_link_delivers_everything_in_order,
        emulated::an_emulated_link_loses_exactly_the_chosen_packets,
        emulated::nothing_passes_an_emulated_link_early_and_lateness_is_reported,
        emulated::tcp_crosses_an_emulated_link_whole_in_packets_of_its_mtu,
        emulated::the_emulated_route_flips_and_every_node_reaches_the_client,
        emulated::what_the_kernel_drops_at_a_tap_is_counted,
        flips::a_route_flip_in_the_middle_of_transfers_loses_nothing,
        flips::a_route_that_flaps_every_500_ms_loses_no_request,
        flips::a_client_of_other_make_survives_flips_and_rebindings,
        flips::the_get_command_follows_the_address_through_flips,
        links::a_link_of_1280_between_nodes_is_refused_with_the_mtu_it_needs,
        links::a_link_of_1300_between_nodes_carries_the_largest_datagrams,
        links::a_link_of_1500_between_nodes_carries_the_largest_datagrams,
        links::a_link_smaller_than_configured_costs_large_datagrams_and_says_so,
        members::a_member_joins_and_leaves_by_reload_and_no_request_is_lost,
        round_trips::every_handshake_takes_the_round_trips_of_theory,
        round_trips::a_move_takes_one_round_trip_where_tcp_takes_two_or_three,
        round_trips::a_hello_retry_request_takes_a_round_trip_more,
        round_trips::a_lost_first_flight_takes_a_round_trip_more,
        round_trips::a_certificate_within_three_times_the_first_flight_costs_no_round_trip,
        sources::replies_through_the_ingress_pass_a_router_that_filters_sources,
        sources::replies_through_the_ingress_fit_through_a_link_of_1300,
        sources::a_router_that_asks_for_any_way_back_lets_direct_replies_pass,
        sources::a_router_that_filters_sources_drops_direct_replies_until_the_route_is_back,
    ]
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, claims()).exit_code();
    }
    if env::var_os(INSIDE).is_none() {
        return match isolate() {
            Ok(()) => enclose(),
            Err(error) => skip(&arguments, &Forbidden::from(error).to_string()),
        };
    }
    die_with_parent().expect("the kernel knows this option since 2.1.57");
    match probe() {
        Ok(()) => libtest_mimic::run(&arguments, claims()).exit_code(),
        Err(error) => skip(&arguments, &Forbidden::from(error).to_string()),
    }
}

/// Runs all of it as the first process of the new namespaces, with a directory for its files.
fn enclose() -> ExitCode {
    let name = format!("wayhold-lab-{}", std::process::id());
    let directory = env::temp_dir().join(name);
    fs::create_dir(&directory).expect("the directory is this process's own");
    let inside = env::current_exe().and_then(|this| {
        Command::new(this)
            .args(env::args_os().skip(1))
            .env(INSIDE, &directory)
            .status()
    });
    let removed = fs::remove_dir_all(&directory);
    let code = inside.expect("this program can be started again").code();
    removed.expect("nobody else has removed it");
    code.and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Tries everything that each claim needs.
fn probe() -> io::Result<()> {
    Network::new(1500).map(drop)?;
    Host::new().map(drop)
}

/// Says why nothing is proven here; where that must not happen, this fails.
#[expect(
    clippy::print_stderr,
    reason = "the reason belongs into the test's output"
)]
fn skip(arguments: &Arguments, reason: &str) -> ExitCode {
    eprintln!("SKIPPED({reason})");
    if env::var("WAYHOLD_TESTBED").as_deref() == Ok("require") {
        return ExitCode::FAILURE;
    }
    let skipped = claims()
        .into_iter()
        .map(|claim| claim.with_ignored_flag(true))
        .collect();
    libtest_mimic::run(arguments, skipped).exit_code()
}

/// Tells the process within the namespaces from the one that made them, and where its files go.
const INSIDE: &str = "WAYHOLD_LAB_INSIDE";
