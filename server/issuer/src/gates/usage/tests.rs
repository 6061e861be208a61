use std::net::{Ipv4Addr, SocketAddr};

use daypass_proto::{
    authorization::GitAction,
    encoding::{Bytes, Fixed},
    gate_api::{EnrolRequest, GateUse},
    names::{GateName, GrantId},
    oauth_error::Reason,
    time::Timestamp,
};

use super::*;
use crate::{
    actor::Actor,
    ending::{end_everything, look},
    fixture::{Made, calling::Caller, event, leaves, request},
    gates::{Registration, add, enrol, remove},
    store::{Change, CountedUse, Decision, IssuedToken, Scope},
};

const RESOURCE: &str = "https://git.example.com/";
const ELSEWHERE: &str = "https://code.example.com/";

struct Scene<'m> {
    made: &'m Made,
    peer: Peer,
    grant: GrantId,
}

fn peer(certificate: Option<&Bytes>) -> Peer {
    let certificate = certificate.map(|der| Arc::new(der.0.clone().into()));
    Peer { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000)), certificate }
}

fn body(said: &impl serde::Serialize) -> Body {
    Body(serde_json::to_vec(said).unwrap().into())
}

async fn registered(made: &Made, name: &str) -> EnrolRequest {
    let registration = Registration {
        name: name.parse().unwrap(),
        resources: vec![RESOURCE.parse().unwrap()],
        ca: None,
        code_expires_at: made.now().plus(60),
        by: Actor::account("olga"),
    };
    let code = add(&made.issuer, registration).await.unwrap();
    EnrolRequest { secret: Fixed(*code.secret.expose()), client_csr: Bytes(request().1), server_csr: None }
}

impl<'m> Scene<'m> {
    /// A gate, and a grant under which there was a token for what it guards.
    async fn new(made: &'m Made) -> Self {
        let first = registered(made, "git-1").await;
        let got = enrol(State(Arc::clone(&made.issuer)), Extension(peer(None)), body(&first)).await.unwrap().0;
        let caller = Caller::of(made, "alice").await;
        let token = IssuedToken {
            jti: "j".to_owned(),
            device: caller.device.id.clone(),
            grant: caller.grant.id.clone(),
            resource: RESOURCE.parse().unwrap(),
            expires_at: made.now().plus(600),
            revoked: false,
        };
        let change = Change::AddToken { token, now: made.now(), most: 10 };
        made.issuer.store.decide(Decision::new(event(&made.issuer.environment)).change(change)).await.unwrap();
        Self { made, peer: peer(got.client_chain.first()), grant: caller.grant.id }
    }

    fn used(&self, path: &str, action: GitAction, count: u32, ago: i64) -> GateUse {
        let location = format!("{RESOURCE}{path}").parse().unwrap();
        GateUse { grant: self.grant.clone(), location, action, count, last: self.made.now().plus(-ago) }
    }

    async fn say(&self, said: &impl serde::Serialize) -> Result<StatusCode, Reason> {
        let state = State(Arc::clone(&self.made.issuer));
        usage(state, Extension(self.peer.clone()), body(said)).await.map_err(|refusal| refusal.reason())
    }

    async fn counted(&self) -> Vec<(String, String, u64, Timestamp)> {
        let uses = self.made.issuer.store.uses_of(&self.grant).await.unwrap();
        let told = |CountedUse { location, action, count, last }| (location, action, count, last);
        uses.into_iter().map(told).collect()
    }
}

fn report(run: u8, number: u32, uses: Vec<GateUse>) -> UsageReport {
    UsageReport { run: Fixed([run; 16]), number, uses, dropped: 1 }
}

