//! The admin API as it is reached: through the router, by devices with tokens and proofs. Whatever is answered is held to the description.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body, http::Request};
use daypass_proto::{
    dpop,
    encoding::Fixed,
    enrolment::DeviceLife,
    jose::{Header, SoftwareKey},
    names::{DeviceId, GrantId},
};
use daypass_service::Peer;
use http_body_util::BodyExt as _;
use rcgen::KeyPair;
use serde_json::{Value, json};
use tower_service::Service as _;

use super::{
    Operation,
    openapi::description,
    route::{ROUTES, Route},
};
use crate::{
    actor::Actor,
    fixture::{Made, event},
    serve::mtls_routes,
    store::{Change, Decision, Device, Grant, GrantLife, PolicyVersion, Terms},
    token,
};

mod bad_input;
mod invite;
mod replace;
mod requests;
mod rest;

const OWNER: &str = "olga@example.com";

/// The description, as a validator has it.
struct Judge {
    description: Value,
    seen: Mutex<BTreeSet<&'static str>>,
}

impl Judge {
    fn new() -> Self {
        Self { description: description(), seen: Mutex::default() }
    }

    fn route(&self, method: &str, path: &str) -> &'static Route {
        let fits = |route: &&Route| {
            let (ours, theirs): (Vec<_>, Vec<_>) = (route.path.split('/').collect(), path.split('/').collect());
            route.method.to_string() == method
                && ours.len() == theirs.len()
                && ours.iter().zip(&theirs).all(|(ours, theirs)| ours.starts_with('{') || ours == theirs)
        };
        ROUTES.iter().find(fits).unwrap_or_else(|| panic!("{method} {path} is no route"))
    }

    /// Whether an answer is as the description has it.
    fn hold(&self, method: &str, path: &str, status: u16, body: &Value) {
        let route = self.route(method, path);
        let template = route.path.replace('/', "~1").replace('{', "%7B").replace('}', "%7D");
        let answer = match status {
            200 => "200",
            400..500 => "4XX",
            _ => "5XX",
        };
        let pointer = format!(
            "urn:api#/paths/{template}/{}/responses/{answer}/content/application~1json/schema",
            method.to_lowercase()
        );
        let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
        compiler.add_resource("urn:api", self.description.clone()).unwrap();
        let schema = compiler.compile(&pointer, &mut schemas).unwrap();
        if let Err(error) = schemas.validate(body, schema) {
            panic!("{method} {path}: {error:#}\n{body:#}");
        }
        if status == 200 {
            self.seen.lock().unwrap().insert(route.operation.name());
        }
    }
}

struct World {
    made: Made,
    router: Router,
    judge: Judge,
}

/// A device whose keys the test has.
struct Client {
    device: DeviceId,
    peer: Peer,
    key: SoftwareKey,
    token: String,
}

impl World {
    async fn new() -> Self {
        let made = Made::with_software().await;
        let router = mtls_routes(Arc::clone(&made.issuer));
        Self { made, router, judge: Judge::new() }
    }

    async fn device(&self, who: &str, role: &str) -> Client {
        let proof = KeyPair::generate().unwrap();
        let key = SoftwareKey::from_pkcs8(&proof.serialize_der()).unwrap();
        let (device, certificate) = self.made.registered(who, role, 86_400, *key.public()).await;
        Client {
            device: device.id,
            peer: Peer { address: ([192, 0, 2, 7], 1).into(), certificate: Some(certificate) },
            key,
            token: String::new(),
        }
    }

    async fn owner(&self) -> Client {
        self.owner_called(OWNER).await
    }

    async fn owner_called(&self, who: &str) -> Client {
        self.with_token(self.device(who, "owner").await).await
    }

    /// As after a bootstrap, an enrolment and an approval.
    async fn administrator(&self, who: &str) -> Client {
        let client = self.device(who, "reader").await;
        self.grant(who, "administration", "administrator", Some(&client.device), GrantLife::Active).await;
        self.with_token(client).await
    }

    async fn grant(
        &self,
        who: &str,
        project: &str,
        role: &str,
        device: Option<&DeviceId>,
        state: GrantLife,
    ) -> GrantId {
        let issuer = &self.made.issuer;
        let grant = Grant {
            id: GrantId::from_random(issuer.environment.random()),
            collaborator: who.parse().unwrap(),
            project: project.parse().unwrap(),
            role: role.parse().unwrap(),
            until: self.made.now().plus(86_400),
            state,
            device: device.cloned(),
            made_at: Some(self.made.now()),
            used: 0,
            terms: Terms::default(),
            replaces: None,
            briefed: None,
        };
        let id = grant.id.clone();
        let decision = Decision::new(event(&issuer.environment)).change(Change::AddGrant(grant));
        issuer.store.decide(decision).await.unwrap();
        id
    }

