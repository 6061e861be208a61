//! A laptop that an owner replaces from their own machine.

use daypass_proto::names::DeviceId;
use serde_json::{Value, json};

use super::{Client, OWNER, World, is};
use crate::store::GrantLife;

fn device_path(device: &DeviceId) -> String {
    format!("/admin/v1/devices/{device}/replace")
}

fn dry() -> Value {
    json!({"dry_run": true})
}

impl World {
    /// The words of a refusal, which has this status and cause.
    async fn told(&self, who: &Client, path: &str, body: Value, (status, reason): (u16, &str)) -> String {
        let (is, answer) = self.ask(who, "POST", path, body).await;
        assert_eq!((is, answer["daypass_reason"].as_str()), (status, Some(reason)), "{answer:#}");
        answer.to_string()
    }

    async fn invited(&self) -> usize {
        self.made.events("invited").await.len()
    }
}

#[tokio::test]
async fn an_owner_replaces_a_device_whose_grants_are_all_in_their_project() {
    let world = World::new().await;
    let (owner, laptop) = (world.owner().await, world.device("bob", "developer").await);
    let old = world.made.issuer.store.grants_of(&laptop.device).await.unwrap().remove(0);
    let path = device_path(&laptop.device);
    let would = world.good(&owner, "POST", &path, dry()).await;
    let offered = &would["grants"][0];
    assert_eq!((&would["invitation"], &would["code"], &would["left"]), (&Value::Null, &Value::Null, &json!([])));
    assert_eq!((&would["collaborator"], &would["device_ends"]), (&json!("bob"), &json!(true)));
    assert_eq!(
        (&offered["replaces"], &offered["project"], &offered["role"], &offered["until"]),
        (&json!(old.id), &json!("apollo"), &json!("developer"), &json!(old.until))
    );
    assert_eq!(
        (&offered["approved_by"], &offered["approvers"], &offered["excess"]),
        (&json!([OWNER]), &json!(1), &json!([]))
    );
    assert!(!offered["authorization_details"].as_array().unwrap().is_empty());
    assert_eq!(world.invited().await, 0, "nothing is made by looking");

    let made = world.good(&owner, "POST", &path, json!({"collaborator": "bob", "reason": "a broken hinge"})).await;
    assert!(made["code"].as_str().unwrap().starts_with("dpinv1_"));
    let events = world.made.events("invited").await;
    assert!(events.len() == 1 && events[0].contains(owner.device.as_str()) && events[0].contains(old.id.as_str()));
    assert_eq!(world.made.reasons("invited").await, ["a broken hinge"]);
    // Whoever invites does not approve it.
    let successor = made["invitation"]["grant"].as_str().unwrap();
    let approve = format!("/admin/v1/grants/{successor}/approve");
    assert_eq!(world.refused(&owner, "POST", &approve, json!({})).await, is(403, "own_request"));
    // One at a time, until it is taken back.
    let invitation = made["invitation"]["invitation"].as_str().unwrap();
    assert!(world.told(&owner, &path, json!({}), (409, "wrong_state")).await.contains(invitation));
    world.good(&owner, "POST", &format!("/admin/v1/invitations/{invitation}/withdraw"), json!({})).await;
    world.good(&owner, "POST", &path, json!({})).await;
}