#[tokio::test]
async fn reports_add_up_and_one_that_comes_again_counts_once() {
    let made = Made::with_software().await;
    let scene = Scene::new(&made).await;
    let now = made.now();
    let before = made.events_but(&[]).await;
    let first =
        report(1, 1, vec![scene.used("app", GitAction::Read, 3, 20), scene.used("app", GitAction::Push, 1, 10)]);
    let read = |count, last| (format!("{RESOURCE}app"), "read".to_owned(), count, last);
    let push = (format!("{RESOURCE}app"), "push".to_owned(), 1, now.plus(-10));
    for _ in 0..2 {
        assert_eq!(scene.say(&first).await, Ok(StatusCode::NO_CONTENT));
        assert_eq!(scene.counted().await, [push.clone(), read(3, now.plus(-20))]);
    }
    // A clock that is ahead at the gate makes nothing later than it was told, and an older time takes nothing back.
    scene.say(&report(1, 2, vec![scene.used("app", GitAction::Read, 2, -500)])).await.unwrap();
    scene.say(&report(1, 3, vec![scene.used("app", GitAction::Read, 1, 400)])).await.unwrap();
    assert_eq!(scene.say(&first).await, Ok(StatusCode::NO_CONTENT), "late, and counted before");
    assert_eq!(scene.counted().await, [push.clone(), read(6, now)]);
    // Started anew, it counts from 1.
    scene.say(&report(2, 1, vec![scene.used("app", GitAction::Read, 1, 0)])).await.unwrap();
    assert_eq!(scene.counted().await, [push, read(7, now)]);

    let reporting = made.issuer.store.reporting().await.unwrap();
    let [gate] = reporting.as_slice() else { panic!("{reporting:?}") };
    assert_eq!((gate.gate.to_string().as_str(), gate.since, gate.dropped), ("git-1", now, 4));
    assert_eq!(made.events_but(&[]).await, before, "what is only counted is no event");
}

#[tokio::test]
async fn a_gate_says_nothing_about_what_it_does_not_guard() {
    let made = Made::with_software().await;
    let scene = Scene::new(&made).await;
    let foreign =
        GateUse { location: format!("{ELSEWHERE}app").parse().unwrap(), ..scene.used("app", GitAction::Read, 9, 0) };
    let both = report(1, 1, vec![scene.used("app", GitAction::Read, 1, 0), foreign]);
    assert_eq!(scene.say(&both).await, Err(Reason::NotTheirs));
    assert_eq!((scene.counted().await, made.issuer.store.reporting().await.unwrap()), (vec![], vec![]));
    let refused = leaves(&made.issuer, "gate_refused").await;
    assert!(refused.len() == 1 && refused[0].contains("not_theirs"), "{refused:?}");

    // Nor about grants that are not there, or never had a token for what it guards.
    let other = Caller::of(&made, "bob").await.grant.id;
    let nobody = GrantId::from_random([9; 10]);
    let one = scene.used("app", GitAction::Read, 1, 0);
    let uses = [&other, &nobody].map(|grant| GateUse { grant: grant.clone(), ..one.clone() });
    scene.say(&report(1, 1, [uses.as_slice(), &[one]].concat())).await.unwrap();
    assert_eq!(scene.counted().await.len(), 1);
    for grant in [other, nobody] {
        assert_eq!(made.issuer.store.uses_of(&grant).await.unwrap(), []);
    }
}

#[tokio::test]
async fn whoever_is_no_gate_any_more_or_not_yet_is_refused() {
    let made = Made::with_software().await;
    let scene = Scene::new(&made).await;
    let said = report(1, 1, vec![scene.used("app", GitAction::Read, 1, 0)]);
    registered(&made, "git-2").await;
    let state = || State(Arc::clone(&made.issuer));
    let unknown = peer(Some(&Bytes(request().1)));
    for stranger in [peer(None), unknown] {
        let refused = usage(state(), Extension(stranger), body(&said)).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::CertificateUnknown);
    }
    let name: GateName = "git-1".parse().unwrap();
    remove(&made.issuer, &name, &Actor::account("olga"), None).await.unwrap();
    assert_eq!(scene.say(&said).await, Err(Reason::CertificateUnknown));
    assert_eq!(scene.counted().await, []);
}

