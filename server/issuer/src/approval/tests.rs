//! What approval promises.

use std::sync::Arc;

use daypass_proto::{
    enrolment::DeviceLife,
    names::{Collaborator, DeviceId},
};

use super::*;
use crate::{
    actor::Actor,
    device::{LifeError, Verb, decide_life},
    ending::{GrantVerb, Told, decide_grant},
    fixture::Made,
    ledger::Source,
    policy::Action,
    store::{Change, Decision, Device, Grant},
};

/// Somebody at a device of theirs.
fn person(name: &str) -> Actor {
    let device = DeviceId::from_random([7; 10]);
    Actor::Person { collaborator: name.parse().unwrap(), device, address: [192, 0, 2, 7].into() }
}

/// The account on the issuer's machine, for an owner.
fn for_owner(name: &str) -> Actor {
    Actor::Machine { account: "root".to_owned(), on_behalf_of: Some(name.parse().unwrap()) }
}

async fn on_behalf() -> Made {
    Made::with(&[
        ("allow_software_keys = false", "allow_software_keys = true"),
        ("approve_on_behalf = false", "approve_on_behalf = true"),
    ])
    .await
}

const OWNERS: &str = "owners = [\"olga@example.com\"]";

async fn grant(made: &Made, id: &GrantId) -> Grant {
    made.issuer.store.grant(id).await.unwrap().unwrap()
}

/// An invitation whose machine has enrolled, and waits.
async fn enrolled(made: &Made) -> (GrantId, DeviceId) {
    enrolled_by(made, made.invited("alice").await.grant).await
}

async fn enrolled_by(made: &Made, id: GrantId) -> (GrantId, DeviceId) {
    let device = made.client_in("reader").await;
    let waits =
        Device { state: DeviceLife::Pending, id: DeviceId::from_random(made.issuer.environment.random()), ..device };
    let uses = Grant { device: Some(waits.id.clone()), ..grant(made, &id).await };
    let decision = Decision::new(crate::fixture::event(&made.issuer.environment))
        .change(Change::AddDevice(waits.clone()))
        .change(Change::Grant { to: uses, from: GrantLife::Requested });
    made.issuer.store.decide(decision).await.unwrap();
    (id, waits.id)
}

async fn approve_device(made: &Made, device: &DeviceId, actor: Actor) -> Result<Device, LifeError> {
    let verb = Verb::Approve { with_grants: true };
    decide_life(&made.issuer, device, verb, &Source::Actor(actor), Some("code_compared"), Some("met")).await
}

#[tokio::test]
async fn an_approved_device_has_nothing_until_an_owner_approves_its_grant() {
    let made = Made::with_software().await;
    let (id, device) = enrolled(&made).await;
    approve_device(&made, &device, Actor::account("root")).await.unwrap();
    assert_eq!(grant(&made, &id).await.state, GrantLife::Requested);
    let approved = approve_grant(&made.issuer, &id, &person("olga@example.com"), Some("asked her")).await.unwrap();
    assert_eq!((approved.grant.state, approved.waiting.missing()), (GrantLife::Active, 0));
    assert_eq!(grant(&made, &id).await.state, GrantLife::Active);
    assert_eq!(made.reasons("grant_approved").await, ["asked her"]);
    assert_eq!(made.events("grant_activated").await.len(), 1);
}

#[tokio::test]
async fn an_owner_who_compares_a_code_approves_what_it_was_invited_to_where_they_say_so() {
    for (with_grants, state, approvals) in [(false, GrantLife::Requested, 0), (true, GrantLife::Active, 1)] {
        let made = Made::with_software().await;
        let (id, device) = enrolled(&made).await;
        let (verb, olga) = (Verb::Approve { with_grants }, Source::Actor(person("olga@example.com")));
        decide_life(&made.issuer, &device, verb, &olga, Some("code_compared"), None).await.unwrap();
        assert_eq!(grant(&made, &id).await.state, state);
        assert_eq!(made.events("grant_approved").await.len(), approvals);
    }
}

#[tokio::test]
async fn of_owners_one_of_whom_is_enough_the_second_is_told_while_the_machine_is_not_there() {
    let made = Made::with_software().await;
    made.edit_policy(&[("owners = [", "owners = [\"otto@example.com\", ")]).await;
    let id = made.invited("alice").await.grant;
    approve_grant(&made.issuer, &id, &person("olga@example.com"), None).await.unwrap();
    for who in ["otto@example.com", "olga@example.com"] {
        let told = approve_grant(&made.issuer, &id, &person(who), None).await;
        assert!(matches!(told, Err(ApprovalError::Enough(_))), "{who}: {told:?}");
    }
    assert_eq!(made.events("grant_approved").await.len(), 1);
}

