//! Briefings as a device meets them: over the routes of the mTLS listener, by a clock that the test moves.

use std::sync::Arc;

use axum::{Router, body::Body, http::Request};
use daypass_proto::{
    briefing::{ACCEPT_PATH, AcceptRequest, Claims, PATH, TYP, text_hash},
    dpop,
    encoding::sha256,
    jose::{Header, SoftwareKey, UnverifiedJws},
    names::{DeviceId, GrantId},
};
use daypass_service::{ClientCertificate, Peer};
use http_body_util::BodyExt as _;
use rcgen::KeyPair;
use serde_json::{Value, json};
use tower_service::Service as _;

use super::*;
use crate::{
    actor::Actor,
    ending::{GrantVerb, Told, decide_grant},
    fixture::{Made, event},
    ledger::Source,
    policy::Action,
    serve::mtls_routes,
    store::{Change, DecideError, Decision, GrantLife},
    token::trial::Trial,
};

mod evidence;

const DAY: i64 = 86_400;
const PROJECT: &str = r#"
owners = ["olga@example.com", "otto@example.com"]
contact = "apollo on chat"
briefing = "required"
[roles.developer]
token_lifetime = "10m"
longest_grant = "90d"
longest_total = "365d"
[[roles.developer.authorization_details]]
type = "git_repository"
locations = ["https://git.example.com/team/app"]
actions = ["push"]
refs = ["refs/heads/{user}/**"]
[roles.developer.grace]
for = "7d"
[[roles.developer.grace.authorization_details]]
type = "git_repository"
locations = ["https://git.example.com/team/app"]
actions = ["read"]
[roles.reader]
token_lifetime = "10m"
longest_grant = "90d"
[[roles.reader.authorization_details]]
type = "git_repository"
locations = ["https://git.example.com/team/app"]
actions = ["read"]
"#;
const TEXT: &str = "Welcome, {{collaborator}}.\n\n{{asking}}\n\nMerge requests go to Otto.\n";

/// An issuer whose project asks for its briefing.
struct Scene {
    made: Made,
    router: Router,
}

/// A client with an approved device and an active grant.
struct Laptop {
    key: SoftwareKey,
    device: DeviceId,
    certificate: Arc<ClientCertificate>,
    grant: GrantId,
}

impl Scene {
    async fn with(project: &str, text: Option<&str>) -> Self {
        let made = Made::with_software().await;
        if let Some(text) = text {
            std::fs::write(made.issuer.config.policy.join("projects/apollo.briefing.md"), text).unwrap();
        }
        made.project(project).await;
        let router = mtls_routes(Arc::clone(&made.issuer));
        Self { made, router }
    }

    async fn new() -> Self {
        Self::with(PROJECT, Some(TEXT)).await
    }

    async fn laptop(&self, name: &str, role: &str) -> Laptop {
        let pair = KeyPair::generate().unwrap();
        let key = SoftwareKey::from_pkcs8(&pair.serialize_der()).unwrap();
        let (device, certificate) = self.made.registered(name, role, 30 * DAY, *key.public()).await;
        let grant = self.made.issuer.store.grants_of(&device.id).await.unwrap().remove(0);
        Laptop { key, device: device.id, certificate, grant: grant.id }
    }

    async fn grant(&self, laptop: &Laptop) -> Grant {
        self.made.issuer.store.grant(&laptop.grant).await.unwrap().unwrap()
    }

    /// An answer; the cause where it is a refusal.
    async fn send(&self, by: &Laptop, request: Request<Body>) -> Result<Value, String> {
        let (mut parts, body) = request.into_parts();
        let address = ([192, 0, 2, 7], 1).into();
        parts.extensions.insert(Peer { address, certificate: Some(Arc::clone(&by.certificate)) });
        let answer = self.router.clone().call(Request::from_parts(parts, body)).await.unwrap();
        let good = answer.status().is_success();
        let body: Value = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
        if good { Ok(body) } else { Err(body["daypass_reason"].as_str().unwrap().to_owned()) }
    }

    async fn reads(&self, by: &Laptop, grant: &GrantId) -> Result<Briefing, String> {
        let answer = self.send(by, Request::get(format!("{PATH}{grant}")).body(Body::empty()).unwrap()).await?;
        Ok(serde_json::from_value(answer).unwrap())
    }

