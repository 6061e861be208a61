//! A grant's life as its device meets it, at the token endpoint, by a clock that the test moves.

use std::sync::Arc;

use axum::{Extension, Form, extract::State, http::HeaderMap, response::IntoResponse as _};
use daypass_proto::{
    dpop,
    enrolment::TrustTier,
    jose::{Header, SoftwareKey},
    names::GrantId,
    time::Timestamp,
    token::{AccessTokenClaims, TYP},
};
use daypass_service::{ClientCertificate, Peer};
use http_body_util::BodyExt as _;
use rcgen::KeyPair;
use serde_json::Value;

use super::*;
use crate::{
    actor::Actor,
    ending::{GrantVerb, Told, decide_grant, mark_over},
    fixture::{Made, event},
    ledger::Source,
    store::{Change, Decision, Grant, GrantLife, Terms},
};

const DAY: i64 = 86_400;
const HOST: &str = "https://git.example.com/";
const PROJECT: &str = r#"
owners = ["olga@example.com"]
time_zone = "Europe/Berlin"
[phases.build]
begins = 2026-10-01
ends = 2027-01-31
[roles.developer]
token_lifetime = "10m"
longest_grant = "365d"
[[roles.developer.authorization_details]]
type = "git_repository"
locations = ["https://git.example.com/team/app"]
actions = ["push"]
refs = ["refs/heads/{user}/**"]
[[roles.developer.authorization_details]]
type = "git_repository"
locations = ["https://docs.example.com/team/docs"]
actions = ["read"]
[roles.developer.grace]
for = "7d"
[[roles.developer.grace.authorization_details]]
type = "git_repository"
locations = ["https://git.example.com/team/app"]
actions = ["read"]
"#;
const PUSH: &str = r#"[{"type":"git_repository","locations":["https://git.example.com/team/app"],"actions":["push"],"refs":["refs/heads/alice/fix"]}]"#;
const READ: &str = r#"[{"type":"git_repository","locations":["https://git.example.com/team/app"],"actions":["read"]}]"#;

/// A client with an approved device, and its one grant.
struct Asker {
    made: Made,
    key: SoftwareKey,
    client_id: String,
    certificate: Arc<ClientCertificate>,
    grant: GrantId,
}

impl Asker {
    /// With a grant until then, with these terms.
    async fn with(until: i64, terms: Terms) -> Self {
        let made = Made::with(&[
            ("allow_software_keys = false", "allow_software_keys = true"),
            ("device_certificate_lifetime = \"7d\"", "device_certificate_lifetime = \"365d\""),
        ])
        .await;
        made.project(PROJECT).await;
        let pair = KeyPair::generate().unwrap();
        let key = SoftwareKey::from_pkcs8(&pair.serialize_der()).unwrap();
        let (device, certificate) = made.registered("alice", "developer", until, *key.public()).await;
        let grant = made.issuer.store.grants_of(&device.id).await.unwrap().remove(0);
        assert_eq!(grant.terms.grace, 7 * DAY, "the role's");
        let to = Grant { terms: Terms { grace: grant.terms.grace, ..terms }, ..grant.clone() };
        let change = Change::Grant { to, from: GrantLife::Active };
        made.issuer.store.decide(Decision::new(event(&made.issuer.environment)).change(change)).await.unwrap();
        Self { client_id: device.id.client_id(), made, key, certificate, grant: grant.id }
    }

