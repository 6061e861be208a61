//! What is asked again and again goes by an index. The engine's plan says so; a small store would be quick without.

use super::{SqliteStore, dead, write};

#[tokio::test]
async fn nothing_that_is_asked_again_and_again_goes_through_a_whole_table() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("s.db"), true).await.unwrap();
    // Of proofs it goes through those alone that it forgets, and stops at the first that is kept.
    let sweeps = write::SWEEPS.iter().map(|(sql, _)| *sql).filter(|sql| !sql.contains("proofs_seen"));
    for sql in sweeps.chain([dead::TOKENS, dead::DEVICES, dead::SOFTWARE, dead::GRANTS, write::DROP_CERTIFICATES]) {
        let plan = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(plan).fetch_all(&store.readers).await.unwrap();
        assert!(plan.iter().any(|(.., step)| step.contains("INDEX")), "{sql}: {plan:?}");
        // A partial index may be gone through: it has those alone that are asked for.
        let whole = |step: &str| step.starts_with("SCAN") && !step.contains("INDEX");
        assert!(!plan.iter().any(|(.., step)| whole(step)), "{sql}: {plan:?}");
        // What ended grows with the years: it is not gone through, but looked up for those who can still have a token.
        if [dead::DEVICES, dead::GRANTS].contains(&sql) {
            let begins = plan.first().is_some_and(|(.., step)| step.contains("token_holders_dead"));
            assert!(begins && !plan.iter().any(|(.., step)| step.starts_with("SCAN")), "{sql}: {plan:?}");
        }
    }
}
