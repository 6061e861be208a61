//! What requests promise.

use std::sync::Arc;

use daypass_proto::access_request::{Ask, Wanted};

use super::*;
use crate::{
    actor::Actor,
    ending::{GrantVerb, Told, decide_grant, end_everything, look, mark_over},
    fixture::Made,
    ledger::Source,
    store::{Change, Decision, Device, Find, Grant, Scope, Terms},
};

const DAY: i64 = 86_400;

fn from_device() -> Source {
    Source::Address([192, 0, 2, 7].into())
}

fn owner(name: &str) -> Actor {
    let device = DeviceId::from_random([7; 10]);
    Actor::Person { collaborator: name.parse().unwrap(), device, address: [192, 0, 2, 8].into() }
}

fn olga() -> Actor {
    owner("olga@example.com")
}

/// Alice's device with its grant, which ends within the hour.
async fn with_grant(role: &str) -> (Made, Device, Grant) {
    let made = Made::with_software().await;
    let device = made.client_in(role).await;
    let grant = made.issuer.store.grants_of(&device.id).await.unwrap().remove(0);
    (made, device, grant)
}

async fn extend(made: &Made, device: &Device, grant: &Grant, until: &str) -> Result<Request, RequestError> {
    let what = Wanted::Extension { grant: grant.id.clone() };
    let asked = Ask { what, until: Some(until.to_owned()), reason: "the audit takes longer".to_owned() };
    ask(&made.issuer, device, &asked, &from_device()).await
}

async fn for_role(made: &Made, device: &Device, project: &str, role: &str) -> Result<Request, RequestError> {
    let what = Wanted::Scopes { project: project.parse().unwrap(), role: role.parse().unwrap() };
    let asked = Ask { what, until: Some("1d".to_owned()), reason: "to fix what I found".to_owned() };
    ask(&made.issuer, device, &asked, &from_device()).await
}

async fn say(made: &Made, request: &Request, verdict: Verdict, actor: &Actor) -> Result<Decided, RequestError> {
    decide(&made.issuer, &request.id, verdict, actor, Some("as agreed")).await
}

async fn now(made: &Made, grant: &Grant) -> Grant {
    made.issuer.store.grant(&grant.id).await.unwrap().unwrap()
}

async fn state(made: &Made, request: &Request) -> RequestLife {
    made.issuer.store.request(&request.id).await.unwrap().unwrap().state
}

#[tokio::test]
async fn an_owner_extends_and_nothing_moves_before() {
    let (made, device, grant) = with_grant("developer").await;
    let request = extend(&made, &device, &grant, "30d").await.unwrap();
    assert_eq!(now(&made, &grant).await.until, grant.until);
    assert_eq!(describe(&made.issuer, request.clone()).await.unwrap().waits_for, ["olga@example.com"]);
    let decided = say(&made, &request, Verdict::Approve, &olga()).await.unwrap();
    assert_eq!((decided.request.state, decided.missing), (RequestLife::Approved, 0));
    assert_eq!(now(&made, &grant).await.until, made.now().plus(30 * DAY));
    for (kind, why) in
        [("request_made", "the audit takes longer"), ("request_approved", "as agreed"), ("grant_extended", "as agreed")]
    {
        assert_eq!(made.reasons(kind).await, [why], "{kind}");
    }
    let again = say(&made, &request, Verdict::Approve, &olga()).await;
    assert!(matches!(again, Err(RequestError::NotWaiting { state: RequestLife::Approved, .. })), "{again:?}");
}

#[tokio::test]
async fn an_owner_narrows_and_never_widens() {
    let (made, device, grant) = with_grant("developer").await;
    let request = extend(&made, &device, &grant, "30d").await.unwrap();
    let narrow = |until| Verdict::Narrow { until, role: None };
    for wrong in [
        narrow(None),
        narrow(Some(made.now().plus(30 * DAY))),
        narrow(Some(made.now().plus(31 * DAY))),
        Verdict::Narrow { until: None, role: "reader".parse().ok() },
    ] {
        let refused = say(&made, &request, wrong.clone(), &olga()).await;
        assert!(matches!(refused, Err(RequestError::NotNarrower(_))), "{wrong:?} {refused:?}");
    }
    // An end before the one that the grant has already is none.
    let shorter = say(&made, &request, narrow(Some(made.now().plus(60))), &olga()).await;
    assert!(matches!(shorter, Err(RequestError::NotLater { .. })), "{shorter:?}");
    let decided = say(&made, &request, narrow(Some(made.now().plus(DAY))), &olga()).await.unwrap();
    assert_eq!(decided.request.state, RequestLife::Narrowed);
    assert_eq!(now(&made, &grant).await.until, made.now().plus(DAY));
    let told = describe(&made.issuer, decided.request).await.unwrap();
    assert_eq!((told.until, told.narrowed_to.unwrap().until), (made.now().plus(30 * DAY), made.now().plus(DAY)));
}

