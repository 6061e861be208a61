//! Reads that look for grants, invitations and devices by whose they are. Each goes by an index, and none gives more than its limit.

use daypass_proto::{
    admin_api::Sort,
    names::{Collaborator, DeviceId, ProjectName, RoleName},
    time::Timestamp,
};
use serde::de::DeserializeOwned;
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection, SqliteExecutor, SqlitePool};

use super::{engine, read::body};
use crate::store::{
    Ends, Find, Key, Position, Request, Scope, StoreError,
    records::{Device, Grant, Invitation},
};

pub(super) async fn grants(pool: &SqlitePool, find: &Find) -> Result<Vec<Grant>, StoreError> {
    found(pool, "grant", statement("grants", find)).await
}

pub(super) async fn invitations(pool: &SqlitePool, find: &Find) -> Result<Vec<Invitation>, StoreError> {
    found(pool, "invitation", statement("invitations", find)).await
}

pub(super) async fn requests(pool: &SqlitePool, find: &Find) -> Result<Vec<Request>, StoreError> {
    found(pool, "request", statement("requests", find)).await
}

/// Those of a device: those that wait first, then the newest.
pub(super) async fn requests_of(pool: &SqlitePool, device: &DeviceId, limit: u32) -> Result<Vec<Request>, StoreError> {
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("SELECT body FROM requests WHERE device = ");
    query.push_bind(device.to_string());
    query
        .push(" ORDER BY state <> 'requested', json_extract(body, '$.asked_at') DESC, id LIMIT ")
        .push_bind(i64::from(limit));
    found(pool, "request", query).await
}

/// Devices that are not revoked: a person's, or those that were ever granted something there.
pub(super) async fn devices_of(pool: &SqlitePool, scope: &Scope, limit: u32) -> Result<Vec<Device>, StoreError> {
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("SELECT body FROM devices WHERE state <> 'revoked'");
    if let Scope::Collaborator(_) = scope {
        theirs(&mut query, scope);
    } else {
        query.push(" AND id IN (SELECT device FROM grants WHERE device IS NOT NULL");
        theirs(&mut query, scope);
        query.push(")");
    }
    query.push(" ORDER BY id LIMIT ").push_bind(i64::from(limit));
    found(pool, "device", query).await
}

/// Who has the same name but for small and capital letters.
pub(super) async fn named_alike(pool: &SqlitePool, name: &Collaborator) -> Result<Vec<Collaborator>, StoreError> {
    let failed = engine("look for names");
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("");
    for (word, table) in [("", "grants"), (" UNION ", "invitations"), (" UNION ", "devices")] {
        query.push(word).push("SELECT collaborator FROM ").push(table).push(" WHERE collaborator = ");
        query.push_bind(name.to_string()).push(" COLLATE NOCASE AND collaborator <> ").push_bind(name.to_string());
    }
    query.push(" ORDER BY 1");
    let rows = query.build().fetch_all(pool).await.map_err(&failed)?;
    // What we wrote ourselves parses.
    let names = rows.iter().map(|row| row.try_get::<String, _>("collaborator").map_err(&failed));
    names.map(|name| Ok(name?.parse().ok())).filter_map(Result::transpose).collect()
}

async fn found<T: DeserializeOwned>(
    pool: &SqlitePool,
    kind: &'static str,
    mut query: QueryBuilder<Sqlite>,
) -> Result<Vec<T>, StoreError> {
    let rows = query.build().fetch_all(pool).await.map_err(engine("look for records"))?;
    rows.iter().map(|row| body(kind, row)).collect()
}

fn statement(table: &'static str, find: &Find) -> QueryBuilder<Sqlite> {
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("SELECT body FROM ");
    query.push(table);
    let mut word = " WHERE ";
    let mut equals = |column: &str, value: Option<String>| {
        if let Some(value) = value {
            query.push(word).push(column).push(" = ").push_bind(value);
            word = " AND ";
        }
    };
    equals("collaborator", find.collaborator.as_ref().map(ToString::to_string));
    equals("project", find.project.as_ref().map(ToString::to_string));
    equals("role", find.role.as_ref().map(ToString::to_string));
    equals("phase", find.phase.as_ref().map(ToString::to_string));
    equals("device", find.device.as_ref().map(ToString::to_string));
    equals("grant_id", find.grant.as_ref().map(ToString::to_string));
    if let Some(after) = &find.after {
        query.push(word).push("id > ").push_bind(after.clone());
        word = " AND ";
    }
    match find.ends {
        Some(Ends::After(time)) => {
            query.push(word).push("ends_at > ").push_bind(time.seconds());
            word = " AND ";
        }
        Some(Ends::By(time)) => {
            query.push(word).push("(ends_at <= ").push_bind(time.seconds()).push(" OR phase IS NOT NULL)");
            word = " AND ";
        }
        None => {}
    }
    if find.used {
        query.push(word).push("json_extract(body, '$.used') > 0");
        word = " AND ";
    }
    if let Some(Position { key, id }) = &find.beyond {
        query.push(word).push("(").push(column(find.sort)).push(", id) > (");
        match key {
            Key::Text(text) => query.push_bind(text.clone()),
            Key::Time(time) => query.push_bind(time.seconds()),
        };
        query.push(", ").push_bind(id.clone()).push(")");
        word = " AND ";
    }
    among_states(&mut query, word, find);
    query.push(" ORDER BY ").push(column(find.sort)).push(", id LIMIT ").push_bind(i64::from(find.limit));
    query
}