    /// A device that waits for its code to be compared.
    async fn pending(&self, who: &str) -> Client {
        let client = self.device(who, "developer").await;
        let issuer = &self.made.issuer;
        let found = issuer.store.device(&client.device).await.unwrap().unwrap();
        let from = found.state;
        let to = Device { state: DeviceLife::Pending, comparison_code: Some("AB12-CD34".to_owned()), ..found };
        let decision = Decision::new(event(&issuer.environment)).change(Change::Device { to: Box::new(to), from });
        issuer.store.decide(decision).await.unwrap();
        client
    }

    fn proof(&self, client: &Client, method: &str, path: &str, token: Option<&str>) -> String {
        let issuer = &self.made.issuer;
        let claims = dpop::Claims {
            jti: hex::encode(issuer.environment.random::<16>()),
            htm: method.to_owned(),
            htu: issuer.config.mtls_endpoint(path),
            iat: self.made.now(),
            ath: token.map(dpop::token_hash),
            nonce: None,
        };
        client.key.sign(&Header { typ: dpop::TYP, kid: None, jwk: Some(client.key.public()) }, &claims).unwrap()
    }

    async fn with_token(&self, client: Client) -> Client {
        let issuer = &self.made.issuer;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &client.device.client_id())
            .append_pair("resource", issuer.config.admin.as_str())
            .finish();
        let proof = self.proof(&client, "POST", token::PATH, None);
        let request = Request::post(token::PATH)
            .extension(client.peer.clone())
            .header("content-type", "application/x-www-form-urlencoded")
            .header("dpop", proof);
        let (status, answer) = self.send(request.body(form.into()).unwrap()).await;
        assert_eq!(status, 200, "{answer}");
        Client { token: answer["access_token"].as_str().unwrap().to_owned(), ..client }
    }

    async fn send(&self, request: Request<Body>) -> (u16, Value) {
        let answer = self.router.clone().call(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn ask(&self, client: &Client, method: &str, path: &str, body: Value) -> (u16, Value) {
        let plain = path.split('?').next().unwrap();
        let proof = self.proof(client, method, plain, Some(&client.token));
        self.ask_with(client, method, path, body, &format!("DPoP {}", client.token), &proof).await
    }

    async fn ask_with(
        &self,
        client: &Client,
        method: &str,
        path: &str,
        body: Value,
        authorization: &str,
        proof: &str,
    ) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .extension(client.peer.clone())
            .header("authorization", authorization)
            .header("dpop", proof);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = self.send(request.body(body.into()).unwrap()).await;
        self.judge.hold(method, path.split('?').next().unwrap(), status, &answer);
        (status, answer)
    }

    async fn good(&self, client: &Client, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(client, method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer:#}");
        answer
    }

    /// The status and the cause of a refusal.
    async fn refused(&self, client: &Client, method: &str, path: &str, body: Value) -> (u16, String) {
        let (status, answer) = self.ask(client, method, path, body).await;
        assert_ne!(status, 200, "{method} {path}: {answer:#}");
        (status, answer["daypass_reason"].as_str().unwrap().to_owned())
    }

    async fn refusals(&self) -> usize {
        self.made.events("administration_refused").await.len()
    }
}

fn is(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

#[tokio::test]
async fn every_operation_answers_as_the_description_has_it() {
    let world = World::new().await;
    world.second_owner("otto@example.com").await;
    let (owner, ada) = (world.owner().await, world.administrator("ada").await);
    let bob = world.pending("bob").await;
    let device = |verb: &str| format!("/admin/v1/devices/{}{verb}", bob.device);
    world.good(&ada, "GET", "/admin/v1/openapi.json", Value::Null).await;
    let listed = world.good(&owner, "GET", "/admin/v1/devices?state=pending&project=apollo", Value::Null).await;
    assert_eq!(listed["items"][0]["device"], json!(bob.device));
    world.good(&owner, "GET", &device(""), Value::Null).await;
    let wrong = json!({"code": "AB12-CD35"});
    assert_eq!(world.refused(&owner, "POST", &device("/approve"), wrong).await, is(403, "code_differs"));
    let approved = world.good(&owner, "POST", &device("/approve"), json!({"code": "ab12-cd34"})).await;
    assert_eq!(approved["state"], "approved");
    let events = world.made.events("device_approved").await;
    assert!(events[0].contains("by_device") && events[0].contains(owner.device.as_str()), "{events:?}");
    for (verb, state) in [("/suspend", "suspended"), ("/resume", "approved")] {
        assert_eq!(world.good(&ada, "POST", &device(verb), json!({"reason": "audit"})).await["state"], state);
    }

    let grants = world.good(&owner, "GET", "/admin/v1/grants?collaborator=bob&sort=until", Value::Null).await;
    let id = grants["items"][0]["grant"].as_str().unwrap().to_owned();
    let grant = |verb: &str| format!("/admin/v1/grants/{id}{verb}");
    let shown = world.good(&ada, "GET", &grant(""), Value::Null).await;
    assert_eq!((shown["state"].as_str(), shown["role"].as_str()), (Some("active"), Some("developer")));
    assert!(!shown["authorization_details"].as_array().unwrap().is_empty());
    for (verb, state) in [("/suspend", "suspended"), ("/resume", "active"), ("/revoke", "revoked")] {
        assert_eq!(world.good(&owner, "POST", &grant(verb), json!({})).await["state"], state);
    }
    assert_eq!(world.refused(&owner, "POST", &grant("/resume"), json!({})).await, is(409, "wrong_state"));

    let invite = |dry_run: bool| json!({"collaborator": "carol", "project": "apollo", "role": "reader", "until": "7d", "dry_run": dry_run});
    let would = world.good(&owner, "POST", "/admin/v1/invitations", invite(true)).await;
    assert_eq!((&would["invitation"], &would["code"]), (&Value::Null, &Value::Null));
    let made = world.good(&owner, "POST", "/admin/v1/invitations", invite(false)).await;
    assert!(made["code"].as_str().unwrap().starts_with("dpinv1_"));
    let invitation = made["invitation"]["invitation"].as_str().unwrap();
    // Whoever invites does not approve it.
    let carried = format!("/admin/v1/grants/{}/approve", made["invitation"]["grant"].as_str().unwrap());
    assert_eq!(world.refused(&owner, "POST", &carried, json!({})).await, is(403, "own_request"));
    assert_eq!(
        world.good(&owner, "GET", "/admin/v1/invitations?state=open", Value::Null).await["items"][0]["invitation"],
        json!(invitation)
    );
    world.good(&owner, "POST", &format!("/admin/v1/invitations/{invitation}/withdraw"), json!({})).await;
    let waiting = world.made.invited("dave").await;
    let approve = format!("/admin/v1/grants/{}/approve", waiting.grant);
    let approved = world.good(&owner, "POST", &approve, json!({"reason": "needed"})).await;
    assert_eq!(approved["approvals_missing"], 0);

    let laptop = world.device("erin", "reader").await;
    let replace = format!("/admin/v1/devices/{}/replace", laptop.device);
    world.good(&owner, "POST", &replace, json!({"dry_run": true})).await;
    for verb in ["narrow", "approve", "refuse"] {
        let request = world.extends(&laptop, 9).await;
        world.good(&owner, "GET", &format!("/admin/v1/requests/{request}"), Value::Null).await;
        let less = if verb == "narrow" { json!({"until": "8d"}) } else { json!({}) };
        world.good(&owner, "POST", &format!("/admin/v1/requests/{request}/{verb}"), less).await;
        world.made.pass(1);
    }
    world.good(&owner, "GET", "/admin/v1/requests", Value::Null).await;
    world.asked_of_the_rest(&owner, &ada).await;

    world.good(&ada, "GET", "/admin/v1/policy/versions", Value::Null).await;
    let bert = world.administrator("bert").await;
    let loaded = world.good(&ada, "POST", "/admin/v1/policy", world.policy_with_owner("eve@example.com")).await;
    let proposal = format!("/admin/v1/policy/proposals/{}", loaded["waiting"]["proposal"].as_str().unwrap());
    world.good(&ada, "GET", "/admin/v1/policy/proposals", Value::Null).await;
    world.good(&bert, "POST", &format!("{proposal}/confirm"), json!({"reason": "agreed"})).await;
    let loaded = world.good(&ada, "POST", "/admin/v1/policy", world.policy_with_owner("mia@example.com")).await;
    let proposal = format!("/admin/v1/policy/proposals/{}", loaded["waiting"]["proposal"].as_str().unwrap());
    world.good(&bert, "POST", &format!("{proposal}/withdraw"), json!({})).await;
    let administrators = world.good(&ada, "GET", "/admin/v1/administrators", Value::Null).await;
    assert_eq!(
        (administrators["items"][0]["collaborator"].as_str(), administrators["items"][0]["acting"].as_bool()),
        (Some("ada"), Some(true))
    );
    crate::ledger::integrate(&world.made.issuer).await;
    let events = world.good(&owner, "GET", "/admin/v1/ledger/events?limit=3", Value::Null).await;
    assert_eq!((events["items"].as_array().unwrap().len(), &events["more"]), (3, &json!(true)));
    for event in events["items"].as_array().unwrap() {
        assert_eq!(event["fields"]["project"], "apollo");
    }
    world.good(&ada, "POST", &device("/revoke"), json!({"reason": "lost"})).await;
    let offboard = |confirmed: bool| json!({"collaborator": "dave", "reason": "left", "confirmed": confirmed});
    let would = world.good(&ada, "POST", "/admin/v1/offboard", offboard(false)).await;
    assert_eq!((&would["ended"], would["invitations"].as_array().unwrap().len()), (&json!(false), 1));
    assert_eq!(world.good(&ada, "POST", "/admin/v1/offboard", offboard(true)).await["ended"], true);
    world.good(&ada, "POST", "/admin/v1/projects/apollo/end", json!({"reason": "over"})).await;

    let seen = world.judge.seen.lock().unwrap().clone();
    let all: BTreeSet<&str> = Operation::ALL.map(Operation::name).into();
    assert_eq!(seen, all, "each operation was asked for, and answered");
}

#[tokio::test]
async fn each_reaches_what_is_theirs_and_every_refusal_is_an_event() {
    let world = World::new().await;
    let (owner, ada) = (world.owner().await, world.administrator("ada").await);
    let theirs = world.device("bob", "developer").await;
    let elsewhere = world.grant("bob", "gemini", "reader", Some(&theirs.device), GrantLife::Active).await;
    let apollo = world.grant("bob", "apollo", "reader", None, GrantLife::Requested).await;
    let reader = world.with_nothing().await;
    let grant = |id: &GrantId, verb: &str| format!("/admin/v1/grants/{id}/{verb}");
    let device = |verb: &str| format!("/admin/v1/devices/{}/{verb}", theirs.device);
    let nothing = || json!({});
    let invite = json!({"collaborator": "carol", "project": "apollo", "role": "reader", "until": "1d"});
    let gemini = json!({"collaborator": "carol", "project": "gemini", "role": "reader", "until": "1d"});
    let end = || json!({"reason": "x", "confirmed": true});
    let offboard = json!({"collaborator": "bob", "reason": "x", "confirmed": true});
    let mut count = world.refusals().await;
    for (who, method, path, body, expected) in [
        // An administrator gives nothing in a project that is not theirs.
        (&ada, "POST", grant(&apollo, "approve"), nothing(), is(403, "not_theirs")),
        (&ada, "POST", "/admin/v1/invitations".to_owned(), invite, is(403, "not_theirs")),
        // An owner reaches their own project, and does not learn what there is elsewhere.
        (&owner, "POST", grant(&elsewhere, "revoke"), nothing(), is(404, "not_found")),
        (&owner, "GET", "/admin/v1/grants?project=gemini".to_owned(), Value::Null, is(403, "not_theirs")),
        (&owner, "POST", "/admin/v1/invitations".to_owned(), gemini, is(403, "not_theirs")),
        (&owner, "POST", device("revoke"), nothing(), is(403, "not_theirs")),
        (&owner, "POST", "/admin/v1/offboard".to_owned(), offboard, is(403, "not_theirs")),
        (&owner, "POST", "/admin/v1/projects/gemini/phases/build/end".to_owned(), end(), is(403, "not_theirs")),
        (&owner, "GET", "/admin/v1/phases?project=gemini".to_owned(), Value::Null, is(403, "not_theirs")),
        (&owner, "GET", "/admin/v1/gates".to_owned(), Value::Null, is(403, "not_theirs")),
        (&owner, "POST", "/admin/v1/gates/front/remove".to_owned(), nothing(), is(403, "not_theirs")),
        (&owner, "GET", "/admin/v1/notifications".to_owned(), Value::Null, is(403, "not_theirs")),
        (&owner, "POST", "/admin/v1/notifications/drop".to_owned(), json!({"all": true}), is(403, "not_theirs")),
        (&ada, "POST", "/admin/v1/gates/front/remove".to_owned(), nothing(), is(404, "not_found")),
        (&ada, "POST", "/admin/v1/notifications/drop".to_owned(), nothing(), is(400, "malformed")),
        (&ada, "GET", "/admin/v1/notifications?dead=maybe".to_owned(), Value::Null, is(400, "malformed")),
        (&ada, "GET", "/admin/v1/ledger/events?since=yesterday".to_owned(), Value::Null, is(400, "malformed")),
        (&owner, "POST", "/admin/v1/projects/gemini/end".to_owned(), end(), is(403, "not_theirs")),
        (&owner, "GET", "/admin/v1/policy/versions".to_owned(), Value::Null, is(403, "not_theirs")),
        (&owner, "GET", "/admin/v1/administrators".to_owned(), Value::Null, is(403, "not_theirs")),
        (&owner, "GET", "/admin/v1/grants?colour=red".to_owned(), Value::Null, is(400, "malformed")),
        (&owner, "GET", "/admin/v1/grants?limit=0".to_owned(), Value::Null, is(400, "malformed")),
        (&owner, "GET", "/admin/v1/grants?state=gone".to_owned(), Value::Null, is(400, "malformed")),
        (&owner, "POST", grant(&apollo, "approve"), json!({"why": "x"}), is(400, "malformed")),
        (&owner, "POST", grant(&apollo, "revoke"), json!({"reason": " "}), is(400, "malformed")),
        (&owner, "POST", "/admin/v1/grants/x/revoke".to_owned(), nothing(), is(404, "not_found")),
        // Nobody lets themselves on.
        (&ada, "POST", format!("/admin/v1/devices/{}/resume", ada.device), nothing(), is(403, "own_request")),
        (
            &ada,
            "POST",
            format!("/admin/v1/devices/{}/approve", ada.device),
            json!({"code": "x"}),
            is(403, "own_request"),
        ),
    ] {
        assert_eq!(world.refused(who, method, &path, body).await, expected, "{method} {path}");
        count += 1;
        let events = world.made.events("administration_refused").await;
        assert_eq!(events.len(), count, "{method} {path}");
        assert!(events.last().unwrap().contains(&expected.1) && events.last().unwrap().contains(who.device.as_str()));
    }
    let seen = world.good(&owner, "GET", "/admin/v1/grants?collaborator=bob", Value::Null).await;
    let projects: BTreeSet<&str> =
        seen["items"].as_array().unwrap().iter().filter_map(|it| it["project"].as_str()).collect();
    assert_eq!(projects, BTreeSet::from(["apollo"]), "lists leave out what is not theirs");
    // A collaborator's device gets no token for it at all.
    assert_eq!(reader, is(400, "no_grant"));
}

impl World {
    /// The policy in force, with one owner more.
    /// Another owner, before there is an administrator. Whoever invites does not approve it, and somebody must.
    async fn second_owner(&self, owner: &str) {
        self.made.edit_policy(&[(OWNER, &format!("{OWNER}\", \"{owner}"))]).await;
    }

    fn policy_with_owner(&self, owner: &str) -> Value {
        let issuer = &self.made.issuer;
        let folder = &issuer.config.policy;
        let mut files = serde_json::Map::new();
        for (name, ending) in [("projects", "toml"), ("guardrails", "cedar"), ("tests", "toml")] {
            for entry in fs::read_dir(folder.join(name)).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == ending) {
                    let text = fs::read_to_string(&path).unwrap();
                    let file = format!("{name}/{}", path.file_name().unwrap().to_str().unwrap());
                    files.insert(file, json!(text.replacen(OWNER, &format!("{OWNER}\", \"{owner}"), 1)));
                }
            }
        }
        assert!(files["projects/apollo.toml"].as_str().unwrap().contains(owner));
        json!({"files": files})
    }

    async fn owns(&self, who: &str) -> bool {
        self.made.issuer.reload_policy().await.unwrap();
        !self.made.issuer.policy().owned_by(&who.parse().unwrap()).is_empty()
    }

    /// What somebody is told who is neither.
    async fn with_nothing(&self) -> (u16, String) {
        let client = self.device("eve", "developer").await;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &client.device.client_id())
            .append_pair("resource", self.made.issuer.config.admin.as_str())
            .finish();
        let request = Request::post(token::PATH)
            .extension(client.peer.clone())
            .header("content-type", "application/x-www-form-urlencoded")
            .header("dpop", self.proof(&client, "POST", token::PATH, None));
        let (status, answer) = self.send(request.body(form.into()).unwrap()).await;
        (status, answer["daypass_reason"].as_str().unwrap_or_default().to_owned())
    }
}