#[tokio::test]
async fn what_was_approved_beforehand_comes_into_force_with_its_device() {
    let made = Made::with_software().await;
    let (id, device) = enrolled(&made).await;
    approve_grant(&made.issuer, &id, &person("olga@example.com"), None).await.unwrap();
    assert_eq!(grant(&made, &id).await.state, GrantLife::Requested, "its device waits still");
    approve_device(&made, &device, Actor::account("root")).await.unwrap();
    assert_eq!(grant(&made, &id).await.state, GrantLife::Active);
    let again = approve_grant(&made.issuer, &id, &person("olga@example.com"), None).await;
    assert!(matches!(again, Err(ApprovalError::NotWaiting { state: GrantLife::Active, .. })), "{again:?}");
}

#[tokio::test]
async fn nobody_else_approves_and_every_attempt_is_an_event() {
    let made = Made::with_software().await;
    made.edit_policy(&[(OWNERS, "owners = [\"olga@example.com\", \"alice\"]")]).await;
    let id = made.invited("alice").await.grant;
    let mallory = approve_grant(&made.issuer, &id, &person("mallory"), None).await.unwrap_err();
    assert_eq!(mallory.to_string(), "`mallory` is not among those who may approve this: olga@example.com");
    // An owner, but the one whom it is for.
    let own = approve_grant(&made.issuer, &id, &person("alice"), None).await.unwrap_err();
    assert!(matches!(&own, ApprovalError::Own { owners, .. } if owners == "olga@example.com"), "{own}");
    let nobody = approve_grant(&made.issuer, &id, &Actor::account("olga@example.com"), None).await.unwrap_err();
    assert!(
        matches!(nobody, ApprovalError::Nobody { .. }),
        "an account is nobody's id, however it is called: {nobody}"
    );
    let off = approve_grant(&made.issuer, &id, &for_owner("olga@example.com"), None).await.unwrap_err();
    assert!(matches!(off, ApprovalError::OnBehalfOff), "{off}");
    let rules = made.events("approval_refused").await;
    for rule in ["not_an_owner", "own_request", "approve_on_behalf_off"] {
        assert_eq!(rules.iter().filter(|leaf| leaf.contains(rule)).count(), 1, "{rule}: {rules:?}");
    }
    assert_eq!(grant(&made, &id).await.state, GrantLife::Requested);
}

#[tokio::test]
async fn whoever_invited_does_not_approve_however_they_write_themselves() {
    let made = Made::new().await;
    made.edit_policy(&[(OWNERS, "owners = [\"olga@example.com\", \"Olga@Example.com\", \"oskar@example.com\"]")]).await;
    let id = made.invited_by("alice", person("olga@example.com")).await.grant;
    for own in ["olga@example.com", "Olga@Example.com"] {
        let error = approve_grant(&made.issuer, &id, &person(own), None).await.unwrap_err();
        assert!(matches!(&error, ApprovalError::Own { owners, .. } if owners == "oskar@example.com"), "{error}");
    }
    approve_grant(&made.issuer, &id, &person("oskar@example.com"), None).await.unwrap();
}

#[tokio::test]
async fn on_behalf_needs_the_setting_and_is_stamped() {
    let made = on_behalf().await;
    let (id, device) = enrolled(&made).await;
    let stranger = approve_device(&made, &device, for_owner("mallory")).await.unwrap_err();
    assert!(matches!(stranger, LifeError::Approval(ApprovalError::NotOwner { .. })), "{stranger}");
    assert_eq!(
        made.issuer.store.device(&device).await.unwrap().unwrap().state,
        DeviceLife::Pending,
        "whole or not at all"
    );
    approve_device(&made, &device, for_owner("olga@example.com")).await.unwrap();
    assert_eq!(grant(&made, &id).await.state, GrantLife::Active);
    let leaves = made.events("grant_approved").await;
    assert!(matches!(&leaves[..], [leaf] if leaf.contains("on_behalf_of")), "{leaves:?}");
    let approvals = made.issuer.store.approvals(id.as_str()).await.unwrap().unwrap();
    assert_eq!(approvals.given[0].through.as_deref(), Some("root"));
}