fn among_states(query: &mut QueryBuilder<Sqlite>, word: &str, find: &Find) {
    if find.states.is_empty() {
        return;
    }
    query.push(word).push("state IN (");
    let mut states = query.separated(", ");
    for state in &find.states {
        states.push_bind(*state);
    }
    query.push(")");
}

/// Devices in one of these states: a person's, and those that were ever granted something in a project, by name.
pub(super) async fn devices(pool: &SqlitePool, find: &Find) -> Result<Vec<Device>, StoreError> {
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("SELECT body FROM devices");
    let mut word = " WHERE ";
    if let Some(whose) = &find.collaborator {
        query.push(word).push("collaborator = ").push_bind(whose.to_string());
        word = " AND ";
    }
    if let Some(project) = &find.project {
        query.push(word).push("id IN (SELECT device FROM grants WHERE device IS NOT NULL AND project = ");
        query.push_bind(project.to_string()).push(")");
        word = " AND ";
    }
    among_states(&mut query, word, find);
    query.push(" ORDER BY id LIMIT ").push_bind(i64::from(find.limit));
    found(pool, "device", query).await
}

/// What a list is in the order of.
const fn column(sort: Sort) -> &'static str {
    match sort {
        Sort::Until => "ends_at",
        other => other.as_str(),
    }
}

/// Whether the store has anything of theirs, in whatever state.
pub(super) async fn knows(pool: &SqlitePool, scope: &Scope) -> Result<bool, StoreError> {
    any(pool, of(scope, ["TRUE", "TRUE", "TRUE"])).await
}

/// Whether nothing of theirs can give anybody anything, as the writer sees it. An invitation to a project has a grant there, or is for another's.
pub(super) async fn nothing_left(connection: &mut SqliteConnection, scope: &Scope) -> Result<bool, StoreError> {
    let open = if matches!(scope, Scope::Collaborator(_)) { "state = 'open'" } else { "FALSE" };
    let live = ["state NOT IN ('revoked', 'ended')", open, "state <> 'revoked'"];
    Ok(!any(connection, of(scope, live)).await?)
}

/// One row where there is something of theirs among grants, invitations and devices for which its condition holds. Devices are a person's alone.
fn of(scope: &Scope, [grants, invitations, devices]: [&'static str; 3]) -> QueryBuilder<Sqlite> {
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("SELECT 1 FROM grants WHERE ");
    query.push(grants);
    theirs(&mut query, scope);
    query.push(" UNION ALL SELECT 1 FROM invitations WHERE ").push(invitations);
    theirs(&mut query, scope);
    if let Scope::Collaborator(_) = scope {
        query.push(" UNION ALL SELECT 1 FROM devices WHERE ").push(devices);
        theirs(&mut query, scope);
    }
    query.push(" LIMIT 1");
    query
}

fn theirs(query: &mut QueryBuilder<Sqlite>, scope: &Scope) {
    match scope {
        Scope::Collaborator(name) => query.push(" AND collaborator = ").push_bind(name.to_string()),
        Scope::Project(name) => query.push(" AND project = ").push_bind(name.to_string()),
        Scope::Phase(project, phase) => query
            .push(" AND project = ")
            .push_bind(project.to_string())
            .push(" AND phase = ")
            .push_bind(phase.to_string()),
    };
}

/// Whether no grant of this device lives, as the writer sees it.
pub(super) async fn no_grant(connection: &mut SqliteConnection, device: &DeviceId) -> Result<bool, StoreError> {
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("SELECT 1 FROM grants WHERE device = ");
    query.push_bind(device.to_string()).push(" AND state NOT IN ('revoked', 'ended') LIMIT 1");
    Ok(!any(connection, query).await?)
}

/// Whether no grant of this device lives in this role, as the writer sees it.
pub(super) async fn role_free(
    connection: &mut SqliteConnection,
    device: &DeviceId,
    (project, role): (&ProjectName, &RoleName),
) -> Result<bool, StoreError> {
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("SELECT 1 FROM grants WHERE device = ");
    query.push_bind(device.to_string()).push(" AND state NOT IN ('revoked', 'ended') AND project = ");
    query.push_bind(project.to_string()).push(" AND role = ").push_bind(role.to_string()).push(" LIMIT 1");
    Ok(!any(connection, query).await?)
}

/// Whether somebody has a grant in this project that is active and not over, as the writer sees it.
pub(super) async fn somebody(
    connection: &mut SqliteConnection,
    project: &ProjectName,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let statement = "SELECT 1 FROM grants WHERE project = $1 AND state = 'active' AND ends_at > $2 LIMIT 1";
    let query = sqlx::query(statement).bind(project.to_string()).bind(now.seconds());
    Ok(query.fetch_optional(connection).await.map_err(engine("look for records"))?.is_some())
}

async fn any<'c>(executor: impl SqliteExecutor<'c>, mut query: QueryBuilder<Sqlite>) -> Result<bool, StoreError> {
    let row = query.build().fetch_optional(executor).await.map_err(engine("look for records"))?;
    Ok(row.is_some())
}

