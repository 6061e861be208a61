//! Owners who decide requests from their own devices.

use std::fs;

use daypass_proto::{
    access_request::{Ask, Wanted},
    names::RequestId,
};
use serde_json::{Value, json};

use super::{Client, OWNER, World, is};
use crate::{ledger::Source, requests::ask, store::GrantLife};

const DAY: i64 = 86_400;

impl World {
    /// What somebody asks for from this device, with an end in so many days.
    pub(super) async fn asks(&self, client: &Client, what: Wanted, days: u32) -> RequestId {
        let issuer = &self.made.issuer;
        let device = issuer.store.device(&client.device).await.unwrap().unwrap();
        let asked = Ask { what, until: Some(format!("{days}d")), reason: "the audit takes longer".to_owned() };
        ask(issuer, &device, &asked, &Source::from(&client.peer)).await.unwrap().id
    }

    pub(super) async fn extends(&self, client: &Client, days: u32) -> RequestId {
        let grant = self.made.issuer.store.grants_of(&client.device).await.unwrap().remove(0).id;
        self.asks(client, Wanted::Extension { grant }, days).await
    }
}

fn path(id: &RequestId, verb: &str) -> String {
    format!("/admin/v1/requests/{id}{verb}")
}

/// A world in which three own the project, and its developers are a sensitive role's.
async fn sensitive() -> (World, Client) {
    let world = World::new().await;
    let laptop = world.device("alice", "developer").await;
    let owners = format!("\"{OWNER}\", \"otto@example.com\", \"oscar@example.com\"");
    let role = "[roles.developer]\nsensitivity = \"sensitive\"\n";
    world.made.edit_policy(&[(&format!("\"{OWNER}\""), &owners), ("[roles.developer]\n", role)]).await;
    (world, laptop)
}

#[tokio::test]
async fn a_sensitive_roles_extension_takes_two_owners_as_its_grant_did() {
    let (world, laptop) = sensitive().await;
    let (olga, otto) = (world.owner().await, world.owner_called("otto@example.com").await);
    let request = world.extends(&laptop, 7).await;
    let until = async || world.made.issuer.store.grants_of(&laptop.device).await.unwrap().remove(0).until;
    let before = until().await;
    let shown = world.good(&olga, "GET", &path(&request, ""), Value::Null).await;
    assert_eq!((shown["approvals_missing"].as_u64(), shown["state"].as_str()), (Some(2), Some("requested")));
    let scope = &shown["grants"][0]["scopes"][0];
    assert_eq!((&scope["granted"], &scope["tokens"], &scope["last"]), (&json!(true), &json!(0), &Value::Null));
    assert_eq!(scope["gates"], Value::Null, "no gate reports");
    assert!(scope["location"].as_str().unwrap().starts_with("https://"), "{shown:#}");

    let first = world.good(&olga, "POST", &path(&request, "/approve"), json!({"reason": "needed"})).await;
    assert_eq!((first["approvals_missing"].as_u64(), &first["granted"]), (Some(1), &Value::Null));
    assert_eq!(first["waits_for"], json!(["oscar@example.com", "otto@example.com"]));
    assert_eq!(until().await, before, "one of two is not enough");
    let again = world.refused(&olga, "POST", &path(&request, "/approve"), json!({})).await;
    assert_eq!(again, is(409, "wrong_state"), "once is enough");
    let second = world.good(&otto, "POST", &path(&request, "/approve"), json!({"reason": "agreed"})).await;
    assert_eq!((second["state"].as_str(), second["approvals_missing"].as_u64()), (Some("approved"), Some(0)));
    assert_eq!(second["granted"]["until"], json!(world.made.now().plus(7 * DAY)));
    assert_eq!(until().await, world.made.now().plus(7 * DAY));
    let events = world.made.events("request_approved").await;
    for (event, by) in events.iter().zip([&olga, &otto]) {
        assert!(event.contains(by.device.as_str()), "{event}");
    }
    assert_eq!(world.made.reasons("grant_extended").await, ["agreed"]);
}

