//! What a machine that is enrolled takes from another invitation, and what not.

use daypass_proto::{
    encoding::{Bytes, Fixed, base64url},
    enrolment::TrustTier,
    names::DeviceId,
};
use serde_json::{Value, json};

use super::*;
use crate::{
    actor::Actor,
    approval::approve_grant,
    commands::put_in_force,
    ending::withdraw,
    fixture::{Made, calling::Caller, event as any_event},
    invitation::{Invite, invite},
    replacement::{Replace, look, replace},
    store::{Condition, DeviceKeys, GrantLife, Terms},
};

const INVITATIONS: &str = "/device/v1/invitations";
const EK: [u8; 32] = [5; 32];

/// With a second project, of another owner.
async fn two_projects() -> Made {
    let made = Made::with_software().await;
    let policy = made.issuer.config.policy.clone();
    let apollo = std::fs::read_to_string(policy.join("projects/apollo.toml")).unwrap();
    let gemini = apollo.replace("olga@example.com", "otto@example.com").replace("/team/app", "/team/other");
    std::fs::write(policy.join("projects/gemini.toml"), gemini).unwrap();
    put_in_force(&made.issuer, &policy).await.unwrap();
    made.issuer.reload_policy().await.unwrap();
    made
}

async fn becomes(made: &Made, device: &DeviceId, how: impl FnOnce(Device) -> Device) {
    let from = made.issuer.store.device(device).await.unwrap().unwrap();
    let change = Change::Device { from: from.state, to: Box::new(how(from)) };
    made.issuer.store.decide(Decision::new(any_event(&made.issuer.environment)).change(change)).await.unwrap();
}

/// An approved device with keys in a TPM, and a grant in `apollo`.
async fn enrolled<'m>(made: &'m Made, who: &str) -> Caller<'m> {
    let caller = Caller::of(made, who).await;
    let key = || Bytes(vec![1]);
    let keys = DeviceKeys { ek_hash: Fixed(EK), attestation_key: key(), identity_key: key(), proof_key: key() };
    becomes(made, &caller.device.id, |device| Device { keys: Some(keys), tier: TrustTier::EkChain, ..device }).await;
    caller
}

/// An invitation, and what is sent to accept it.
async fn invited(made: &Made, who: &str, project: &str, role: &str, ek_hash: Option<[u8; 32]>) -> (Invitation, Value) {
    let asked = Invite {
        collaborator: who.parse().unwrap(),
        project: project.parse().unwrap(),
        role: role.parse().unwrap(),
        until: made.now().plus(3600),
        terms: Terms::default(),
        code_expires_at: made.now().plus(600),
        ek_hash,
        reason: None,
        by: Actor::account("root"),
    };
    let (issuer, pin) = (&made.issuer, made.issuer.keyring().pin());
    let (store, environment) = (issuer.store.as_ref(), &issuer.environment);
    let made = invite(store, environment, &issuer.policy(), &issuer.config.issuer_url, pin, asked).await.unwrap();
    (made.0, shown(made.1.secret.expose()))
}

fn shown(secret: &[u8; 16]) -> Value {
    json!({"secret": base64url(secret)})
}

fn owner(who: &str) -> Actor {
    let (collaborator, device) = (who.parse().unwrap(), DeviceId::from_random([7; 10]));
    Actor::Person { collaborator, device, address: [192, 0, 2, 1].into() }
}

async fn stored(
    made: &Made,
    invitation: &Invitation,
) -> (InvitationLife, Option<DeviceId>, GrantLife, Option<DeviceId>) {
    let now = made.issuer.store.invitation(&invitation.id).await.unwrap().unwrap();
    let grant = made.issuer.store.grant(&invitation.grant).await.unwrap().unwrap();
    (now.state, now.device, grant.state, grant.device)
}