#[tokio::test]
async fn a_token_without_its_key_its_device_or_its_grant_is_worth_nothing() {
    let world = World::new().await;
    let (owner, ada) = (world.owner().await, world.administrator("ada").await);
    let (method, path) = ("GET", "/admin/v1/grants");
    let good = |client: &Client| world.proof(client, method, path, Some(&client.token));
    let dpop = format!("DPoP {}", owner.token);
    let elsewhere = world.proof(&owner, method, "/admin/v1/devices", Some(&owner.token));
    let no_hash = world.proof(&owner, method, path, None);
    let thief = Client {
        key: SoftwareKey::from_pkcs8(&KeyPair::generate().unwrap().serialize_der()).unwrap(),
        device: owner.device.clone(),
        peer: owner.peer.clone(),
        token: owner.token.clone(),
    };
    for (client, authorization, proof, reason) in [
        (&owner, "".to_owned(), good(&owner), "token_invalid"),
        (&owner, format!("Bearer {}", owner.token), good(&owner), "token_invalid"),
        (&owner, "DPoP x".to_owned(), good(&owner), "token_invalid"),
        (&ada, dpop.clone(), good(&owner), "token_invalid"),
        (&owner, dpop.clone(), String::new(), "proof_invalid"),
        (&owner, dpop.clone(), elsewhere, "proof_invalid"),
        (&owner, dpop.clone(), no_hash, "proof_invalid"),
        (&owner, dpop.clone(), good(&thief), "proof_invalid"),
    ] {
        let (status, answer) = world.ask_with(client, method, path, Value::Null, &authorization, &proof).await;
        assert_eq!((status, answer["daypass_reason"].as_str()), (401, Some(reason)), "{authorization}");
    }
    let proof = good(&owner);
    assert_eq!(world.ask_with(&owner, method, path, Value::Null, &dpop, &proof).await.0, 200);
    let (status, again) = world.ask_with(&owner, method, path, Value::Null, &dpop, &proof).await;
    assert_eq!((status, again["daypass_reason"].as_str()), (401, Some("proof_replayed")));
    // What ends the grant ends the token, from the next request on.
    let own = world.made.issuer.store.grants_of(&owner.device).await.unwrap().remove(0).id;
    world.good(&ada, "POST", &format!("/admin/v1/grants/{own}/suspend"), json!({})).await;
    assert_eq!(world.refused(&owner, method, path, Value::Null).await, is(401, "token_revoked"));
    // And an administrator whose device is held back is none.
    let bob = world.administrator("bob").await;
    world.good(&bob, "POST", &format!("/admin/v1/devices/{}/suspend", ada.device), json!({})).await;
    assert_eq!(world.refused(&ada, method, path, Value::Null).await, is(403, "device_suspended"));
    world.made.pass(400);
    assert_eq!(world.refused(&bob, method, path, Value::Null).await, is(401, "token_invalid"), "minutes, not hours");
}

