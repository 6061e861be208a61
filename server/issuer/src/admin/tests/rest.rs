//! Phases, gates, notifications, and events by their time.

use daypass_proto::{
    encoding::Fixed,
    names::{GateName, GrantId},
};
use serde_json::{Value, json};

use super::{Client, OWNER, World, is};
use crate::{
    actor::Actor,
    admin::{Bootstrap, bootstrap},
    commands::dead_notification,
    fixture::event,
    gates::{Registration, add},
    replacement,
    store::{Acceptance, Change, Decision, Grant, GrantLife, InvitationLife},
};

const PHASE: (&str, &str) = ("[roles.developer]\n", "[phases.build]\nends = 2027-12-01T00:00:00Z\n[roles.developer]\n");

impl World {
    pub(super) async fn gate(&self, name: &str) -> GateName {
        let registration = Registration {
            name: name.parse().unwrap(),
            resources: vec!["https://git.example.com/".parse().unwrap()],
            ca: None,
            code_expires_at: self.made.now().plus(60),
            by: Actor::account("root"),
        };
        add(&self.made.issuer, registration).await.unwrap();
        name.parse().unwrap()
    }

    /// Each of these operations, once.
    pub(super) async fn asked_of_the_rest(&self, owner: &Client, ada: &Client) {
        self.good(owner, "GET", "/admin/v1/phases", Value::Null).await;
        let end = "/admin/v1/projects/apollo/phases/build/end";
        self.made.edit_policy(&[PHASE]).await;
        self.good(owner, "POST", end, json!({"reason": "over"})).await;
        let gate = self.gate("front").await;
        self.good(ada, "GET", "/admin/v1/gates", Value::Null).await;
        self.good(ada, "POST", &format!("/admin/v1/gates/{gate}/remove"), json!({"reason": "moved"})).await;
        self.good(ada, "GET", "/admin/v1/notifications", Value::Null).await;
        self.good(ada, "POST", "/admin/v1/notifications/retry", json!({"all": true})).await;
        self.good(ada, "POST", "/admin/v1/notifications/drop", json!({"all": true})).await;
    }
}

#[tokio::test]
async fn a_phase_is_listed_with_where_it_is_and_ended_by_its_owner() {
    let world = World::new().await;
    world.made.edit_policy(&[PHASE]).await;
    let owner = world.owner().await;
    let invitation = world.made.invited_for("alice", "build").await;
    let other = world.made.invited("alice").await;
    let listed = world.good(&owner, "GET", "/admin/v1/phases?project=apollo", Value::Null).await;
    let phase = &listed["items"][0];
    assert_eq!((phase["phase"].as_str(), phase["state"].as_str()), (Some("build"), Some("running")));
    let path = "/admin/v1/projects/apollo/phases/build/end";
    let would = world.good(&owner, "POST", path, json!({"reason": "over"})).await;
    assert_eq!((&would["ended"], &would["invitations"]), (&json!(false), &json!([invitation.id])));
    world.good(&owner, "POST", path, json!({"reason": "over", "confirmed": true})).await;
    let state = async |id| world.made.issuer.store.invitation(id).await.unwrap().unwrap().state;
    assert_eq!(
        (state(&invitation.id).await, state(&other.id).await),
        (InvitationLife::Withdrawn, InvitationLife::Open)
    );
    let unknown = "/admin/v1/projects/apollo/phases/biuld/end";
    assert_eq!(world.refused(&owner, "POST", unknown, json!({"reason": "x"})).await, is(404, "not_found"));
}

#[tokio::test]
async fn a_gate_is_taken_out_by_an_administrator_and_the_ledger_says_by_whom() {
    let world = World::new().await;
    let ada = world.administrator("ada").await;
    let gate = world.gate("front").await;
    let listed = world.good(&ada, "GET", "/admin/v1/gates", Value::Null).await;
    assert_eq!(
        listed["items"],
        json!([{"gate": "front", "state": "added", "resources": ["https://git.example.com/"]}])
    );
    let path = format!("/admin/v1/gates/{gate}/remove");
    assert_eq!(world.good(&ada, "POST", &path, json!({"reason": "moved"})).await["state"], "removed");
    assert_eq!(world.refused(&ada, "POST", &path, json!({})).await, is(404, "not_found"));
    assert!(world.made.events("gate_removed").await[0].contains(ada.device.as_str()));
    assert_eq!(world.made.reasons("gate_removed").await, ["moved"]);
}

