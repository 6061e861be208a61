//! Every field of every body, and every filter of every list, is given what it does not take: it is refused by its name, and nothing is written.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Request;
use daypass_proto::time::Timestamp;
use serde_json::{Value, json};

use super::{Client, World};
use crate::admin::{openapi::description, route::ROUTES};

/// What no field takes: other kinds of values, what is too large, and what is not to be seen.
fn values() -> Vec<Value> {
    vec![
        json!(""),
        json!(" "),
        json!(1.5),
        json!(-1),
        json!(1e300),
        json!({}),
        json!({"colour": 1}),
        json!([1]),
        json!(["no such thing"]),
        json!("a\u{0}b"),
        json!("a\u{202e}b"),
        json!("a\nb"),
        json!("x".repeat(5000)),
    ]
}

/// A body that would be taken, but for what is put into it.
fn body(operation: &str) -> Value {
    match operation {
        "device_approve" => json!({"code": "AB12-CD34", "with_grants": false, "reason": "met her"}),
        "invite" => json!({
            "collaborator": "carol", "project": "apollo", "role": "developer", "until": "7d", "code_expires": "1d",
            "reason": "audit", "dry_run": false, "terms": {
                "not_before": "1d", "phase": "build", "uses": 3, "networks": ["192.0.2.0/24"],
                "trust_tiers": ["ek_chain"], "secure_boot": true,
            },
        }),
        "device_replace" => json!({
            "collaborator": "bob", "until": "1h", "code_expires": "1d", "reason": "a broken hinge", "dry_run": false,
        }),
        "offboard" => json!({"collaborator": "bob", "reason": "over", "confirmed": true}),
        "project_end" | "phase_end" => json!({"reason": "over", "confirmed": true}),
        "request_narrow" => json!({"until": "1d", "role": "reader", "reason": "less will do"}),
        "policy_load" => json!({"files": {"projects/apollo.toml": "owners = []"}}),
        "notification_retry" | "notification_drop" => json!({"message": "msg_1", "all": false, "reason": "old"}),
        _ => json!({"reason": "audit"}),
    }
}

/// Somebody who asks often: with time between, and a fresh token, before refusals are too many.
struct Asker<'a> {
    world: &'a World,
    client: Option<Client>,
    count: u32,
    since: Timestamp,
}

impl<'a> Asker<'a> {
    fn new(world: &'a World, client: Client) -> Self {
        Self { world, client: Some(client), count: 0, since: world.made.now() }
    }

    async fn ask(&mut self, method: &str, path: &str, body: String) -> (u16, Value) {
        if self.count.is_multiple_of(40) {
            self.world.made.pass(40 * 60);
        }
        let now = self.world.made.now();
        if now != self.since {
            self.since = now;
            self.client = Some(self.world.with_token(self.client.take().unwrap()).await);
        }
        self.count += 1;
        let client = self.client.as_ref().unwrap();
        let proof = self.world.proof(client, method, path.split('?').next().unwrap(), Some(&client.token));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .extension(client.peer.clone())
            .header("authorization", format!("DPoP {}", client.token))
            .header("dpop", proof);
        self.world.send(request.body(body.into()).unwrap()).await
    }
}

/// What is wrong with an answer, where something is.
fn wrong(answer: &(u16, Value), names: &str) -> Option<String> {
    let (status, told) = (answer.0, &answer.1);
    let text = told["error_description"].as_str().unwrap_or_default();
    let next = told["daypass_next_step"].as_str().unwrap_or_default();
    let plain = text.chars().all(daypass_proto::words::is_shown);
    let good =
        status == 400 && told["daypass_reason"] == "malformed" && text.contains(names) && plain && !next.is_empty();
    (!good).then(|| format!("{status} {told}"))
}

/// The body with this in the place of one field, which may lie in another.
fn with(body: &Value, field: &str, value: &Value) -> Value {
    let mut body = body.clone();
    let place = match field.split_once('.') {
        Some((outer, inner)) => &mut body[outer][inner],
        None => &mut body[field],
    };
    *place = value.clone();
    body
}

/// The fields that the description has of a schema, and of those that lie in it.
fn described(description: &Value, schema: &Value) -> BTreeSet<String> {
    let resolved = |schema: &Value| match schema["$ref"].as_str() {
        Some(place) => description.pointer(place.trim_start_matches('#')).unwrap().clone(),
        None => schema.clone(),
    };
    let mut all = BTreeSet::new();
    for (name, inner) in resolved(schema)["properties"].as_object().unwrap() {
        all.insert(name.clone());
        if resolved(inner)["properties"].is_object() {
            all.extend(described(description, inner).into_iter().map(|inner| format!("{name}.{inner}")));
        }
    }
    all
}

/// The fields of every body that is described, by its operation.
fn bodies() -> BTreeMap<&'static str, BTreeSet<String>> {
    let description = description();
    let posts = ROUTES.iter().filter(|route| route.method.to_string() == "POST");
    posts
        .map(|route| {
            let schema =
                &description["paths"][route.path]["post"]["requestBody"]["content"]["application/json"]["schema"];
            (route.operation.name(), described(&description, schema))
        })
        .collect()
}

/// The fields of a body here.
fn given(body: &Value) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (name, value) in body.as_object().unwrap() {
        all.insert(name.clone());
        // What is in `files` is named by whoever sends it.
        if let (Some(inner), true) = (value.as_object(), name != "files") {
            all.extend(inner.keys().map(|inner| format!("{name}.{inner}")));
        }
    }
    all
}