#[tokio::test]
async fn an_owner_refuses_and_whoever_asked_takes_it_back() {
    let (made, device, grant) = with_grant("developer").await;
    let request = extend(&made, &device, &grant, "30d").await.unwrap();
    say(&made, &request, Verdict::Refuse, &olga()).await.unwrap();
    assert_eq!((state(&made, &request).await, now(&made, &grant).await.until), (RequestLife::Refused, grant.until));
    assert_eq!(made.reasons("request_refused").await, ["as agreed"]);
    // What was answered does not keep the next one from being asked; what waits does.
    let request = extend(&made, &device, &grant, "2d").await.unwrap();
    assert!(matches!(extend(&made, &device, &grant, "3d").await, Err(RequestError::OneWaits)));
    let other = made.client_in("reader").await;
    let not_theirs = withdraw(&made.issuer, &other, &request.id, &from_device()).await;
    assert!(matches!(not_theirs, Err(RequestError::NoRequest(_))), "{not_theirs:?}");
    withdraw(&made.issuer, &device, &request.id, &from_device()).await.unwrap();
    let late = say(&made, &request, Verdict::Approve, &olga()).await;
    assert!(matches!(late, Err(RequestError::NotWaiting { state: RequestLife::Withdrawn, .. })), "{late:?}");
}

#[tokio::test]
async fn another_role_becomes_a_grant_of_its_own_on_the_same_device() {
    let (made, device, grant) = with_grant("reader").await;
    assert!(matches!(for_role(&made, &device, "gemini", "reader").await, Err(RequestError::NoProject(_))));
    assert!(matches!(for_role(&made, &device, "apollo", "reader").await, Err(RequestError::HasRole { .. })));
    assert!(matches!(for_role(&made, &device, "apollo", "king").await, Err(RequestError::Grant(GrantError::Role(..)))));
    let request = for_role(&made, &device, "apollo", "developer").await.unwrap();
    let decided = say(&made, &request, Verdict::Approve, &olga()).await.unwrap();
    let given = decided.grant.unwrap();
    assert_eq!(
        (given.role.to_string(), given.state, &given.device),
        ("developer".to_owned(), GrantLife::Active, &Some(device.id.clone()))
    );
    assert_eq!(made.issuer.store.grants_of(&device.id).await.unwrap().len(), 2);
    assert_eq!(now(&made, &grant).await.until, grant.until, "the other one is as it was");
}

#[tokio::test]
async fn a_wider_role_is_narrowed_to_one_that_gives_less() {
    let (made, device, _) = with_grant("reader").await;
    made.edit_policy(&[("[roles.reader]", "[roles.other]\ntoken_lifetime = \"5m\"\nlongest_grant = \"90d\"\n[[roles.other.authorization_details]]\ntype = \"git_repository\"\nlocations = [\"https://git.example.com/team/other\"]\nactions = [\"read\"]\n\n[roles.viewer]\ntoken_lifetime = \"5m\"\nlongest_grant = \"90d\"\n[[roles.viewer.authorization_details]]\ntype = \"git_repository\"\nlocations = [\"https://git.example.com/team/app\"]\nactions = [\"read\"]\n\n[roles.reader]")]).await;
    let request = for_role(&made, &device, "apollo", "developer").await.unwrap();
    let to = |role: &str| Verdict::Narrow { until: None, role: role.parse().ok() };
    let beyond = say(&made, &request, to("other"), &olga()).await;
    assert!(matches!(beyond, Err(RequestError::NotNarrower(_))), "{beyond:?}");
    let decided = say(&made, &request, to("viewer"), &olga()).await.unwrap();
    assert_eq!(
        (decided.request.state, decided.grant.unwrap().role.to_string()),
        (RequestLife::Narrowed, "viewer".to_owned())
    );
}