    /// What the endpoint answers; the cause where it refuses.
    async fn asks(&self, resource: &str, details: &str, address: [u8; 4]) -> Result<Value, String> {
        let issuer = &self.made.issuer;
        let claims = dpop::Claims {
            jti: hex::encode(issuer.environment.random::<16>()),
            htm: "POST".to_owned(),
            htu: issuer.config.mtls_endpoint(PATH),
            iat: self.made.now(),
            ath: None,
            nonce: None,
        };
        let proof =
            self.key.sign(&Header { typ: dpop::TYP, kid: None, jwk: Some(self.key.public()) }, &claims).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("dpop", proof.parse().unwrap());
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("resource", resource),
            ("authorization_details", details),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let peer = Peer { address: (address, 1).into(), certificate: Some(Arc::clone(&self.certificate)) };
        let answer = token(State(Arc::clone(issuer)), Extension(peer), headers, Ok(Form(fields))).await.into_response();
        let good = answer.status().is_success();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        if good { Ok(body) } else { Err(body["daypass_reason"].as_str().unwrap().to_owned()) }
    }

    async fn gets(&self, details: &str) -> Result<AccessTokenClaims, String> {
        let answer = self.asks(HOST, details, [192, 0, 2, 7]).await?;
        let jws = UnverifiedJws::parse(answer["access_token"].as_str().unwrap(), TYP).unwrap();
        let key = self.made.issuer.keyring().public(jws.kid().unwrap(), self.made.now()).unwrap();
        Ok(jws.verify(&key).unwrap().claims().unwrap())
    }

    async fn refused(&self, details: &str) -> String {
        self.gets(details).await.err().unwrap_or_else(|| "nothing".to_owned())
    }

    async fn is(&self) -> GrantLife {
        mark_over(&self.made.issuer).await.unwrap();
        self.made.issuer.store.grant(&self.grant).await.unwrap().unwrap().state
    }

    async fn act(&self, verb: GrantVerb) -> Result<Grant, crate::ending::EndError> {
        let source = Source::from(Actor::account("olga"));
        decide_grant(&self.made.issuer, &self.grant, verb, &Told { source: &source, rule: None, reason: None }).await
    }

    fn until(&self, text: &str) {
        let to: jiff::Timestamp = text.parse().unwrap();
        self.made.pass(Timestamp::from_seconds(to.as_second()).since(self.made.now()));
    }
}

/// 1,790,000,000 is 2026-09-21T14:13:20Z.
#[tokio::test]
async fn a_grant_through_its_months() {
    let begins = Timestamp::from_seconds(1_790_000_000 + 30 * DAY);
    let asker = Asker::with(90 * DAY, Terms { not_before: Some(begins), ..Terms::default() }).await;
    let ends = Timestamp::from_seconds(1_790_000_000 + 90 * DAY);
    assert_eq!(asker.refused(PUSH).await, "grant_not_yet");
    asker.made.pass(30 * DAY - 1);
    assert_eq!((asker.refused(PUSH).await, asker.is().await), ("grant_not_yet".to_owned(), GrantLife::Active));
    asker.made.pass(1);
    let claims = asker.gets(PUSH).await.unwrap();
    assert_eq!((claims.daypass.grant_until, claims.exp.since(claims.iat)), (ends, 600));
    // Held back for ten days, and let on.
    asker.act(GrantVerb::Suspend).await.unwrap();
    assert_eq!((asker.refused(PUSH).await, asker.is().await), ("grant_suspended".to_owned(), GrantLife::Suspended));
    asker.made.pass(10 * DAY);
    assert_eq!(asker.act(GrantVerb::Resume).await.unwrap().state, GrantLife::Active);
    asker.gets(PUSH).await.unwrap();
    // No token is good beyond the hard end.
    asker.made.pass(50 * DAY - 1);
    let last = asker.gets(PUSH).await.unwrap();
    assert_eq!(last.exp, ends);
    asker.made.pass(1);
    // Before and after somebody marks it, less is left, and only where grace says so.
    for marked in [GrantLife::Grace, GrantLife::Grace] {
        assert_eq!(asker.refused(PUSH).await, "grant_ended");
        let claims = asker.gets(READ).await.unwrap();
        assert_eq!(claims.daypass.grant_until, ends.plus(7 * DAY));
        let docs = asker.asks("https://docs.example.com/", "", [192, 0, 2, 7]).await;
        assert_eq!(docs.unwrap_err(), "grant_ended");
        let all = asker.gets("").await.unwrap().authorization_details;
        assert_eq!(all, serde_json::from_str(READ).unwrap());
        assert_eq!(asker.is().await, marked);
    }
    assert_eq!(asker.made.events("grant_grace_begun").await.len(), 1);
    // Held back in grace, and let on: not into more than there was.
    asker.act(GrantVerb::Suspend).await.unwrap();
    assert_eq!(asker.refused(READ).await, "grant_suspended");
    assert_eq!(asker.act(GrantVerb::Resume).await.unwrap().state, GrantLife::Grace);
    asker.made.pass(7 * DAY - 1);
    assert_eq!(asker.gets(READ).await.unwrap().exp, ends.plus(7 * DAY));
    assert!(asker.made.events("grant_ended").await.is_empty());
    asker.made.pass(1);
    assert_eq!((asker.refused(READ).await, asker.is().await), ("grant_ended".to_owned(), GrantLife::Ended));
    asker.made.pass(100 * DAY);
    assert_eq!((asker.refused(READ).await, asker.is().await), ("grant_ended".to_owned(), GrantLife::Ended));
    assert_eq!(asker.made.events("grant_ended").await.len(), 1);
    for verb in [GrantVerb::Activate, GrantVerb::Suspend, GrantVerb::Resume, GrantVerb::Revoke] {
        assert!(asker.act(verb).await.is_err(), "{}", verb.word());
    }
}

