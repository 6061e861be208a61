//! What a replacement promises.

use std::sync::Arc;

use daypass_proto::{encoding::Fixed, names::GrantId};

use super::*;
use crate::{
    approval::{ApprovalError, approve_grant},
    device::{LifeError, Verb, decide_life},
    ending::{EndError, GrantVerb, decide_grant, end_everything, withdraw},
    fixture::{Made, event},
    requests,
    store::{Condition, DecideError, Device, Grant, InvitationLife, Scope, Terms},
};

const DAY: i64 = 86_400;

fn person(who: &str) -> Actor {
    let (collaborator, device) = (who.parse().unwrap(), DeviceId::from_random([7; 10]));
    Actor::Person { collaborator, device, address: [192, 0, 2, 1].into() }
}

fn olga() -> Actor {
    person("olga@example.com")
}

fn root() -> Actor {
    Actor::account("root")
}

async fn grant(made: &Made, id: &GrantId) -> Grant {
    made.issuer.store.grant(id).await.unwrap().unwrap()
}

async fn change(made: &Made, change: Change) {
    made.issuer.store.decide(Decision::new(event(&made.issuer.environment)).change(change)).await.unwrap();
}

/// Alice's device with a grant as developer, and one as reader that is like it but for this.
async fn with_two(other: impl FnOnce(Grant) -> Grant) -> (Made, Device, [Grant; 2]) {
    let made = Made::with_software().await;
    let device = made.client().await;
    let first = made.issuer.store.grants_of(&device.id).await.unwrap().remove(0);
    let id = GrantId::from_random(made.issuer.environment.random());
    let second = other(Grant { id, role: "reader".parse().unwrap(), ..first.clone() });
    change(&made, Change::AddGrant(second.clone())).await;
    (made, device, [first, second])
}

async fn with_one() -> (Made, Device, Grant) {
    let made = Made::with_software().await;
    let device = made.client().await;
    let grant = made.issuer.store.grants_of(&device.id).await.unwrap().remove(0);
    (made, device, grant)
}

fn how(made: &Made, by: Actor) -> Replace {
    let reason = Some("the old one has a broken hinge".to_owned());
    Replace { code_expires_at: made.now().plus(600), ek_hash: None, reason, by }
}

async fn replaced_by(made: &Made, device: &DeviceId, by: Actor) -> Result<Invitation, ReplaceError> {
    let found = look(&made.issuer, device, None, None).await?;
    Ok(replace(&made.issuer, found, how(made, by)).await?.0)
}

async fn replaced(made: &Made, device: &DeviceId) -> Result<Invitation, ReplaceError> {
    replaced_by(made, device, root()).await
}

/// What an invitation carries: the successors, by the grants whose place they take.
async fn successor(made: &Made, invitation: &Invitation, of: &Grant) -> Grant {
    for id in invitation.grants() {
        let found = grant(made, id).await;
        if found.replaces.as_ref().is_some_and(|replaces| replaces.grant == of.id) {
            return found;
        }
    }
    panic!("{} has no successor in {invitation:?}", of.id)
}

/// A device that enrolled with the code and waits.
async fn enrolled(made: &Made, invitation: &Invitation) -> DeviceId {
    let id = DeviceId::from_random(made.issuer.environment.random());
    let device = made.client_in("reader").await;
    let waits = Device { state: DeviceLife::Pending, id: id.clone(), ..device };
    let mut decision = Decision::new(event(&made.issuer.environment)).change(Change::AddDevice(waits));
    for carried in invitation.grants() {
        let from = grant(made, carried).await;
        let to = Grant { device: Some(id.clone()), ..from.clone() };
        decision = decision.change(Change::Grant { from: from.state, to });
    }
    let used = Invitation { state: InvitationLife::Used, device: Some(id.clone()), ..invitation.clone() };
    decision = decision.change(Change::Invitation { to: used, from: InvitationLife::Open });
    made.issuer.store.decide(decision).await.unwrap();
    id
}

