//! Claims about the source tree and the documents, each a rule over a set of files.
//!
//! A rule returns one line for each violation. Beside each rule stands a test that plants
//! violations and sees them found; the tests here run the rules over the package itself.

mod documents;
mod features;
mod layers;
mod owners;
mod paths;
mod sizes;
mod tree;

use tree::Tree;

#[test]
fn modules_import_only_rows_above() {
    holds(&layers::layers(&Tree::of_package()));
}

#[test]
fn core_needs_no_io_clock_or_randomness() {
    holds(&owners::core_is_pure(&Tree::of_package()));
}

#[test]
fn each_transport_crate_is_named_in_few_files() {
    holds(&owners::crates_have_owners(&Tree::of_package()));
}

#[test]
fn unsafe_stays_in_sys() {
    holds(&owners::unsafe_stays_in_sys(&Tree::of_package()));
}

#[test]
fn embedders_build_no_crate_of_the_command() {
    holds(&features::embedders_build_no_command(&Tree::of_package()));
}

#[test]
fn files_and_functions_stay_short() {
    holds(&sizes::sizes(&Tree::of_package()));
}

#[test]
fn every_config_key_is_documented() {
    holds(&documents::keys_are_documented(&Tree::of_package()));
}

#[test]
fn documented_metrics_are_the_registered_ones() {
    holds(&documents::metrics_are_documented(&Tree::of_package()));
}

#[test]
fn readme_begins_with_the_two_commands_that_ci_runs() {
    holds(&documents::commands_are_run(&Tree::of_package()));
}

#[test]
fn every_architecture_invariant_is_held_by_a_test() {
    holds(&documents::invariants_have_tests(&Tree::of_package()));
}

#[test]
fn links_between_documents_lead_somewhere() {
    holds(&documents::links_lead_somewhere(&Tree::of_package()));
}

#[test]
fn no_file_depends_on_the_machine_it_was_written_on() {
    let machine = tree::places_of_this_machine();
    holds(&documents::files_are_portable(
        &Tree::of_package(),
        &machine,
    ));
}

#[track_caller]
fn holds(violations: &[String]) {
    assert!(
        violations.is_empty(),
        "{} violations:\n{}",
        violations.len(),
        violations.join("\n")
    );
}