#[tokio::test]
async fn whoever_invited_an_owner_does_not_let_that_machine_on() {
    let made = Made::with_software().await;
    made.edit_policy(&[(OWNERS, "owners = [\"olga@example.com\", \"alice\"]")]).await;
    let invitation = made.invited_as("alice", "owner", person("olga@example.com")).await;
    let (id, device) = enrolled_by(&made, invitation.grant).await;
    let own = approve_device(&made, &device, person("olga@example.com")).await.unwrap_err();
    assert!(matches!(own, LifeError::Approval(ApprovalError::Own { .. })), "{own}");
    assert_eq!(made.events("approval_refused").await.len(), 1);
    approve_device(&made, &device, person("ada")).await.unwrap();
    assert_eq!(grant(&made, &id).await.state, GrantLife::Active);
}

#[tokio::test]
async fn nobody_approves_a_device_of_their_own() {
    let made = Made::with_software().await;
    let (_, device) = enrolled(&made).await;
    assert!(matches!(approve_device(&made, &device, person("alice")).await, Err(LifeError::Own(_))));
}

#[tokio::test]
async fn an_owner_who_came_while_it_waited_does_not_approve_and_one_who_went_does_not_count() {
    let made = Made::new().await;
    let id = made.invited("alice").await.grant;
    made.edit_policy(&[(OWNERS, "owners = [\"mallory\"]")]).await;
    for who in ["mallory", "olga@example.com"] {
        let error = approve_grant(&made.issuer, &id, &person(who), None).await.unwrap_err();
        assert!(matches!(&error, ApprovalError::NotOwner { owners, .. } if owners.starts_with("nobody")), "{error}");
    }
    made.edit_policy(&[("owners = [\"mallory\"]", OWNERS)]).await;
    approve_grant(&made.issuer, &id, &person("olga@example.com"), None).await.unwrap();
}

const SENSITIVE: (&str, &str) = ("[roles.developer]\n", "[roles.developer]\nsensitivity = \"sensitive\"\n");
const TWO: (&str, &str) = (OWNERS, "owners = [\"olga@example.com\", \"oskar@example.com\", \"otto@example.com\"]");

#[tokio::test]
async fn a_sensitive_role_takes_two_people_and_nobody_s_account() {
    let made = on_behalf().await;
    made.edit_policy(&[TWO]).await;
    let (id, device) = enrolled(&made).await;
    // It was asked for when one was enough: today's policy asks for more, and the stricter holds.
    made.edit_policy(&[SENSITIVE]).await;
    approve_device(&made, &device, Actor::account("root")).await.unwrap();
    let approve = async |actor: Actor| approve_grant(&made.issuer, &id, &actor, None).await;
    let account = approve(for_owner("olga@example.com")).await;
    assert!(matches!(account, Err(ApprovalError::OnBehalfSensitive { approvers: 2 })), "{account:?}");
    let first = approve(person("olga@example.com")).await.unwrap();
    assert_eq!((first.grant.state, first.waiting.missing()), (GrantLife::Requested, 1));
    assert_eq!(first.waiting.open_to(), ["oskar@example.com", "otto@example.com"]);
    let again = approve(person("olga@example.com")).await;
    assert!(matches!(again, Err(ApprovalError::Already(_))), "{again:?}");
    // An owner who is one no longer has not approved.
    made.edit_policy(&[("\"olga@example.com\", ", "")]).await;
    assert_eq!(approve(person("oskar@example.com")).await.unwrap().waiting.missing(), 1);
    assert_eq!(grant(&made, &id).await.state, GrantLife::Requested);
    assert_eq!(approve(person("otto@example.com")).await.unwrap().grant.state, GrantLife::Active);
    assert_eq!(made.events("grant_approved").await.len(), 3);
}

#[tokio::test]
async fn a_role_that_was_sensitive_when_it_was_asked_for_stays_so_while_it_waits() {
    let made = on_behalf().await;
    made.edit_policy(&[TWO, SENSITIVE]).await;
    let (id, device) = enrolled(&made).await;
    made.edit_policy(&[("sensitivity = \"sensitive\"\n", "")]).await;
    let account = approve_device(&made, &device, for_owner("olga@example.com")).await.unwrap_err();
    assert!(matches!(account, LifeError::Approval(ApprovalError::OnBehalfSensitive { .. })), "{account}");
    let first = approve_grant(&made.issuer, &id, &person("olga@example.com"), None).await.unwrap();
    assert_eq!(first.waiting.missing(), 1);
}