#[tokio::test]
async fn it_is_bound_to_the_device_and_waits_for_its_own_owners() {
    let made = two_projects().await;
    let laptop = enrolled(&made, "alice").await;
    let (invitation, code) = invited(&made, "alice", "gemini", "developer", None).await;
    let (status, answer) = laptop.post(INVITATIONS, &code).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!([invitation.grant])), "{answer}");
    let grants = answer["grants"].as_array().unwrap().iter();
    let mut states: Vec<_> = grants.filter_map(|grant| grant["state"].as_str()).collect();
    states.sort_unstable();
    assert_eq!((states, &answer["waits_for"]), (vec!["active", "requested"], &json!(["otto@example.com"])));
    let device = Some(laptop.device.id.clone());
    let waits = (InvitationLife::Used, device.clone(), GrantLife::Requested, device.clone());
    assert_eq!(stored(&made, &invitation).await, waits);
    let events = made.events("invitation_accepted").await;
    let told =
        [r#""approvals":0,"approvers":1"#, r#""project":"gemini""#, &format!(r#""device":"{}""#, laptop.device.id)];
    assert!(events.len() == 1 && told.iter().all(|word| events[0].contains(word)), "{events:?}");
    // An answer that was lost is given again, and nothing else happens; after the code's end, too.
    made.pass(601);
    let (status, again) = laptop.post(INVITATIONS, &code).await;
    assert_eq!((status, &again["accepted"]), (200, &answer["accepted"]));
    assert_eq!(made.events("invitation_accepted").await.len(), 1);
    assert!(made.events("device_approved").await.is_empty() && made.events("device_enrolled").await.is_empty());

    let olga = approve_grant(&made.issuer, &invitation.grant, &owner("olga@example.com"), None).await;
    assert!(matches!(olga, Err(ApprovalError::NotOwner { .. })), "the owner of the other project");
    approve_grant(&made.issuer, &invitation.grant, &owner("otto@example.com"), None).await.unwrap();
    assert_eq!(stored(&made, &invitation).await, (InvitationLife::Used, device.clone(), GrantLife::Active, device));
}

