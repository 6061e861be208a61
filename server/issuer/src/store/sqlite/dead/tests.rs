//! What gates are told is what going through everything that ever ended finds.

use daypass_proto::{enrolment::DeviceLife, names::GrantId};
use proptest::prelude::*;

use super::*;
use crate::{
    fixture::{Made, event},
    store::{Change, Decision, Device, Grant, GrantLife, IssuedToken},
};

const RESOURCES: [&str; 2] = ["https://git.example.com/", "https://api.example.com/"];
/// Devices, and grants of each.
const DEVICES_THERE: usize = 3;
const GRANTS_EACH: usize = 2;

/// The slow way: all that are not in force, each with the question whether somebody may have a token of theirs.
const ALL_DEVICES: &str = "SELECT d.id || ' ' || d.state FROM devices d \
     WHERE (d.state <> 'approved' OR (d.software <> 0 AND $3 = 0)) \
     AND EXISTS (SELECT 1 FROM token_holders h WHERE h.device = d.id AND h.resource = $2 AND h.until > $1) ORDER BY 1";
const ALL_GRANTS: &str = "SELECT g.id FROM grants g WHERE g.state NOT IN ('active', 'grace') AND EXISTS ( \
     SELECT 1 FROM token_holders h WHERE h.device = g.device AND h.resource = $2 AND h.grant_id = g.id AND h.until > $1) ORDER BY 1";

/// Something that happens to a grant, the device that has it, or the time.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Token { resource: usize },
    Grant(GrantLife),
    Replaced,
    Device(DeviceLife),
    Pass(i64),
    Sweep,
}

fn deed() -> impl Strategy<Value = (usize, Deed)> {
    let grant = prop::sample::select(vec![
        GrantLife::Suspended,
        GrantLife::Active,
        GrantLife::Grace,
        GrantLife::Revoked,
        GrantLife::Ended,
    ]);
    let device = prop::sample::select(vec![DeviceLife::Suspended, DeviceLife::Approved, DeviceLife::Revoked]);
    let what = prop_oneof![
        4 => (0..RESOURCES.len()).prop_map(|resource| Deed::Token { resource }),
        3 => grant.prop_map(Deed::Grant),
        1 => Just(Deed::Replaced),
        2 => device.prop_map(Deed::Device),
        2 => (1..9000_i64).prop_map(Deed::Pass),
        1 => Just(Deed::Sweep),
    ];
    (0..DEVICES_THERE * GRANTS_EACH, what)
}

/// A store with devices that have grants.
struct There {
    made: Made,
    grants: Vec<(Device, Grant)>,
}

impl There {
    async fn new() -> Self {
        let made = Made::with_software().await;
        let mut grants = Vec::new();
        for _ in 0..DEVICES_THERE {
            let device = made.client().await;
            let first = made.issuer.store.grants_of(&device.id).await.unwrap().remove(0);
            for n in 0..GRANTS_EACH {
                let grant = Grant { id: GrantId::from_random(made.issuer.environment.random()), ..first.clone() };
                let grant = if n == 0 { first.clone() } else { grant };
                if n > 0 {
                    decided(&made, vec![Change::AddGrant(grant.clone())]).await;
                }
                grants.push((device.clone(), grant));
            }
        }
        Self { made, grants }
    }

    async fn happens(&self, n: usize, deed: Deed) {
        let (device, grant) = &self.grants[n];
        let store = &self.made.issuer.store;
        let grant = store.grant(&grant.id).await.unwrap().unwrap();
        let state = store.device(&device.id).await.unwrap().unwrap().state;
        let now = self.made.now();
        match deed {
            // As the issuer gives them: to an approved device, under a grant that is in force.
            Deed::Token { resource } => {
                let in_force = matches!(grant.state, GrantLife::Active | GrantLife::Grace);
                if state != DeviceLife::Approved || !in_force {
                    return;
                }
                let token = IssuedToken {
                    jti: hex::encode(self.made.issuer.environment.random::<16>()),
                    device: device.id.clone(),
                    grant: grant.id,
                    resource: RESOURCES[resource].parse().unwrap(),
                    expires_at: now.plus(600),
                    revoked: false,
                };
                decided(&self.made, vec![Change::AddToken { token, now, most: 1000 }]).await;
            }
            Deed::Grant(to) if crate::store::grant_may_become(grant.state, to) => {
                let from = grant.state;
                decided(&self.made, vec![Change::Grant { to: Grant { state: to, ..grant }, from }]).await;
            }
            // As a successor ends it.
            Deed::Replaced if crate::store::grant_may_become(grant.state, GrantLife::Revoked) => {
                let to = Box::new(Grant { state: GrantLife::Revoked, ..grant.clone() });
                decided(&self.made, vec![Change::Extend { to, from: Box::new(grant) }]).await;
            }
            Deed::Device(to) if state != DeviceLife::Revoked && state != to => {
                let (id, reason) = (device.id.clone(), Some("x".to_owned()));
                decided(&self.made, vec![Change::DeviceLife { id, to, reason, from: state }]).await;
            }
            Deed::Pass(seconds) => self.made.pass(seconds),
            Deed::Sweep => store.sweep(now).await.unwrap(),
            Deed::Grant(_) | Deed::Replaced | Deed::Device(_) => {}
        }
    }

