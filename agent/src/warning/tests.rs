//! When what is said.

use daypass_proto::{authorization::AuthorizationDetails, token::Protection};
use proptest::prelude::*;

use super::*;

const WEEK: i64 = 7 * DAY;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

/// From `begins` to `until`.
fn grant(begins: i64, until: i64) -> GrantState {
    GrantState {
        briefing: None,
        grant: "gr-3k7q0x9a1b2c3d4e".parse().unwrap(),
        project: "apollo".parse().unwrap(),
        role: "developer".parse().unwrap(),
        state: "active".to_owned(),
        begins: Some(at(begins)),
        until: at(until),
        grace_until: None,
        uses: None,
        uses_left: None,
        protection: Protection::Hardware,
        authorization_details: AuthorizationDetails::default(),
    }
}

fn what(grant: &GrantState, now: i64) -> Vec<Ending> {
    of(grant, at(now), WEEK).into_iter().map(|warning| warning.what).collect()
}

#[test]
fn an_end_is_said_a_fifth_of_the_length_ahead_and_a_week_at_most() {
    for (days, ahead) in [(1, DAY / 5), (30, 6 * DAY), (35, WEEK), (36, WEEK), (365, WEEK)] {
        let grant = grant(0, days * DAY);
        let from = days * DAY - ahead;
        assert_eq!(what(&grant, from - 1), [], "{days} days");
        assert_eq!(what(&grant, from), [Ending::Soon], "{days} days");
        assert_eq!(what(&grant, days * DAY - 1), [Ending::Soon], "{days} days");
        assert_eq!(what(&grant, days * DAY), [], "{days} days: what is over is no warning");
    }
    let unknown = GrantState { begins: None, ..grant(0, 30 * DAY) };
    assert_eq!((what(&unknown, 23 * DAY - 1), what(&unknown, 23 * DAY)), (vec![], vec![Ending::Soon]));
    assert_eq!(what(&grant(10, 11), 9), [], "what has not begun does not end soon");
}

#[test]
fn grace_is_said_by_the_clock_whatever_state_was_heard_last() {
    for state in ["active", "grace"] {
        let grant = GrantState { state: state.to_owned(), grace_until: Some(at(40 * DAY)), ..grant(0, 30 * DAY) };
        assert_eq!(what(&grant, 30 * DAY - 1), [Ending::Soon], "{state}");
        assert_eq!(what(&grant, 30 * DAY), [Ending::Grace], "{state}");
        assert_eq!(what(&grant, 40 * DAY - 1), [Ending::Grace], "{state}");
        assert_eq!(what(&grant, 40 * DAY), [], "{state}");
    }
    for state in ["requested", "suspended", "revoked", "ended"] {
        let grant = GrantState {
            state: state.to_owned(),
            grace_until: Some(at(40 * DAY)),
            uses: Some(10),
            uses_left: Some(0),
            ..grant(0, 30 * DAY)
        };
        assert_eq!((what(&grant, 29 * DAY), what(&grant, 31 * DAY)), (vec![], vec![]), "{state}");
    }
}

#[test]
fn few_uses_are_a_fifth_or_the_last_and_a_single_one_is_no_news() {
    let said = |uses, left| {
        let grant = GrantState { uses: Some(uses), uses_left: Some(left), ..grant(0, 365 * DAY) };
        of(&grant, at(0), WEEK).pop().map(|warning| warning.message)
    };
    for (uses, left) in [(1, 1), (3, 2), (10, 3), (100, 21)] {
        assert_eq!(said(uses, left), None, "{left} of {uses}");
    }
    assert!(said(1, 0).unwrap().ends_with("has given its only token"));
    assert!(said(2, 0).unwrap().ends_with("has given all its 2 tokens"));
    assert!(said(3, 1).unwrap().ends_with("gives one more token, the last of 3"));
    assert!(said(10, 2).unwrap().ends_with("gives 2 more tokens of 10"));
    assert!(said(100, 20).is_some());
}

#[test]
fn a_warning_names_the_end_and_the_command() {
    let warning = of(&grant(1_790_000_000, 1_790_000_000 + 30 * DAY), at(1_790_000_000 + 27 * DAY), WEEK).remove(0);
    assert_eq!(
        (warning.message.as_str(), warning.next_step.as_str()),
        (
            "grant gr-3k7q0x9a1b2c3d4e (apollo as developer) ends at 2026-10-21T14:13:20Z, in 3 days",
            "for longer: `daypass extend gr-3k7q0x9a1b2c3d4e --reason …`"
        )
    );
}

#[test]
fn the_same_is_said_once_a_day_and_what_is_new_at_once() {
    let (mut said, soon) = (Vec::new(), grant(0, 30 * DAY));
    let grace = GrantState { grace_until: Some(at(40 * DAY)), ..soon.clone() };
    let mut say = |grant: &GrantState, now: i64| {
        due(&mut said, std::slice::from_ref(grant), of(grant, at(now), WEEK), at(now)).len()
    };
    assert_eq!(say(&soon, 28 * DAY), 1);
    assert_eq!((say(&soon, 28 * DAY), say(&soon, 29 * DAY - 1)), (0, 0));
    assert_eq!(say(&soon, 29 * DAY), 1);
    assert_eq!((say(&grace, 30 * DAY - 1), say(&grace, 30 * DAY)), (0, 1), "it is another warning now");
    assert_eq!(say(&grace, 30 * DAY + 1), 0);
    assert_eq!(say(&soon, 24 * DAY), 1, "a clock that was put back");
    assert_eq!(said.len(), 2);
    due(&mut said, &[], Vec::new(), at(0));
    assert_eq!(said, [], "nothing is kept of grants that are no more");
}

proptest! {
    #[test]
    fn however_often_a_tool_is_used_it_is_said_once_in_a_day(mut times in prop::collection::vec(28 * DAY..30 * DAY, 1..40)) {
        times.sort_unstable();
        let (mut said, grant) = (Vec::new(), grant(0, 30 * DAY));
        let mut last = None;
        for now in times {
            let warnings = of(&grant, at(now), WEEK);
            if !due(&mut said, std::slice::from_ref(&grant), warnings, at(now)).is_empty() {
                prop_assert!(last.is_none_or(|last| now - last >= DAY));
                last = Some(now);
            } else {
                prop_assert!(last.is_some_and(|last| now - last < DAY));
            }
        }
    }
}
