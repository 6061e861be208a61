use super::*;
use crate::{actor::Actor, fixture::Made, store::InvitationLife};

fn source() -> Source {
    Source::from(Actor::account("olga"))
}

fn alice() -> Scope {
    Scope::Collaborator("alice".parse().unwrap())
}

fn apollo() -> Scope {
    Scope::Project("apollo".parse().unwrap())
}

async fn ends(made: &Made, ending: Ending) -> Result<(), EndError> {
    end_everything(&made.issuer, ending, &source(), "left the company").await
}

/// A second grant of a device, in another project; as renewal and requests will make them.
async fn elsewhere(made: &Made, device: &DeviceId, state: GrantLife) -> Grant {
    let store = &made.issuer.store;
    let first = store.grants_of(device).await.unwrap().remove(0);
    let grant = Grant {
        id: GrantId::from_random(made.issuer.environment.random()),
        project: "gemini".parse().unwrap(),
        state,
        ..first
    };
    let event = crate::fixture::event(&made.issuer.environment);
    store.decide(Decision::new(event).change(Change::AddGrant(grant.clone()))).await.unwrap();
    grant
}

#[tokio::test]
async fn a_person_loses_everything_by_one_decision_and_others_lose_nothing() {
    let made = Made::with_software().await;
    let (device, open, others) = (made.client().await, made.invited("alice").await, made.invited("bob").await);
    let ending = look(&made.issuer, alice()).await.unwrap();
    assert_eq!((ending.invitations.len(), ending.grants.len(), ending.devices.len()), (1, 2, 1));
    ends(&made, ending).await.unwrap();
    let store = &made.issuer.store;
    assert_eq!(store.device(&device.id).await.unwrap().unwrap().state, DeviceLife::Revoked);
    assert_eq!(store.invitation(&open.id).await.unwrap().unwrap().state, InvitationLife::Withdrawn);
    assert_eq!(store.grant(&open.grant).await.unwrap().unwrap().state, GrantLife::Revoked);
    assert_eq!(store.grants_of(&device.id).await.unwrap()[0].state, GrantLife::Revoked);
    assert_eq!(store.invitation(&others.id).await.unwrap().unwrap().state, InvitationLife::Open);
    for (kind, count) in [("invitation_withdrawn", 1), ("grant_revoked", 2), ("device_revoked", 1)] {
        assert_eq!(made.reasons(kind).await, vec!["left the company"; count], "{kind}");
        let events = made.events(kind).await;
        assert!(events.iter().all(|leaf| leaf.contains(r#""rule":"collaborator_offboarded""#)), "{events:?}");
    }
    let [event] = &made.events("everything_ended").await[..] else { panic!("one event says it for all") };
    let fields = r#""devices":1,"grants":2,"invitations":1,"people":1,"#;
    assert!(event.contains(fields) && event.contains(r#""rule":"collaborator_offboarded""#), "{event}");
    assert_eq!(made.reasons("everything_ended").await, ["left the company"]);
    let again = look(&made.issuer, alice()).await.unwrap();
    assert!(again.is_empty(), "there is nothing left, and the name is known");
    let nobody = look(&made.issuer, Scope::Collaborator("alcie".parse().unwrap())).await;
    assert!(matches!(nobody, Err(EndError::Unknown(_))), "{nobody:?}");
}

#[tokio::test]
async fn a_project_that_nobody_was_invited_to_has_nothing_to_end_and_an_unknown_one_is_an_error() {
    let made = Made::new().await;
    assert!(look(&made.issuer, apollo()).await.unwrap().is_empty());
    let unknown = look(&made.issuer, Scope::Project("apolo".parse().unwrap())).await;
    assert!(matches!(unknown, Err(EndError::Unknown(_))), "{unknown:?}");
}

#[tokio::test]
async fn what_somebody_else_decided_meanwhile_ends_nothing_at_all() {
    let made = Made::with_software().await;
    let device = made.client().await;
    let store = &made.issuer.store;
    let untouched = async || {
        let grants = store.grants_of(&device.id).await.unwrap();
        store.device(&device.id).await.unwrap().unwrap().state == DeviceLife::Approved
            && grants[0].state == GrantLife::Active
            && made.events("device_revoked").await.is_empty()
    };
    // One more invitation than was shown.
    let seen = look(&made.issuer, alice()).await.unwrap();
    let invitation = made.invited("alice").await;
    let refused = ends(&made, seen).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "what there is of `alice` was changed by somebody else at the same time, and nothing was done; \
         run the command again, which goes by what there is now"
    );
    assert!(untouched().await);
    // One less.
    let seen = look(&made.issuer, alice()).await.unwrap();
    let told = Told { source: &source(), rule: None, reason: None };
    super::super::withdraw(&made.issuer, &invitation.id, &told).await.unwrap();
    assert!(matches!(ends(&made, seen).await, Err(EndError::Changed(_))));
    assert!(untouched().await);
    let ending = look(&made.issuer, alice()).await.unwrap();
    ends(&made, ending).await.unwrap();
    assert!(!untouched().await);
}

#[tokio::test]
async fn of_two_that_end_the_same_at_once_one_does_it() {
    let made = Made::with_software().await;
    made.client().await;
    let (one, other) = (look(&made.issuer, alice()).await.unwrap(), look(&made.issuer, alice()).await.unwrap());
    let (one, other) = tokio::join!(ends(&made, one), ends(&made, other));
    assert_eq!(usize::from(one.is_ok()) + usize::from(other.is_ok()), 1, "{one:?} {other:?}");
    assert_eq!(made.events("device_revoked").await.len(), 1);
}

#[tokio::test]
async fn a_project_ends_and_a_device_stays_where_it_has_something_else() {
    let made = Made::with_software().await;
    let (stays, left, over) = (made.client().await.id, made.client().await.id, made.client().await.id);
    // Of one of them the grant is over by time, and of another by somebody's word.
    let past = [(made.client().await.id, GrantLife::Ended), (made.client().await.id, GrantLife::Revoked)];
    for (device, state) in &past {
        let grant = made.issuer.store.grants_of(device).await.unwrap().remove(0);
        let change = Change::Grant { to: Grant { state: *state, ..grant }, from: GrantLife::Active };
        let event = crate::fixture::event(&made.issuer.environment);
        made.issuer.store.decide(Decision::new(event).change(change)).await.unwrap();
    }
    let invitation = made.invited("bob").await;
    let other = elsewhere(&made, &stays, GrantLife::Active).await;
    elsewhere(&made, &over, GrantLife::Ended).await;
    let ending = look(&made.issuer, apollo()).await.unwrap();
    assert_eq!((ending.invitations.len(), ending.grants.len(), ending.devices.len()), (1, 4, 4));
    assert_eq!(ending.staying, std::slice::from_ref(&stays));
    ends(&made, ending).await.unwrap();
    let store = &made.issuer.store;
    let state = async |id| store.device(id).await.unwrap().unwrap().state;
    assert_eq!(state(&stays).await, DeviceLife::Approved);
    assert_eq!(store.grant(&other.id).await.unwrap().unwrap().state, GrantLife::Active);
    assert_eq!((state(&left).await, state(&over).await), (DeviceLife::Revoked, DeviceLife::Revoked));
    for (device, _) in &past {
        assert_eq!(state(device).await, DeviceLife::Revoked);
    }
    assert_eq!(store.invitation(&invitation.id).await.unwrap().unwrap().state, InvitationLife::Withdrawn);
    let events = made.events("grant_revoked").await;
    assert!(events.len() == 4 && events.iter().all(|leaf| leaf.contains(r#""rule":"project_ended""#)), "{events:?}");
}

#[tokio::test]
async fn a_device_that_got_something_elsewhere_meanwhile_is_not_ended_with_its_project() {
    let made = Made::with_software().await;
    let device = made.client().await.id;
    let seen = look(&made.issuer, apollo()).await.unwrap();
    assert_eq!(seen.devices.len(), 1);
    elsewhere(&made, &device, GrantLife::Active).await;
    let refused = ends(&made, seen).await;
    assert!(matches!(&refused, Err(EndError::Changed(_))), "{refused:?}");
    let store = &made.issuer.store;
    assert_eq!(store.device(&device).await.unwrap().unwrap().state, DeviceLife::Approved);
}

#[tokio::test]
async fn a_phase_ends_with_what_is_for_it_and_the_rest_of_the_project_goes_on() {
    let made = Made::with_software().await;
    let text = std::fs::read_to_string(made.issuer.config.policy.join("projects/apollo.toml")).unwrap();
    made.project(&text.replace("[roles.developer]", "[phases.build]\nends = 2030-01-01T00:00:00Z\n[roles.developer]"))
        .await;
    let phase = || Scope::Phase("apollo".parse().unwrap(), "build".parse().unwrap());
    assert!(look(&made.issuer, phase()).await.unwrap().is_empty());
    let unknown = look(&made.issuer, Scope::Phase("apollo".parse().unwrap(), "biuld".parse().unwrap())).await;
    assert_eq!(
        unknown.unwrap_err().to_string(),
        "there never was anything of phase `biuld` of project `apollo`; `daypass-issuer grant list` and `invitation list` show whose and where there is something"
    );
    let (inside, outside, both) = (made.client().await.id, made.client().await.id, made.client().await.id);
    let store = &made.issuer.store;
    for device in [&inside, &both] {
        let grant = store.grants_of(device).await.unwrap().remove(0);
        if *device == both {
            elsewhere(&made, device, GrantLife::Suspended).await;
        }
        let terms = crate::store::Terms { phase: "build".parse().ok(), ..grant.terms.clone() };
        let change = Change::Grant { to: Grant { terms, ..grant }, from: GrantLife::Active };
        let event = crate::fixture::event(&made.issuer.environment);
        store.decide(Decision::new(event).change(change)).await.unwrap();
    }
    let (open, other) = (made.invited_for("bob", "build").await, made.invited("bob").await);
    let ending = look(&made.issuer, phase()).await.unwrap();
    assert_eq!((ending.invitations.len(), ending.grants.len(), ending.devices.len()), (1, 3, 1));
    assert_eq!(ending.staying, std::slice::from_ref(&both));
    // Meanwhile somebody is invited for it.
    let late = made.invited_for("carol", "build").await;
    assert!(matches!(ends(&made, ending).await, Err(EndError::Changed(_))));
    let told = Told { source: &source(), rule: None, reason: None };
    super::super::withdraw(&made.issuer, &late.id, &told).await.unwrap();
    let ending = look(&made.issuer, phase()).await.unwrap();
    ends(&made, ending).await.unwrap();
    let state = async |id| store.device(id).await.unwrap().unwrap().state;
    assert_eq!(state(&inside).await, DeviceLife::Revoked);
    assert_eq!((state(&outside).await, state(&both).await), (DeviceLife::Approved, DeviceLife::Approved));
    assert_eq!(store.grants_of(&outside).await.unwrap()[0].state, GrantLife::Active);
    assert_eq!(store.invitation(&open.id).await.unwrap().unwrap().state, InvitationLife::Withdrawn);
    assert_eq!(store.invitation(&other.id).await.unwrap().unwrap().state, InvitationLife::Open);
    let events = made.events("grant_revoked").await;
    let ended: Vec<_> = events.iter().filter(|leaf| leaf.contains(r#""rule":"phase_ended""#)).collect();
    let [all] = &made.events("everything_ended").await[..] else { panic!("the conflict wrote none") };
    let fields = r#""devices":1,"grants":3,"invitations":1,"people":2,"phase":"build","#;
    assert!(all.contains(fields) && all.contains(r#""project":"apollo""#), "{all}");
    assert!(ended.len() == 3 && ended.iter().all(|leaf| leaf.contains(r#""phase":"build""#)), "{events:?}");
}

#[tokio::test]
async fn names_that_differ_in_their_letters_size_are_found() {
    let made = Made::with_software().await;
    made.client().await;
    made.invited("Alice").await;
    made.invited("ALICE").await;
    made.invited("alicia").await;
    let alike = async |name: &str| -> Vec<String> {
        let found = made.issuer.store.named_alike(&name.parse().unwrap()).await.unwrap();
        found.iter().map(ToString::to_string).collect()
    };
    assert_eq!(alike("alice").await, ["ALICE", "Alice"]);
    assert_eq!(alike("ALICE").await, ["Alice", "alice"]);
    assert_eq!(alike("aLiCe").await, ["ALICE", "Alice", "alice"]);
    assert_eq!(alike("bob").await, [""; 0]);
}

/// Copies a grant until there are `count` of them, beside the issuer.
async fn fill(made: &Made, count: u32) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&made.issuer.config.database);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let copy = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) \
         INSERT INTO grants (id, state, device, body) \
         SELECT printf('gr-%016d', n.i + 500000), g.state, g.device, json_set(g.body, '$.id', printf('gr-%016d', n.i + 500000)) FROM n, (SELECT * FROM grants LIMIT 1) AS g \
         WHERE n.i > (SELECT COUNT(*) FROM grants)";
    sqlx::query(copy).bind(count).execute(&pool).await.unwrap();
}

#[tokio::test]
async fn one_decision_ends_many_and_more_than_it_takes_end_nothing() {
    let made = Made::with_software().await;
    let device = made.client().await.id;
    fill(&made, MOST).await;
    let ending = look(&made.issuer, alice()).await.unwrap();
    assert_eq!(ending.grants.len(), 10_000);
    fill(&made, MOST + 1).await;
    let refused = look(&made.issuer, alice()).await;
    assert!(matches!(&refused, Err(EndError::TooMany { most: MOST, .. })), "{refused:?}");
    // What was counted before is no longer all that there is.
    assert!(matches!(ends(&made, ending).await, Err(EndError::Changed(_))));
    let told = Told { source: &source(), rule: None, reason: None };
    let first = made.issuer.store.find_grants(&Find::up_to(1)).await.unwrap().remove(0).id;
    super::super::decide_grant(&made.issuer, &first, GrantVerb::Revoke, &told).await.unwrap();
    let ending = look(&made.issuer, alice()).await.unwrap();
    ends(&made, ending).await.unwrap();
    let live = Find { states: LIVE.map(GrantLife::as_str).to_vec(), ..Find::up_to(1) };
    assert!(made.issuer.store.find_grants(&live).await.unwrap().is_empty());
    assert_eq!(made.issuer.store.device(&device).await.unwrap().unwrap().state, DeviceLife::Revoked);
}