#[tokio::test]
async fn of_two_owners_who_approve_a_sensitive_grant_at_once_neither_is_lost() {
    for _ in 0..20 {
        let made = Arc::new(Made::with_software().await);
        made.edit_policy(&[TWO, SENSITIVE]).await;
        let (id, device) = enrolled(&made).await;
        approve_device(&made, &device, Actor::account("root")).await.unwrap();
        let both: Vec<_> = ["olga@example.com", "oskar@example.com"]
            .map(|who| {
                let (made, id) = (Arc::clone(&made), id.clone());
                tokio::spawn(async move { (who, approve_grant(&made.issuer, &id, &person(who), None).await) })
            })
            .into();
        for one in both {
            let (who, approved) = one.await.unwrap();
            if let Err(error) = approved {
                assert!(matches!(error, ApprovalError::Changed(_)), "{error}");
                approve_grant(&made.issuer, &id, &person(who), None).await.unwrap();
            }
        }
        assert_eq!(grant(&made, &id).await.state, GrantLife::Active);
        assert_eq!(made.issuer.store.approvals(id.as_str()).await.unwrap().unwrap().given.len(), 2);
    }
}

#[tokio::test]
async fn today_s_policy_decides_again() {
    let made = Made::new().await;
    let id = made.invited("alice").await.grant;
    made.edit_policy(&[("longest_grant = \"90d\"", "longest_grant = \"30m\"")]).await;
    let shorter = approve_grant(&made.issuer, &id, &person("olga@example.com"), None).await.unwrap_err();
    assert!(matches!(shorter, ApprovalError::Policy(GrantError::TooLong { .. })), "{shorter}");
    // Waiting makes nothing shorter: it was asked for an hour.
    made.pass(2400);
    let shorter = approve_grant(&made.issuer, &id, &person("olga@example.com"), None).await.unwrap_err();
    assert!(matches!(shorter, ApprovalError::Policy(GrantError::TooLong { .. })), "{shorter}");
    made.edit_policy(&[("longest_grant = \"30m\"", "longest_grant = \"90d\"")]).await;
    made.pass(3600);
    let over = approve_grant(&made.issuer, &id, &person("olga@example.com"), None).await.unwrap_err();
    assert!(matches!(over, ApprovalError::Over { .. }), "{over}");
}

#[tokio::test]
async fn what_was_approved_comes_into_force_only_while_today_s_policy_gives_it() {
    let made = Made::with_software().await;
    let (id, device) = enrolled(&made).await;
    approve_grant(&made.issuer, &id, &person("olga@example.com"), None).await.unwrap();
    made.edit_policy(&[("longest_grant = \"90d\"", "longest_grant = \"30m\"")]).await;
    let shorter = approve_device(&made, &device, Actor::account("root")).await.unwrap_err();
    assert!(
        matches!(shorter, LifeError::Approval(ApprovalError::Policy(GrantError::TooLong { .. }))),
        "approved as it was, it is longer than what may be today: {shorter}"
    );
    made.edit_policy(&[("longest_grant = \"30m\"", "longest_grant = \"90d\"")]).await;
    made.pass(3600);
    let over = approve_device(&made, &device, Actor::account("root")).await.unwrap_err();
    assert!(
        matches!(over, LifeError::Approval(ApprovalError::Over { .. })),
        "no grace before there was anything: {over}"
    );
    assert_eq!(grant(&made, &id).await.state, GrantLife::Requested);
}

#[tokio::test]
async fn one_grant_that_is_over_holds_up_no_other() {
    let made = Made::with_software().await;
    let (id, device) = enrolled(&made).await;
    let first = grant(&made, &id).await;
    let later = GrantId::from_random(made.issuer.environment.random());
    let second = Grant { id: later.clone(), role: "reader".parse().unwrap(), until: first.until.plus(3600), ..first };
    let event = crate::fixture::event(&made.issuer.environment);
    made.issuer.store.decide(Decision::new(event).change(Change::AddGrant(second))).await.unwrap();
    for id in [&id, &later] {
        approve_grant(&made.issuer, id, &person("olga@example.com"), None).await.unwrap();
    }
    made.pass(3600);
    approve_device(&made, &device, Actor::account("root")).await.unwrap();
    assert_eq!(grant(&made, &id).await.state, GrantLife::Requested);
    assert_eq!(grant(&made, &later).await.state, GrantLife::Active);
}