#[tokio::test]
async fn the_description_has_every_route_and_no_other() {
    let description = description();
    let described: BTreeSet<(String, String)> = description["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().iter().map(move |(method, it)| {
                let id = it["operationId"].as_str().unwrap();
                (format!("{} {path}", method.to_uppercase()), id.to_owned())
            })
        })
        .collect();
    let served = ROUTES.iter().map(|it| (format!("{} {}", it.method, it.path), it.operation.name().to_owned()));
    assert_eq!(described, served.collect());
    assert_eq!(described.len(), Operation::ALL.len());
    let world = World::new().await;
    let ada = world.administrator("ada").await;
    for (method, path, status) in [("GET", "/admin/v1/nothing", 404), ("POST", "/admin/v1/devices", 405)] {
        let request = Request::builder().method(method).uri(path).extension(ada.peer.clone());
        assert_eq!(world.send(request.body(Body::empty()).unwrap()).await.0, status, "{method} {path}");
    }
}

#[tokio::test]
async fn nobody_alone_changes_who_owns_a_project() {
    let world = World::new().await;
    let (ada, bert) = (world.administrator("ada").await, world.administrator("bert").await);
    let load = || world.policy_with_owner("eve@example.com");
    let loaded = world.good(&ada, "POST", "/admin/v1/policy", load()).await;
    assert_eq!(loaded["changed"], false);
    assert_eq!(loaded["waiting"]["guarded"], json!(["`eve@example.com` becomes an owner of `apollo`"]));
    assert!(loaded["waiting"]["changes"][0].as_str().unwrap().contains("eve@example.com"), "{loaded:#}");
    assert!(!world.owns("eve@example.com").await, "what was in force stays");
    let path =
        |verb: &str| format!("/admin/v1/policy/proposals/{}/{verb}", loaded["waiting"]["proposal"].as_str().unwrap());
    assert_eq!(world.refused(&ada, "POST", &path("confirm"), json!({})).await, is(403, "own_request"));
    let owner = world.owner().await;
    assert_eq!(world.refused(&owner, "POST", &path("confirm"), json!({})).await, is(403, "not_theirs"));
    // An account on the issuer's machine confirms nothing, and what it brings waits as well.
    let issuer = &world.made.issuer;
    let id = loaded["waiting"]["proposal"].as_str().unwrap().parse().unwrap();
    let account = Actor::account("root");
    let nobody = super::policy::confirm(issuer, &id, &account, None).await;
    assert!(matches!(nobody, Err(super::policy::LoadError::Nobody)), "{nobody:?}");
    let files: crate::policy::Files = serde_json::from_value(load()["files"].clone()).unwrap();
    let other = super::policy::load(issuer, files, &account).await.unwrap();
    let super::policy::Loaded::Waits(other) = other else { panic!("{other:?}") };
    // Of two who confirm at once, one does it.
    let confirm = path("confirm");
    let both = tokio::join!(
        world.ask(&bert, "POST", &confirm, json!({"reason": "agreed"})),
        world.ask(&bert, "POST", &confirm, json!({})),
    );
    let statuses = BTreeSet::from([both.0.0, both.1.0]);
    assert_eq!(statuses, BTreeSet::from([200, 409]), "{both:#?}");
    assert!(world.owns("eve@example.com").await);
    let loads = world.made.events("policy_loaded").await;
    let last = loads.last().unwrap();
    assert!(last.contains("second_administrator") && last.contains(bert.device.as_str()), "{last}");
    assert_eq!(world.made.events("policy_proposed").await.len(), 2);
    crate::ledger::integrate(issuer).await;
    let listed = world.good(&ada, "GET", "/admin/v1/policy/versions", Value::Null).await;
    let newest = listed["items"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&newest["in_force"], &newest["by"]), (&json!(true), &json!("bert")));
    assert_eq!((&newest["by_device"], &newest["proposal"]), (&json!(bert.device), &loaded["waiting"]["proposal"]));
    assert_eq!(listed["items"][0]["by_device"], Value::Null, "the first came from the issuer's machine");
    assert_eq!(listed["waiting"][0]["proposal"], json!(other.id));
    // The other one was compared with what is no longer in force.
    let stale = format!("/admin/v1/policy/proposals/{}/confirm", other.id);
    assert_eq!(world.refused(&bert, "POST", &stale, json!({})).await, is(409, "wrong_state"));
    // What guards nobody needs nobody's second word.
    let mut narrower = load();
    let text = narrower["files"]["projects/apollo.toml"]
        .as_str()
        .unwrap()
        .replace("token_lifetime = \"10m\"", "token_lifetime = \"9m\"");
    assert_ne!(narrower["files"]["projects/apollo.toml"], json!(text));
    narrower["files"]["projects/apollo.toml"] = json!(text);
    assert_eq!(world.good(&ada, "POST", "/admin/v1/policy", narrower).await["changed"], true);
    let broken = json!({"files": {"projects/apollo.toml": "owners = []"}});
    assert_eq!(world.refused(&ada, "POST", "/admin/v1/policy", broken).await, is(400, "malformed"));
}