#[tokio::test]
async fn a_grant_ends_with_its_phase_in_grace_or_not() {
    let terms = Terms { phase: "build".parse().ok(), ..Terms::default() };
    let asker = Asker::with(200 * DAY, terms).await;
    assert_eq!(asker.refused(PUSH).await, "grant_not_yet");
    asker.until("2026-09-30T22:00:00Z");
    let claims = asker.gets(PUSH).await.unwrap();
    assert_eq!(claims.daypass.phase, "build".parse().ok());
    // The last second of that day in Berlin.
    assert_eq!(claims.daypass.grant_until.to_string(), "2027-01-31T22:59:59Z");
    asker.until("2027-01-31T22:59:58Z");
    assert_eq!(asker.gets(PUSH).await.unwrap().exp.to_string(), "2027-01-31T22:59:59Z");
    // The project's owner gives the phase another month.
    asker.made.project(&PROJECT.replace("2027-01-31", "2027-02-28")).await;
    asker.until("2027-02-28T22:59:58Z");
    asker.gets(PUSH).await.unwrap();
    asker.made.pass(1);
    assert_eq!((asker.refused(READ).await, asker.is().await), ("grant_ended".to_owned(), GrantLife::Ended));
    // A phase that is not there gives nothing.
    let asker = Asker::with(200 * DAY, Terms { phase: "test".parse().ok(), ..Terms::default() }).await;
    assert_eq!(asker.refused(PUSH).await, "policy_missing");
}

#[tokio::test]
async fn what_the_role_leaves_today_is_what_is_left() {
    let asker = Asker::with(DAY, Terms::default()).await;
    asker.made.pass(DAY + 3600);
    asker.gets(READ).await.unwrap();
    asker.made.project(&PROJECT.replace("\"7d\"", "\"1h\"")).await;
    assert_eq!(asker.refused(READ).await, "grant_ended");
    // Longer than was granted it never gets.
    asker.made.project(&PROJECT.replace("\"7d\"", "\"30d\"")).await;
    assert_eq!(asker.gets(READ).await.unwrap().daypass.grant_until.since(asker.made.now()), 7 * DAY - 3600);
}

