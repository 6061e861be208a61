//! Who may report which device, and what becomes of it.

use serde_json::{Value, json};

use super::*;
use crate::fixture::{Made, calling::Caller};

const LIST: &str = "/device/v1/devices";
const LOST: &str = "/device/v1/devices/lost";

fn said(device: &Device) -> Value {
    json!({"device": device.id, "reason": "left on the train"})
}

async fn state(made: &Made, caller: &Caller<'_>) -> (DeviceLife, GrantLife) {
    let store = &made.issuer.store;
    let device = store.device(&caller.device.id).await.unwrap().unwrap();
    (device.state, store.grant(&caller.grant.id).await.unwrap().unwrap().state)
}

#[tokio::test]
async fn a_lost_device_ends_with_all_it_has_and_the_ledger_says_which_device_reported_it() {
    let made = Made::with_software().await;
    let (laptop, desk, bobs) =
        (Caller::of(&made, "alice").await, Caller::of(&made, "alice").await, Caller::of(&made, "bob").await);
    let (status, listed) = desk.get(LIST).await;
    let mut named: Vec<(&str, bool)> = listed["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| (device["device"].as_str().unwrap(), device["this"].as_bool().unwrap()))
        .collect();
    named.sort_unstable_by_key(|(_, this)| *this);
    assert_eq!((status, named), (200, vec![(laptop.device.id.as_str(), false), (desk.device.id.as_str(), true)]));
    assert_eq!(listed["devices"][0]["grants"][0]["state"], "active");
    let (status, ended) = desk.post(LOST, &said(&laptop.device)).await;
    assert_eq!((status, &ended["state"], &ended["device"]), (200, &json!("revoked"), &json!(laptop.device.id)));
    assert_eq!(ended["grants"][0]["grant"], json!(laptop.grant.id));
    assert_eq!(state(&made, &laptop).await, (DeviceLife::Revoked, GrantLife::Revoked));
    for other in [&desk, &bobs] {
        assert_eq!(state(&made, other).await, (DeviceLife::Approved, GrantLife::Active));
    }
    for kind in ["device_revoked", "grant_revoked"] {
        let events = made.events(kind).await;
        let by = format!(r#""by_device":"{}""#, desk.device.id);
        assert!(matches!(&events[..], [leaf] if leaf.contains(&by)), "{events:?}");
        assert_eq!(made.reasons(kind).await, ["left on the train"]);
    }
    assert!(made.events("device_revoked").await[0].contains(r#""rule":"reported_lost""#));
    // The lost one is told so, and reports nothing in turn.
    assert_eq!(laptop.refused(LOST, &said(&desk.device)).await, (403, "device_revoked".to_owned()));
    assert_eq!(desk.get(LIST).await.1["devices"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn somebody_elses_device_is_as_unknown_as_one_that_never_was() {
    let made = Made::with_software().await;
    let (alices, bobs) = (Caller::of(&made, "alice").await, Caller::of(&made, "bob").await);
    let never = Device { id: DeviceId::from_random([9; 10]), ..bobs.device.clone() };
    let mut answers = Vec::new();
    for other in [&bobs.device, &never] {
        let (status, answer) = alices.post(LOST, &said(other)).await;
        answers.push((status, answer.to_string().replace(other.id.as_str(), "X")));
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0].1.contains(r#""daypass_reason":"not_found""#), "{answers:?}");
    assert_eq!(state(&made, &bobs).await, (DeviceLife::Approved, GrantLife::Active));
    let refusals = made.events("device_loss_refused").await;
    assert_eq!(refusals.len(), 2);
    assert!(refusals.iter().all(|leaf| leaf.contains(alices.device.id.as_str())), "{refusals:?}");
    // Names that differ in case alone are two people's.
    let large = Caller::of(&made, "Alice").await;
    assert_eq!(large.refused(LOST, &said(&alices.device)).await.1, "not_found");
}

#[tokio::test]
async fn what_is_not_lost_or_over_or_badly_said_ends_nothing() {
    let made = Made::with_software().await;
    let (laptop, desk) = (Caller::of(&made, "alice").await, Caller::of(&made, "alice").await);
    assert_eq!(desk.refused(LOST, &said(&desk.device)).await.1, "conflict");
    let long = "x".repeat(daypass_proto::words::LONGEST + 1);
    for body in [
        json!({}),
        json!({"device": laptop.device.id}),
        json!({"device": "laptop", "reason": "lost"}),
        json!({"device": laptop.device.id, "reason": " "}),
        json!({"device": laptop.device.id, "reason": long}),
        json!({"device": laptop.device.id, "reason": "lost", "collaborator": "bob"}),
        json!([]),
    ] {
        assert_eq!(desk.refused(LOST, &body).await, (400, "malformed".to_owned()), "{body}");
    }
    assert_eq!(desk.post_bytes(LOST, b"{".to_vec()).await.0, 400);
    for caller in [&laptop, &desk] {
        assert_eq!(state(&made, caller).await, (DeviceLife::Approved, GrantLife::Active));
    }
    desk.post(LOST, &said(&laptop.device)).await;
    assert_eq!(desk.refused(LOST, &said(&laptop.device)).await.1, "conflict");
    assert_eq!(made.events("device_revoked").await.len(), 1);
}

#[tokio::test]
async fn only_an_approved_device_reports_and_one_that_waits_can_be_reported() {
    let made = Made::with_software().await;
    let (laptop, desk) = (Caller::of(&made, "alice").await, Caller::of(&made, "alice").await);
    desk.becomes(DeviceLife::Suspended).await;
    assert_eq!(desk.refused(LOST, &said(&laptop.device)).await, (403, "device_suspended".to_owned()));
    assert_eq!(desk.get(LIST).await.0, 403);
    assert_eq!(state(&made, &laptop).await.0, DeviceLife::Approved);
    // What it was held back for is no protection.
    let (status, ended) = laptop.post(LOST, &said(&desk.device)).await;
    assert_eq!((status, &ended["state"]), (200, &json!("revoked")));
    // As it would be after enrolment with a TPM.
    let waiting = Caller::of(&made, "alice").await;
    let pending = Device { state: DeviceLife::Pending, ..waiting.device.clone() };
    let change = Change::Device { to: Box::new(pending), from: DeviceLife::Approved };
    let event = crate::fixture::event(&made.issuer.environment);
    made.issuer.store.decide(Decision::new(event).change(change)).await.unwrap();
    assert_eq!(waiting.refused(LOST, &said(&laptop.device)).await, (403, "device_pending".to_owned()));
    assert_eq!(waiting.get(LIST).await.0, 403);
    assert_eq!(laptop.post(LOST, &said(&waiting.device)).await.0, 200);
    assert_eq!(state(&made, &waiting).await, (DeviceLife::Revoked, GrantLife::Revoked));
}

#[tokio::test]
async fn of_reports_at_once_one_ends_it_and_a_reporter_that_is_held_back_meanwhile_ends_nothing() {
    for round in 0..12 {
        let made = Made::with_software().await;
        let (laptop, desk, phone) =
            (Caller::of(&made, "alice").await, Caller::of(&made, "alice").await, Caller::of(&made, "alice").await);
        let body = said(&laptop.device);
        let (one, other) = tokio::join!(desk.post(LOST, &body), phone.post(LOST, &body));
        let won = [&one, &other].into_iter().filter(|(status, _)| *status == 200).count();
        assert_eq!(won, 1, "round {round}: {one:?} {other:?}");
        assert_eq!(made.events("device_revoked").await.len(), 1);
        let held = async {
            for _ in 0..round % 4 {
                tokio::task::yield_now().await;
            }
            desk.becomes(DeviceLife::Suspended).await;
        };
        let told = Lost { device: phone.device.id.clone(), reason: "lost".to_owned() };
        let source = Source::Address([192, 0, 2, 7].into());
        let reporting = report(&made.issuer, &desk.device, &told, &source);
        let ((), reported) = tokio::join!(held, reporting);
        match reported {
            Ok(_) => assert_eq!(state(&made, &phone).await.0, DeviceLife::Revoked),
            Err(LostError::Changed(Condition::Device(_))) => {
                assert_eq!(state(&made, &phone).await, (DeviceLife::Approved, GrantLife::Active));
            }
            Err(other) => panic!("{other}"),
        }
    }
    // And where it was held back before, whatever the caller was taken for.
    let made = Made::with_software().await;
    let (desk, phone) = (Caller::of(&made, "alice").await, Caller::of(&made, "alice").await);
    desk.becomes(DeviceLife::Suspended).await;
    let told = Lost { device: phone.device.id.clone(), reason: "lost".to_owned() };
    let reported = report(&made.issuer, &desk.device, &told, &Source::Address([192, 0, 2, 7].into())).await;
    assert!(matches!(reported, Err(LostError::Changed(_))), "{reported:?}");
    assert_eq!(state(&made, &phone).await.0, DeviceLife::Approved);
}

#[tokio::test]
async fn reports_that_end_nothing_have_a_pace() {
    let made = Made::with_software().await;
    let (alices, laptop) = (Caller::of(&made, "alice").await, Caller::of(&made, "alice").await);
    let mut held_up = 0;
    for _ in 0..70 {
        held_up += usize::from(alices.refused(LOST, &said(&alices.device)).await == (429, "slow_down".to_owned()));
    }
    assert_eq!(held_up, 10);
    assert_eq!(alices.post(LOST, &said(&laptop.device)).await.0, 200, "a good one is never held up");
}