#[tokio::test]
async fn dead_notifications_are_tried_again_or_taken_out_by_an_administrator() {
    let world = World::new().await;
    let ada = world.administrator("ada").await;
    for id in ["msg_1", "msg_2", "msg_3"] {
        dead_notification(&world.made, id).await;
    }
    let listed = world.good(&ada, "GET", "/admin/v1/notifications?dead=true&limit=2", Value::Null).await;
    assert_eq!((listed["items"].as_array().unwrap().len(), &listed["more"]), (2, &json!(true)));
    let ask = |verb: &str| format!("/admin/v1/notifications/{verb}");
    assert_eq!(world.good(&ada, "POST", &ask("retry"), json!({"message": "msg_1"})).await["notifications"], 1);
    for (verb, body, refusal) in [
        ("drop", json!({"message": "msg_1"}), is(404, "not_found")),
        ("retry", json!({"message": "msg_9"}), is(404, "not_found")),
        ("retry", json!({"message": "msg_2", "all": true}), is(400, "malformed")),
        ("retry", json!({"message": "msg_2", "reason": "x"}), is(400, "malformed")),
    ] {
        assert_eq!(world.refused(&ada, "POST", &ask(verb), body.clone()).await, refusal, "{verb} {body}");
    }
    assert_eq!(
        world.good(&ada, "POST", &ask("drop"), json!({"all": true, "reason": "moved"})).await["notifications"],
        2
    );
    assert!(world.made.events("notifications_dropped").await[0].contains(ada.device.as_str()));
    let left = world.good(&ada, "GET", "/admin/v1/notifications", Value::Null).await;
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn events_are_found_by_their_time() {
    let world = World::new().await;
    let owner = world.owner().await;
    let early = world.made.now();
    world.made.invited("alice").await;
    world.made.pass(200);
    world.made.invited("bob").await;
    crate::ledger::integrate(&world.made.issuer).await;
    let found = async |query: String| {
        let path = format!("/admin/v1/ledger/events?kind=invited&{query}");
        let listed = world.good(&owner, "GET", &path, Value::Null).await;
        let names = listed["items"].as_array().unwrap().iter().map(|it| it["personal"]["collaborator"].clone());
        names.collect::<Vec<_>>()
    };
    assert_eq!(found("since=100s".to_owned()).await, [json!("bob")]);
    assert_eq!(found(format!("until={early}")).await, [json!("alice")]);
    assert_eq!(found(format!("since={early}&until={}", world.made.now())).await.len(), 2);
}

#[tokio::test]
async fn administrators_are_shown_with_how_each_was_made_one() {
    let world = World::new().await;
    let ada = world.administrator("ada").await;
    let asked = Bootstrap {
        collaborator: "eve".parse().unwrap(),
        until: world.made.now().plus(86_400),
        code_expires_at: world.made.now().plus(60),
        reason: Some("a second one".to_owned()),
        by: Actor::account("root"),
    };
    let (invitation, ..) = bootstrap(&world.made.issuer, asked).await.unwrap();
    // At once, and once only when its event has a number.
    let before = world.good(&ada, "GET", "/admin/v1/administrators", Value::Null).await;
    crate::ledger::integrate(&world.made.issuer).await;
    let listed = world.good(&ada, "GET", "/admin/v1/administrators", Value::Null).await;
    assert_eq!(before, listed);
    let eve = &listed["items"][1];
    assert_eq!((eve["collaborator"].as_str(), eve["acting"].as_bool()), (Some("eve"), Some(false)));
    assert_eq!(
        eve["bootstraps"],
        json!([{"invitation": invitation.id, "at": world.made.now(), "by": "root", "reason": "a second one", "administrators": 1}])
    );
}

#[tokio::test]
async fn a_code_that_carries_something_of_another_project_is_not_an_owners_to_take_back() {
    let world = World::new().await;
    let issuer = &world.made.issuer;
    let folder = issuer.config.policy.join("projects");
    let text = std::fs::read_to_string(folder.join("apollo.toml")).unwrap();
    std::fs::write(folder.join("gemini.toml"), text.replace("olga@example.com", "gene@example.com")).unwrap();
    world.made.edit_policy(&[]).await;
    let (owner, ada) = (world.owner().await, world.administrator("ada").await);
    let dave = world.device("dave", "developer").await;
    let first = issuer.store.grants_of(&dave.device).await.unwrap().remove(0);
    // By its name it comes behind the other.
    let other = Grant { id: GrantId::from_random([0xff; 10]), project: "gemini".parse().unwrap(), ..first };
    let decision = Decision::new(event(&issuer.environment)).change(Change::AddGrant(other));
    issuer.store.decide(decision).await.unwrap();
    let found = replacement::look(issuer, &dave.device, None, None).await.unwrap();
    let how = replacement::Replace {
        code_expires_at: world.made.now().plus(600),
        ek_hash: None,
        reason: Some("a broken hinge".to_owned()),
        by: Actor::account("root"),
    };
    let (invitation, _) = replacement::replace(issuer, found, how).await.unwrap();
    assert_eq!((invitation.project.as_str(), invitation.grants().count()), ("apollo", 2));
    let path = format!("/admin/v1/invitations/{}/withdraw", invitation.id);
    let asked = json!({"reason": "too early"});
    let (status, _) = world.refused(&owner, "POST", &path, asked.clone()).await;
    assert_eq!(status, 403);
    let state = async || issuer.store.invitation(&invitation.id).await.unwrap().unwrap().state;
    assert_eq!(state().await, InvitationLife::Open);
    world.good(&ada, "POST", &path, asked).await;
    assert_eq!(state().await, InvitationLife::Withdrawn);
}

#[tokio::test]
async fn a_grant_says_which_briefing_was_accepted_by_which_device_and_when() {
    let world = World::new().await;
    let (owner, laptop) = (world.owner().await, world.device("bob", "developer").await);
    let issuer = &world.made.issuer;
    let grant = issuer.store.grants_of(&laptop.device).await.unwrap().remove(0);
    let policy = issuer.policy();
    let project = policy.project(&grant.project).unwrap();
    let now = crate::briefing::terms(project, project.role(&grant.role).unwrap(), &grant).unwrap();
    for (number, briefing) in [(1, Fixed([7; 32])), (2, now)] {
        let acceptance = Acceptance {
            hash: Fixed([number; 32]),
            grant: grant.id.clone(),
            device: laptop.device.clone(),
            collaborator: grant.collaborator.clone(),
            at: world.made.now().plus(number.into()),
            briefing,
            acceptance: "signed".to_owned(),
            text: Some("what was read".to_owned()),
        };
        let to = Grant { briefed: Some(briefing), ..grant.clone() };
        let change = Change::AcceptBriefing { to: Box::new(to), acceptance: Box::new(acceptance) };
        issuer.store.decide(Decision::new(event(&issuer.environment)).change(change)).await.unwrap();
    }
    let shown = world.good(&owner, "GET", &format!("/admin/v1/grants/{}", grant.id), Value::Null).await;
    let of = |number: u8, briefing: Fixed<32>| {
        json!({
            "acceptance": Fixed([number; 32]), "briefing": briefing, "device": laptop.device,
            "at": world.made.now().plus(number.into()), "current": number == 2,
        })
    };
    assert_eq!(shown["acceptances"], json!([of(1, Fixed([7; 32])), of(2, now)]));
    assert!(!shown.to_string().contains("what was read"), "the text is evidence, and stays with the issuer");
}

#[tokio::test]
async fn devices_are_listed_by_name_each_once_and_no_more_than_are_asked_for() {
    let world = World::new().await;
    let owner = world.owner().await;
    let apollo = std::fs::read_to_string(world.made.issuer.config.policy.join("projects/apollo.toml")).unwrap();
    std::fs::write(world.made.issuer.config.policy.join("projects/gemini.toml"), &apollo).unwrap();
    world.made.project(&apollo).await;
    world.grant(OWNER, "gemini", "owner", Some(&owner.device), GrantLife::Active).await;
    let (bob, carol) = (world.device("bob", "developer").await, world.device("carol", "developer").await);
    world.grant("bob", "gemini", "reader", Some(&bob.device), GrantLife::Active).await;
    let elsewhere = world.device("dave", "developer").await;
    let grant = world.made.issuer.store.grants_of(&elsewhere.device).await.unwrap().remove(0);
    let (to, from) = (Grant { project: "hermes".parse().unwrap(), ..grant.clone() }, grant.state);
    let decision = Decision::new(event(&world.made.issuer.environment)).change(Change::Grant { to, from });
    world.made.issuer.store.decide(decision).await.unwrap();
    let listed = async |query: &str| {
        let listed = world.good(&owner, "GET", &format!("/admin/v1/devices{query}"), Value::Null).await;
        let names = listed["items"].as_array().unwrap().iter().map(|it| it["device"].as_str().unwrap().to_owned());
        (names.collect::<Vec<_>>(), listed["more"].as_bool().unwrap())
    };
    let mut theirs = [&owner, &bob, &carol].map(|client| client.device.to_string());
    theirs.sort();
    assert_eq!(listed("").await, (theirs.to_vec(), false));
    assert_eq!(listed("?limit=2").await, (theirs[..2].to_vec(), true));
    assert_eq!(listed("?limit=3").await, (theirs.to_vec(), false));
    assert_eq!(listed("?collaborator=carol&state=approved,pending").await, (vec![carol.device.to_string()], false));
    assert_eq!(listed("?state=pending").await, (Vec::new(), false));
    let mut gemini = [&owner, &bob].map(|client| client.device.to_string());
    gemini.sort();
    assert_eq!(listed("?project=gemini").await, (gemini.to_vec(), false));
}