#[tokio::test]
async fn what_an_account_approved_for_an_owner_does_not_count_where_it_takes_two() {
    let made = on_behalf().await;
    made.edit_policy(&[TWO]).await;
    let id = made.invited("alice").await.grant;
    approve_grant(&made.issuer, &id, &for_owner("olga@example.com"), None).await.unwrap();
    made.edit_policy(&[SENSITIVE]).await;
    let approve = async |who: &str| approve_grant(&made.issuer, &id, &person(who), None).await.unwrap().waiting;
    assert_eq!(approve("oskar@example.com").await.missing(), 1);
    assert_eq!(approve("olga@example.com").await.missing(), 0, "in person she may still");
}

#[tokio::test]
async fn of_two_who_approve_at_once_one_wins_and_the_other_is_told() {
    for _ in 0..20 {
        let made = Arc::new(Made::with_software().await);
        let (id, device) = enrolled(&made).await;
        approve_device(&made, &device, Actor::account("root")).await.unwrap();
        let both: Vec<_> = (0..8)
            .map(|_| {
                let (made, id) = (Arc::clone(&made), id.clone());
                tokio::spawn(async move { approve_grant(&made.issuer, &id, &person("olga@example.com"), None).await })
            })
            .collect();
        let mut won = 0;
        for one in both {
            match one.await.unwrap() {
                Ok(_) => won += 1,
                Err(ApprovalError::Changed(_) | ApprovalError::NotWaiting { .. } | ApprovalError::Already(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(won, 1);
        assert_eq!(made.events("grant_approved").await.len(), 1);
        assert_eq!(made.events("grant_activated").await.len(), 1);
    }
}

#[tokio::test]
async fn a_grant_that_is_revoked_while_it_is_approved_ends_one_way() {
    let (mut approved, mut revoked_first) = (0, 0);
    for round in 0..40 {
        let made = Arc::new(Made::with_software().await);
        let (id, device) = enrolled(&made).await;
        approve_device(&made, &device, Actor::account("root")).await.unwrap();
        let approving = {
            let (made, id) = (Arc::clone(&made), id.clone());
            tokio::spawn(async move { approve_grant(&made.issuer, &id, &person("olga@example.com"), None).await })
        };
        let revoking = {
            let (made, id) = (Arc::clone(&made), id.clone());
            tokio::spawn(async move {
                for _ in 0..round % 4 {
                    tokio::task::yield_now().await;
                }
                let source = Source::from(Actor::account("root"));
                decide_grant(&made.issuer, &id, GrantVerb::Revoke, &Told { source: &source, rule: None, reason: None })
                    .await
            })
        };
        let (approval, revocation) = (approving.await.unwrap(), revoking.await.unwrap());
        let state = grant(&made, &id).await.state;
        match (&approval, &revocation) {
            // A stop comes about, before the approval or after it.
            (_, Ok(_)) => assert_eq!(state, GrantLife::Revoked),
            (_, Err(lost)) => panic!("{lost}"),
        }
        approved += usize::from(approval.is_ok());
        revoked_first += usize::from(approval.is_err());
        assert_eq!(made.events("grant_activated").await.len(), usize::from(approval.is_ok()));
    }
    assert!(approved + revoked_first == 40);
}

#[tokio::test]
async fn a_grant_and_its_device_that_are_approved_at_once_are_both_in_force() {
    for _ in 0..20 {
        let made = Arc::new(Made::with_software().await);
        let (id, device) = enrolled(&made).await;
        let granting = {
            let (made, id) = (Arc::clone(&made), id.clone());
            tokio::spawn(async move { approve_grant(&made.issuer, &id, &person("olga@example.com"), None).await })
        };
        let of_device = approve_device(&made, &device, Actor::account("root")).await;
        let of_grant = granting.await.unwrap();
        // Whoever lost does it again, as he is told to.
        if of_device.is_err() {
            approve_device(&made, &device, Actor::account("root")).await.unwrap();
        }
        if of_grant.is_err() {
            approve_grant(&made.issuer, &id, &person("olga@example.com"), None).await.unwrap();
        }
        assert_eq!(grant(&made, &id).await.state, GrantLife::Active);
    }
}

#[test]
fn ids_are_compared_and_case_makes_no_second_person() {
    let name = |text: &str| text.parse::<Collaborator>().unwrap();
    assert!(waiting::same(&name("a@x"), &name("A@X")) && !waiting::same(&name("a@x"), &name("b@x")));
}

/// Puts this rule in force beside the sample project.
async fn rule(made: &Made, mode: &str, action: &str) {
    let text = format!(
        "@id(\"no-software\") @reason(\"from a machine with a TPM\") @mode(\"{mode}\")\n\
         forbid (principal, action == Action::\"{action}\", resource in Project::\"apollo\")\n\
         when {{ principal.trust_tier == \"software\" && context.actions.contains(\"push\") && !(context has address) }};"
    );
    std::fs::write(made.issuer.config.policy.join("guardrails/all.cedar"), text).unwrap();
    crate::commands::put_in_force(&made.issuer, &made.issuer.config.policy).await.unwrap();
    made.issuer.reload_policy().await.unwrap();
}

#[tokio::test]
async fn a_guardrail_forbids_what_owners_approve() {
    let made = Made::with_software().await;
    let (id, device) = enrolled(&made).await;
    let olga = person("olga@example.com");
    rule(&made, "enforce", "approve").await;
    // With the device known, before it is approved and after.
    let refused = approve_grant(&made.issuer, &id, &olga, None).await.unwrap_err();
    assert_eq!(refused.to_string(), "the guardrail `no-software` forbids it: from a machine with a TPM");
    assert!(made.events("grant_approved").await.is_empty(), "what is forbidden counts for nothing");
    rule(&made, "enforce", "renew").await;
    approve_grant(&made.issuer, &id, &olga, None).await.unwrap();
    // Approved while nothing forbade it, it does not come into force where something does.
    rule(&made, "enforce", "approve").await;
    let refused = approve_device(&made, &device, Actor::account("root")).await.unwrap_err();
    assert!(matches!(&refused, LifeError::Approval(ApprovalError::Guardrail(_))), "{refused}");
    assert_eq!(made.issuer.store.device(&device).await.unwrap().unwrap().state, DeviceLife::Pending);
    let events = made.events("approval_refused").await;
    let told = |leaf: &String| leaf.contains(r#""rule":"guardrail""#) && leaf.contains(r#""rules":["no-software"]"#);
    assert!(events.len() == 2 && events.iter().all(told), "{events:?}");
    rule(&made, "monitor", "approve").await;
    approve_device(&made, &device, Actor::account("root")).await.unwrap();
    assert_eq!(grant(&made, &id).await.state, GrantLife::Active);
    let activated = made.events("grant_activated").await;
    assert!(activated[0].contains(r#""monitored":["no-software"]"#), "{activated:?}");
}

#[tokio::test]
async fn a_guardrail_is_asked_about_the_role_s_every_resource_and_about_one_decision() {
    let made = Made::with_software().await;
    let client = made.client().await;
    let held = made.issuer.store.grants_of(&client.id).await.unwrap().remove(0);
    for (named, action, forbidden) in [
        ("approve", Action::Approve, true),
        ("approve", Action::Renew, false),
        ("renew", Action::Renew, true),
        ("renew", Action::Approve, false),
        ("issue", Action::Renew, false),
    ] {
        rule(&made, "enforce", named).await;
        let result = guard(&made.issuer, action, &client, &held);
        assert_eq!(result.is_err(), forbidden, "{named} {action:?}");
        if let Err(error) = result {
            assert_eq!((error.rule.as_str(), &error.all[..]), ("no-software", &["no-software".to_owned()][..]));
        }
    }
    rule(&made, "monitor", "renew").await;
    assert_eq!(guard(&made.issuer, Action::Renew, &client, &held).unwrap(), ["no-software"]);
    // The role names a second host before the one that the rule is about.
    let first = "[[roles.developer.authorization_details]]\ntype = \"git_repository\"\n\
         locations = [\"https://a.example.com/x\"]\nactions = [\"read\"]\n[[roles.developer.authorization_details]]";
    rule(&made, "enforce", "renew").await;
    made.edit_policy(&[("[[roles.developer.authorization_details]]", first)]).await;
    assert!(guard(&made.issuer, Action::Renew, &client, &held).is_err());
    // A software client is in force at once, and so is asked about at once.
    rule(&made, "enforce", "approve").await;
    let (_, csr) = crate::fixture::request();
    let registration = crate::device::Registration {
        collaborator: "alice".parse().unwrap(),
        project: "apollo".parse().unwrap(),
        role: "developer".parse().unwrap(),
        until: made.now().plus(60),
        csr: &csr,
        proof: crate::fixture::request().0,
        by: "olga".to_owned(),
    };
    let refused = crate::device::register_software(&made.issuer, registration).await.unwrap_err();
    assert!(matches!(refused, crate::device::SoftwareError::Guardrail(_)), "{refused}");
}