#[tokio::test]
async fn what_one_owner_narrows_is_what_the_other_approves() {
    let (world, laptop) = sensitive().await;
    let (olga, otto) = (world.owner().await, world.owner_called("otto@example.com").await);
    let request = world.extends(&laptop, 7).await;
    for (less, status) in [
        (json!({}), is(400, "malformed")),
        (json!({"until": "7d"}), is(400, "malformed")),
        (json!({"until": "soon"}), is(400, "malformed")),
        (json!({"role": "reader"}), is(400, "malformed")),
        (json!({"until": "3d", "uses": 1}), is(400, "malformed")),
        (json!({"until": "1h"}), is(409, "wrong_state")),
    ] {
        assert_eq!(world.refused(&olga, "POST", &path(&request, "/narrow"), less.clone()).await, status, "{less}");
    }
    let less = json!({"until": "3d", "reason": "three days will do"});
    let first = world.good(&olga, "POST", &path(&request, "/narrow"), less).await;
    assert_eq!(first["narrowed_to"]["until"], json!(world.made.now().plus(3 * DAY)));
    let second = world.good(&otto, "POST", &path(&request, "/approve"), json!({})).await;
    assert_eq!((second["state"].as_str(), second["answer"].as_str()), (Some("narrowed"), Some("three days will do")));
    assert_eq!(second["granted"]["until"], json!(world.made.now().plus(3 * DAY)));
}

#[tokio::test]
async fn a_request_is_decided_by_the_projects_owners_and_never_by_whoever_it_is_for() {
    let world = World::new().await;
    let projects = world.made.issuer.config.policy.join("projects");
    fs::copy(projects.join("apollo.toml"), projects.join("gemini.toml")).unwrap();
    let owners = format!("\"{OWNER}\", \"otto@example.com\"");
    world.made.edit_policy(&[(&format!("\"{OWNER}\""), &owners)]).await;
    let (olga, ada) = (world.owner().await, world.administrator("ada").await);
    let laptop = world.device("alice", "reader").await;
    let developer = || Wanted::Scopes { project: "apollo".parse().unwrap(), role: "developer".parse().unwrap() };
    let request = world.asks(&laptop, developer(), 1).await;
    // An administrator sees it, and gives nothing in a project that is not theirs.
    let listed = world.good(&ada, "GET", "/admin/v1/requests?state=requested&sort=until", Value::Null).await;
    assert_eq!(listed["items"][0]["request"], json!(request));
    world.good(&ada, "GET", &path(&request, ""), Value::Null).await;
    for verb in ["/approve", "/narrow", "/refuse"] {
        assert_eq!(
            world.refused(&ada, "POST", &path(&request, verb), json!({})).await,
            is(403, "not_theirs"),
            "{verb}"
        );
    }
    // An owner's own.
    let own = world.asks(&olga, developer(), 1).await;
    for (verb, body) in [("/approve", json!({})), ("/narrow", json!({"until": "2h"})), ("/refuse", json!({}))] {
        assert_eq!(world.refused(&olga, "POST", &path(&own, verb), body).await, is(403, "own_request"), "{verb}");
    }
    // What is elsewhere is not told from what is not there.
    world.grant("alice", "gemini", "reader", Some(&laptop.device), GrantLife::Active).await;
    let gemini = Wanted::Scopes { project: "gemini".parse().unwrap(), role: "developer".parse().unwrap() };
    let elsewhere = world.asks(&laptop, gemini, 1).await;
    assert_eq!(world.refused(&olga, "GET", &path(&elsewhere, ""), Value::Null).await, is(404, "not_found"));
    for verb in ["/approve", "/refuse"] {
        let refused = world.refused(&olga, "POST", &path(&elsewhere, verb), json!({})).await;
        assert_eq!(refused, is(404, "not_found"), "{verb}");
    }
    let theirs = world.good(&olga, "GET", "/admin/v1/requests", Value::Null).await;
    assert_eq!(theirs["items"].as_array().unwrap().len(), 2, "{theirs:#}");

    let refused = world.good(&olga, "POST", &path(&request, "/refuse"), json!({"reason": "not needed"})).await;
    assert_eq!((refused["state"].as_str(), refused["answer"].as_str()), (Some("refused"), Some("not needed")));
    assert_eq!(world.refused(&olga, "POST", &path(&request, "/approve"), json!({})).await, is(409, "wrong_state"));
    assert_eq!(world.made.reasons("request_refused").await, ["not needed"]);
    let otto = world.owner_called("otto@example.com").await;
    let given = world.good(&otto, "POST", &path(&own, "/approve"), json!({})).await;
    assert_eq!(
        (given["granted"]["role"].as_str(), given["granted"]["state"].as_str()),
        (Some("developer"), Some("active"))
    );
}