#[tokio::test]
async fn before_there_is_an_administrator_a_load_says_that_nobody_was_asked() {
    let world = World::new().await;
    let files: crate::policy::Files =
        serde_json::from_value(world.policy_with_owner("eve@example.com")["files"].clone()).unwrap();
    let account = Actor::account("root");
    let loaded = super::policy::load(&world.made.issuer, files, &account).await.unwrap();
    assert!(matches!(loaded, super::policy::Loaded::InForce), "{loaded:?}");
    assert!(world.owns("eve@example.com").await);
    assert!(world.made.events("policy_loaded").await.last().unwrap().contains("no_administrator"));
}

#[tokio::test]
async fn whoever_puts_the_last_administrator_out_of_the_way_is_not_alone() {
    use crate::ending::{GrantVerb, Told, decide_grant};
    for verb in [GrantVerb::Suspend, GrantVerb::Revoke] {
        let world = World::new().await;
        let ada = world.device("ada", "reader").await;
        let issuer = &world.made.issuer;
        let waits = GrantLife::Requested;
        let id = world.grant("ada", "administration", "administrator", Some(&ada.device), waits).await;
        assert!(!super::was_administered(issuer).await.unwrap(), "a machine that waits is nobody");
        let grant = issuer.store.grant(&id).await.unwrap().unwrap();
        let source = crate::ledger::Source::from(Actor::account("root"));
        let told = Told { source: &source, rule: None, reason: Some("in the way") };
        let activated = GrantVerb::Activate.on(issuer, Decision::default(), grant, &told);
        issuer.store.decide(activated).await.unwrap();
        decide_grant(issuer, &id, verb, &told).await.unwrap();
        let files = serde_json::from_value(world.policy_with_owner("eve@example.com")["files"].clone()).unwrap();
        let loaded = super::policy::load(issuer, files, &Actor::account("root")).await.unwrap();
        assert!(matches!(loaded, super::policy::Loaded::Waits(_)), "{loaded:?}");
        assert!(!world.owns("eve@example.com").await);
    }
}

