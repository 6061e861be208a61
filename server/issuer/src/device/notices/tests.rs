//! What a device's user is told, and what not.

use daypass_proto::{
    access_request::{Ask, Wanted},
    names::GrantId,
};

use super::*;
use crate::{
    actor::Actor,
    device::{Verb, decide_life},
    ending::{GrantVerb, Told, decide_grant, mark_over},
    fixture::Made,
    ledger::{Source, integrate},
    requests::{Verdict, ask, decide},
};

fn olga() -> Actor {
    let device = daypass_proto::names::DeviceId::from_random([7; 10]);
    Actor::Person { collaborator: "olga@example.com".parse().unwrap(), device, address: [192, 0, 2, 8].into() }
}

async fn told(made: &Made, device: &Device, after: u64) -> (Vec<Notice>, u64) {
    integrate(&made.issuer).await;
    let (notices, next) = notices(&made.issuer, device, after).await.unwrap();
    (notices, next.unwrap())
}

async fn end(made: &Made, grant: &GrantId, verb: GrantVerb) {
    let source = Source::from(olga());
    let told = Told { source: &source, rule: None, reason: Some("under suspicion") };
    decide_grant(&made.issuer, grant, verb, &told).await.unwrap();
}

async fn asked(made: &Made, device: &Device, grant: &GrantId, verdict: Verdict, answer: &str) {
    let asked = Ask {
        what: Wanted::Extension { grant: grant.clone() },
        until: Some("30d".to_owned()),
        reason: "not done".to_owned(),
    };
    let request = ask(&made.issuer, device, &asked, &Source::Address([192, 0, 2, 7].into())).await.unwrap();
    decide(&made.issuer, &request.id, verdict, &olga(), Some(answer)).await.unwrap();
}

#[tokio::test]
async fn a_device_hears_what_was_decided_once_and_by_whom_and_why_only_in_answers() {
    let made = Made::with_software().await;
    let (device, other) = (made.client().await, made.client().await);
    let grant = made.issuer.store.grants_of(&device.id).await.unwrap().remove(0).id;
    let (_, begin) = told(&made, &device, 0).await;
    asked(&made, &device, &grant, Verdict::Refuse, "not this month").await;
    let less = Verdict::Narrow { until: Some(made.now().plus(7200)), role: None };
    asked(&made, &device, &grant, less, "two hours will do").await;
    end(&made, &grant, GrantVerb::Suspend).await;
    end(&made, &grant, GrantVerb::Resume).await;
    made.pass(7200);
    mark_over(&made.issuer).await.unwrap();
    let (notices, next) = told(&made, &device, begin).await;
    assert_eq!(
        notices.iter().map(|notice| notice.about).collect::<Vec<_>>(),
        [
            About::RequestRefused,
            About::RequestNarrowed,
            About::GrantExtended,
            About::GrantSuspended,
            About::GrantResumed,
            About::GrantEnded
        ]
    );
    assert_eq!(
        notices.iter().map(|notice| notice.answer.as_deref()).collect::<Vec<_>>(),
        [Some("not this month"), Some("two hours will do"), None, None, None, None]
    );
    assert!(notices.iter().all(|notice| notice.grant.as_ref() == Some(&grant)));
    let text = serde_json::to_string(&notices).unwrap();
    assert!(!text.contains("olga") && !text.contains("suspicion"), "{text}");
    assert_eq!(told(&made, &device, next).await.0, []);
    // Its sister's end is nothing of its own, though the same person has both.
    assert_eq!(told(&made, &other, begin).await.0.len(), 1, "its own grant's end");
    assert_eq!(told(&made, &device, u64::MAX - 1).await, (vec![], next), "a ledger that is behind what was asked for");
}

#[tokio::test]
async fn a_request_that_waits_for_another_owner_is_not_answered_yet() {
    let made = Made::with_software().await;
    let device = made.client().await;
    let grant = made.issuer.store.grants_of(&device.id).await.unwrap().remove(0).id;
    made.edit_policy(&[
        ("owners = [\"olga@example.com\"]", "owners = [\"olga@example.com\", \"oskar@example.com\"]"),
        ("[roles.developer]\n", "[roles.developer]\nsensitivity = \"sensitive\"\n"),
    ])
    .await;
    let (_, begin) = told(&made, &device, 0).await;
    asked(&made, &device, &grant, Verdict::Approve, "as agreed").await;
    assert_eq!(told(&made, &device, begin).await.0, []);
}

#[tokio::test]
async fn what_is_told_at_once_is_bounded_and_a_device_that_waits_is_told_nothing() {
    let made = Made::with_software().await;
    let device = made.client().await;
    let grant = made.issuer.store.grants_of(&device.id).await.unwrap().remove(0).id;
    for _ in 0..51 {
        end(&made, &grant, GrantVerb::Suspend).await;
        end(&made, &grant, GrantVerb::Resume).await;
    }
    let (notices, _) = told(&made, &device, 0).await;
    assert_eq!(notices.len(), MOST as usize);
    assert_eq!(notices.last().map(|notice| notice.about), Some(About::GrantResumed), "the newest");
    let source = Source::from(olga());
    let held = decide_life(&made.issuer, &device.id, Verb::Suspend, &source, None, None).await.unwrap();
    assert_eq!(super::notices(&made.issuer, &held, 0).await.unwrap(), (vec![], None));
    let on = decide_life(&made.issuer, &device.id, Verb::Resume, &source, None, None).await.unwrap();
    let abouts: Vec<About> = told(&made, &on, 0).await.0.iter().rev().take(2).map(|notice| notice.about).collect();
    assert_eq!(abouts, [About::DeviceResumed, About::DeviceSuspended]);
}