#[cfg(test)]
mod tests {
    use super::Sort;
    use crate::{
        fixture::Made,
        store::{Find, GrantLife, Scope, SqliteStore},
    };

    #[tokio::test]
    async fn each_filter_narrows_and_the_order_and_the_limit_hold() {
        let made = Made::with_software().await;
        let device = made.client().await.id;
        made.pass(10);
        for name in ["carol", "bob", "alice"] {
            made.invited(name).await;
        }
        let store = &made.issuer.store;
        let whose = async |find: Find| -> Vec<String> {
            let grants = store.find_grants(&find).await.unwrap();
            grants.iter().map(|grant| format!("{} {}", grant.collaborator, grant.state)).collect()
        };
        let all = || Find::up_to(100);
        let by = |sort| Find { sort, ..all() };
        assert_eq!(whose(all()).await.len(), 4);
        assert_eq!(whose(by(Sort::Collaborator)).await[2..], ["bob requested", "carol requested"]);
        assert_eq!(whose(by(Sort::Until)).await[0], "alice active", "the one from ten seconds before");
        assert_eq!(whose(by(Sort::State)).await[0], "alice active");
        let mut sorted = store.find_grants(&by(Sort::Id)).await.unwrap();
        sorted.sort_by(|one, other| one.id.cmp(&other.id));
        let names: Vec<_> = sorted.iter().map(|grant| grant.id.clone()).collect();
        let found = store.find_grants(&by(Sort::Id)).await.unwrap();
        assert_eq!(found.iter().map(|grant| grant.id.clone()).collect::<Vec<_>>(), names);
        assert_eq!(whose(Find { limit: 3, ..all() }).await.len(), 3);
        assert_eq!(whose(Find { collaborator: "bob".parse().ok(), ..all() }).await, ["bob requested"]);
        assert_eq!(whose(Find { device: Some(device), ..all() }).await, ["alice active"]);
        let states = vec![GrantLife::Active.as_str(), GrantLife::Ended.as_str()];
        assert_eq!(whose(Find { states, ..all() }).await, ["alice active"]);
        assert_eq!(whose(Find { project: "gemini".parse().ok(), ..all() }).await, [""; 0]);
        assert_eq!(whose(Find { role: "reader".parse().ok(), ..all() }).await, [""; 0]);
        let both = Find { project: "apollo".parse().ok(), role: "developer".parse().ok(), ..all() };
        assert_eq!(whose(both).await.len(), 4);
        let invitations = store.find_invitations(&Find { collaborator: "bob".parse().ok(), ..all() }).await.unwrap();
        assert_eq!(invitations.len(), 1);
        let carried = Find { grant: Some(invitations[0].grant.clone()), ..all() };
        assert_eq!(store.find_invitations(&carried).await.unwrap()[0].id, invitations[0].id);
    }

    /// An older program writes the record alone, and may do so beside a newer one.
    #[tokio::test]
    async fn what_an_older_program_writes_is_found_too() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("s.db");
        drop(SqliteStore::open(&at, true).await.unwrap());
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&at);
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        let body = r#"{"id":"gr-aaaaaaaaaaaaaaaa","collaborator":"alice","project":"apollo","role":"reader","until":7,"state":"active","device":null}"#;
        let insert = sqlx::query("INSERT INTO grants (id, state, body) VALUES ('gr-aaaaaaaaaaaaaaaa', 'active', $1)");
        insert.bind(body).execute(&pool).await.unwrap();
        let device = sqlx::query("INSERT INTO devices (id, state, software, body) VALUES ('d', 'approved', 0, $1)");
        device.bind(r#"{"collaborator":"bob"}"#).execute(&pool).await.unwrap();
        let found = super::grants(&pool, &Find { collaborator: "alice".parse().ok(), ..Find::up_to(9) }).await.unwrap();
        assert_eq!(found.len(), 1);
        let row: (String, String, i64) =
            sqlx::query_as("SELECT project, role, ends_at FROM grants").fetch_one(&pool).await.unwrap();
        assert_eq!(row, ("apollo".to_owned(), "reader".to_owned(), 7));
        for name in ["alice", "bob"] {
            let scope = Scope::Collaborator(name.parse().unwrap());
            let left = !super::nothing_left(&mut pool.acquire().await.unwrap(), &scope).await.unwrap();
            assert!(left && super::knows(&pool, &scope).await.unwrap(), "{name}");
        }
    }
}
