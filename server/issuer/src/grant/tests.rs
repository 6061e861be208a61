use super::*;
use crate::{
    fixture::Made,
    policy::{Files, Policy},
};

const HOUR: i64 = 3600;

fn policy(phase: &str, grace: &str) -> Policy {
    let text = format!(
        "owners = [\"olga\"]\ntime_zone = \"UTC\"\n{phase}\n[roles.r]\ntoken_lifetime = \"10m\"\nlongest_grant = \"90d\"\n\
         authorization_details = [{{ type = \"git_repository\", locations = [\"https://h/a\"], actions = [\"read\"] }}]\n{grace}"
    );
    let files: Files = [("projects/p.toml", text.as_str())].into_iter().collect();
    Policy::check(&files).unwrap()
}

fn grant(until: i64, terms: Terms) -> Grant {
    let mut grant = crate::token::trial::Trial::granted(
        "alice".parse().unwrap(),
        "p".parse().unwrap(),
        "r".parse().unwrap(),
        Timestamp::from_seconds(0),
    );
    (grant.until, grant.terms) = (Timestamp::from_seconds(until), terms);
    grant
}

/// Begin, hard end and end of grace, in hours from the start of 2027.
fn span(policy: &Policy, grant: &Grant) -> Option<(Option<i64>, i64, i64)> {
    let project = policy.project(&grant.project).unwrap();
    let hours = |time: Timestamp| time.since(Timestamp::from_seconds(START)) / HOUR;
    let span = Span::of(grant, project, project.role(&grant.role).unwrap())?;
    Some((span.begins.map(hours), hours(span.ends), hours(span.over)))
}

/// 2027-01-01T00:00:00Z.
const START: i64 = 1_798_761_600;

#[test]
fn whichever_comes_first_is_the_end_and_whichever_comes_last_the_begin() {
    const GRACE: &str = "[roles.r.grace]\nfor = \"24h\"\nauthorization_details = [{ type = \"git_repository\", locations = [\"https://h/a\"], actions = [\"read\"] }]";
    let phase = "[phases.build]\nbegins = 2027-01-01T10:00:00Z\nends = 2027-01-05T04:00:00Z";
    let (plain, phased) = (policy("", GRACE), policy(phase, GRACE));
    let at = |hours: i64| START + hours * HOUR;
    let terms = |not_before: Option<i64>, phase: bool, grace: i64| Terms {
        not_before: not_before.map(|hours| Timestamp::from_seconds(at(hours))),
        phase: phase.then(|| "build".parse().unwrap()),
        grace: grace * HOUR,
        ..Terms::default()
    };
    for (policy, until, terms, expected) in [
        (&plain, 48, terms(None, false, 0), Some((None, 48, 48))),
        (&plain, 48, terms(Some(3), false, 24), Some((Some(3), 48, 72))),
        // The role leaves less than was granted, or more.
        (&plain, 48, terms(None, false, 30), Some((None, 48, 72))),
        (&plain, 48, terms(None, false, 5), Some((None, 48, 53))),
        (&plain, 48, terms(None, true, 0), None),
        (&phased, 48, terms(None, false, 24), Some((None, 48, 72))),
        (&phased, 48, terms(None, true, 24), Some((Some(10), 48, 72))),
        (&phased, 48, terms(Some(3), true, 24), Some((Some(10), 48, 72))),
        (&phased, 48, terms(Some(12), true, 24), Some((Some(12), 48, 72))),
        // Nothing is left of a grant whose phase is over: no grace, either.
        (&phased, 90, terms(None, true, 24), Some((Some(10), 90, 100))),
        (&phased, 120, terms(None, true, 24), Some((Some(10), 100, 100))),
    ] {
        assert_eq!(span(policy, &grant(at(until), terms.clone())), expected, "until {until} with {terms:?}");
    }
}