#[tokio::test]
async fn a_grant_for_one_token_gives_one_whoever_asks_at_the_same_time() {
    let asker = Asker::with(DAY, Terms { uses: Some(1), ..Terms::default() }).await;
    let both = tokio::join!(asker.gets(PUSH), asker.gets(PUSH));
    let good = [&both.0, &both.1].into_iter().filter(|it| it.is_ok()).count();
    assert_eq!(good, 1, "{both:?}");
    let refused = both.0.err().or(both.1.err());
    assert_eq!(refused.as_deref(), Some("grant_used_up"));
    assert_eq!(asker.refused(PUSH).await, "grant_used_up");
    assert_eq!(asker.made.events("token_issued").await.len(), 1);
}

#[tokio::test]
async fn tokens_are_counted_and_never_too_many() {
    let asker = Arc::new(Asker::with(DAY, Terms { uses: Some(5), ..Terms::default() }).await);
    let first = asker.asks(HOST, PUSH, [192, 0, 2, 7]).await.unwrap();
    assert_eq!(first["daypass_uses_left"], 4);
    // What is refused uses nothing.
    assert_eq!(asker.refused(&PUSH.replace("alice", "bob")).await, "exceeds_grant");
    let asking: Vec<_> = (0..12)
        .map(|_| {
            let asker = Arc::clone(&asker);
            tokio::spawn(async move { asker.gets(PUSH).await.map(drop) })
        })
        .collect();
    let mut answers = Vec::new();
    for asked in asking {
        answers.push(asked.await.unwrap());
    }
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 4, "{answers:?}");
    let others = answers.iter().filter_map(|answer| answer.as_ref().err());
    assert!(others.clone().all(|reason| reason == "grant_used_up"), "{answers:?}");
    assert_eq!(asker.made.issuer.store.grant(&asker.grant).await.unwrap().unwrap().used, 5);
    assert_eq!(asker.made.events("token_issued").await.len(), 5);
    // A role that counts lower is what counts; one that no longer does leaves what was granted.
    asker.made.project(&PROJECT.replace("longest_grant", "uses = 9\nlongest_grant")).await;
    assert_eq!(asker.refused(PUSH).await, "grant_used_up");
}

#[tokio::test]
async fn a_role_s_number_counts_for_grants_that_have_none() {
    let asker = Asker::with(DAY, Terms::default()).await;
    let uncounted = asker.asks(HOST, PUSH, [192, 0, 2, 7]).await.unwrap();
    assert_eq!(uncounted.get("daypass_uses_left"), None);
    asker.made.project(&PROJECT.replace("longest_grant", "uses = 1\nlongest_grant")).await;
    asker.gets(PUSH).await.unwrap();
    assert_eq!(asker.refused(PUSH).await, "grant_used_up");
}

#[tokio::test]
async fn a_grant_is_used_from_where_and_with_what_it_is_for() {
    let networks = vec!["192.0.2.0/24".parse().unwrap(), "198.51.100.7".parse().unwrap()];
    let asker = Asker::with(DAY, Terms { networks, ..Terms::default() }).await;
    for (address, good) in [([192, 0, 2, 1], true), ([198, 51, 100, 7], true), ([198, 51, 100, 8], false)] {
        let answer = asker.asks(HOST, PUSH, address).await;
        assert_eq!(answer.map(drop), if good { Ok(()) } else { Err("grant_elsewhere".to_owned()) }, "{address:?}");
    }
    let words = asker.made.reasons("token_refused").await;
    assert_eq!(
        words,
        ["the grant is for requests from `192.0.2.0/24` or `198.51.100.7/32`, and this one comes from `198.51.100.8`"]
    );
    for terms in [
        Terms { trust_tiers: vec![TrustTier::EkChain], ..Terms::default() },
        Terms { secure_boot: true, ..Terms::default() },
    ] {
        assert_eq!(Asker::with(DAY, terms).await.refused(PUSH).await, "grant_elsewhere");
    }
    let terms = Terms { trust_tiers: vec![TrustTier::EkChain, TrustTier::Software], ..Terms::default() };
    Asker::with(DAY, terms).await.gets(PUSH).await.unwrap();
}