#[tokio::test]
async fn role_and_policy_decide_when_it_is_asked_and_again_when_it_is_approved() {
    let (made, device, grant) = with_grant("developer").await;
    assert!(matches!(
        extend(&made, &device, &grant, "91d").await,
        Err(RequestError::Grant(GrantError::TooLong { .. }))
    ));
    assert!(matches!(extend(&made, &device, &grant, "1m").await, Err(RequestError::NotLater { .. })));
    let same = grant.until.to_string();
    assert!(matches!(extend(&made, &device, &grant, &same).await, Err(RequestError::NotLater { .. })));
    assert!(matches!(extend(&made, &device, &grant, "soon").await, Err(RequestError::Until(_))));
    let request = extend(&made, &device, &grant, "30d").await.unwrap();
    let (as_is, never) = ("[roles.developer]\n", "[roles.developer]\nrenewal = \"none\"\n");
    made.edit_policy(&[(as_is, never)]).await;
    let refused = say(&made, &request, Verdict::Approve, &olga()).await;
    assert!(matches!(refused, Err(RequestError::NotRenewed(_))), "{refused:?}");
    made.edit_policy(&[(never, as_is), ("longest_grant = \"90d\"", "longest_grant = \"1d\"")]).await;
    let refused = say(&made, &request, Verdict::Approve, &olga()).await;
    assert!(matches!(refused, Err(RequestError::Grant(GrantError::TooLong { .. }))), "{refused:?}");
    assert_eq!(now(&made, &grant).await.until, grant.until);
}

#[tokio::test]
async fn with_all_its_extensions_a_grant_has_an_end() {
    let (made, device, grant) = with_grant("developer").await;
    made.edit_policy(&[("[roles.developer]\n", "[roles.developer]\nlongest_total = \"100d\"\n")]).await;
    let first = extend(&made, &device, &grant, "90d").await.unwrap();
    say(&made, &first, Verdict::Approve, &olga()).await.unwrap();
    made.pass(50 * DAY);
    let beyond = extend(&made, &device, &grant, "51d").await.unwrap_err();
    assert!(matches!(beyond, RequestError::TooLongInAll { .. }), "{beyond}");
    let within = extend(&made, &device, &grant, "49d").await.unwrap();
    say(&made, &within, Verdict::Approve, &olga()).await.unwrap();
    assert_eq!(now(&made, &grant).await.until, made.now().plus(49 * DAY));
    assert_eq!(made.events("request_not_taken").await.len(), 1);
}

#[tokio::test]
async fn whoever_asks_does_not_approve_and_a_sensitive_role_takes_two() {
    let (made, device, grant) = with_grant("developer").await;
    made.edit_policy(&[
        ("owners = [\"olga@example.com\"]", "owners = [\"olga@example.com\", \"oskar@example.com\", \"alice\"]"),
        ("[roles.developer]\n", "[roles.developer]\nsensitivity = \"sensitive\"\n"),
    ])
    .await;
    let request = extend(&made, &device, &grant, "30d").await.unwrap();
    for (who, verdict) in [("alice", Verdict::Approve), ("alice", Verdict::Refuse), ("mallory", Verdict::Refuse)] {
        let refused = say(&made, &request, verdict, &owner(who)).await;
        assert!(
            matches!(refused, Err(RequestError::Approval(ApprovalError::Own { .. } | ApprovalError::NotOwner { .. }))),
            "{refused:?}"
        );
    }
    assert_eq!(made.events("approval_refused").await.len(), 3);
    let first = say(&made, &request, Verdict::Approve, &olga()).await.unwrap();
    assert_eq!(
        (first.request.state, first.missing, now(&made, &grant).await.until),
        (RequestLife::Requested, 1, grant.until)
    );
    // The second one gives less, which the first one has approved with it.
    let less = Verdict::Narrow { until: Some(made.now().plus(DAY)), role: None };
    let second = say(&made, &request, less, &owner("oskar@example.com")).await.unwrap();
    assert_eq!(second.request.state, RequestLife::Narrowed);
    assert_eq!(now(&made, &grant).await.until, made.now().plus(DAY));
}