    fn claims(&self, shown: &Briefing) -> Claims {
        Claims {
            aud: self.made.issuer.config.issuer_url.clone(),
            iat: self.made.now(),
            grant: shown.grant.clone(),
            project: shown.project.clone(),
            briefing: shown.briefing,
            text: text_hash(&shown.text),
        }
    }

    async fn sends(&self, by: &Laptop, grant: &GrantId, acceptance: String) -> Result<Briefing, String> {
        let body = json!(AcceptRequest { grant: grant.clone(), acceptance });
        let answer = self.send(by, Request::post(ACCEPT_PATH).body(body.to_string().into()).unwrap()).await?;
        Ok(serde_json::from_value(answer).unwrap())
    }

    async fn accepts(&self, by: &Laptop) -> Result<Briefing, String> {
        let shown = self.reads(by, &by.grant).await?;
        self.sends(by, &by.grant, signed(&by.key, &self.claims(&shown))).await
    }

    /// Whether the device gets a token, as the token endpoint says.
    async fn asks(&self, by: &Laptop) -> Result<(), String> {
        let issuer = &self.made.issuer;
        let claims = dpop::Claims {
            jti: hex::encode(issuer.environment.random::<16>()),
            htm: "POST".to_owned(),
            htu: issuer.config.mtls_endpoint("/oauth/token"),
            iat: self.made.now(),
            ath: None,
            nonce: None,
        };
        let proof = by.key.sign(&Header { typ: dpop::TYP, kid: None, jwk: Some(by.key.public()) }, &claims).unwrap();
        let form = format!(
            "grant_type=client_credentials&client_id={}&resource=https://git.example.com/",
            by.device.client_id().replace(':', "%3A")
        );
        let request = Request::post("/oauth/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("dpop", proof)
            .body(Body::from(form));
        self.send(by, request.unwrap()).await.map(drop)
    }

    async fn is_refused(&self, by: &Laptop) -> bool {
        self.asks(by).await == Err("briefing_required".to_owned())
    }

    async fn text(&self, text: &str) {
        std::fs::write(self.made.issuer.config.policy.join("projects/apollo.briefing.md"), text).unwrap();
        self.made.edit_policy(&[]).await;
    }

    async fn act(&self, grant: &GrantId, verb: GrantVerb) -> Result<Grant, crate::ending::EndError> {
        let source = Source::from(Actor::account("olga"));
        decide_grant(&self.made.issuer, grant, verb, &Told { source: &source, rule: None, reason: None }).await
    }
}

fn signed(key: &SoftwareKey, claims: &Claims) -> String {
    key.sign(&Header { typ: TYP, ..Header::default() }, claims).unwrap()
}

#[tokio::test]
async fn there_is_no_token_before_it_was_read_and_accepted() {
    let scene = Scene::new().await;
    let alice = scene.laptop("alice", "developer").await;
    assert!(scene.is_refused(&alice).await && scene.is_refused(&alice).await);
    assert!(scene.made.reasons("token_refused").await[0].contains("briefing of project `apollo`"));
    let state = |standing: &str| {
        let standing = json!(standing);
        let request = Request::get("/device/v1/state").body(Body::empty()).unwrap();
        let sent = scene.send(&alice, request);
        async move { assert_eq!(sent.await.unwrap()["grants"][0]["briefing"], standing) }
    };
    state("required").await;
    let shown = scene.reads(&alice, &alice.grant).await.unwrap();
    assert_eq!(
        (shown.standing, shown.project.as_str(), shown.role.as_str()),
        (Standing::Required, "apollo", "developer")
    );
    let accepted = scene.accepts(&alice).await.unwrap();
    assert_eq!(accepted, Briefing { standing: Standing::Accepted, ..shown.clone() });
    scene.asks(&alice).await.unwrap();
    state("accepted").await;
    // Once more is no second decision.
    assert_eq!(scene.accepts(&alice).await.unwrap(), accepted);
    let events = scene.made.events("briefing_accepted").await;
    assert_eq!(events.len(), 1, "{events:?}");
    let event: Value = serde_json::from_str(&events[0]).unwrap();
    assert_eq!(event["fields"]["briefing"], json!(shown.briefing));

    // The evidence: the text as it was shown, and the word of the device's key, by the hash that the ledger has.
    let kept = scene.made.issuer.store.acceptances(&alice.grant).await.unwrap();
    assert_eq!((kept.len(), kept[0].text.as_ref()), (1, Some(&shown.text)));
    assert_eq!(kept[0].hash.0, sha256(&[kept[0].acceptance.as_bytes()]));
    assert_eq!(event["fields"]["acceptance"], json!(kept[0].hash));
    let claims: Claims =
        UnverifiedJws::parse(&kept[0].acceptance, TYP).unwrap().verify(alice.key.public()).unwrap().claims().unwrap();
    assert_eq!((claims.text, claims.briefing), (text_hash(&shown.text), shown.briefing));
}

#[tokio::test]
async fn what_became_another_is_accepted_anew_and_what_only_moved_is_not() {
    let scene = Scene::new().await;
    let alice = scene.laptop("alice", "developer").await;
    scene.accepts(&alice).await.unwrap();
    // Another end, other people, and another file of the policy.
    let grant = scene.grant(&alice).await;
    let later = Grant { until: grant.until.plus(DAY), ..grant.clone() };
    let extend = Change::Extend { to: Box::new(later), from: Box::new(grant) };
    scene.made.issuer.store.decide(Decision::new(event(&scene.made.issuer.environment)).change(extend)).await.unwrap();
    let guardrail = "@id(\"night\") @reason(\"work by day\") @mode(\"monitor\") forbid (principal, action == Action::\"issue\", resource);";
    std::fs::write(scene.made.issuer.config.policy.join("guardrails/night.cedar"), guardrail).unwrap();
    scene.made.edit_policy(&[("otto@", "eve@"), ("on chat", "by phone"), ("roles.reader", "roles.looker")]).await;
    scene.asks(&alice).await.unwrap();
    for (from, to) in [
        ("token_lifetime = \"10m\"", "token_lifetime = \"9m\""),
        ("longest_grant = \"90d\"", "longest_grant = \"91d\""),
        ("\"365d\"", "\"366d\""),
        ("actions = [\"push\"]", "actions = [\"push\", \"create\"]"),
        ("[\"push\", \"create\"]", "[\"push\"]"),
        ("for = \"7d\"", "for = \"6d\""),
        ("longest_total = \"366d\"", "renewal = \"none\""),
    ] {
        scene.made.edit_policy(&[(from, to)]).await;
        assert!(scene.is_refused(&alice).await, "{to}");
        scene.accepts(&alice).await.unwrap();
        scene.asks(&alice).await.unwrap();
    }
    let before = scene.reads(&alice, &alice.grant).await.unwrap();
    scene.text(&format!("{TEXT}\nNo force pushes.")).await;
    assert!(scene.is_refused(&alice).await);
    // The word for the former text is worth nothing by now.
    let stale = scene.sends(&alice, &alice.grant, signed(&alice.key, &scene.claims(&before))).await;
    assert_eq!(stale.unwrap_err(), "briefing_stale");
    assert!(scene.accepts(&alice).await.unwrap().text.contains("No force pushes."));
    scene.asks(&alice).await.unwrap();
}

#[tokio::test]
async fn only_what_was_shown_is_accepted_by_whom_it_was_shown() {
    let scene = Scene::new().await;
    let (alice, bob) = (scene.laptop("alice", "developer").await, scene.laptop("bob", "developer").await);
    let (hers, his) = (scene.reads(&alice, &alice.grant).await.unwrap(), scene.reads(&bob, &bob.grant).await.unwrap());
    assert_ne!((hers.briefing, &hers.text), (his.briefing, &his.text), "each has their own");
    assert_eq!(scene.reads(&alice, &bob.grant).await.unwrap_err(), "no_grant");
    assert_eq!(
        scene.send(&alice, Request::get(format!("{PATH}gr-x")).body(Body::empty()).unwrap()).await.unwrap_err(),
        "malformed"
    );
    let changed = |change: fn(&mut Claims)| {
        let mut claims = scene.claims(&hers);
        change(&mut claims);
        signed(&alice.key, &claims)
    };
    let good = || changed(|_| {});
    for (what, acceptance, reason) in [
        ("another issuer", changed(|it| it.aud.push('x')), "proof_invalid"),
        ("another grant", signed(&alice.key, &scene.claims(&his)), "proof_invalid"),
        ("another project", changed(|it| it.project = "gemini".parse().unwrap()), "proof_invalid"),
        ("other terms", changed(|it| it.briefing.0[0] ^= 1), "briefing_stale"),
        ("another text", changed(|it| it.text.0[0] ^= 1), "briefing_stale"),
        ("long ago", changed(|it| it.iat = it.iat.plus(-3600)), "proof_time"),
        ("another device's key", signed(&bob.key, &scene.claims(&hers)), "proof_invalid"),
        ("no signature", good().rsplit_once('.').unwrap().0.to_owned() + ".", "proof_invalid"),
        ("no JWS", "yes".to_owned(), "proof_invalid"),
    ] {
        assert_eq!(scene.sends(&alice, &alice.grant, acceptance).await.unwrap_err(), reason, "{what}");
    }
    assert_eq!(scene.sends(&bob, &alice.grant, good()).await.unwrap_err(), "no_grant", "another device");
    assert_eq!(scene.sends(&alice, &GrantId::from_random([9; 10]), good()).await.unwrap_err(), "no_grant");
    for body in ["", "{}", "[]", "{\"grant\":1}"] {
        let sent = scene.send(&alice, Request::post(ACCEPT_PATH).body(body.into()).unwrap()).await;
        assert_eq!(sent.unwrap_err(), "malformed", "{body}");
    }
    assert_eq!(scene.made.events("briefing_not_accepted").await.len(), 11);
    assert!(scene.made.events("briefing_accepted").await.is_empty() && scene.is_refused(&alice).await);
    // What is over has nothing to be accepted.
    scene.act(&alice.grant, GrantVerb::Revoke).await.unwrap();
    assert_eq!(scene.sends(&alice, &alice.grant, good()).await.unwrap_err(), "grant_ended");
    assert_eq!(scene.reads(&alice, &alice.grant).await.unwrap_err(), "grant_ended");
    scene.made.pass(38 * DAY);
    let late = scene.sends(&bob, &bob.grant, signed(&bob.key, &scene.claims(&his))).await;
    assert!(matches!(late.unwrap_err().as_str(), "grant_ended" | "certificate_expired"));
}

#[tokio::test]
async fn one_acceptance_counts_once() {
    let scene = Scene::new().await;
    let alice = scene.laptop("alice", "developer").await;
    let shown = scene.reads(&alice, &alice.grant).await.unwrap();
    let first = signed(&alice.key, &scene.claims(&shown));
    scene.sends(&alice, &alice.grant, first.clone()).await.unwrap();
    scene.sends(&alice, &alice.grant, first.clone()).await.unwrap();
    // There and back within the time that a word is good for: it was given before.
    scene.text("Something else.").await;
    scene.accepts(&alice).await.unwrap();
    scene.text(TEXT).await;
    assert_eq!(scene.sends(&alice, &alice.grant, first).await.unwrap_err(), "conflict");
    assert!(scene.is_refused(&alice).await);
    scene.made.pass(1);
    scene.accepts(&alice).await.unwrap();
    assert_eq!(scene.made.events("briefing_accepted").await.len(), 3);
    assert_eq!(scene.made.issuer.store.acceptances(&alice.grant).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn accepting_while_others_decide_loses_nothing() {
    let scene = Arc::new(Scene::new().await);
    for verb in [GrantVerb::Revoke, GrantVerb::Suspend] {
        for name in ["alice", "bob", "carol", "dave", "erin", "frank"] {
            let laptop = Arc::new(scene.laptop(name, "developer").await);
            let shown = scene.reads(&laptop, &laptop.grant).await.unwrap();
            let accept = |n: i64| {
                let (scene, laptop) = (Arc::clone(&scene), Arc::clone(&laptop));
                let claims = Claims { iat: scene.made.now().plus(n), ..scene.claims(&shown) };
                tokio::spawn(async move { scene.sends(&laptop, &laptop.grant, signed(&laptop.key, &claims)).await })
            };
            let (one, two) = (accept(0), accept(1));
            let ended = {
                let (scene, grant) = (Arc::clone(&scene), laptop.grant.clone());
                tokio::spawn(async move { scene.act(&grant, verb).await })
            };
            let (accepted, ended) = ([one.await.unwrap(), two.await.unwrap()], ended.await.unwrap());
            let grant = scene.grant(&laptop).await;
            let kept = scene.made.issuer.store.acceptances(&laptop.grant).await.unwrap();
            let winners = accepted.iter().filter(|answer| answer.is_ok()).count();
            for answer in accepted.iter().filter_map(|answer| answer.as_ref().err()) {
                assert!(["conflict", "grant_ended"].contains(&answer.as_str()), "{answer}");
            }
            // Two words for the same are one decision; who revokes waits for nobody, and what was accepted before stays written down.
            assert!(kept.len() <= 1 && (kept.len() == 1) == (winners > 0), "{kept:?} {accepted:?}");
            match verb {
                GrantVerb::Revoke => assert_eq!((ended.is_ok(), grant.state), (true, GrantLife::Revoked)),
                _ => {
                    assert_eq!(ended.is_ok(), grant.state == GrantLife::Suspended);
                    assert_eq!(grant.briefed.is_some(), winners > 0, "{accepted:?} {ended:?}");
                }
            }
        }
    }
}

/// Who read a grant before its briefing was accepted writes over nothing; revoking waits for nobody.
#[tokio::test]
async fn what_was_read_before_an_acceptance_is_not_written_after_it() {
    let scene = Scene::new().await;
    let alice = scene.laptop("alice", "developer").await;
    let store = &scene.made.issuer.store;
    let decide = async |change| store.decide(Decision::new(event(&scene.made.issuer.environment)).change(change)).await;
    let before = scene.grant(&alice).await;
    scene.accepts(&alice).await.unwrap();
    let now = scene.grant(&alice).await;
    let goes = |state, grant: &Grant| Change::Grant { to: Grant { state, ..grant.clone() }, from: grant.state };
    let later = |grant: &Grant| {
        let to = Grant { until: grant.until.plus(DAY), ..grant.clone() };
        Change::Extend { to: Box::new(to), from: Box::new(grant.clone()) }
    };
    for stale in [goes(GrantLife::Suspended, &before), goes(GrantLife::Grace, &before), later(&before)] {
        let refused = decide(stale).await;
        assert!(matches!(refused, Err(DecideError::Conflict(_))), "{refused:?}");
        assert_eq!(scene.grant(&alice).await.briefed, now.briefed);
    }
    decide(later(&now)).await.unwrap();
    assert_eq!(scene.grant(&alice).await.briefed, now.briefed);
    decide(goes(GrantLife::Revoked, &before)).await.unwrap();
    assert_eq!(scene.grant(&alice).await.state, GrantLife::Revoked);
    assert_eq!(store.acceptances(&alice.grant).await.unwrap().len(), 1);
}

#[tokio::test]
async fn examples_take_it_as_read_and_what_was_granted_does_not() {
    let scene = Scene::new().await;
    let alice = scene.laptop("alice", "developer").await;
    let policy = scene.made.issuer.policy();
    let (grant, host) = (scene.grant(&alice).await, "https://git.example.com/".parse().unwrap());
    let trial = Trial::under(grant.clone(), host, scene.made.now());
    assert!(trial.question(&[&grant]).decide(&policy).is_ok());
    let asked = Trial { briefed: false, ..trial.clone() };
    let refused = asked.question(&[&grant]).decide(&policy).err().unwrap();
    assert!(refused.to_string().contains("must be read and accepted first"), "{refused}");
    // Of two grants the one that was accepted gives the token, and what waits to be read is said before what is not there.
    let read = Grant {
        briefed: terms(
            policy.project(&grant.project).unwrap(),
            policy.role(&grant.project, &grant.role).unwrap(),
            &grant,
        ),
        ..grant.clone()
    };
    let ended = Grant { state: GrantLife::Suspended, ..read.clone() };
    assert!(asked.question(&[&grant, &read]).decide(&policy).is_ok());
    for order in [[&grant, &ended], [&ended, &grant]] {
        let refused = asked.question(&order).decide(&policy).err().unwrap();
        assert!(refused.to_string().contains("must be read and accepted first"), "{refused}");
    }
    // Approval and renewal are no use of the grant.
    for action in [Action::Approve, Action::Renew] {
        let decided = Trial { action, ..asked.clone() };
        assert!(decided.question(&[&grant]).decide(&policy).is_ok());
    }
}

#[tokio::test]
async fn what_was_accepted_goes_with_the_person_and_with_owners_whom_it_names() {
    let scene = Scene::new().await;
    let (alice, bob) = (scene.laptop("alice", "developer").await, scene.laptop("bob", "developer").await);
    scene.accepts(&alice).await.unwrap();
    scene.accepts(&bob).await.unwrap();
    let store = &scene.made.issuer.store;
    scene.act(&alice.grant, GrantVerb::Revoke).await.unwrap();
    let source = Source::from(Actor::account("olga"));
    let revoke = crate::device::Verb::Revoke;
    crate::device::decide_life(&scene.made.issuer, &alice.device, revoke, &source, None, None).await.unwrap();
    for (name, left) in [("alice", true), ("otto@example.com", false)] {
        let (name, now) = (name.parse().unwrap(), scene.made.now());
        let fields = store.traces(&name, now).await.unwrap().fields;
        let erase = Change::ErasePerson { name, fields, now };
        store.decide(Decision::new(event(&scene.made.issuer.environment)).change(erase)).await.unwrap();
        assert!(store.acceptances(&alice.grant).await.unwrap().is_empty());
        let kept = store.acceptances(&bob.grant).await.unwrap();
        assert_eq!((kept.len(), kept[0].text.is_some()), (1, left), "the signature stays");
    }
    // And he need not accept it once more for that.
    scene.asks(&bob).await.unwrap();
}

#[tokio::test]
async fn where_it_is_offered_and_for_owners_nothing_waits_for_it() {
    let offered = Scene::with(&PROJECT.replace("briefing = \"required\"\n", ""), Some(TEXT)).await;
    let alice = offered.laptop("alice", "developer").await;
    offered.asks(&alice).await.unwrap();
    assert_eq!(offered.accepts(&alice).await.unwrap().standing, Standing::Accepted);
    offered.asks(&alice).await.unwrap();

    // Without a text of the owners', there is one all the same.
    let silent = Scene::with(PROJECT, None).await;
    let alice = silent.laptop("alice", "developer").await;
    assert!(silent.is_refused(&alice).await);
    assert!(silent.accepts(&alice).await.unwrap().text.starts_with("# Your access to `apollo`\n\n## What you may do"));
    silent.asks(&alice).await.unwrap();
    let owner = silent.laptop("olga@example.com", "owner").await;
    assert_eq!(silent.reads(&owner, &owner.grant).await.unwrap_err(), "not_found");
    assert_eq!(standing(&silent.made.issuer.policy(), &silent.grant(&owner).await, silent.made.now()), None);
}

/// The real numbers, each in the section that it belongs to.
#[tokio::test]
async fn the_text_has_the_numbers_of_this_grant() {
    let scene = Scene::new().await;
    let alice = scene.laptop("alice", "developer").await;
    let text = scene.reads(&alice, &alice.grant).await.unwrap().text;
    let (head, rest) = text.split_once("\n## What you may do\n").unwrap();
    assert!(head.starts_with("Welcome, alice.\n\nNothing is extended by itself"), "{text}");
    assert!(head.trim_end().ends_with("Merge requests go to Otto."), "{text}");
    let tree = [
        "Do you need it after 2026-10-21T14:13:20Z?",
        "├─ for 90d from now at most, and 365d in all, which is until 2027-09-21T14:13:20Z:",
        &format!("daypass extend {} --for 7d --reason", alice.grant),
        "├─ another role gives it (`reader`):",
        "daypass request --project apollo --role reader --reason",
        "an owner must say yes",
        "├─ refused: what you have stays as it is",
    ];
    for words in tree {
        assert_eq!(head.matches(words).count(), 1, "{words}: {text}");
    }
    let mut at = 0;
    for (heading, words) in [
        (
            "You are `alice`, in the role `developer` of project `apollo`",
            "- `https://git.example.com/team/app`: read, push on `refs/heads/alice/**`",
        ),
        ("## For how long", "Each token lives for 10m at most"),
        ("After its end, until 2026-10-28T14:13:20Z, this is left", "  - `https://git.example.com/team/app`: read"),
        ("## Why so little", "a token is over after 10m at most"),
        ("## Common cases", "git clone https://git.example.com/team/app.git"),
        ("git push origin HEAD:refs/heads/alice/topic", "# write where you may"),
        ("git push origin HEAD:refs/heads/main", "# is refused"),
        ("## Whom to call", "- The owners, who decide: `olga@example.com`, `otto@example.com`"),
        ("- Questions: `apollo on chat`", "tell an owner at once"),
    ] {
        let found = rest[at..].find(heading).unwrap_or_else(|| panic!("{heading}: {text}")) + at;
        at = rest[found..].find(words).unwrap_or_else(|| panic!("{words}: {text}")) + found;
    }
    assert!(!text.contains("How to ask") && !text.contains("{{"), "{text}");
}

/// Every placeholder is put in, and no control character of anybody's reaches a terminal.
#[tokio::test]
async fn every_placeholder_says_something() {
    let all: String = crate::policy::Placeholder::ALL
        .iter()
        .map(|one| format!("[{}={{{{{}}}}}]\n", one.as_str(), one.as_str()))
        .collect();
    let project = PROJECT
        .replace("\"apollo on chat\"", "\"chat [2J `x`\"")
        .replace("[roles.developer]", "[phases.build]\nends = 2026-10-01T00:00:00Z\n[roles.developer]");
    let scene = Scene::with(&project, Some(&all)).await;
    let alice = scene.laptop("alice", "developer").await;
    let grant = scene.grant(&alice).await;
    let terms = crate::store::Terms {
        phase: "build".parse().ok(),
        uses: Some(3),
        networks: vec!["192.0.2.0/24".parse().unwrap()],
        secure_boot: true,
        ..grant.terms.clone()
    };
    let policy = scene.made.issuer.policy();
    let facts = text::Facts {
        policy: &policy,
        issuer: "https://issuer.example.com",
        project: policy.project(&grant.project).unwrap(),
        role: policy.role(&grant.project, &grant.role).unwrap(),
        span: Span { begins: Some(grant.until), ends: grant.until, over: grant.until },
        grant: &Grant { terms, ..grant.clone() },
    };
    let text = text::text(&facts).unwrap();
    for words in [
        "[collaborator=alice]",
        "[project=apollo]",
        "[role=developer]",
        &format!("[grant={}]", grant.id),
        "[until=2026-10-21T14:13:20Z]",
        "[token_lifetime=10m]",
        "[longest_grant=90d]",
        "[owners=`olga@example.com`, `otto@example.com`]",
        "[contact=chat [2J \u{fffd}x\u{fffd}]",
        "It is used from `192.0.2.0/24` only.",
        "boot with Secure Boot",
        "It gives 3 token(s) in all.",
        "It is for phase `build`",
        "It gives nothing before 2026-10-21T14:13:20Z.",
        "it ends with its phase, and is never extended",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("## ") && !text.contains("this is left") && !text.contains('\u{1b}'), "{text}");
    let earlier = Timestamp::from_seconds(1_790_000_000);
    let span = Span { begins: None, ends: earlier, over: earlier };
    let text = text::text(&text::Facts { span, ..facts }).unwrap();
    let bound = ", and not after the end of phase `build` at 2026-10-01T00:00:00Z";
    assert!(text.contains(bound), "{text}");
}

/// A rule may tell of a project that is nobody's business here.
#[tokio::test]
async fn only_rules_that_say_so_are_told() {
    let scene = Scene::new().await;
    let rules = "@id(\"gemini-only\") @reason(\"gemini is for its own people\") forbid (principal, action, resource in Project::\"gemini\");\n\
         @id(\"by-day\") @reason(\"work by day\") @briefing(\"nothing is given out at night\") forbid (principal, action == Action::\"renew\", resource);\n";
    std::fs::write(scene.made.issuer.config.policy.join("guardrails/rules.cedar"), rules).unwrap();
    scene.made.edit_policy(&[("\"olga@example.com\"", "\"olga@example.com\", \"gemini@example.com\"")]).await;
    let alice = scene.laptop("alice", "developer").await;
    let text = scene.reads(&alice, &alice.grant).await.unwrap().text;
    assert!(text.contains("- `by-day`: nothing is given out at night"), "{text}");
    assert!(!text.contains("gemini-only") && !text.contains("own people"), "{text}");
}