    /// How many it found.
    async fn is_the_same_both_ways(&self, pool: &SqlitePool) -> usize {
        let now = self.made.now();
        let mut found = 0;
        for resource in RESOURCES {
            for allowed in [true, false] {
                let slowly = async |sql: &'static str| -> Vec<String> {
                    let since = now.plus(-USED_AFTER_END).seconds();
                    let query = sqlx::query_scalar(sql).bind(since).bind(resource).bind(i64::from(allowed));
                    query.fetch_all(pool).await.unwrap()
                };
                let dead = self.made.issuer.store.dead(&[resource.parse().unwrap()], now, allowed).await.unwrap();
                let mut grants: Vec<String> = dead.grants.iter().map(ToString::to_string).collect();
                let mut devices: Vec<String> = dead.devices.iter().map(told).collect();
                grants.sort();
                devices.sort();
                assert_eq!(
                    (grants, devices),
                    (slowly(ALL_GRANTS).await, slowly(ALL_DEVICES).await),
                    "{resource} {allowed}"
                );
                found += dead.grants.len() + dead.devices.len();
            }
        }
        found
    }
}

fn told((id, end): &(daypass_proto::names::DeviceId, DeviceEnd)) -> String {
    let state = match end {
        DeviceEnd::Life(life) => life.as_str(),
        DeviceEnd::Software => DeviceLife::Approved.as_str(),
    };
    format!("{id} {state}")
}

async fn decided(made: &Made, changes: Vec<Change>) {
    let decision = Decision::new(event(&made.issuer.environment));
    let decision = changes.into_iter().fold(decision, Decision::change);
    made.issuer.store.decide(decision).await.unwrap();
}

async fn beside(made: &Made) -> SqlitePool {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&made.issuer.config.database);
    SqlitePool::connect_with(options).await.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_is_told_is_what_going_through_everything_finds(deeds in prop::collection::vec(deed(), 40..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let there = There::new().await;
            let pool = beside(&there.made).await;
            for (n, deed) in deeds {
                there.happens(n, deed).await;
                there.is_the_same_both_ways(&pool).await;
            }
        });
    }
}

#[tokio::test]
async fn whoever_is_let_on_again_is_told_no_more_and_whoever_ends_again_is() {
    let there = There::new().await;
    let pool = beside(&there.made).await;
    there.happens(0, Deed::Token { resource: 0 }).await;
    // Where no software keys are allowed, who has a token is dead, and others are not.
    assert_eq!(there.is_the_same_both_ways(&pool).await, 1);
    let marked = async || -> i64 {
        sqlx::query_scalar("SELECT COUNT(*) FROM token_holders WHERE dead <> 0").fetch_one(&pool).await.unwrap()
    };
    for (deed, found, left) in [
        (Deed::Grant(GrantLife::Suspended), 3, 1),
        (Deed::Grant(GrantLife::Active), 1, 1),
        (Deed::Pass(4000), 1, 1),
        (Deed::Token { resource: 0 }, 1, 0),
        (Deed::Device(DeviceLife::Suspended), 2, 1),
        (Deed::Device(DeviceLife::Approved), 1, 1),
        (Deed::Grant(GrantLife::Ended), 3, 1),
        (Deed::Pass(7 * 24 * 3600), 0, 1),
        (Deed::Sweep, 0, 0),
    ] {
        there.happens(0, deed).await;
        assert_eq!((there.is_the_same_both_ways(&pool).await, marked().await), (found, left), "{deed:?}");
    }
}