#[tokio::test]
async fn without_an_end_it_is_for_as_long_again_and_never_for_longer_than_the_role_lets_it_be() {
    let (made, device, grant) = with_grant("developer").await;
    let what = Wanted::Extension { grant: grant.id.clone() };
    let asked = Ask { what, until: None, reason: "not done".to_owned() };
    let request = ask(&made.issuer, &device, &asked, &from_device()).await.unwrap();
    assert_eq!(request.until, grant.until.plus(3600));
    withdraw(&made.issuer, &device, &request.id, &from_device()).await.unwrap();
    made.edit_policy(&[
        ("[roles.developer]\n", "[roles.developer]\nlongest_total = \"90d\"\n"),
        ("longest_grant = \"90d\"", "longest_grant = \"90m\""),
    ])
    .await;
    let request = ask(&made.issuer, &device, &asked, &from_device()).await.unwrap();
    assert_eq!(request.until, made.now().plus(90 * 60));
    // Nor beyond its time in all, nor its phase.
    withdraw(&made.issuer, &device, &request.id, &from_device()).await.unwrap();
    made.edit_policy(&[
        ("longest_grant = \"90m\"", "longest_grant = \"70m\""),
        ("longest_total = \"90d\"", "longest_total = \"75m\""),
    ])
    .await;
    made.pass(600);
    let request = ask(&made.issuer, &device, &asked, &from_device()).await.unwrap();
    assert_eq!(request.until, grant.made_at.unwrap().plus(75 * 60));
    withdraw(&made.issuer, &device, &request.id, &from_device()).await.unwrap();
    let ends = grant.until.plus(300);
    let phase = format!("[phases.build]\nends = {ends}\n[roles.developer]\n");
    made.edit_policy(&[("[roles.developer]\n", &phase)]).await;
    let phased = Grant { terms: Terms { phase: "build".parse().ok(), ..grant.terms.clone() }, ..grant };
    let change = Change::Grant { to: phased.clone(), from: GrantLife::Active };
    let event = crate::fixture::event(&made.issuer.environment);
    made.issuer.store.decide(Decision::new(event).change(change)).await.unwrap();
    let request = ask(&made.issuer, &device, &asked, &from_device()).await.unwrap();
    assert_eq!(request.until, ends);
}

#[tokio::test]
async fn what_is_over_is_not_extended_and_its_request_lapses() {
    let (made, device, grant) = with_grant("developer").await;
    let request = extend(&made, &device, &grant, "30d").await.unwrap();
    made.pass(3600);
    let late = say(&made, &request, Verdict::Approve, &olga()).await;
    assert!(matches!(late, Err(RequestError::GrantOver { .. })), "nobody has marked it yet: {late:?}");
    mark_over(&made.issuer).await.unwrap();
    assert_eq!(now(&made, &grant).await.state, GrantLife::Ended);
    assert!(matches!(say(&made, &request, Verdict::Approve, &olga()).await, Err(RequestError::GrantOver { .. })));
    assert!(matches!(extend(&made, &device, &grant, "30d").await, Err(RequestError::GrantOver { .. })));
    lapse(&made.issuer).await.unwrap();
    assert_eq!(state(&made, &request).await, RequestLife::Lapsed);
    assert_eq!(made.events("request_lapsed").await.len(), 1);
}