#[test]
fn each_moment_has_its_standing() {
    let at = Timestamp::from_seconds;
    let span = Span { begins: Some(at(10)), ends: at(20), over: at(30) };
    for (now, standing, life) in [
        (0, Standing::NotYet(at(10)), GrantLife::Active),
        (9, Standing::NotYet(at(10)), GrantLife::Active),
        (10, Standing::Full, GrantLife::Active),
        (19, Standing::Full, GrantLife::Active),
        (20, Standing::Grace, GrantLife::Grace),
        (29, Standing::Grace, GrantLife::Grace),
        (30, Standing::Over, GrantLife::Ended),
        (31, Standing::Over, GrantLife::Ended),
    ] {
        assert_eq!((span.at(at(now)), span.at(at(now)).life()), (standing, life), "{now}");
    }
    let none = Span { begins: None, ends: at(20), over: at(20) };
    assert_eq!((none.at(at(0)), none.at(at(20))), (Standing::Full, Standing::Over));
}

#[tokio::test]
async fn a_grant_says_what_speaks_against_a_device() {
    let made = Made::with_software().await;
    let device = made.client().await;
    let subject = device.subject();
    let networks = vec!["2001:db8::/32".parse().unwrap()];
    for (terms, address, words) in [
        (Terms::default(), None, None),
        (Terms { networks: networks.clone(), ..Terms::default() }, Some("2001:db8::1"), None),
        (Terms { networks: networks.clone(), ..Terms::default() }, Some("192.0.2.1"), Some("comes from `192.0.2.1`")),
        (Terms { networks, ..Terms::default() }, None, Some("comes from an unknown address")),
        (Terms { secure_boot: true, ..Terms::default() }, None, Some("does not say whether it does")),
    ] {
        let against = terms.against(&subject, address.map(|address| address.parse().unwrap()));
        assert_eq!(against.is_some(), words.is_some(), "{terms:?}");
        assert!(against.unwrap_or_default().contains(words.unwrap_or_default()));
    }
    let off = Subject { secure_boot: Some(false), ..subject };
    let against = Terms { secure_boot: true, ..Terms::default() }.against(&off, None).unwrap();
    assert!(against.ends_with("this one boots without"), "{against}");
    let on = Subject { secure_boot: Some(true), ..subject };
    assert_eq!(Terms { secure_boot: true, ..Terms::default() }.against(&on, None), None);
}

#[test]
fn what_is_shown_is_what_time_and_use_have_made_of_it() {
    use GrantLife::{Active, Ended, Grace, Requested, Revoked, Suspended};
    const GRACE: &str = "[roles.r.grace]\nfor = \"24h\"\nauthorization_details = [{ type = \"git_repository\", locations = [\"https://h/a\"], actions = [\"read\"] }]";
    let (policy, gone) = (policy("", GRACE), Policy::default());
    let with = |state, used, uses, grace: i64| Grant {
        state,
        used,
        ..grant(START, Terms { uses, grace: grace * HOUR, ..Terms::default() })
    };
    for (state, used, uses, grace, hours, expected) in [
        (Active, 0, None, 0, -1, "active"),
        (Active, 9, None, 0, -1, "active"),
        (Active, 1, Some(2), 0, -1, "active"),
        (Active, 2, Some(2), 0, -1, "used_up"),
        // Nobody has marked it yet.
        (Active, 0, None, 0, 0, "ended"),
        (Active, 2, Some(2), 0, 0, "ended"),
        (Active, 0, None, 5, 4, "grace"),
        (Active, 2, Some(2), 5, 4, "used_up"),
        (Grace, 0, None, 5, 5, "ended"),
        (Requested, 2, Some(2), 0, 9, "requested"),
        (Suspended, 2, Some(2), 0, 9, "suspended"),
        (Revoked, 0, None, 0, -1, "revoked"),
        (Ended, 0, None, 0, -1, "ended"),
    ] {
        let now = Timestamp::from_seconds(START + hours * HOUR);
        let shown = with(state, used, uses, grace).shown(&policy, now);
        assert_eq!(shown.as_str(), expected, "{state} {used} of {uses:?} at {hours}");
        assert_eq!(expected.parse(), Ok(shown));
    }
    // Where the policy has it no more, its record says it.
    let now = Timestamp::from_seconds(START);
    assert_eq!(with(Active, 0, None, 0).shown(&gone, now).as_str(), "ended");
    assert!("dead".parse::<Shown>().is_err());
}
