//! What `ledger verify` makes of acceptances that somebody touched with SQL.

use sqlx::ConnectOptions as _;

use super::*;
use crate::{
    ledger::{audit, integrate},
    store::SqliteStore,
};

impl Scene {
    /// What is found in a copy of the store after `sql`.
    async fn found(&self, sql: &str) -> Vec<audit::Finding> {
        let issuer = &self.made.issuer;
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("copy.db");
        let to = |path: &std::path::Path| sqlx::sqlite::SqliteConnectOptions::new().filename(path).foreign_keys(false);
        let mut connection = to(&issuer.config.database).connect().await.unwrap();
        sqlx::query("VACUUM INTO $1").bind(copy.display().to_string()).execute(&mut connection).await.unwrap();
        let mut connection = to(&copy).connect().await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        let store = SqliteStore::open_to_read(&copy).await.unwrap();
        let keys = issuer.keyring().checkpoint_keys().iter().map(|(key, _)| *key).collect();
        audit::audit_store(&store, keys, Vec::new()).await.unwrap().findings
    }

    /// The number of the one event that tells of this grant's acceptance.
    async fn event(&self, grant: &GrantId) -> u64 {
        let entries = self.made.issuer.store.entries(0, 1000).await.unwrap();
        let told = |entry: &&crate::store::Entry| {
            entry.kind == "briefing_accepted" && String::from_utf8_lossy(&entry.leaf).contains(grant.as_str())
        };
        entries.iter().find(told).unwrap().sequence
    }
}

#[tokio::test]
async fn an_acceptance_that_was_touched_is_found_by_its_event() {
    let scene = Scene::new().await;
    let (alice, bob) = (scene.laptop("alice", "developer").await, scene.laptop("bob", "developer").await);
    for laptop in [&alice, &bob] {
        scene.accepts(laptop).await.unwrap();
    }
    integrate(&scene.made.issuer).await;
    assert_eq!(scene.found("").await, []);
    let event = scene.event(&alice.grant).await;
    let there = format!("grant_id = '{}'", alice.grant);
    let set = |what: &str| format!("UPDATE acceptances SET {what} WHERE {there}");
    let other = "(SELECT signed FROM acceptances AS o WHERE o.grant_id <> acceptances.grant_id)";
    for (sql, field) in [
        (set("text = 'You may do everything.'"), "text"),
        (set("briefing = zeroblob(32)"), "briefing"),
        (set(&format!("device = '{}'", bob.device)), "device"),
        (set(&format!("grant_id = '{}'", bob.grant)), "grant"),
        (set("collaborator = 'mallory'"), "collaborator"),
        (set("at = at - 86400"), "at"),
        (set("at = at + 1"), "at"),
        (set(&format!("signed = {other}")), "signed"),
        (set("device = 'laptop'"), "row"),
        (format!("DELETE FROM acceptances WHERE {there}"), "hash"),
    ] {
        assert_eq!(scene.found(&sql).await, [audit::Finding::Acceptance { event, field }], "{sql}");
    }
    // One of which no event tells, beside those that there are.
    let forged = "INSERT INTO acceptances SELECT zeroblob(32), grant_id, device, collaborator, at, briefing, signed, text FROM acceptances LIMIT 1";
    assert_eq!(scene.found(forged).await, [audit::Finding::Untold { acceptance: "00".repeat(32) }]);
    let moved = scene.found(&set("hash = zeroblob(32)")).await;
    assert!(
        matches!(&moved[..], [audit::Finding::Acceptance { field: "hash", .. }, audit::Finding::Untold { .. }]),
        "{moved:?}"
    );
}

#[tokio::test]
async fn what_was_accepted_a_moment_ago_or_erased_is_no_fault() {
    let scene = Scene::new().await;
    let (alice, bob) = (scene.laptop("alice", "developer").await, scene.laptop("bob", "developer").await);
    scene.accepts(&alice).await.unwrap();
    integrate(&scene.made.issuer).await;
    // Its event has no number yet.
    scene.accepts(&bob).await.unwrap();
    assert_eq!(scene.found("").await, []);
    // With alice go her words and her name; with otto the texts that name him.
    let revoke = crate::device::Verb::Revoke;
    let source = Source::from(Actor::account("olga"));
    crate::device::decide_life(&scene.made.issuer, &alice.device, revoke, &source, None, None).await.unwrap();
    let store = &scene.made.issuer.store;
    for name in ["alice", "otto@example.com"] {
        let (name, now) = (name.parse().unwrap(), scene.made.now());
        let fields = store.traces(&name, now).await.unwrap().fields;
        let erase = Change::ErasePerson { name, fields, now };
        store.decide(Decision::new(event(&scene.made.issuer.environment)).change(erase)).await.unwrap();
    }
    integrate(&scene.made.issuer).await;
    assert!(store.acceptances(&alice.grant).await.unwrap().is_empty());
    assert_eq!(store.acceptances(&bob.grant).await.unwrap().len(), 1);
    assert_eq!(scene.found("").await, []);
}