async fn approve_device(made: &Made, device: &DeviceId) -> Result<Device, LifeError> {
    decide_life(
        &made.issuer,
        device,
        Verb::Approve { with_grants: false },
        &Source::Actor(root()),
        Some("code_compared"),
        None,
    )
    .await
}

async fn decide(made: &Made, id: &GrantId, verb: GrantVerb) -> Result<Grant, EndError> {
    let source = Source::Actor(root());
    decide_grant(&made.issuer, id, verb, &Told { source: &source, rule: None, reason: None }).await
}

#[tokio::test]
async fn each_successor_takes_its_place_and_the_old_device_ends_with_the_last() {
    let (made, old, [first, second]) = with_two(|grant| Grant { briefed: Some(Fixed([7; 32])), ..grant }).await;
    let invitation = replaced(&made, &old.id).await.unwrap();
    assert_eq!(invitation.grants().count(), 2);
    assert_eq!(
        successor(&made, &invitation, &second).await.briefed,
        None,
        "the new machine's key has accepted nothing"
    );
    let events = made.events("invited").await;
    for of in [&first, &second] {
        assert!(events.iter().any(|leaf| leaf.contains(&format!(r#""replaces":"{}""#, of.id))), "{events:?}");
    }
    let new = enrolled(&made, &invitation).await;
    approve_device(&made, &new).await.unwrap();
    let state = async |of: &Grant| {
        (grant(&made, &of.id).await.state, grant(&made, &successor(&made, &invitation, of).await.id).await.state)
    };
    let before = (GrantLife::Active, GrantLife::Requested);
    assert_eq!((state(&first).await, state(&second).await), (before, before), "the owner has not approved anything");
    let take = async |of: &Grant| {
        let id = successor(&made, &invitation, of).await.id;
        approve_grant(&made.issuer, &id, &olga(), Some("met her")).await.unwrap()
    };
    let after = (GrantLife::Revoked, GrantLife::Active);
    assert_eq!(take(&first).await.grant.state, GrantLife::Active);
    assert_eq!((state(&first).await, state(&second).await), (after, before));
    let of_device = async || made.issuer.store.device(&old.id).await.unwrap().unwrap().state;
    assert_eq!(of_device().await, DeviceLife::Approved);
    take(&second).await;
    assert_eq!((state(&second).await, of_device().await), (after, DeviceLife::Revoked));
    // The ledger says of both ends why, and by what.
    for (kind, count) in [("grant_revoked", 2), ("device_revoked", 1)] {
        assert_eq!(made.reasons(kind).await, vec!["the old one has a broken hinge"; count], "{kind}");
        let leaves = made.events(kind).await;
        assert!(leaves.iter().all(|leaf| leaf.contains(r#""rule":"replaced""#)), "{leaves:?}");
    }
    let (revoked, activated) = (made.events("grant_revoked").await, made.events("grant_activated").await);
    let id = successor(&made, &invitation, &first).await.id;
    assert!(revoked[0].contains(&format!(r#""successor":"{id}""#)), "{revoked:?}");
    assert!(activated[0].contains(&format!(r#""replaces":"{}""#, first.id)), "{activated:?}");
}

#[tokio::test]
async fn one_approval_of_the_device_can_bring_all_of_them() {
    let (made, old, [first, second]) = with_two(|grant| grant).await;
    let invitation = replaced(&made, &old.id).await.unwrap();
    for of in [&first, &second] {
        let id = successor(&made, &invitation, of).await.id;
        approve_grant(&made.issuer, &id, &olga(), None).await.unwrap();
        assert_eq!(grant(&made, &of.id).await.state, GrantLife::Active, "the new machine is not there yet");
    }
    let new = enrolled(&made, &invitation).await;
    approve_device(&made, &new).await.unwrap();
    let old_now = made.issuer.store.device(&old.id).await.unwrap().unwrap();
    assert_eq!((old_now.state, old_now.reason.as_deref()), (DeviceLife::Revoked, Some("replaced")));
    assert!(made.issuer.store.grants_of(&new).await.unwrap().iter().all(|grant| grant.state == GrantLife::Active));
    assert!(made.issuer.store.grants_of(&old.id).await.unwrap().iter().all(|grant| grant.state == GrantLife::Revoked));
}

#[tokio::test]
async fn a_successor_is_no_wider_than_the_one_before() {
    let terms = Terms {
        uses: Some(9),
        grace: 7,
        networks: vec!["192.0.2.0/24".parse().unwrap()],
        secure_boot: true,
        ..Terms::default()
    };
    let with = terms.clone();
    let (made, old, [_, second]) =
        with_two(|grant| Grant { terms: with, used: 3, made_at: Some(grant.until.plus(-50 * DAY)), ..grant }).await;
    made.edit_policy(&[("[roles.reader]\n", "[roles.reader]\nlongest_total = \"366d\"\ngrace = { for = \"2d\", authorization_details = [{ type = \"git_repository\", locations = [\"https://git.example.com/team/app\"], actions = [\"read\"] }] }\n")]).await;
    let later = look(&made.issuer, &old.id, None, Some(second.until.plus(1))).await.unwrap_err();
    assert!(matches!(later, ReplaceError::Later { latest, .. } if latest == second.until), "{later}");
    let earlier = look(&made.issuer, &old.id, None, Some(second.until.plus(-60))).await.unwrap();
    assert!(earlier.carried.iter().all(|carried| carried.until == second.until.plus(-60)));
    // Of two with different ends, each keeps its own where a later one is asked for.
    let shorter = Grant { until: second.until.plus(-1800), ..second.clone() };
    change(&made, Change::Extend { to: Box::new(shorter.clone()), from: Box::new(second.clone()) }).await;
    let between = look(&made.issuer, &old.id, None, Some(second.until.plus(-60))).await.unwrap();
    let ends: Vec<_> = between.carried.iter().map(|carried| (carried.from.id.clone(), carried.until)).collect();
    assert!(ends.contains(&(second.id.clone(), shorter.until)), "{ends:?}");
    change(&made, Change::Extend { to: Box::new(second.clone()), from: Box::new(shorter) }).await;
    let invitation = replaced(&made, &old.id).await.unwrap();
    let given = successor(&made, &invitation, &second).await;
    assert_eq!((given.until, given.used, given.made_at), (second.until, 3, second.made_at));
    assert_eq!(given.terms, terms, "the grace that it had is less than what the role leaves today");
    assert_eq!(
        (&given.collaborator, &given.project, &given.role),
        (&second.collaborator, &second.project, &second.role)
    );
    // Tokens that the old one gives meanwhile count.
    change(&made, Change::Grant { to: Grant { used: 5, ..second.clone() }, from: GrantLife::Active }).await;
    let new = enrolled(&made, &invitation).await;
    approve_device(&made, &new).await.unwrap();
    approve_grant(&made.issuer, &given.id, &olga(), None).await.unwrap();
    assert_eq!(grant(&made, &given.id).await.used, 5);
    // The role's time in all counts from the first one on.
    let device = made.issuer.store.device(&new).await.unwrap().unwrap();
    let extend = async |until: Timestamp| {
        let what = daypass_proto::access_request::Wanted::Extension { grant: given.id.clone() };
        let asked =
            daypass_proto::access_request::Ask { what, until: Some(until.to_string()), reason: "more".to_owned() };
        requests::ask(&made.issuer, &device, &asked, &Source::Address([192, 0, 2, 7].into())).await
    };
    let latest = second.made_at.unwrap().plus(366 * DAY);
    let refused = extend(latest.plus(1)).await.unwrap_err();
    assert!(matches!(refused, requests::RequestError::TooLongInAll { .. }), "{refused}");
    extend(latest).await.unwrap();
}

#[tokio::test]
async fn what_today_s_role_does_not_give_is_not_carried_over() {
    let (made, old, grant) = with_one().await;
    made.edit_policy(&[("longest_grant = \"90d\"", "longest_grant = \"30m\"")]).await;
    let found = look(&made.issuer, &old.id, None, None).await.unwrap();
    assert_eq!(found.carried[0].excess.len(), 1);
    let refused = replace(&made.issuer, found, how(&made, root())).await.unwrap_err();
    assert!(matches!(refused, ReplaceError::Invite(InviteError::Grant(_))), "{refused}");
    let shorter = look(&made.issuer, &old.id, None, Some(made.now().plus(1800))).await.unwrap();
    let (invitation, _) = replace(&made.issuer, shorter, how(&made, root())).await.unwrap();
    assert_eq!(successor(&made, &invitation, &grant).await.until, made.now().plus(1800));
}

#[tokio::test]
async fn what_is_held_back_used_up_or_over_has_no_successor_and_says_why() {
    for (state, used, words) in [
        (GrantLife::Requested, 0, "waits for approval itself"),
        (GrantLife::Active, 2, "is used up"),
        (GrantLife::Grace, 0, "has come to its hard end"),
        (GrantLife::Suspended, 0, "is suspended: `grant resume`"),
        (GrantLife::Revoked, 0, "is revoked"),
        (GrantLife::Ended, 0, "is ended"),
    ] {
        let terms = Terms { uses: Some(2), ..Terms::default() };
        let (made, old, [first, second]) = with_two(|grant| Grant { state, used, terms, ..grant }).await;
        let found = look(&made.issuer, &old.id, None, None).await.unwrap();
        assert_eq!(found.carried.len(), 1);
        assert!(
            matches!(&found.left[..], [(left, why)] if left.id == second.id && why.contains(words)),
            "{:?}",
            found.left
        );
        assert_eq!(found.ends, matches!(state, GrantLife::Revoked | GrantLife::Ended), "{state}");
        decide(&made, &first.id, GrantVerb::Revoke).await.unwrap();
        let nothing = look(&made.issuer, &old.id, None, None).await.unwrap_err().to_string();
        assert!(
            nothing.contains(words) && nothing.contains(second.id.as_str()) && nothing.contains("invite anew"),
            "{nothing}"
        );
    }
    // Administrators are made in a way of their own.
    let administration = "administration".parse().unwrap();
    let (made, old, [_, second]) =
        with_two(|grant| Grant { project: administration, role: "administrator".parse().unwrap(), ..grant }).await;
    let found = look(&made.issuer, &old.id, None, None).await.unwrap();
    assert!(matches!(&found.left[..], [(left, why)] if left.id == second.id && why.contains("admin bootstrap")));
    // Its time is over, and nobody has marked it yet.
    let (made, old, _) = with_one().await;
    made.pass(3600);
    let over = look(&made.issuer, &old.id, None, None).await.unwrap_err().to_string();
    assert!(over.contains("has come to its hard end"), "{over}");
}

#[tokio::test]
async fn a_device_is_replaced_for_its_own_person_and_while_it_is_approved() {
    let (made, old, _) = with_one().await;
    let find = async |device: &DeviceId, whose: &str| {
        let whose = whose.parse::<Collaborator>().unwrap();
        look(&made.issuer, device, Some(&whose), None).await.map(drop)
    };
    find(&old.id, "alice").await.unwrap();
    let whose = find(&old.id, "bob").await.unwrap_err();
    assert!(matches!(whose, ReplaceError::Whose { .. }), "{whose}");
    let nobody = find(&DeviceId::from_random([9; 10]), "alice").await.unwrap_err();
    assert!(matches!(nobody, ReplaceError::NoDevice(_)), "{nobody}");
    for (verb, words) in [(Verb::Suspend, "is suspended"), (Verb::Revoke, "is revoked")] {
        decide_life(&made.issuer, &old.id, verb, &Source::Actor(root()), None, None).await.unwrap();
        let refused = find(&old.id, "alice").await.unwrap_err();
        assert!(matches!(refused, ReplaceError::State { .. }) && refused.to_string().contains(words), "{refused}");
    }
}

#[tokio::test]
async fn it_is_approved_as_any_grant_is_and_never_by_whoever_invited() {
    let (made, old, first) = with_one().await;
    let two = "owners = [\"olga@example.com\", \"oskar@example.com\", \"otto@example.com\"]";
    made.edit_policy(&[
        ("owners = [\"olga@example.com\"]", two),
        ("[roles.developer]\n", "[roles.developer]\nsensitivity = \"sensitive\"\n"),
    ])
    .await;
    let invitation = replaced_by(&made, &old.id, olga()).await.unwrap();
    let id = successor(&made, &invitation, &first).await.id;
    let new = enrolled(&made, &invitation).await;
    approve_device(&made, &new).await.unwrap();
    let own = approve_grant(&made.issuer, &id, &olga(), None).await.unwrap_err();
    assert!(matches!(own, ApprovalError::Own { .. }), "{own}");
    let one = approve_grant(&made.issuer, &id, &person("oskar@example.com"), None).await.unwrap();
    assert_eq!((one.waiting.missing(), grant(&made, &first.id).await.state), (1, GrantLife::Active));
    approve_grant(&made.issuer, &id, &person("otto@example.com"), None).await.unwrap();
    assert_eq!(grant(&made, &first.id).await.state, GrantLife::Revoked);
}

#[tokio::test]
async fn nothing_goes_on_with_what_was_held_back_or_ended_meanwhile() {
    let (made, old, first) = with_one().await;
    let invitation = replaced(&made, &old.id).await.unwrap();
    let id = successor(&made, &invitation, &first).await.id;
    approve_grant(&made.issuer, &id, &olga(), None).await.unwrap();
    let new = enrolled(&made, &invitation).await;
    decide(&made, &first.id, GrantVerb::Suspend).await.unwrap();
    let held = approve_device(&made, &new).await.unwrap_err();
    assert!(
        matches!(&held, LifeError::Approval(ApprovalError::Predecessor { state, .. }) if state == "suspended"),
        "{held}"
    );
    assert_eq!(made.issuer.store.device(&new).await.unwrap().unwrap().state, DeviceLife::Pending);
    decide(&made, &first.id, GrantVerb::Resume).await.unwrap();
    decide_life(&made.issuer, &old.id, Verb::Suspend, &Source::Actor(root()), None, None).await.unwrap();
    let held = approve_device(&made, &new).await.unwrap_err().to_string();
    assert!(held.contains("on a device that is held back"), "{held}");
    decide_life(&made.issuer, &old.id, Verb::Resume, &Source::Actor(root()), None, None).await.unwrap();
    decide(&made, &first.id, GrantVerb::Revoke).await.unwrap();
    let gone = approve_device(&made, &new).await.unwrap_err().to_string();
    assert!(gone.contains("which is revoked") && gone.contains(&format!("grant revoke {id}")), "{gone}");
    // As it says.
    decide(&made, &id, GrantVerb::Revoke).await.unwrap();
    approve_device(&made, &new).await.unwrap();
    assert_eq!(grant(&made, &id).await.state, GrantLife::Revoked);
}

#[tokio::test]
async fn what_is_taken_back_leaves_the_old_ones_alone() {
    let (made, old, [first, second]) = with_two(|grant| grant).await;
    let source = Source::Actor(root());
    let told = Told { source: &source, rule: None, reason: None };
    let invitation = replaced(&made, &old.id).await.unwrap();
    let carried = [successor(&made, &invitation, &first).await.id, successor(&made, &invitation, &second).await.id];
    withdraw(&made.issuer, &invitation.id, &told).await.unwrap();
    let states = async |ids: [&GrantId; 2]| [grant(&made, ids[0]).await.state, grant(&made, ids[1]).await.state];
    assert_eq!(states([&carried[0], &carried[1]]).await, [GrantLife::Revoked; 2]);
    assert_eq!(states([&first.id, &second.id]).await, [GrantLife::Active; 2]);
    assert_eq!(made.issuer.store.device(&old.id).await.unwrap().unwrap().state, DeviceLife::Approved);
    // A code goes on while it carries anything, and is taken back with the last; whichever that is.
    for order in [[0, 1], [1, 0]] {
        let invitation = replaced(&made, &old.id).await.unwrap();
        let open = async || made.issuer.store.invitation(&invitation.id).await.unwrap().unwrap().state;
        let carried = [successor(&made, &invitation, &first).await.id, successor(&made, &invitation, &second).await.id];
        decide(&made, &carried[order[0]], GrantVerb::Revoke).await.unwrap();
        assert_eq!(open().await, InvitationLife::Open);
        decide(&made, &carried[order[1]], GrantVerb::Revoke).await.unwrap();
        assert_eq!(open().await, InvitationLife::Withdrawn);
    }
    assert_eq!(states([&first.id, &second.id]).await, [GrantLife::Active; 2]);
}

#[tokio::test]
async fn a_code_stays_for_what_it_carries_of_another_project() {
    let (made, old, [first, second]) = with_two(|grant| grant).await;
    let elsewhere = std::fs::read_to_string(made.issuer.config.policy.join("projects/apollo.toml")).unwrap();
    std::fs::write(made.issuer.config.policy.join("projects/gemini.toml"), elsewhere).unwrap();
    made.edit_policy(&[]).await;
    let other = Grant { project: "gemini".parse().unwrap(), ..second.clone() };
    change(&made, Change::Grant { to: other.clone(), from: GrantLife::Active }).await;
    let invitation = replaced(&made, &old.id).await.unwrap();
    let ending = crate::ending::look(&made.issuer, Scope::Project(invitation.project.clone())).await.unwrap();
    assert!(ending.grants.iter().any(|grant| grant.id == invitation.grant), "{ending:?}");
    end_everything(&made.issuer, ending, &Source::Actor(root()), "over").await.unwrap();
    let (of_it, others) = if invitation.project == first.project { (first, other) } else { (other, first) };
    for (of, state, carried) in
        [(&of_it, GrantLife::Revoked, GrantLife::Revoked), (&others, GrantLife::Active, GrantLife::Requested)]
    {
        assert_eq!(grant(&made, &of.id).await.state, state);
        assert_eq!(grant(&made, &successor(&made, &invitation, of).await.id).await.state, carried);
    }
    let left = made.issuer.store.invitation(&invitation.id).await.unwrap().unwrap();
    assert_eq!(left.state, InvitationLife::Open);
    // With the other project nothing is left of it.
    let ending = crate::ending::look(&made.issuer, Scope::Project(others.project.clone())).await.unwrap();
    assert_eq!(ending.invitations.len(), usize::from(invitation.project == others.project), "{ending:?}");
    end_everything(&made.issuer, ending, &Source::Actor(root()), "over").await.unwrap();
}

#[tokio::test]
async fn one_replacement_is_under_way_at_a_time() {
    let (made, old, first) = with_one().await;
    let invitation = replaced(&made, &old.id).await.unwrap();
    let twice = replaced(&made, &old.id).await.unwrap_err();
    assert!(matches!(&twice, ReplaceError::Invited { invitation: open, .. } if *open == invitation.id), "{twice}");
    // A code that nobody used in time keeps nobody from it, and goes.
    made.pass(601);
    let second = replaced(&made, &old.id).await.unwrap();
    let before = made.issuer.store.invitation(&invitation.id).await.unwrap().unwrap();
    assert_eq!(before.state, InvitationLife::Withdrawn);
    assert_eq!(grant(&made, &invitation.grant).await.state, GrantLife::Revoked);
    let new = enrolled(&made, &second).await;
    let enrolled = replaced(&made, &old.id).await.unwrap_err();
    assert!(matches!(&enrolled, ReplaceError::Enrolled { successor, .. } if *successor == new), "{enrolled}");
    // The wrong machine is ended, and another can come.
    decide_life(&made.issuer, &new, Verb::Revoke, &Source::Actor(root()), None, None).await.unwrap();
    assert_eq!(grant(&made, &first.id).await.state, GrantLife::Active);
    replaced(&made, &old.id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_replace_a_device_at_once_one_does_and_the_others_are_told() {
    for _ in 0..10 {
        let (made, old, first) = with_one().await;
        let made = Arc::new(made);
        let all: Vec<_> = (0..8)
            .map(|_| {
                let (made, old) = (Arc::clone(&made), old.id.clone());
                tokio::spawn(async move { replaced(&made, &old).await })
            })
            .collect();
        let mut won = 0;
        for one in all {
            match one.await.unwrap() {
                Ok(_) => won += 1,
                Err(ReplaceError::Invited { .. }) => {}
                Err(ReplaceError::Invite(error @ InviteError::Changed(_))) => {
                    assert!(error.to_string().contains(first.id.as_str()), "{error}");
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!((won, made.events("invited").await.len()), (1, 1));
    }
}

/// Alice's device that is replaced, and the successor of its first grant on a new one that is approved.
async fn with_successor(has_another: bool) -> (Made, Device, Grant, Grant) {
    let (made, old, first) = with_one().await;
    let invitation = replaced(&made, &old.id).await.unwrap();
    let new = enrolled(&made, &invitation).await;
    approve_device(&made, &new).await.unwrap();
    if has_another {
        let id = GrantId::from_random(made.issuer.environment.random());
        let other = Grant { id, role: "reader".parse().unwrap(), ..first.clone() };
        change(&made, Change::AddGrant(other)).await;
    }
    let next = successor(&made, &invitation, &first).await;
    (made, old, first, next)
}

async fn hold_back(made: &Made, device: &DeviceId) -> Result<Device, LifeError> {
    decide_life(&made.issuer, device, Verb::Suspend, &Source::Actor(root()), None, Some("found on a train")).await
}

#[tokio::test]
async fn a_device_that_is_held_back_after_its_successor_was_looked_at_is_not_got_round() {
    // It would end with its last grant, or go on with another.
    for has_another in [false, true] {
        let (made, old, first, next) = with_successor(has_another).await;
        let to = Grant { state: GrantLife::Active, ..next.clone() };
        let (_, succession) = Succession::of(&made.issuer, to.clone()).await.unwrap();
        hold_back(&made, &old.id).await.unwrap();
        let source = Source::Actor(root());
        let told = Told { source: &source, rule: None, reason: None };
        let decision = Decision::new(event(&made.issuer.environment)).change(Change::Grant { to, from: next.state });
        let decision = succeed(&made.issuer, decision, succession.into_iter().collect(), &told).await.unwrap();
        let refused = made.issuer.store.decide(decision).await;
        assert!(
            matches!(&refused, Err(DecideError::Conflict(Condition::Device(device))) if *device == old.id),
            "{has_another} {refused:?}"
        );
        assert_eq!(made.issuer.store.device(&old.id).await.unwrap().unwrap().state, DeviceLife::Suspended);
        assert_eq!(grant(&made, &first.id).await.state, GrantLife::Active);
        assert_eq!(grant(&made, &next.id).await.state, GrantLife::Requested);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_successor_and_a_suspension_at_once_one_comes_about() {
    for round in 0..30 {
        let (made, old, first, next) = with_successor(false).await;
        let made = Arc::new(made);
        let holding = {
            let (made, old) = (Arc::clone(&made), old.id.clone());
            tokio::spawn(async move {
                for _ in 0..round % 6 {
                    tokio::task::yield_now().await;
                }
                hold_back(&made, &old).await
            })
        };
        let approved = approve_grant(&made.issuer, &next.id, &olga(), None).await;
        let held = holding.await.unwrap();
        let device = made.issuer.store.device(&old.id).await.unwrap().unwrap();
        let states = (grant(&made, &first.id).await.state, grant(&made, &next.id).await.state);
        match (&approved, &held) {
            (Ok(_), Err(LifeError::Transition { from: DeviceLife::Revoked, .. } | LifeError::Decide(_))) => {
                assert_eq!(states, (GrantLife::Revoked, GrantLife::Active));
                assert_eq!((device.state, device.reason.as_deref()), (DeviceLife::Revoked, Some("replaced")));
            }
            (Err(ApprovalError::Changed(_) | ApprovalError::Predecessor { .. }), Ok(_)) => {
                assert_eq!(states, (GrantLife::Active, GrantLife::Requested));
                assert_eq!(device.state, DeviceLife::Suspended);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_that_is_counted_while_a_successor_comes_into_force_is_not_lost() {
    let (mut before, mut after) = (0, 0);
    for round in 0..30 {
        let terms = Terms { uses: Some(9), ..Terms::default() };
        let (made, old, [_, counted]) = with_two(|grant| Grant { terms, ..grant }).await;
        let invitation = replaced(&made, &old.id).await.unwrap();
        let id = successor(&made, &invitation, &counted).await.id;
        let new = enrolled(&made, &invitation).await;
        approve_device(&made, &new).await.unwrap();
        let made = Arc::new(made);
        let counting = {
            let (made, counted) = (Arc::clone(&made), counted.clone());
            tokio::spawn(async move {
                for _ in 0..round % 5 {
                    tokio::task::yield_now().await;
                }
                let to = Grant { used: 1, ..counted };
                let decision = Decision::new(event(&made.issuer.environment));
                made.issuer.store.decide(decision.change(Change::Grant { to, from: GrantLife::Active })).await
            })
        };
        let approved = approve_grant(&made.issuer, &id, &olga(), None).await;
        let count = u32::from(counting.await.unwrap().is_ok());
        match approved {
            Ok(_) => assert_eq!(grant(&made, &id).await.used, count),
            Err(ApprovalError::Changed(_)) => {
                assert_eq!((count, grant(&made, &counted.id).await.state), (1, GrantLife::Active));
                approve_grant(&made.issuer, &id, &olga(), None).await.unwrap();
                assert_eq!(grant(&made, &id).await.used, 1);
            }
            Err(other) => panic!("{other}"),
        }
        before += count;
        after += 1 - count;
    }
    assert_eq!(before + after, 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_code_that_is_used_and_taken_back_at_once_one_comes_about() {
    let (mut used, mut taken) = (0, 0);
    for round in 0..30 {
        let (made, old, first) = with_one().await;
        let invitation = replaced(&made, &old.id).await.unwrap();
        let id = DeviceId::from_random(made.issuer.environment.random());
        let waits = Device { state: DeviceLife::Pending, id: id.clone(), ..old.clone() };
        let from = grant(&made, &invitation.grant).await;
        let made = Arc::new(made);
        // As an enrolment decides, which proved its keys before.
        let enrolling = {
            let (made, invitation) = (Arc::clone(&made), invitation.clone());
            tokio::spawn(async move {
                for _ in 0..round % 5 {
                    tokio::task::yield_now().await;
                }
                let to = Invitation { state: InvitationLife::Used, device: Some(id.clone()), ..invitation };
                let decision = Decision::new(event(&made.issuer.environment))
                    .change(Change::Invitation { to, from: InvitationLife::Open })
                    .change(Change::AddDevice(waits))
                    .change(Change::Grant { from: from.state, to: Grant { device: Some(id), ..from } });
                made.issuer.store.decide(decision).await
            })
        };
        let source = Source::Actor(root());
        let told = Told { source: &source, rule: None, reason: None };
        let withdrawn = withdraw(&made.issuer, &invitation.id, &told).await;
        let enrolled = enrolling.await.unwrap();
        let is = made.issuer.store.invitation(&invitation.id).await.unwrap().unwrap();
        match (&enrolled, &withdrawn) {
            (Ok(()), Err(EndError::Changed(_) | EndError::Used { .. })) => {
                assert_eq!(is.state, InvitationLife::Used);
                used += 1;
            }
            (Err(_), Ok(_)) => {
                assert_eq!(is.state, InvitationLife::Withdrawn);
                assert_eq!(grant(&made, &invitation.grant).await.state, GrantLife::Revoked);
                taken += 1;
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(grant(&made, &first.id).await.state, GrantLife::Active);
    }
    assert_eq!(used + taken, 30);
}
