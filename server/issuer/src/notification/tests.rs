//! Events and ends become messages, and messages arrive, whatever goes wrong on the way.

mod webhook;

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::Arc};

use daypass_proto::{
    access_request::{Ask, Wanted},
    enrolment::DeviceLife,
    ledger::{Event, EventKind},
};
use serde_json::{Value, json};

use super::{
    Settings, Sinks, json_schema, markdown,
    teller::{Round, Teller},
};
use crate::{
    device::{Verb, decide_life},
    fixture::Made,
    ledger::Source,
    requests::Verdict,
    store::{Change, Decision, Device, Found, Grant, GrantLife, Outgoing, Scope},
};

const HERE: &str = "here/127.0.0.1:8443";

/// An issuer that tells a script, which writes down what it gets.
struct Told {
    made: Made,
    folder: tempfile::TempDir,
}

impl Told {
    async fn by(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hook");
        fs::write(&path, format!("#!/bin/sh\ncd {}\n{script}\n", folder.path().display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        let settings = format!(
            "[notification]\nahead = [\"7d\", \"1d\"]\nattempts = 3\n[notification.command]\nrun = [\"{}\"]\n",
            path.display()
        );
        let made = Made::with(&[
            ("allow_software_keys = false", "allow_software_keys = true"),
            ("# [notification]\n", &settings),
        ])
        .await;
        Self { made, folder }
    }

    async fn well() -> Self {
        Self::by("cat >> got; echo >> got").await
    }

    fn settings(&self) -> &Settings {
        &self.made.issuer.config.notification
    }

    async fn teller_at(&self, holder: &str) -> Teller {
        let sinks = Sinks::open(self.settings()).unwrap();
        let teller = Teller::new(Arc::clone(&self.made.issuer), sinks, holder.to_owned());
        crate::ledger::integrate(&self.made.issuer).await;
        teller.begin().await.unwrap();
        teller
    }

    /// One as after a start of the program.
    async fn teller(&self) -> Teller {
        self.teller_at(HERE).await
    }

    async fn look(&self, teller: &Teller) -> Vec<Outgoing> {
        crate::ledger::integrate(&self.made.issuer).await;
        while teller.look().await.unwrap() == Round::Worked {}
        while teller.look_ahead().await.unwrap() == Round::Worked {}
        self.waiting().await
    }

    async fn send(&self, teller: &Teller) {
        let sinks = Sinks::open(self.settings()).unwrap();
        teller.send(sinks.iter().next().unwrap()).await.unwrap();
    }

    async fn waiting(&self) -> Vec<Outgoing> {
        self.made.issuer.store.outgoing(false, 100).await.unwrap()
    }

    /// What the script got, each held to the schema.
    /// The event of a grant that ends soon.
    fn of_a_grant(&self, event: Event, project: &str, personal: [(&'static str, &str); 3]) -> Event {
        let event = event.text("grant", "gr-x").text("project", project).text("role", "developer").text("policy", "p");
        let event = event.number("until", self.made.now().plus(5).seconds());
        let environment = &self.made.issuer.environment;
        personal.into_iter().fold(event, |event, (name, value)| environment.personal(event, name, value))
    }

    fn got(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("got")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).inspect(fits_schema).collect()
    }

    async fn revoke(&self, device: &Device) {
        let source = Source::from(crate::actor::Actor::account("olga"));
        decide_life(&self.made.issuer, &device.id, Verb::Revoke, &source, None, None).await.unwrap();
    }
}

fn fits_schema(payload: &Value) {
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("schema.json", json_schema()).unwrap();
    let mut schemas = boon::Schemas::new();
    let index = compiler.compile("schema.json", &mut schemas).unwrap();
    schemas.validate(payload, index).unwrap_or_else(|error| panic!("{payload}: {error}"));
}

fn types(all: &[Value]) -> Vec<&str> {
    all.iter().map(|message| message["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_happens_is_told_once_and_what_happened_before_is_not() {
    let told = Told::well().await;
    let (old, device) = (told.made.client().await, told.made.client().await);
    told.revoke(&old).await;
    let teller = told.teller().await;
    let first = told.look(&teller).await;
    assert_eq!(first.iter().map(|message| message.kind.as_str()).collect::<Vec<_>>(), ["grant.ending"], "{first:?}");
    told.send(&teller).await;
    told.revoke(&device).await;
    assert!(!told.look(&teller).await.is_empty());
    told.send(&teller).await;
    let got = told.got();
    let ended = got.iter().find(|message| message["type"] == "device.ended").unwrap();
    assert_eq!(ended["data"]["device"], json!(device.id));
    assert_eq!((&ended["data"]["collaborator"], &ended["data"]["how"]), (&json!("alice"), &json!("revoked")));
    assert_eq!(ended["timestamp"], json!(told.made.now().to_string()));
    assert!(got.iter().all(|message| message["data"]["device"] != json!(old.id)), "{got:?}");
    assert_eq!(told.look(&teller).await, []);
    assert_eq!(told.look(&told.teller().await).await, [], "nor after the next start");
    assert_eq!(told.got().len(), got.len());
}

/// Ends all that there is of this.
async fn end(made: &Made, scope: Scope) {
    let source = Source::from(crate::actor::Actor::account("olga"));
    let ending = crate::ending::look(&made.issuer, scope).await.unwrap();
    crate::ending::end_everything(&made.issuer, ending, &source, "alice fell ill").await.unwrap();
}

#[tokio::test]
async fn one_decision_that_ends_everything_of_a_person_is_one_message() {
    let told = Told::well().await;
    let (device, second) = (told.made.client().await, told.made.client().await);
    told.made.invited("alice").await;
    let asked = Ask {
        what: Wanted::Extension { grant: told.made.issuer.store.grants_of(&device.id).await.unwrap().remove(0).id },
        until: Some("2d".to_owned()),
        reason: "not done".to_owned(),
    };
    let source = Source::Address([192, 0, 2, 7].into());
    crate::requests::ask(&told.made.issuer, &device, &asked, &source).await.unwrap();
    let teller = told.teller().await;
    told.look(&teller).await;
    told.send(&teller).await;
    let before = told.got().len();
    end(&told.made, Scope::Collaborator("alice".parse().unwrap())).await;
    told.look(&teller).await;
    told.send(&teller).await;
    let got = told.got();
    assert_eq!(types(&got[before..]), ["everything.ended"]);
    let data = &got[before]["data"];
    let number = data["event"].as_u64().unwrap();
    let event = told.made.issuer.store.entries(number, 1).await.unwrap().remove(0);
    assert_eq!(event.kind, "everything_ended");
    assert_eq!(
        *data,
        json!({
            "issuer": told.made.issuer.config.issuer_url, "event": number, "how": "collaborator_offboarded",
            "collaborator": "alice", "grants": 3, "devices": 2, "invitations": 1, "requests": 1, "people": 1,
        })
    );
    let store = &told.made.issuer.store;
    assert_eq!(store.device(&second.id).await.unwrap().unwrap().state, DeviceLife::Revoked);
    // What ends later by a decision of its own is told by itself.
    told.revoke(&told.made.client().await).await;
    told.look(&teller).await;
    told.send(&teller).await;
    let mut after = types(&told.got()[before + 1..]).into_iter().map(ToOwned::to_owned).collect::<Vec<_>>();
    after.sort();
    assert_eq!(after, ["device.ended", "grant.ended"]);
}

#[tokio::test]
async fn a_project_s_end_that_two_looks_see_is_one_message_and_the_same_after_a_fault_between() {
    let told = Told::well().await;
    // More events than one look takes, of more people than a message names.
    for person in 0..300 {
        told.made.invited(&format!("person-{person:03}")).await;
    }
    let teller = told.teller().await;
    told.look(&teller).await;
    end(&told.made, Scope::Project("apollo".parse().unwrap())).await;
    crate::ledger::integrate(&told.made.issuer).await;
    let begun = told.made.issuer.store.notifying().await.unwrap().unwrap().next;
    assert_eq!(teller.look().await.unwrap(), Round::Worked, "the first look does not see all of it");
    let first = told.waiting().await;
    let [message] = &first[..] else { panic!("{first:?}") };
    let payload: Value = serde_json::from_str(&message.payload).unwrap();
    fits_schema(&payload);
    let data = &payload["data"];
    assert_eq!((&data["how"], &data["project"]), (&json!("project_ended"), &json!("apollo")));
    assert_eq!((&data["grants"], &data["invitations"], &data["people"]), (&json!(300), &json!(300), &json!(300)));
    assert_eq!(data["collaborators"], json!((0..20).map(|n| format!("person-{n:03}")).collect::<Vec<_>>()));
    assert!(data["owners"].is_array() && !message.payload.contains("fell ill"), "{payload}");
    // Ended between the two: whoever starts goes on from there, and makes nothing of the rest.
    let next = told.teller().await;
    assert_eq!(told.look(&next).await, first);
    told.send(&next).await;
    assert_eq!(types(&told.got()), ["everything.ended"]);
    // Were it all looked at once more, the receiver would know the message by its name.
    let entries = told.made.issuer.store.entries_of(&super::message::EVENTS, begun, 256).await.unwrap();
    let again = entries.iter().filter_map(|entry| super::message::of_event(entry, "https://i"));
    assert_eq!(again.map(|message| message.id()).collect::<Vec<_>>(), [message.id.as_str()]);
}

#[tokio::test]
async fn a_device_that_waits_is_told_with_whom_it_waits_for_and_without_any_code() {
    let told = Told::well().await;
    let teller = told.teller().await;
    let (device, environment) = (told.made.client().await, &told.made.issuer.environment);
    told.look(&teller).await;
    told.send(&teller).await;
    let enrolled = |state: DeviceLife, again: bool| {
        let event = environment
            .event(EventKind::DeviceEnrolled)
            .text("device", &device.id)
            .text("state", state.as_str())
            .text("trust_tier", "ek_certified")
            .structure("posture", &json!({}))
            .text("comparison_code", "SECR-ETCO")
            .number("not_after", 5)
            .text("invitation", "inv-x")
            .text("grant", "gr-x")
            .text("project", "apollo")
            .text("role", "developer")
            .text("policy", "p");
        let event = if again { event.structure("again", &true) } else { event };
        let event = environment.personal(event, "collaborator", "alice");
        let event = environment.personal(event, "owner", "[\"olga@example.com\"]");
        let event = environment.personal(event, "hostname", "alices-laptop");
        environment.personal(event, "address", "192.0.2.1")
    };
    let before = told.got().len();
    for (state, again) in [(DeviceLife::Approved, false), (DeviceLife::Pending, true), (DeviceLife::Pending, false)] {
        told.made.issuer.store.decide(Decision::new(enrolled(state, again))).await.unwrap();
    }
    told.look(&teller).await;
    told.send(&teller).await;
    let got = told.got();
    assert_eq!(types(&got[before..]), ["device.pending"]);
    let data = &got[before]["data"];
    assert_eq!((&data["owners"], &data["project"]), (&json!(["olga@example.com"]), &json!("apollo")));
    for hidden in ["SECR", "laptop", "192.0.2.1"] {
        assert!(!data.to_string().contains(hidden), "{data}");
    }
}

#[tokio::test]
async fn what_an_enrolled_machine_accepted_is_told_where_it_waits() {
    let told = Told::well().await;
    let teller = told.teller().await;
    let environment = &told.made.issuer.environment;
    for approvals in [0, 1] {
        let event = environment.event(EventKind::InvitationAccepted).number("approvals", approvals);
        let event = event.number("approvers", 1).text("invitation", "inv-x").text("device", "dev-x");
        let personal = [("collaborator", "alice"), ("owner", "[\"otto@example.com\"]"), ("address", "192.0.2.1")];
        let event = told.of_a_grant(event, "gemini", personal);
        told.made.issuer.store.decide(Decision::new(event)).await.unwrap();
    }
    told.look(&teller).await;
    told.send(&teller).await;
    let got = told.got();
    assert_eq!(types(&got), ["approval.pending"]);
    let data = &got[0]["data"];
    assert_eq!((&data["device"], &data["owners"]), (&json!("dev-x"), &json!(["otto@example.com"])));
}

#[tokio::test]
async fn an_approval_that_is_missing_is_told_and_the_last_one_is_not() {
    let told = Told::well().await;
    let teller = told.teller().await;
    let environment = &told.made.issuer.environment;
    for approvals in [1, 2] {
        let event = environment.event(EventKind::GrantApproved).number("approvals", approvals).number("approvers", 2);
        let personal = [("collaborator", "alice"), ("owner", "[\"olga@example.com\"]"), ("by", "olga@example.com")];
        let event = told.of_a_grant(event, "apollo", personal);
        told.made.issuer.store.decide(Decision::new(event)).await.unwrap();
    }
    told.look(&teller).await;
    told.send(&teller).await;
    let got = told.got();
    assert_eq!(types(&got), ["approval.pending"]);
    assert_eq!((&got[0]["data"]["grant"], &got[0]["data"]["owners"]), (&json!("gr-x"), &json!(["olga@example.com"])));
}

#[tokio::test]
async fn a_request_that_waits_is_told_with_what_it_asks_for_and_without_its_reason() {
    let told = Told::well().await;
    let device = told.made.client().await;
    let teller = told.teller().await;
    let grant = told.made.issuer.store.grants_of(&device.id).await.unwrap().remove(0);
    told.look(&teller).await;
    told.send(&teller).await;
    let before = told.got().len();
    let asked = Ask {
        what: Wanted::Extension { grant: grant.id.clone() },
        until: Some("2d".to_owned()),
        reason: "my surgery is on Monday".to_owned(),
    };
    let source = Source::Address([192, 0, 2, 7].into());
    let request = crate::requests::ask(&told.made.issuer, &device, &asked, &source).await.unwrap();
    told.look(&teller).await;
    told.send(&teller).await;
    let got = told.got();
    assert_eq!(types(&got[before..]), ["request.pending"]);
    let data = &got[before]["data"];
    assert_eq!((&data["request"], &data["wanted"]), (&json!(request.id), &json!("extension")));
    assert_eq!((&data["grant"], &data["until"]), (&json!(grant.id), &json!(request.until.to_string())));
    assert!(data["owners"].is_array() && !data.to_string().contains("surgery"), "{data}");
}

#[tokio::test]
async fn what_becomes_of_a_request_is_told_without_what_was_said_to_it() {
    let told = Told::well().await;
    let device = told.made.client().await;
    let teller = told.teller().await;
    let grant = told.made.issuer.store.grants_of(&device.id).await.unwrap().remove(0);
    let source = Source::Address([192, 0, 2, 7].into());
    let issuer = &told.made.issuer;
    let asks = async |until: &str| {
        let what = Wanted::Extension { grant: grant.id.clone() };
        let asked = Ask { what, until: Some(until.to_owned()), reason: "not done".to_owned() };
        crate::requests::ask(issuer, &device, &asked, &source).await.unwrap().id
    };
    let olga = crate::actor::Actor::Person {
        collaborator: "olga@example.com".parse().unwrap(),
        device: daypass_proto::names::DeviceId::from_random([7; 10]),
        address: [192, 0, 2, 8].into(),
    };
    crate::requests::withdraw(issuer, &device, &asks("2d").await, &source).await.unwrap();
    for verdict in
        [Verdict::Refuse, Verdict::Narrow { until: Some(told.made.now().plus(86_400)), role: None }, Verdict::Approve]
    {
        crate::requests::decide(issuer, &asks("2d").await, verdict, &olga, Some("her surgery")).await.unwrap();
    }
    asks("3d").await;
    told.made.pass(3 * 86_400);
    crate::requests::lapse(issuer).await.unwrap();
    told.look(&teller).await;
    told.send(&teller).await;
    let got = told.got();
    let answers: Vec<&Value> = got.iter().filter(|message| message["type"] == "request.answered").collect();
    let hows: Vec<&str> = answers.iter().filter_map(|message| message["data"]["how"].as_str()).collect();
    assert_eq!(hows, ["withdrawn", "refused", "narrowed", "approved", "lapsed"]);
    for answer in answers {
        fits_schema(answer);
        assert!(!answer.to_string().contains("surgery"), "{answer}");
    }
}

#[tokio::test]
async fn a_policy_that_waits_for_another_administrator_is_told() {
    let told = Told::well().await;
    let teller = told.teller().await;
    let environment = &told.made.issuer.environment;
    let event = environment.event(EventKind::PolicyProposed).text("policy", "aa").text("proposal", "prop-x");
    let event = environment.personal(environment.personal(event, "why", "owners of apollo"), "by", "olga@example.com");
    told.made.issuer.store.decide(Decision::new(event)).await.unwrap();
    told.look(&teller).await;
    told.send(&teller).await;
    let got = told.got();
    assert_eq!(types(&got), ["policy.pending"]);
    assert_eq!(got[0]["data"]["proposal"], json!("prop-x"));
    assert!(!got[0].to_string().contains("olga"), "{got:?}");
}

#[tokio::test]
async fn a_start_in_the_middle_loses_nothing_and_makes_nothing_new() {
    let told = Told::well().await;
    let device = told.made.client().await;
    let teller = told.teller().await;
    told.revoke(&device).await;
    // Ended before it looked.
    drop(teller);
    let found = told.look(&told.teller().await).await;
    assert!(!found.is_empty());
    // Ended between keeping and sending: the same messages, by the same names.
    let teller = told.teller().await;
    assert_eq!(told.look(&teller).await, found);
    told.send(&teller).await;
    assert_eq!(told.got().len(), found.len());
    assert_eq!(told.waiting().await, []);
}

#[tokio::test]
async fn only_who_has_the_lease_writes() {
    let told = Told::well().await;
    let device = told.made.client().await;
    let (first, second) = (told.teller().await, told.teller_at("there").await);
    told.revoke(&device).await;
    let found = told.look(&first).await;
    assert!(!found.is_empty());
    told.send(&second).await;
    assert_eq!(told.got(), Vec::<Value>::new(), "it is not its turn");
    told.made.pass(61);
    told.send(&second).await;
    assert_eq!(told.got().len(), found.len());
    // The first slept through the end of its lease, and believes that it still has to say something.
    let epoch = told.made.issuer.store.notifying().await.unwrap().unwrap().epoch;
    let again = crate::store::Attempt::Dead { error: "late".to_owned() };
    told.revoke(&told.made.client().await).await;
    let message = told.look(&second).await.remove(0);
    assert!(!told.made.issuer.store.settle(epoch - 1, &message, again.clone()).await.unwrap());
    assert!(told.made.issuer.store.settle(epoch, &message, again).await.unwrap());
    // Nor does it move the cursor, and nobody moves it from where it is not.
    let next = told.made.issuer.store.notifying().await.unwrap().unwrap().next;
    let keep = async |epoch, from| {
        let found = Found { epoch, looked_at: from..next + 9, messages: Vec::new(), ends: Vec::new() };
        told.made.issuer.store.keep_found(found).await.unwrap()
    };
    assert!(!keep(epoch - 1, next).await && !keep(epoch, next - 1).await && !keep(epoch, next + 1).await);
    assert_eq!(told.made.issuer.store.notifying().await.unwrap().unwrap().next, next);
    assert!(keep(epoch, next).await);
}

#[tokio::test]
async fn what_is_not_taken_is_tried_again_and_then_waits_for_a_person() {
    let told = Told::by("echo no mail today >&2; exit 7").await;
    let device = told.made.client().await;
    let teller = told.teller().await;
    told.revoke(&device).await;
    let found = told.look(&teller).await;
    let store = &told.made.issuer.store;
    let mut waits = Vec::new();
    for _ in 0..3 {
        told.send(&teller).await;
        let all = told.waiting().await;
        assert!(all.iter().all(|message| message.error.as_ref().unwrap().ends_with("7: no mail today")), "{all:?}");
        let attempts = all[0].attempts;
        told.send(&teller).await;
        assert_eq!(told.waiting().await[0].attempts, attempts, "not before it is due");
        waits.push(all.iter().map(|message| message.due_at.since(told.made.now())).max().unwrap());
        told.made.pass(40);
    }
    assert!((5..=10).contains(&waits[0]) && (10..=20).contains(&waits[1]), "{waits:?}");
    let dead = store.outgoing(true, 100).await.unwrap();
    assert_eq!(dead.len(), found.len());
    assert!(dead.iter().all(|message| message.attempts == 3));
    let metrics = super::metrics_text(&told.made.issuer).await.unwrap();
    assert!(metrics.contains(&format!("\ndaypass_notifications_dead {}\n", found.len())), "{metrics}");
    assert!(metrics.contains(&format!("\ndaypass_notifications_failed_total {}\n", 3 * found.len())), "{metrics}");

    assert_eq!(store.retry(Some("msg_none"), told.made.now()).await.unwrap(), 0);
    assert_eq!(store.retry(Some(&dead[0].id), told.made.now()).await.unwrap(), 1);
    assert_eq!(store.outgoing(true, 100).await.unwrap().len(), found.len() - 1);
    fs::write(told.folder.path().join("hook"), "#!/bin/sh\ncat > /dev/null\n").unwrap();
    told.send(&teller).await;
    assert_eq!(told.waiting().await.len(), found.len() - 1, "taken after all");
}

#[tokio::test]
async fn what_is_taken_out_is_an_event_and_only_what_is_dead_can_be() {
    let told = Told::by("exit 1").await;
    let device = told.made.client().await;
    let teller = told.teller().await;
    told.revoke(&device).await;
    let message = told.look(&teller).await.remove(0);
    let store = &told.made.issuer.store;
    let environment = &told.made.issuer.environment;
    let take_out = async || {
        let event = environment.event(EventKind::NotificationsDropped).number("notifications", 1);
        let event = environment.personal(event, "by", "root");
        let all = vec![(message.sink.clone(), message.id.clone())];
        store.decide(Decision::new(event).change(Change::DropNotifications(all))).await
    };
    assert!(take_out().await.is_err(), "it is still tried");
    let epoch = store.notifying().await.unwrap().unwrap().epoch;
    let dead = crate::store::Attempt::Dead { error: "x".to_owned() };
    assert!(store.settle(epoch, &message, dead).await.unwrap());
    take_out().await.unwrap();
    assert!(take_out().await.is_err(), "it is gone");
    assert_eq!(told.made.events("notifications_dropped").await.len(), 1);
}

#[tokio::test]
async fn an_end_is_told_ahead_once_for_each_distance_and_anew_where_it_moved() {
    let told = Told::well().await;
    let device = told.made.client().await;
    let teller = told.teller().await;
    let grant = told.made.issuer.store.grants_of(&device.id).await.unwrap().remove(0);
    let ahead = async || {
        let all = told.look(&teller).await;
        told.send(&teller).await;
        let all = all.into_iter().filter(|message| message.kind == "grant.ending");
        all.map(|message| {
            let payload: Value = serde_json::from_str(&message.payload).unwrap();
            fits_schema(&payload);
            (payload["data"]["ahead"].as_i64().unwrap() / 86_400, payload["data"]["until"].as_str().unwrap().to_owned())
        })
        .collect::<Vec<_>>()
    };
    let moved = async |from: &Grant, to: &Grant| {
        let event = crate::fixture::event(&told.made.issuer.environment);
        let change = Change::Extend { to: Box::new(to.clone()), from: Box::new(from.clone()) };
        told.made.issuer.store.decide(Decision::new(event).change(change)).await.unwrap();
    };
    // It ends in an hour: of two distances that are over, the nearer is said.
    assert_eq!(ahead().await, [(1, grant.until.to_string())]);
    assert_eq!(ahead().await, []);
    let longer = Grant { until: told.made.now().plus(8 * 86_400), ..grant.clone() };
    moved(&grant, &longer).await;
    assert_eq!(ahead().await, []);
    told.made.pass(86_400 + 1);
    assert_eq!(ahead().await, [(7, longer.until.to_string())]);
    assert_eq!(ahead().await, []);
    told.made.pass(6 * 86_400);
    assert_eq!(ahead().await, [(1, longer.until.to_string())]);
    // Nobody is told of an end that is not to come, or that was.
    let other = Grant { until: told.made.now().plus(3600), ..longer.clone() };
    let suspended = Grant { state: GrantLife::Suspended, ..other.clone() };
    moved(&longer, &suspended).await;
    assert_eq!(ahead().await, []);
    moved(&suspended, &other).await;
    told.made.pass(3600);
    assert_eq!(ahead().await, []);
}

#[tokio::test]
async fn the_same_refusal_is_told_once_an_hour_and_others_are_not_told() {
    let told = Told::well().await;
    let device = told.made.client().await;
    let teller = told.teller().await;
    let environment = &told.made.issuer.environment;
    let refuse = async |reason: &str, rules: &[&str]| {
        let event = environment.event(EventKind::TokenRefused).text("reason", reason).text("policy", "p");
        let event = if rules.is_empty() { event } else { event.structure("rules", &rules) };
        let event = environment.personal(environment.of_device(event, &device), "why", "no");
        let event = environment.personal(event, "address", "192.0.2.1");
        told.made.issuer.store.decide(Decision::new(event)).await.unwrap();
    };
    let said = async || {
        let all = told.look(&teller).await.len();
        told.send(&teller).await;
        all
    };
    said().await;
    refuse("no_grant", &[]).await;
    assert_eq!(said().await, 0);
    refuse("guardrail", &["night"]).await;
    refuse("guardrail", &["night"]).await;
    refuse("guardrail", &["place"]).await;
    assert_eq!(said().await, 2);
    told.made.pass(3599);
    refuse("guardrail", &["night"]).await;
    assert_eq!(said().await, 0);
    told.made.pass(1);
    refuse("guardrail", &["night"]).await;
    assert_eq!(said().await, 1);
    let last = told.got().pop().unwrap();
    assert_eq!((&last["type"], &last["data"]["rules"]), (&json!("access.refused"), &json!(["night"])));
}

#[tokio::test]
async fn a_person_who_is_erased_is_in_no_message() {
    let told = Told::by("exit 1").await;
    let device = told.made.client().await;
    let teller = told.teller().await;
    told.revoke(&device).await;
    assert!(!told.look(&teller).await.is_empty());
    told.made.pass(7200);
    let (store, now) = (&told.made.issuer.store, told.made.now());
    let name = device.collaborator.clone();
    let fields = store.traces(&name, now).await.unwrap().fields;
    let event = crate::fixture::event(&told.made.issuer.environment);
    store.decide(Decision::new(event).change(Change::ErasePerson { name, fields, now })).await.unwrap();
    assert_eq!(told.waiting().await, []);
}

#[tokio::test]
async fn whoever_is_erased_is_in_no_message_about_several() {
    let told = Told::by("exit 1").await;
    let teller = told.teller().await;
    for name in ["alice", "bob"] {
        told.made.invited(name).await;
    }
    end(&told.made, Scope::Project("apollo".parse().unwrap())).await;
    let erase = async |name: &str| {
        let (store, now, name) = (&told.made.issuer.store, told.made.now(), name.parse().unwrap());
        let fields = store.traces(&name, now).await.unwrap().fields;
        let event = crate::fixture::event(&told.made.issuer.environment);
        store.decide(Decision::new(event).change(Change::ErasePerson { name, fields, now })).await.unwrap();
    };
    assert_eq!(told.look(&teller).await.len(), 1);
    erase("carol").await;
    assert_eq!(told.waiting().await.len(), 1);
    erase("bob").await;
    assert_eq!(told.waiting().await, []);
}

#[tokio::test]
async fn a_sink_that_is_taken_out_gets_nothing_more_and_begins_anew() {
    let told = Told::well().await;
    let device = told.made.client().await;
    told.look(&told.teller().await).await;
    told.revoke(&device).await;
    assert!(!told.look(&told.teller().await).await.is_empty());
    let none = Teller::new(Arc::clone(&told.made.issuer), Sinks::default(), HERE.to_owned());
    none.begin().await.unwrap();
    assert!(told.waiting().await.iter().all(|message| message.dead));
    assert_eq!(told.made.issuer.store.notifying().await.unwrap(), None);
    told.revoke(&told.made.client().await).await;
    crate::ledger::integrate(&told.made.issuer).await;
    let waiting = told.waiting().await;
    assert_eq!(told.look(&told.teller().await).await, waiting, "what happened meanwhile is old news");
}

#[test]
fn every_kind_fits_the_schema_and_nothing_beyond_does() {
    let (_, payload) = super::test_message([1; 16], daypass_proto::time::Timestamp::from_seconds(5), "https://i");
    let good: Value = serde_json::from_str(&payload).unwrap();
    fits_schema(&good);
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("schema.json", json_schema()).unwrap();
    let mut schemas = boon::Schemas::new();
    let index = compiler.compile("schema.json", &mut schemas).unwrap();
    for (at, value) in
        [("/type", json!("other")), ("/data/more", json!(1)), ("/data/issuer", json!(1)), ("/more", json!(1))]
    {
        let mut bad = good.clone();
        let (parent, name) = at.rsplit_once('/').unwrap();
        bad.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(name.to_owned(), value);
        assert!(schemas.validate(&bad, index).is_err(), "{bad}");
    }
}

/// Holds a file to what it is made from; with `DAYPASS_WRITE_DOCS` set, writes it.
fn is_up_to_date(name: &str, made: impl FnOnce(&str) -> String) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    let is = fs::read_to_string(&path).unwrap_or_default();
    let ought = made(&is);
    if std::env::var_os("DAYPASS_WRITE_DOCS").is_some() {
        fs::write(path, ought).unwrap();
    } else {
        assert!(is == ought, "docs/{name} is not what the code says; run this test with DAYPASS_WRITE_DOCS=1");
    }
}

#[test]
fn the_documents_are_up_to_date() {
    is_up_to_date("notifications.schema.json", |_| {
        let mut schema = json_schema();
        schema.sort_all_objects();
        format!("{}\n", serde_json::to_string_pretty(&schema).unwrap())
    });
    const BEGIN: &str = "<!-- The messages: begin. Written by a test of the issuer's notification. -->\n";
    const END: &str = "<!-- The messages: end. -->\n";
    is_up_to_date("notifications.md", |is| {
        let (before, rest) = is.split_once(BEGIN).expect("docs/notifications.md has the place for its tables");
        let (_, after) = rest.split_once(END).expect("and where it ends");
        format!("{before}{BEGIN}\n{}\n{END}{after}", markdown())
    });
}