/// Whether a field takes that after all.
fn is_taken(field: &str, value: &Value) -> bool {
    match field {
        // An empty object is one that says nothing.
        "terms" | "files" => value == &json!({}) || field == "terms" && value.is_array(),
        // A message, or a code, that there is not is no wrong word.
        "message" | "code" => value.is_string(),
        _ => false,
    }
}

/// What there is, and all that was decided, but for refusals.
async fn written(world: &World) -> (usize, usize, usize) {
    let store = &world.made.issuer.store;
    let all = crate::store::Find::up_to(1000);
    let events = world.made.events_but(&["administration_refused", "token_issued"]).await;
    let invitations = store.find_invitations(&all).await.unwrap().len();
    (store.find_grants(&all).await.unwrap().len(), invitations, events)
}

#[tokio::test]
async fn every_field_of_every_body_refuses_what_it_does_not_take_by_its_name() {
    let world = World::new().await;
    let phase = "[phases.build]\nends = 2027-12-01T00:00:00Z\n[roles.developer]\n";
    world.made.edit_policy(&[("[roles.developer]\n", phase)]).await;
    let (bob, invitation) = (world.pending("bob").await, world.made.invited("carol").await);
    let request = world.extends(&world.device("erin", "reader").await, 9).await;
    let (ada, _bert, gate) =
        (world.administrator("ada").await, world.administrator("bert").await, world.gate("front").await);
    let loaded = world.good(&ada, "POST", "/admin/v1/policy", world.policy_with_owner("eve@example.com")).await;
    let proposal = loaded["waiting"]["proposal"].as_str().unwrap().to_owned();
    let (mut owner, mut ada) = (Asker::new(&world, world.owner().await), Asker::new(&world, ada));
    let bodies = bodies();
    let grant = world.made.issuer.store.grants_of(&bob.device).await.unwrap().remove(0).id;
    let before = written(&world).await;
    let (mut wrongs, mut asked) = (Vec::new(), 0);
    for route in ROUTES.iter().filter(|route| route.method.to_string() == "POST") {
        let name = route.operation.name();
        let path = route
            .path
            .replace("{device}", bob.device.as_str())
            .replace("{grant}", grant.as_str())
            .replace("{invitation}", invitation.id.as_str())
            .replace("{project}", "apollo")
            .replace("{phase}", "build")
            .replace("{request}", request.as_str())
            .replace("{proposal}", &proposal)
            .replace("{gate}", gate.as_str());
        let theirs = ["policy_", "proposal_", "notification_", "gate_", "offboard"];
        let administers = theirs.iter().any(|begin| name.starts_with(begin));
        let asker = if administers { &mut ada } else { &mut owner };
        let good = body(name);
        let twice = |field: &str| {
            let text = good.to_string();
            format!("{{\"{field}\":{},{}", good[field], &text[1..])
        };
        // A field that came to the description, and has no case here, is a fault of this table.
        assert_eq!(given(&good), bodies[name], "{name}");
        for field in given(&good) {
            for value in values().iter().filter(|value| !is_taken(&field, value)) {
                let answer = asker.ask("POST", &path, with(&good, &field, value).to_string()).await;
                let inner = field.rsplit('.').next().unwrap();
                let shown: String = value.to_string().chars().take(30).collect();
                wrongs.extend(wrong(&answer, inner).map(|told| format!("{name} {field} = {shown}: {told}")));
                asked += 1;
            }
            if !field.contains('.') {
                let answer = asker.ask("POST", &path, twice(&field)).await;
                wrongs.extend(
                    wrong(&answer, &format!("`{field}` stands there twice"))
                        .map(|told| format!("{name} {field} twice: {told}")),
                );
            }
        }
        let unknown = asker.ask("POST", &path, with(&good, "colour", &json!(1)).to_string()).await;
        wrongs.extend(wrong(&unknown, "colour").map(|told| format!("{name}: a field that nobody knows: {told}")));
        for text in ["", "[]", "{", "nothing", "\u{0}"] {
            let answer = asker.ask("POST", &path, text.to_owned()).await;
            wrongs.extend(wrong(&answer, "format").map(|told| format!("{name}: {text:?}: {told}")));
        }
    }
    assert!(asked > 600, "{asked}");
    assert!(wrongs.is_empty(), "{} of {asked}\n{}", wrongs.len(), wrongs.join("\n"));
    assert_eq!(written(&world).await, before, "nothing was written");
}

#[tokio::test]
async fn every_filter_of_every_list_refuses_what_it_does_not_take_by_its_name() {
    let world = World::new().await;
    let mut ada = Asker::new(&world, world.administrator("ada").await);
    let mut wrongs = Vec::new();
    for route in ROUTES.iter().filter(|route| route.method.to_string() == "GET" && !route.query.is_empty()) {
        for (filter, _) in route.query {
            for value in ["", "%00", "a%E2%80%AEb", "a%0Ab", "no+such+thing", "-1", &"x".repeat(3000)] {
                // Somebody can be called so.
                if *filter == "collaborator" && value == "-1" {
                    continue;
                }
                let answer = ada.ask("GET", &format!("{}?{filter}={value}", route.path), String::new()).await;
                let shown: String = value.chars().take(30).collect();
                wrongs.extend(wrong(&answer, filter).map(|told| format!("{} {filter}={shown}: {told}", route.path)));
            }
        }
        for (query, names) in [("colour=1", "`colour`"), ("limit=1&limit=1", "`limit`"), ("limit=1001", "`limit`")] {
            let answer = ada.ask("GET", &format!("{}?{query}", route.path), String::new()).await;
            wrongs.extend(wrong(&answer, names).map(|told| format!("{} {query}: {told}", route.path)));
        }
    }
    assert!(wrongs.is_empty(), "{}\n{}", wrongs.len(), wrongs.join("\n"));
}