#[tokio::test]
async fn nobody_replaces_what_reaches_further_than_they_do_or_learns_where() {
    let world = World::new().await;
    let (owner, ada) = (world.owner().await, world.administrator("ada").await);
    let laptop = world.device("bob", "developer").await;
    let path = device_path(&laptop.device);
    assert_eq!(world.refused(&ada, "POST", &path, dry()).await, is(403, "not_theirs"));
    for state in [GrantLife::Active, GrantLife::Requested, GrantLife::Suspended, GrantLife::Grace] {
        for (project, role) in [("gemini", "reader"), ("administration", "administrator")] {
            let other = world.device("bob", "developer").await;
            let elsewhere = world.grant("bob", project, role, Some(&other.device), state).await;
            for body in [dry(), json!({})] {
                let told = world.told(&owner, &device_path(&other.device), body, (403, "not_theirs")).await;
                assert!(!told.contains(project) && !told.contains(elsewhere.as_str()), "{told}");
            }
        }
    }
    // An administrator reaches no further as an owner.
    let both = world.owner_called(OWNER).await;
    world.grant(OWNER, "administration", "administrator", Some(&both.device), GrantLife::Active).await;
    let other = world.device("carol", "developer").await;
    world.grant("carol", "gemini", "reader", Some(&other.device), GrantLife::Active).await;
    let theirs = device_path(&other.device);
    assert_eq!(world.refused(&both, "POST", &theirs, json!({})).await, is(403, "not_theirs"));
    assert_eq!(world.invited().await, 0);
    // What is over elsewhere keeps nobody from it, and is not shown.
    let ended = world.grant("bob", "gemini", "reader", Some(&laptop.device), GrantLife::Ended).await;
    let here = world.grant("bob", "apollo", "reader", Some(&laptop.device), GrantLife::Revoked).await;
    let would = world.good(&owner, "POST", &path, dry()).await;
    assert_eq!((would["left"].as_array().unwrap().len(), &would["left"][0]["grant"]), (1, &json!(here)));
    assert!(would["left"][0]["why"].as_str().unwrap().contains("revoked"), "{would:#}");
    for grant in world.made.issuer.store.grants_of(&laptop.device).await.unwrap() {
        if grant.state == GrantLife::Active {
            let revoke = format!("/admin/v1/grants/{}/revoke", grant.id);
            world.good(&owner, "POST", &revoke, json!({})).await;
        }
    }
    let told = world.told(&owner, &path, json!({}), (409, "wrong_state")).await;
    assert!(told.contains(here.as_str()) && !told.contains(ended.as_str()), "{told}");
}

#[tokio::test]
async fn a_device_that_is_not_in_use_is_not_replaced_and_the_answer_says_why() {
    let world = World::new().await;
    let owner = world.owner().await;
    let nobody = device_path(&DeviceId::from_random([9; 10]));
    assert_eq!(world.refused(&owner, "POST", &nobody, json!({})).await, is(404, "not_found"));
    assert_eq!(
        world.refused(&owner, "POST", "/admin/v1/devices/laptop/replace", json!({})).await,
        is(404, "not_found")
    );
    let pending = world.pending("bob").await;
    assert!(
        world.told(&owner, &device_path(&pending.device), json!({}), (409, "wrong_state")).await.contains("is pending")
    );
    for (verb, word) in [("suspend", "is suspended"), ("revoke", "is revoked")] {
        let laptop = world.device("bob", "developer").await;
        let decide = format!("/admin/v1/devices/{}/{verb}", laptop.device);
        world.good(&owner, "POST", &decide, json!({})).await;
        let told = world.told(&owner, &device_path(&laptop.device), json!({}), (409, "wrong_state")).await;
        assert!(told.contains(word), "{told}");
    }
    assert_eq!(world.invited().await, 0);
}

#[tokio::test]
async fn what_a_replacement_cannot_be_is_said_before_and_refused() {
    let world = World::new().await;
    let (owner, laptop) = (world.owner().await, world.device("bob", "developer").await);
    let path = device_path(&laptop.device);
    for (body, words) in [
        (json!({"collaborator": "carol"}), "is bob's"),
        (json!({"until": "300d"}), "or before"),
        (json!({"role": "reader"}), "role"),
        (json!({"ek_hash": "00"}), "ek_hash"),
    ] {
        let told = world.told(&owner, &path, body, (400, "malformed")).await;
        assert!(told.contains(words), "{told}");
    }
    // The role is gone from the policy.
    world.made.edit_policy(&[("roles.developer", "roles.coder")]).await;
    let would = world.good(&owner, "POST", &path, dry()).await;
    let offered = &would["grants"][0];
    assert!(offered["excess"][0].as_str().unwrap().contains("no role `developer`"), "{would:#}");
    assert_eq!((&offered["approvers"], &offered["authorization_details"]), (&Value::Null, &json!([])));
    assert!(world.told(&owner, &path, json!({}), (400, "malformed")).await.contains("no role `developer`"));
    assert_eq!(world.invited().await, 0);
}