#[tokio::test]
async fn what_the_owners_approved_before_comes_into_force_with_it() {
    let made = two_projects().await;
    let laptop = enrolled(&made, "alice").await;
    let (invitation, code) = invited(&made, "alice", "gemini", "developer", Some(EK)).await;
    approve_grant(&made.issuer, &invitation.grant, &owner("otto@example.com"), None).await.unwrap();
    assert_eq!(laptop.post(INVITATIONS, &code).await.0, 200);
    assert_eq!(stored(&made, &invitation).await.2, GrantLife::Active);
    let events = made.events("grant_activated").await;
    assert!(events.iter().any(|leaf| leaf.contains(r#""rule":"invitation_accepted""#)), "{events:?}");
}

#[tokio::test]
async fn each_refusal_has_its_cause_and_its_event_and_leaves_the_invitation_as_it_was() {
    let made = two_projects().await;
    let (laptop, files) = (enrolled(&made, "alice").await, Caller::of(&made, "alice").await);
    let gemini = async |who: &str, ek_hash| invited(&made, who, "gemini", "developer", ek_hash).await;
    let mut refused = 0;
    let mut is_refused = async |by: &Caller<'_>, (invitation, code): &(Invitation, Value), cause: &str| {
        let before = stored(&made, invitation).await;
        let (status, answer) = by.post(INVITATIONS, code).await;
        assert_eq!((status >= 400, answer["daypass_reason"].as_str()), (true, Some(cause)), "{answer}");
        assert_eq!(stored(&made, invitation).await, before, "{cause}");
        let events = made.events("enrolment_refused").await;
        refused += 1;
        assert_eq!(events.len(), refused, "{cause}");
        let told =
            [format!(r#""reason":"{cause}""#), format!(r#""device":"{}""#, by.device.id), invitation.id.to_string()];
        assert!(events.iter().any(|leaf| told.iter().all(|word| leaf.contains(word))), "{cause} {events:?}");
        let secret = code["secret"].as_str().unwrap();
        assert!(!made.reasons("enrolment_refused").await.iter().any(|why| why.contains(secret)), "{cause}");
        answer["error_description"].as_str().unwrap().to_owned()
    };
    // Somebody else's, whatever has become of it; capital letters make another name.
    let bobs = gemini("bob", None).await;
    let words = is_refused(&laptop, &bobs, "code_elsewhere").await;
    assert!(words.contains("than alice") && !words.contains("bob"), "{words}");
    is_refused(&laptop, &gemini("Alice", None).await, "code_elsewhere").await;
    let source = Source::Actor(Actor::account("root"));
    let told = Told { source: &source, rule: None, reason: None };
    withdraw(&made.issuer, &bobs.0.id, &told).await.unwrap();
    assert_eq!(is_refused(&laptop, &bobs, "code_elsewhere").await, words, "the same words");
    // Another machine's.
    is_refused(&laptop, &gemini("alice", Some([6; 32])).await, "ek_mismatch").await;
    is_refused(&files, &gemini("alice", None).await, "code_elsewhere").await;
    // What is let on by the comparison of a code alone.
    let owners = invited(&made, "otto@example.com", "gemini", "owner", None).await;
    let office = enrolled(&made, "otto@example.com").await;
    let words = is_refused(&office, &owners, "code_elsewhere").await;
    assert!(words.contains("makes an owner"), "{words}");
    // Over, and taken back.
    let taken_back = gemini("alice", None).await;
    withdraw(&made.issuer, &taken_back.0.id, &told).await.unwrap();
    is_refused(&laptop, &taken_back, "code_withdrawn").await;
    // Used by another machine; what has become of that one is not told.
    let used = gemini("alice", None).await;
    let desk = enrolled(&made, "alice").await;
    assert_eq!(desk.post(INVITATIONS, &used.1).await.0, 200);
    is_refused(&laptop, &used, "code_used").await;
    desk.becomes(DeviceLife::Revoked).await;
    is_refused(&laptop, &used, "code_used").await;
    let late = gemini("alice", None).await;
    made.pass(601);
    is_refused(&laptop, &late, "code_expired").await;
    // Codes that nobody was given, and bodies that are none, are nobody's decision.
    for (body, cause) in
        [(shown(&[9; 16]), "unknown_code"), (json!({}), "malformed"), (json!({"secret": "AA", "more": 1}), "malformed")]
    {
        assert_eq!(laptop.refused(INVITATIONS, &body).await.1, cause);
    }
    assert_eq!(made.events("enrolment_refused").await.len(), refused);
}

#[tokio::test]
async fn an_owner_s_machine_is_named_in_the_invitation() {
    let made = two_projects().await;
    let office = enrolled(&made, "otto@example.com").await;
    let (invitation, code) = invited(&made, "otto@example.com", "gemini", "owner", Some(EK)).await;
    assert_eq!(office.post(INVITATIONS, &code).await.0, 200);
    assert_eq!(stored(&made, &invitation).await.2, GrantLife::Active);
}

/// Whoever invites alice can let a machine of their own on in her name; what else is hers is not theirs by that.
#[tokio::test]
async fn a_machine_that_has_nothing_in_force_yet_takes_nothing_and_sees_nothing_of_others() {
    let made = two_projects().await;
    let (desk, mine) = (enrolled(&made, "alice").await, enrolled(&made, "alice").await);
    let (invitation, code) = invited(&made, "alice", "gemini", "developer", None).await;
    let grant = made.issuer.store.grant(&mine.grant.id).await.unwrap().unwrap();
    let revoked = Change::Grant { from: grant.state, to: Grant { state: GrantLife::Revoked, ..grant } };
    made.issuer.store.decide(Decision::new(any_event(&made.issuer.environment)).change(revoked)).await.unwrap();
    assert_eq!(mine.refused(INVITATIONS, &code).await.1, "wrong_state");
    assert_eq!(stored(&made, &invitation).await.0, InvitationLife::Open);
    let lost = json!({"device": desk.device.id, "reason": "not mine"});
    assert_eq!(mine.refused("/device/v1/devices/lost", &lost).await.1, "not_found");
    let listed = async |caller: &Caller<'_>| {
        let told = caller.get("/device/v1/devices").await.1;
        told["devices"].as_array().unwrap().iter().map(|device| device["device"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&mine).await, [json!(mine.device.id)]);
    assert_eq!(listed(&desk).await.len(), 2);
    assert_eq!(desk.post(INVITATIONS, &code).await.0, 200);
}

#[tokio::test]
async fn what_was_held_back_is_not_got_round_by_another_code_for_it() {
    let made = two_projects().await;
    let laptop = enrolled(&made, "alice").await;
    let (invitation, code) = invited(&made, "alice", "apollo", "developer", None).await;
    approve_grant(&made.issuer, &invitation.grant, &owner("olga@example.com"), None).await.unwrap();
    let becomes = async |to: GrantLife| {
        let grant = made.issuer.store.grant(&laptop.grant.id).await.unwrap().unwrap();
        let change =
            Change::Grant { from: grant.state, to: Grant { state: to, role: "developer".parse().unwrap(), ..grant } };
        made.issuer.store.decide(Decision::new(any_event(&made.issuer.environment)).change(change)).await.unwrap();
    };
    becomes(GrantLife::Suspended).await;
    assert_eq!(laptop.refused(INVITATIONS, &code).await.1, "wrong_state");
    becomes(GrantLife::Active).await;
    assert_eq!(laptop.post(INVITATIONS, &code).await.0, 200);
}

#[tokio::test]
async fn a_device_that_is_not_approved_takes_nothing() {
    let made = two_projects().await;
    let laptop = enrolled(&made, "alice").await;
    let (invitation, code) = invited(&made, "alice", "gemini", "developer", None).await;
    for (state, cause) in [
        (DeviceLife::Pending, "device_pending"),
        (DeviceLife::Suspended, "device_suspended"),
        (DeviceLife::Revoked, "device_revoked"),
    ] {
        laptop.becomes(state).await;
        assert_eq!(laptop.refused(INVITATIONS, &code).await.1, cause);
    }
    assert_eq!(stored(&made, &invitation).await, (InvitationLife::Open, None, GrantLife::Requested, None));
    // Nor one that was held back since it was looked up.
    let source = Source::Address([192, 0, 2, 7].into());
    let held = decide(&made.issuer, &device(&made, &laptop).await, code.to_string().as_bytes(), &source).await;
    let (id, held) = (laptop.device.id.clone(), held.unwrap_err());
    assert!(
        matches!(&held, EnrolmentError::Decide(DecideError::Conflict(Condition::Device(device))) if *device == id),
        "{held}"
    );
}

/// The device as it was when it was approved.
async fn device(made: &Made, caller: &Caller<'_>) -> Device {
    let now = made.issuer.store.device(&caller.device.id).await.unwrap().unwrap();
    Device { state: DeviceLife::Approved, ..now }
}

#[tokio::test]
async fn what_a_guardrail_forbids_is_not_accepted_and_the_code_stays_good() {
    let made = two_projects().await;
    let laptop = enrolled(&made, "alice").await;
    let rule = async |mode: &str| {
        let text = format!(
            "@id(\"not-here\") @reason(\"from another machine\") @mode(\"{mode}\")\n\
             forbid (principal, action == Action::\"approve\", resource in Project::\"gemini\")\n\
             when {{ principal.trust_tier == \"ek_chain\" }};"
        );
        std::fs::write(made.issuer.config.policy.join("guardrails/all.cedar"), text).unwrap();
        put_in_force(&made.issuer, &made.issuer.config.policy).await.unwrap();
        made.issuer.reload_policy().await.unwrap();
    };
    rule("enforce").await;
    let (invitation, code) = invited(&made, "alice", "gemini", "developer", None).await;
    // The machine was not known yet.
    approve_grant(&made.issuer, &invitation.grant, &owner("otto@example.com"), None).await.unwrap();
    let (status, answer) = laptop.post(INVITATIONS, &code).await;
    assert_eq!((status, &answer["daypass_reason"]), (403, &json!("guardrail")), "{answer}");
    assert_eq!(stored(&made, &invitation).await, (InvitationLife::Open, None, GrantLife::Requested, None));
    let refused = made.events("approval_refused").await;
    assert!(refused.len() == 1 && refused[0].contains(r#""rules":["not-here"]"#), "{refused:?}");
    assert!(made.events("enrolment_refused").await[0].contains("guardrail"));
    rule("monitor").await;
    assert_eq!(laptop.post(INVITATIONS, &code).await.0, 200);
    assert_eq!(stored(&made, &invitation).await.2, GrantLife::Active);
    let activated = made.events("grant_activated").await;
    assert!(activated.iter().any(|leaf| leaf.contains(r#""monitored":["not-here"]"#)), "{activated:?}");
}

#[tokio::test]
async fn of_two_machines_at_once_one_has_it_and_one_machine_twice_has_it_once() {
    let made = two_projects().await;
    let (laptop, desk) = (enrolled(&made, "alice").await, enrolled(&made, "alice").await);
    for round in 0..8 {
        let (invitation, code) = invited(&made, "alice", "gemini", "developer", None).await;
        let (one, other) = tokio::join!(laptop.post(INVITATIONS, &code), desk.post(INVITATIONS, &code));
        let (winner, loser) = if one.0 == 200 { (&laptop, other) } else { (&desk, one) };
        assert_eq!((loser.0, loser.1["daypass_reason"].as_str()), (400, Some("code_used")), "{round}");
        let id = Some(winner.device.id.clone());
        assert_eq!(stored(&made, &invitation).await, (InvitationLife::Used, id.clone(), GrantLife::Requested, id));
        let (_, code) = invited(&made, "alice", "gemini", "developer", None).await;
        let (one, other) = tokio::join!(laptop.post(INVITATIONS, &code), laptop.post(INVITATIONS, &code));
        assert_eq!((one.0, other.0), (200, 200));
    }
    assert_eq!(made.events("invitation_accepted").await.len(), 16);
}

#[tokio::test]
async fn a_replacement_goes_to_another_machine_that_is_enrolled_and_not_to_the_one_it_replaces() {
    let made = two_projects().await;
    let (old, desk) = (enrolled(&made, "alice").await, enrolled(&made, "alice").await);
    let how =
        Replace { code_expires_at: made.now().plus(600), ek_hash: None, reason: None, by: Actor::account("root") };
    let found = look(&made.issuer, &old.device.id, None, None).await.unwrap();
    let (invitation, code) = replace(&made.issuer, found, how).await.unwrap();
    let code = shown(code.secret.expose());
    assert_eq!(old.refused(INVITATIONS, &code).await.1, "code_elsewhere");
    approve_grant(&made.issuer, &invitation.grant, &owner("olga@example.com"), None).await.unwrap();
    let held = async |to| {
        let from = made.issuer.store.grant(&old.grant.id).await.unwrap().unwrap();
        let change = Change::Grant { from: from.state, to: Grant { state: to, ..from } };
        made.issuer.store.decide(Decision::new(any_event(&made.issuer.environment)).change(change)).await.unwrap();
    };
    // What was held back is not got round by another machine.
    held(GrantLife::Suspended).await;
    assert_eq!(desk.refused(INVITATIONS, &code).await.1, "wrong_state");
    held(GrantLife::Active).await;
    assert_eq!(desk.post(INVITATIONS, &code).await.0, 200);
    assert_eq!(stored(&made, &invitation).await.2, GrantLife::Active);
    let old = made.issuer.store.device(&old.device.id).await.unwrap().unwrap();
    assert_eq!((old.state, old.reason.as_deref()), (DeviceLife::Revoked, Some("replaced")));
}

#[tokio::test]
async fn refusals_have_a_pace() {
    let made = two_projects().await;
    let laptop = enrolled(&made, "alice").await;
    let ((_, bobs), (_, good)) = (
        invited(&made, "bob", "gemini", "reader", None).await,
        invited(&made, "alice", "gemini", "reader", None).await,
    );
    let mut held_up = 0;
    for _ in 0..70 {
        held_up += usize::from(laptop.refused(INVITATIONS, &bobs).await == (429, "slow_down".to_owned()));
    }
    assert_eq!((held_up, made.events("enrolment_refused").await.len()), (10, 60));
    assert_eq!(laptop.post(INVITATIONS, &good).await.0, 200, "a good one is never held up");
}