#[tokio::test]
async fn of_an_extension_and_a_revocation_at_once_what_comes_second_is_told() {
    for round in 0..40 {
        let (made, device, grant) = with_grant("developer").await;
        let request = extend(&made, &device, &grant, "30d").await.unwrap();
        let made = Arc::new(made);
        let extending = {
            let (made, request) = (Arc::clone(&made), request.clone());
            tokio::spawn(async move { say(&made, &request, Verdict::Approve, &olga()).await })
        };
        for _ in 0..round % 5 {
            tokio::task::yield_now().await;
        }
        let source = Source::from(Actor::account("root"));
        let told = Told { source: &source, rule: None, reason: None };
        let revoked = decide_grant(&made.issuer, &grant.id, GrantVerb::Revoke, &told).await;
        let extended = extending.await.unwrap();
        let is = now(&made, &grant).await;
        match (&extended, &revoked) {
            (Ok(_), Ok(_)) => assert_eq!(is.state, GrantLife::Revoked),
            (Err(error), Ok(_)) => {
                assert!(matches!(error, RequestError::Changed(_) | RequestError::GrantOver { .. }), "{error}");
                assert_eq!((is.state, is.until), (GrantLife::Revoked, grant.until));
                assert_eq!(state(&made, &request).await, RequestLife::Requested, "whole or not at all");
            }
            (_, Err(error)) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn of_many_who_answer_at_once_one_wins() {
    for _ in 0..20 {
        let (made, device, grant) = with_grant("developer").await;
        let request = extend(&made, &device, &grant, "30d").await.unwrap();
        let made = Arc::new(made);
        let verdicts = [
            Verdict::Approve,
            Verdict::Refuse,
            Verdict::Narrow { until: Some(made.now().plus(DAY)), role: None },
            Verdict::Approve,
        ];
        let all: Vec<_> = verdicts
            .into_iter()
            .map(|verdict| {
                let (made, request) = (Arc::clone(&made), request.clone());
                tokio::spawn(async move { say(&made, &request, verdict, &olga()).await })
            })
            .collect();
        let taken_back = withdraw(&made.issuer, &device, &request.id, &from_device()).await;
        let mut won = usize::from(taken_back.is_ok());
        for one in all {
            match one.await.unwrap() {
                Ok(_) => won += 1,
                Err(RequestError::Changed(_) | RequestError::NotWaiting { .. }) => {}
                Err(RequestError::Approval(ApprovalError::Already(_)) | RequestError::NotLater { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(won, 1);
        let moved = now(&made, &grant).await.until != grant.until;
        let given = matches!(state(&made, &request).await, RequestLife::Approved | RequestLife::Narrowed);
        assert_eq!((moved, made.events("grant_extended").await.len()), (given, usize::from(given)));
    }
}

/// The kinds of all events, in the order in which they were decided.
async fn order(made: &Made) -> Vec<String> {
    crate::ledger::integrate(&made.issuer).await;
    made.issuer.store.entries(0, 1000).await.unwrap().into_iter().map(|entry| entry.kind).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_rests_on_a_grant_that_ends_at_once_comes_before_its_end_or_not_at_all() {
    for round in 0..48 {
        let (made, device, grant) = with_grant("reader").await;
        // Once it is approved meanwhile, and once it is asked for.
        let request = match round % 2 {
            0 => Some(for_role(&made, &device, "apollo", "developer").await.unwrap()),
            _ => None,
        };
        let made = Arc::new(made);
        let ending = {
            let (made, grant) = (Arc::clone(&made), grant.clone());
            tokio::spawn(async move {
                for _ in 0..round / 2 % 8 {
                    tokio::task::yield_now().await;
                }
                let source = Source::from(Actor::account("root"));
                let told = Told { source: &source, rule: None, reason: None };
                decide_grant(&made.issuer, &grant.id, GrantVerb::Revoke, &told).await
            })
        };
        let (given, lost) = match &request {
            Some(request) => {
                let approved = say(&made, request, Verdict::Approve, &olga()).await;
                ("grant_activated", approved.map(drop))
            }
            None => ("request_made", for_role(&made, &device, "apollo", "developer").await.map(drop)),
        };
        ending.await.unwrap().unwrap();
        let order = order(&made).await;
        let at = |kind: &str| order.iter().position(|found| found == kind);
        let live = made.issuer.store.grants_of(&device.id).await.unwrap();
        let live = live.iter().filter(|grant| grant.state == GrantLife::Active).count();
        match lost {
            Ok(()) => assert!(at(given).unwrap() < at("grant_revoked").unwrap(), "{order:?}"),
            Err(RequestError::Changed(Condition::Grant(beside))) => assert_eq!(beside, grant.id),
            Err(RequestError::NoProject(_)) => {}
            Err(other) => panic!("{other}"),
        }
        let comes = at(given).is_some();
        assert_eq!(live, usize::from(comes && request.is_some()), "whole or not at all");
        if let Some(request) = request {
            let answered = if comes { RequestLife::Approved } else { RequestLife::Requested };
            assert_eq!(state(&made, &request).await, answered);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_requests_that_give_the_same_role_at_once_one_does() {
    for round in 0..24 {
        let (made, device, _) = with_grant("reader").await;
        made.edit_policy(&[("[roles.reader]", &format!("{VIEWER}\n[roles.reader]"))]).await;
        let one = for_role(&made, &device, "apollo", "developer").await.unwrap();
        let other = for_role(&made, &device, "apollo", "viewer").await.unwrap();
        let made = Arc::new(made);
        let narrowing = {
            let (made, one) = (Arc::clone(&made), one.clone());
            tokio::spawn(async move {
                for _ in 0..round % 6 {
                    tokio::task::yield_now().await;
                }
                say(&made, &one, Verdict::Narrow { until: None, role: "viewer".parse().ok() }, &olga()).await
            })
        };
        let approved = say(&made, &other, Verdict::Approve, &olga()).await;
        let narrowed = narrowing.await.unwrap();
        let won = [approved.is_ok(), narrowed.is_ok()];
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "{approved:?} {narrowed:?}");
        let lost = approved.err().or(narrowed.err()).unwrap();
        let clear = matches!(lost, RequestError::Changed(Condition::RoleFree(..)) | RequestError::HasRole { .. });
        assert!(clear, "{lost:?}");
        let states = [state(&made, &other).await, state(&made, &one).await];
        let answered = [RequestLife::Approved, RequestLife::Narrowed];
        for n in 0..2 {
            assert_eq!(states[n], if won[n] { answered[n] } else { RequestLife::Requested });
        }
        assert_eq!(made.events("grant_activated").await.len(), 1);
        let grants = made.issuer.store.grants_of(&device.id).await.unwrap();
        assert_eq!(grants.iter().filter(|grant| grant.role.as_str() == "viewer").count(), 1);
    }
}

#[tokio::test]
async fn a_use_that_is_counted_meanwhile_is_not_lost() {
    let (made, device, grant) = with_grant("developer").await;
    let _ = device;
    let used = Grant { used: 7, ..grant.clone() };
    let event = || crate::fixture::event(&made.issuer.environment);
    let change = Change::Grant { to: used.clone(), from: GrantLife::Active };
    made.issuer.store.decide(Decision::new(event()).change(change)).await.unwrap();
    let longer = Grant { until: grant.until.plus(DAY), ..grant.clone() };
    let extend = |from: Grant, to: Grant| Change::Extend { to: Box::new(to), from: Box::new(from) };
    let stale = Decision::new(event()).change(extend(grant.clone(), longer.clone()));
    assert!(matches!(made.issuer.store.decide(stale).await, Err(DecideError::Conflict(Condition::Grant(_)))));
    let fresh = Grant { used: 7, ..longer };
    made.issuer.store.decide(Decision::new(event()).change(extend(used, fresh))).await.unwrap();
    assert_eq!((now(&made, &grant).await.used, now(&made, &grant).await.until), (7, grant.until.plus(DAY)));
}

#[tokio::test]
async fn a_reason_has_words_and_asking_has_a_pace() {
    let (made, device, grant) = with_grant("developer").await;
    let what = Wanted::Extension { grant: grant.id.clone() };
    for reason in ["", "  ", &"x".repeat(daypass_proto::words::LONGEST + 1), "a\nb", "a\u{202e}b"] {
        let asked = Ask { what: what.clone(), until: Some("1d".to_owned()), reason: reason.to_owned() };
        let refused = ask(&made.issuer, &device, &asked, &from_device()).await;
        assert!(matches!(refused, Err(RequestError::Reason(_))), "{refused:?}");
    }
    let mut held_up = false;
    for _ in 0..70 {
        held_up |= matches!(extend(&made, &device, &grant, "soon").await, Err(RequestError::TooMany(_)));
    }
    assert!(held_up);
}

#[tokio::test]
async fn guardrails_are_asked_about_a_later_end() {
    let (made, device, grant) = with_grant("developer").await;
    let request = extend(&made, &device, &grant, "30d").await.unwrap();
    let folder = made.issuer.config.policy.join("guardrails");
    std::fs::create_dir_all(&folder).unwrap();
    let rule = "@id(\"never-longer\")\n@reason(\"nothing gets a later end this month\")\nforbid (principal, action == Action::\"renew\", resource);\n";
    std::fs::write(folder.join("never.cedar"), rule).unwrap();
    made.edit_policy(&[]).await;
    let refused = say(&made, &request, Verdict::Approve, &olga()).await.unwrap_err();
    assert!(refused.to_string().contains("`never-longer`"), "{refused}");
    assert_eq!((made.events("approval_refused").await.len(), now(&made, &grant).await.until), (1, grant.until));
    std::fs::remove_file(folder.join("never.cedar")).unwrap();
    made.edit_policy(&[]).await;
    say(&made, &request, Verdict::Approve, &olga()).await.unwrap();
}

/// A second grant of the device, in a project that no policy has.
async fn elsewhere(made: &Made, device: &Device) {
    let first = made.issuer.store.grants_of(&device.id).await.unwrap().remove(0);
    let id = GrantId::from_random(made.issuer.environment.random());
    let grant = Grant { id, project: "gemini".parse().unwrap(), ..first };
    let event = crate::fixture::event(&made.issuer.environment);
    made.issuer.store.decide(Decision::new(event).change(Change::AddGrant(grant))).await.unwrap();
}

#[tokio::test]
async fn what_was_asked_beside_a_grant_goes_with_it() {
    for ends_all in [true, false] {
        let (made, device, grant) = with_grant("reader").await;
        elsewhere(&made, &device).await;
        let request = for_role(&made, &device, "apollo", "developer").await.unwrap();
        let source = Source::from(Actor::account("root"));
        if ends_all {
            let scope = Scope::Project("apollo".parse().unwrap());
            let ending = look(&made.issuer, scope).await.unwrap();
            assert_eq!((ending.requests.len(), ending.staying.len()), (1, 1));
            end_everything(&made.issuer, ending, &source, "done").await.unwrap();
            assert_eq!(made.reasons("request_lapsed").await, ["done"]);
        } else {
            let told = Told { source: &source, rule: None, reason: None };
            decide_grant(&made.issuer, &grant.id, GrantVerb::Revoke, &told).await.unwrap();
            let late = say(&made, &request, Verdict::Approve, &olga()).await;
            assert!(matches!(late, Err(RequestError::NoProject(_))), "{late:?}");
            lapse(&made.issuer).await.unwrap();
        }
        assert_eq!(state(&made, &request).await, RequestLife::Lapsed);
        let live = made.issuer.store.grants_of(&device.id).await.unwrap();
        assert_eq!(live.iter().filter(|grant| grant.state == GrantLife::Active).count(), 1, "the one elsewhere");
    }
}

#[tokio::test]
async fn a_role_is_given_once_to_a_device() {
    let (made, device, _) = with_grant("reader").await;
    made.edit_policy(&[("[roles.reader]", &format!("{VIEWER}\n[roles.reader]"))]).await;
    let one = for_role(&made, &device, "apollo", "developer").await.unwrap();
    let other = for_role(&made, &device, "apollo", "viewer").await.unwrap();
    say(&made, &one, Verdict::Narrow { until: None, role: "viewer".parse().ok() }, &olga()).await.unwrap();
    let twice = say(&made, &other, Verdict::Approve, &olga()).await;
    assert!(matches!(twice, Err(RequestError::HasRole { .. })), "{twice:?}");
    // Whoever looked before it was there is told by the writer.
    let role = Change::RequireRoleFree(device.id.clone(), "apollo".parse().unwrap(), "viewer".parse().unwrap());
    let event = crate::fixture::event(&made.issuer.environment);
    let refused = made.issuer.store.decide(Decision::new(event).change(role)).await;
    assert!(matches!(refused, Err(DecideError::Conflict(Condition::RoleFree(..)))), "{refused:?}");
}

#[tokio::test]
async fn another_role_is_bound_as_the_one_beside_it() {
    let (made, device, grant) = with_grant("reader").await;
    let terms = Terms {
        networks: vec!["192.0.2.0/24".parse().unwrap()],
        trust_tiers: vec![daypass_proto::enrolment::TrustTier::Software],
        uses: Some(3),
        not_before: Some(made.now().plus(60)),
        ..grant.terms.clone()
    };
    let bound = Grant { terms: terms.clone(), ..grant };
    let event = crate::fixture::event(&made.issuer.environment);
    let change = Change::Extend { to: Box::new(bound.clone()), from: Box::new(bound.clone()) };
    made.issuer.store.decide(Decision::new(event).change(change)).await.unwrap();
    let request = for_role(&made, &device, "apollo", "developer").await.unwrap();
    let given = say(&made, &request, Verdict::Approve, &olga()).await.unwrap().grant.unwrap();
    assert_eq!(given.terms, Terms { uses: None, ..terms }, "how often is the role's own");
}

const VIEWER: &str = "[roles.viewer]\ntoken_lifetime = \"5m\"\nlongest_grant = \"90d\"\n[[roles.viewer.authorization_details]]\n\
    type = \"git_repository\"\nlocations = [\"https://git.example.com/team/app\"]\nactions = [\"read\"]\n";

#[tokio::test]
async fn a_role_that_gives_more_in_any_of_its_limits_is_no_narrowing() {
    const GRACE: &str = "[roles.viewer.grace]\nfor = \"1d\"\nauthorization_details = [{ type = \"git_repository\", locations = [\"https://git.example.com/team/app\"], actions = [\"read\"] }]\n";
    let (made, device, _) = with_grant("reader").await;
    made.edit_policy(&[("[roles.reader]", &format!("{VIEWER}# more\n\n[roles.reader]"))]).await;
    let request = for_role(&made, &device, "apollo", "developer").await.unwrap();
    let to_viewer = || Verdict::Narrow { until: None, role: "viewer".parse().ok() };
    let line = "token_lifetime = \"5m\"\nlongest_grant = \"90d\"\n[[roles.viewer";
    for (old, new, why) in [
        ("# more\n", GRACE, "in its grace"),
        ("[roles.developer]\n", "[roles.developer]\nuses = 3\n", "more uses"),
        (line, &line.replace("5m", "1h"), "tokens that live longer"),
        ("[roles.viewer]\n", "[roles.viewer]\nprotection = \"delegated\"\n", "weaker proofs"),
    ] {
        made.edit_policy(&[(old, new)]).await;
        let refused = say(&made, &request, to_viewer(), &olga()).await;
        assert!(matches!(&refused, Err(RequestError::NotNarrower(words)) if words.contains(why)), "{why}: {refused:?}");
        made.edit_policy(&[(new, old)]).await;
    }
    say(&made, &request, to_viewer(), &olga()).await.unwrap();
}

#[tokio::test]
async fn what_the_policy_has_no_more_is_refused_and_names_no_other_project() {
    let (made, device, grant) = with_grant("reader").await;
    let request = for_role(&made, &device, "apollo", "developer").await.unwrap();
    made.edit_policy(&[("[roles.developer]", "[roles.builder]"), ("roles.developer.", "roles.builder.")]).await;
    assert!(say(&made, &request, Verdict::Approve, &olga()).await.is_err());
    let stranger = say(&made, &request, Verdict::Refuse, &owner("mallory")).await;
    assert!(matches!(stranger, Err(RequestError::Approval(ApprovalError::NotOwner { .. }))), "{stranger:?}");
    say(&made, &request, Verdict::Refuse, &olga()).await.unwrap();
    assert_eq!(state(&made, &request).await, RequestLife::Refused);
    let folder = made.issuer.config.policy.join("projects");
    std::fs::rename(folder.join("apollo.toml"), folder.join("secret-client.toml")).unwrap();
    crate::commands::put_in_force(&made.issuer, &made.issuer.config.policy).await.unwrap();
    made.issuer.reload_policy().await.unwrap();
    let gone = extend(&made, &device, &grant, "30d").await.unwrap_err();
    assert_eq!(gone.to_string(), "today's policy has no project `apollo`");
}

#[tokio::test]
async fn the_first_extension_writes_down_from_when_a_grant_counts() {
    let (made, device, grant) = with_grant("developer").await;
    let old = Grant { made_at: None, ..grant.clone() };
    let event = crate::fixture::event(&made.issuer.environment);
    let change = Change::Extend { to: Box::new(old.clone()), from: Box::new(old) };
    made.issuer.store.decide(Decision::new(event).change(change)).await.unwrap();
    made.edit_policy(&[("[roles.developer]\n", "[roles.developer]\nlongest_total = \"100d\"\n")]).await;
    let request = extend(&made, &device, &grant, "9d").await.unwrap();
    say(&made, &request, Verdict::Approve, &olga()).await.unwrap();
    let made_at = now(&made, &grant).await.made_at.unwrap();
    assert_eq!(made_at, grant.until.plus(-90 * DAY), "the earliest that it can have been made");
    let beyond = extend(&made, &device, &grant, "11d").await;
    assert!(matches!(beyond, Err(RequestError::TooLongInAll { .. })), "{beyond:?}");
}

#[tokio::test]
async fn those_that_wait_are_told_first_and_all_of_them_lapse() {
    let (made, device, grant) = with_grant("developer").await;
    let waits = for_role(&made, &device, "apollo", "reader").await.unwrap();
    for _ in 0..3 {
        made.pass(60);
        let request = extend(&made, &device, &grant, "1d").await.unwrap();
        withdraw(&made.issuer, &device, &request.id, &from_device()).await.unwrap();
    }
    let store = &made.issuer.store;
    let told = store.requests_of(&device.id, 3).await.unwrap();
    assert_eq!(told[0].id, waits.id);
    assert_eq!([&told[1], &told[2]].map(|request| request.asked_at), [made.now(), made.now().plus(-60)]);
    let mut find = Find::up_to(2);
    let mut seen = store.find_requests(&find).await.unwrap();
    find.after = seen.last().map(|request| request.id.to_string());
    seen.extend(store.find_requests(&find).await.unwrap());
    assert_eq!(seen.iter().map(|request| &request.id).collect::<std::collections::BTreeSet<_>>().len(), 4);
}