/// A name that is given again guards something else, and a person's work goes with the person.
#[tokio::test]
async fn what_was_counted_goes_with_the_person_and_since_when_with_the_gate() {
    let made = Made::with_software().await;
    let scene = Scene::new(&made).await;
    let store = &made.issuer.store;
    scene.say(&report(1, 1, vec![scene.used("app", GitAction::Read, 1, 0)])).await.unwrap();
    assert_eq!((scene.counted().await.len(), store.reporting().await.unwrap().len()), (1, 1));
    remove(&made.issuer, &"git-1".parse().unwrap(), &Actor::account("olga"), None).await.unwrap();
    assert_eq!((scene.counted().await.len(), store.reporting().await.unwrap().len()), (1, 0));
    let whose = store.grant(&scene.grant).await.unwrap().unwrap().collaborator;
    let ending = look(&made.issuer, Scope::Collaborator(whose.clone())).await.unwrap();
    end_everything(&made.issuer, ending, &Source::from(Actor::account("olga")), "over").await.unwrap();
    let fields = store.traces(&whose, made.now()).await.unwrap().fields;
    let erase = Change::ErasePerson { name: whose, fields, now: made.now() };
    store.decide(Decision::new(event(&made.issuer.environment)).change(erase)).await.unwrap();
    assert_eq!(scene.counted().await, []);
}

#[tokio::test]
async fn what_does_not_read_or_is_too_much_is_refused() {
    let made = Made::with_software().await;
    let scene = Scene::new(&made).await;
    let one = || scene.used("app", GitAction::Read, 1, 0);
    let good = serde_json::to_value(report(1, 1, vec![one()])).unwrap();
    for (pointer, wrong) in [
        ("/number", serde_json::json!(0)),
        ("/number", serde_json::json!(-1)),
        ("/run", serde_json::json!("AA")),
        ("/uses/0/count", serde_json::json!(0)),
        ("/uses/0/count", serde_json::json!(u64::from(u32::MAX) + 1)),
        ("/uses/0/action", serde_json::json!("force")),
        ("/uses/0/grant", serde_json::json!("alice")),
        ("/uses/0/location", serde_json::json!("https://git.example.com/../app")),
        ("/uses", serde_json::to_value(vec![one(); MAX_USES + 1]).unwrap()),
    ] {
        let mut said = good.clone();
        *said.pointer_mut(pointer).unwrap() = wrong.clone();
        assert_eq!(scene.say(&said).await, Err(Reason::Malformed), "{pointer} {wrong}");
    }
    assert_eq!(scene.counted().await, []);
    assert_eq!(scene.say(&good).await, Ok(StatusCode::NO_CONTENT));
}

#[tokio::test]
async fn a_gate_that_invents_repositories_fills_no_store_and_what_is_long_over_goes() {
    let made = Made::with_software().await;
    let scene = Scene::new(&made).await;
    for number in 0..9 {
        let uses = (0..MAX_USES).map(|path| scene.used(&format!("r{number}-{path}"), GitAction::Read, 1, 0));
        scene.say(&report(1, number + 1, uses.collect())).await.unwrap();
    }
    assert_eq!(scene.counted().await.len(), 1000);
    scene.say(&report(1, 10, vec![scene.used("r0-0", GitAction::Read, 1, 0)])).await.unwrap();
    assert_eq!(
        scene.counted().await.iter().map(|(_, _, count, _)| count).sum::<u64>(),
        1001,
        "what is there counts on"
    );

    let until = made.issuer.store.grant(&scene.grant).await.unwrap().unwrap().until;
    let sweep = async |at: Timestamp| {
        made.issuer.store.sweep(at).await.unwrap();
        scene.counted().await.len()
    };
    assert_eq!(sweep(until.plus(89 * 86_400)).await, 1000);
    assert_eq!(sweep(until.plus(91 * 86_400)).await, 0);
}