#[tokio::test]
async fn what_is_gone_of_a_policy_that_nobody_can_read_is_guarded() {
    let world = World::new().await;
    let ada = world.administrator("ada").await;
    let issuer = &world.made.issuer;
    let files = issuer.store.newer_policy(0).await.unwrap().unwrap().files;
    let load = || json!({"files": files});
    let unread: crate::policy::Files = [("projects/apollo.toml", "written by another program")].into_iter().collect();
    let version = PolicyVersion { number: 2, hash: Fixed(unread.hash()), at: world.made.now(), files: unread };
    let broken = Decision::new(event(&issuer.environment)).change(Change::SetPolicy(version));
    issuer.store.decide(broken).await.unwrap();
    let loaded = world.good(&ada, "POST", "/admin/v1/policy", load()).await;
    let guarded = loaded["waiting"]["guarded"][0].as_str().unwrap();
    assert!(guarded.contains("is not understood"), "{loaded:#}");
}

#[tokio::test]
async fn an_owner_sees_what_a_device_has_in_their_projects_and_how_much_is_elsewhere() {
    let world = World::new().await;
    let (owner, ada) = (world.owner().await, world.administrator("ada").await);
    let laptop = world.device("bob", "developer").await;
    world.grant("bob", "gemini", "reader", Some(&laptop.device), GrantLife::Active).await;
    world.grant("bob", "hermes", "reader", Some(&laptop.device), GrantLife::Ended).await;
    let path = format!("/admin/v1/devices/{}", laptop.device);
    let shown = async |who: &Client| {
        let one = world.good(who, "GET", &path, Value::Null).await;
        let listed = world.good(who, "GET", "/admin/v1/devices?collaborator=bob", Value::Null).await;
        assert_eq!(listed["items"][0], one);
        (one["grants"].as_array().unwrap().len(), one["grants_elsewhere"].as_u64().unwrap())
    };
    assert_eq!(shown(&owner).await, (1, 2));
    assert_eq!(shown(&ada).await, (3, 0));
}

