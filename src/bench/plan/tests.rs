use super::*;
use crate::bench::{Layer, Losses};

fn only(filters: &[&str]) -> Result<Plan, FilterError> {
    let filters: Result<Vec<Filter>, _> = filters.iter().map(|text| text.parse()).collect();
    Suite::Default
        .plan(Subject::Handshake, Layer::Link)
        .only(&filters?)
}

#[test]
fn every_suite_measures_every_mode_and_no_scenario_twice() {
    for suite in Suite::ALL {
        for (subject, layer) in [
            (Subject::Handshake, Layer::Link),
            (Subject::Migrate, Layer::Link),
            (Subject::Handshake, Layer::Loopback),
            (Subject::Migrate, Layer::Target),
        ] {
            let plan = suite.plan(subject, layer);
            let all: Vec<_> = plan.scenarios().collect();
            for (index, scenario) in all.iter().enumerate() {
                assert!(!all[..index].contains(scenario), "{suite} {scenario:?}");
                assert_eq!(scenario.layer, layer);
                assert!(layer == Layer::Link || scenario.losses == Losses::None);
            }
            for mode in subject.modes() {
                let planned = all.iter().any(|scenario| scenario.mode == *mode);
                let absent = match mode {
                    Mode::TcpFastOpen => layer != Layer::Link || *suite == Suite::Smoke,
                    Mode::QuicRetry | Mode::QuicFlip => layer == Layer::Target,
                    _ => false,
                };
                assert_eq!(planned, !absent, "{suite} {layer} {mode}");
            }
        }
    }
}

#[test]
fn filters_of_one_key_add_up_and_those_of_others_narrow() {
    let plan = only(&["mode=quic-full", "mode=tcp-full", "rtt_ms=50"]).unwrap();
    assert!(plan.scenarios().count() > 2);
    for scenario in plan.scenarios() {
        assert!([Mode::QuicFull, Mode::TcpFull].contains(&scenario.mode));
        assert_eq!(scenario.rtt_ms, 50);
    }
    let plan = only(&["losses=client-1"]).unwrap();
    assert_eq!(plan.groups.len(), 1);
    assert!(
        plan.scenarios()
            .all(|scenario| scenario.losses == Losses::Client(1))
    );
}

#[test]
fn a_filter_that_leaves_nothing_says_what_there_is() {
    let error = only(&["rtt_ms=75"]).unwrap_err().to_string();
    let expected = "no scenario of this plan has rtt_ms=75; there are 0, 10, 100, 200, 50";
    assert_eq!(error, expected);
    let error = only(&["certificate=rsa-4096"]).unwrap_err().to_string();
    assert!(error.contains("rsa-2048"), "{error}");
    let error = only(&["colour=red"]).unwrap_err().to_string();
    assert!(
        error.starts_with("nothing is called `colour`; there are mode, rtt_ms"),
        "{error}"
    );
    let error = only(&["quic-full"]).unwrap_err().to_string();
    assert!(error.contains("KEY=VALUE"), "{error}");
    let error = only(&["rtt_ms=0", "losses=client-1"]).unwrap_err();
    assert_eq!(error, FilterError::NothingLeft);
}