#[tokio::test]
async fn who_was_an_administrator_a_moment_ago_puts_nothing_in_force_alone() {
    let world = World::new().await;
    let files = serde_json::from_value(world.policy_with_owner("eve@example.com")["files"].clone()).unwrap();
    let device = DeviceId::from_random([7; 10]);
    let ada = Actor::Person { collaborator: "ada".parse().unwrap(), device, address: [192, 0, 2, 7].into() };
    let loaded = super::policy::load(&world.made.issuer, files, &ada).await.unwrap();
    assert!(matches!(loaded, super::policy::Loaded::Waits(_)), "{loaded:?}");
    assert!(!world.owns("eve@example.com").await);
}

#[tokio::test]
async fn an_owner_decides_where_this_device_is_an_owners() {
    let world = World::new().await;
    let owner = world.owner().await;
    let projects = world.made.issuer.config.policy.join("projects");
    let apollo = fs::read_to_string(projects.join("apollo.toml")).unwrap();
    fs::write(projects.join("gemini.toml"), &apollo).unwrap();
    world.made.project(&apollo).await;
    let theirs = "/admin/v1/grants?project=gemini";
    assert_eq!(world.refused(&owner, "GET", theirs, Value::Null).await, is(403, "not_theirs"));
    world.grant(OWNER, "gemini", "owner", Some(&owner.device), GrantLife::Active).await;
    world.good(&owner, "GET", theirs, Value::Null).await;
}

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

#[test]
fn the_description_is_kept_as_it_is_served() {
    let text = format!("{}\n", serde_json::to_string_pretty(&description()).unwrap());
    let path = docs("admin-api.json");
    if std::env::var_os("DAYPASS_WRITE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "docs/admin-api.json is not what is served: run this test with DAYPASS_WRITE_DOCS=1");
}
