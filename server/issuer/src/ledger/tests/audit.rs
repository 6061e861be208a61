//! What a dishonest operator does to a database with SQL, and what is said of it.

mod part;

use std::path::Path;

use daypass_proto::ledger::{
    api::Line,
    checkpoint::{CheckpointKey, VerifiedCheckpoint},
    tree::{Head, Tiles, extend},
};
use sqlx::{Row as _, SqliteConnection};

use super::{
    super::{
        audit::{ExportError, Finding, Judge, Report, audit_export, audit_store, certified_keys},
        export::export,
    },
    *,
};
use crate::store::SqliteStore;

/// The event that is touched.
const AT: u64 = 17;

/// An honest ledger over two tiles, with checkpoints of several sizes.
struct Honest {
    made: Made,
    size: u64,
    /// The sizes of its checkpoints.
    sizes: Vec<u64>,
}

impl Honest {
    async fn new() -> Self {
        let made = Made::new().await;
        let issuer = &made.issuer;
        catch_up(issuer).await;
        for round in 0..3 {
            made.pass(1);
            let all = (0..100).map(|number| issuer.store.decide(Decision::new(event(issuer, round * 100 + number))));
            let all: Vec<_> = all.collect();
            for decision in all {
                decision.await.unwrap();
            }
            catch_up(issuer).await;
        }
        let checkpoints = issuer.store.checkpoints(0, 100).await.unwrap();
        let sizes: Vec<_> = checkpoints.iter().map(|checkpoint| checkpoint.head.size()).collect();
        let size = issuer.store.ledger().await.unwrap().unwrap().head.size();
        assert!(sizes.len() == 4 && sizes[0] < AT && sizes.last() == Some(&size) && size > 256, "{sizes:?}");
        Self { made, size, sizes }
    }

    fn keys(&self) -> Vec<CheckpointKey> {
        self.made.issuer.keyring().checkpoint_keys().iter().map(|(key, _)| *key).collect()
    }

    /// The checkpoint of this size, as somebody kept it.
    async fn kept(&self, size: u64) -> VerifiedCheckpoint {
        let all = self.made.issuer.store.checkpoints(size, 1).await.unwrap();
        VerifiedCheckpoint::verify(all[0].note.as_ref().unwrap(), &all[0].origin, &self.keys()).unwrap()
    }

    /// A copy of the database after `sql`.
    async fn copy(&self, sql: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("copy.db");
        let mut connection = beside(&database(&self.made)).await;
        sqlx::query("VACUUM INTO $1").bind(copy.display().to_string()).execute(&mut connection).await.unwrap();
        let mut connection = beside(&copy).await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        (folder, copy)
    }

    async fn audit(&self, copy: &Path, kept: Vec<VerifiedCheckpoint>) -> Report {
        let store = SqliteStore::open_to_read(copy).await.unwrap();
        audit_store(&store, self.keys(), kept).await.unwrap()
    }

    /// What is found after `sql`.
    async fn findings(&self, sql: &str) -> Vec<Finding> {
        let (_folder, copy) = self.copy(sql).await;
        self.audit(&copy, Vec::new()).await.findings
    }
}

/// Moves everything from `AT` on by one.
fn shift(by: i64) -> String {
    format!(
        "UPDATE events SET sequence = -(sequence + 1000) WHERE sequence >= {AT}; \
         UPDATE events SET sequence = -sequence - 1000 + {by} WHERE sequence < 0; \
         UPDATE event_collaborators SET sequence = sequence + {by} WHERE sequence >= {AT};"
    )
}

/// A forged event's row.
fn forged(sequence: u64) -> String {
    let leaf = br#"{"at":1,"fields":{},"id":"AAAAAAAAAAAAAAAAAAAAAA","kind":"invited","personal":{},"v":1}"#;
    let hash = hex::encode(leaf_hash(leaf));
    format!(
        "INSERT INTO events (leaf_hash, sequence, kind, at, leaf) VALUES (x'{hash}', {sequence}, 'invited', 1, x'{}');",
        hex::encode(leaf)
    )
}

/// Another leaf in the place of `AT`, with its right hash beside it.
fn changed() -> String {
    format!("DELETE FROM events WHERE sequence = {AT}; {}", forged(AT))
}

#[tokio::test]
async fn an_honest_ledger_is_good_live_copied_and_exported() {
    let honest = Honest::new().await;
    let issuer = &honest.made.issuer;
    let live =
        audit_store(issuer.store.as_ref(), honest.keys(), vec![honest.kept(honest.sizes[1]).await]).await.unwrap();
    assert_eq!(live.findings, []);
    assert_eq!((live.events, live.covered, live.checkpoints), (honest.size, honest.size, 5));
    let (_folder, copy) = honest.copy("").await;
    assert_eq!(honest.audit(&copy, Vec::new()).await.findings, []);
    // A person is erased, and everything still holds.
    let (_folder, copy) = honest.copy("DELETE FROM personal_fields WHERE value LIKE 'person-1%'").await;
    let report = honest.audit(&copy, Vec::new()).await;
    assert_eq!((report.findings.len(), report.erased > 100), (0, true), "{report:?}");
    // What has no number yet is counted, and nothing is said of it.
    decide(issuer, 1).await;
    let live = audit_store(issuer.store.as_ref(), honest.keys(), Vec::new()).await.unwrap();
    assert_eq!((live.findings.len(), live.unnumbered), (0, 1));
}

#[tokio::test]
async fn the_first_event_that_was_touched_is_named() {
    let honest = Honest::new().await;
    let swap = format!(
        "UPDATE events SET sequence = -1 WHERE sequence = {AT}; UPDATE events SET sequence = {AT} WHERE sequence = 200; \
         UPDATE events SET sequence = 200 WHERE sequence = -1;"
    );
    let text = |sql: &str| {
        format!(
            "UPDATE events SET leaf = CAST(replace(CAST(leaf AS TEXT), '\"kind\"', '\"kinD\"') AS BLOB) WHERE {sql}"
        )
    };
    for (sql, found) in [
        (text(&format!("sequence = {AT}")), Finding::Changed(AT)),
        (text(&format!("sequence >= {AT}")), Finding::Changed(AT)),
        (changed(), Finding::Changed(AT)),
        (format!("DELETE FROM events WHERE sequence = {AT}"), Finding::Removed(AT)),
        (format!("DELETE FROM events WHERE sequence >= {AT}"), Finding::Removed(AT)),
        (format!("UPDATE events SET sequence = NULL WHERE sequence = {AT}"), Finding::Removed(AT)),
        (format!("DELETE FROM events WHERE sequence = {AT}; {}", shift(-1)), Finding::Removed(AT)),
        (format!("{} {}", shift(1), forged(AT)), Finding::Added(AT)),
        (forged(honest.size), Finding::Added(honest.size)),
        (forged(1 << 40), Finding::Added(1 << 40)),
        (swap, Finding::Reordered(AT)),
        (format!("UPDATE events SET sequence = 100000 WHERE sequence = {AT}"), Finding::Reordered(AT)),
    ] {
        let findings = honest.findings(&sql).await;
        assert_eq!(findings.first(), Some(&found), "{sql}\n{findings:?}");
    }
}

#[tokio::test]
async fn what_stands_beside_the_events_is_checked_too() {
    let honest = Honest::new().await;
    let field = |name: &str| Finding::Field { event: AT, field: name.to_owned() };
    let column = |field| Finding::Column { event: AT, field };
    let of = format!("(SELECT id FROM events WHERE sequence = {AT})");
    let size = honest.size;
    let checkpoint = |size, why: &str| Finding::Checkpoint { size, why: why.to_owned() };
    let first = honest.sizes[0];
    for (sql, found) in [
        (format!("UPDATE personal_fields SET value = 'mallory@example.com' WHERE event = {of}"), field("by")),
        (format!("UPDATE personal_fields SET salt = zeroblob(32) WHERE event = {of}"), field("by")),
        (
            format!("INSERT INTO personal_fields (event, name, salt, value) VALUES ({of}, 'more', x'', '')"),
            field("more"),
        ),
        (format!("UPDATE events SET kind = 'token_issued' WHERE sequence = {AT}"), column("kind")),
        (format!("UPDATE events SET at = 1 WHERE sequence = {AT}"), column("at")),
        (format!("UPDATE events SET device = 'dev-1' WHERE sequence = {AT}"), column("device")),
        (format!("UPDATE events SET project = 'apollo' WHERE sequence = {AT}"), column("project")),
        (format!("DELETE FROM event_collaborators WHERE sequence = {AT}"), column("collaborator")),
        // The stored tree: the events are all right, and it says so.
        (
            "UPDATE ledger_tiles SET hashes = zeroblob(length(hashes)) WHERE level = 0 AND tile = 0".into(),
            Finding::Tree { event: 0 },
        ),
        ("DELETE FROM ledger_tiles WHERE level = 0 AND tile = 0".into(), Finding::Tree { event: 0 }),
        (
            "UPDATE ledger_tiles SET hashes = zeroblob(32) WHERE level = 1".into(),
            Finding::Tile(daypass_proto::ledger::tree::TileId { level: 1, index: 0 }),
        ),
        ("UPDATE ledger SET root = zeroblob(32)".into(), Finding::Head),
        (format!("UPDATE ledger SET size = {}", size - 1), Finding::Size { said: size - 1, found: size }),
        (format!("UPDATE ledger SET size = {}", size + 1), Finding::Removed(size)),
        // However much it claims, the audit ends.
        (format!("UPDATE ledger SET size = {}", 1_u64 << 53), Finding::Removed(size)),
        // Checkpoints.
        (
            format!("UPDATE checkpoints SET root = zeroblob(32) WHERE size = {first}"),
            checkpoint(first, "says something else than the row that it stands in"),
        ),
        (
            format!(
                "UPDATE checkpoints SET note = replace(note, '\n{first}\n', '\n{}\n') WHERE size = {first}",
                first + 1
            ),
            checkpoint(first, "has a signature of a known checkpoint key that does not verify"),
        ),
        (format!("DELETE FROM checkpoints WHERE size = {size}"), checkpoint(size, "was promised, and is not there")),
        ("DELETE FROM checkpoints; UPDATE ledger SET promised = 0".into(), Finding::Unsigned),
    ] {
        let findings = honest.findings(&sql).await;
        assert!(findings.contains(&found), "{sql}\n{findings:?}");
    }
}

/// Computes the tree anew over the rows as they are now, with the size of the ledger and of its checkpoints where they still fit; with `sign`, all of
/// them are signed again, by the key that the operator has.
async fn rewrite(issuer: &Issuer, copy: &Path, sign: bool) {
    let mut connection: SqliteConnection = beside(copy).await;
    let rows = sqlx::query("SELECT leaf_hash FROM events WHERE sequence IS NOT NULL ORDER BY sequence");
    let rows = rows.fetch_all(&mut connection).await.unwrap();
    let hashes: Vec<[u8; 32]> = rows.iter().map(|row| row.get::<Vec<u8>, _>(0).try_into().unwrap()).collect();
    let extension = extend(&Head::empty(), &Tiles::default(), &hashes).unwrap();
    sqlx::raw_sql("DELETE FROM ledger_tiles").execute(&mut connection).await.unwrap();
    for (id, tile) in extension.tiles {
        sqlx::query("INSERT INTO ledger_tiles VALUES ($1, $2, $3)")
            .bind(i64::from(id.level))
            .bind(i64::try_from(id.index).unwrap())
            .bind(tile)
            .execute(&mut connection)
            .await
            .unwrap();
    }
    let size = i64::try_from(hashes.len()).unwrap();
    sqlx::query("UPDATE ledger SET size = $1, root = $2, promised = MIN(promised, $1)")
        .bind(size)
        .bind(extension.head.root().to_vec())
        .execute(&mut connection)
        .await
        .unwrap();
    if !sign {
        return;
    }
    let origin = issuer.store.ledger().await.unwrap().unwrap().origin;
    sqlx::query("DELETE FROM checkpoints WHERE size > $1").bind(size).execute(&mut connection).await.unwrap();
    let promised = "UPDATE ledger SET promised = (SELECT MAX(size) FROM checkpoints)";
    sqlx::raw_sql(promised).execute(&mut connection).await.unwrap();
    let rows = sqlx::query("SELECT size FROM checkpoints").fetch_all(&mut connection).await.unwrap();
    for row in rows {
        let covered: i64 = row.get(0);
        let head =
            extend(&Head::empty(), &Tiles::default(), &hashes[..usize::try_from(covered).unwrap()]).unwrap().head;
        let note = issuer.keyring().checkpoint().unwrap().sign(&origin, &head).unwrap();
        sqlx::query("UPDATE checkpoints SET root = $1, note = $2 WHERE size = $3")
            .bind(head.root().to_vec())
            .bind(note)
            .bind(covered)
            .execute(&mut connection)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_tree_that_was_computed_anew_is_found_by_the_checkpoints_in_it() {
    let honest = Honest::new().await;
    let (from, to) = (honest.sizes[0], honest.sizes[1]);
    for sql in [
        changed(),
        format!("DELETE FROM events WHERE sequence = {AT}; {}", shift(-1)),
        format!("{} {}", shift(1), forged(AT)),
    ] {
        let (_folder, copy) = honest.copy(&sql).await;
        rewrite(&honest.made.issuer, &copy, false).await;
        let findings = honest.audit(&copy, Vec::new()).await.findings;
        assert_eq!(findings.first(), Some(&Finding::Rewritten { from, to, kept: false }), "{sql}\n{findings:?}");
        assert!(from <= AT && AT < to);
    }
    let cut = honest.sizes[2] + 5;
    let (_folder, copy) = honest.copy(&format!("DELETE FROM events WHERE sequence >= {cut}")).await;
    rewrite(&honest.made.issuer, &copy, false).await;
    let findings = honest.audit(&copy, Vec::new()).await.findings;
    assert_eq!(
        findings.first(),
        Some(&Finding::Cut { from: honest.sizes[2], left: cut, signed: honest.size, kept: false }),
        "{findings:?}"
    );
}

#[tokio::test]
async fn a_tree_that_was_signed_again_is_found_by_whoever_kept_a_checkpoint() {
    let honest = Honest::new().await;
    let mut kept = Vec::new();
    for size in &honest.sizes {
        kept.push(honest.kept(*size).await);
    }
    let [before, first, .., last] = kept.as_slice() else { panic!() };
    for sql in [
        changed(),
        format!("DELETE FROM events WHERE sequence = {AT}; {}", shift(-1)),
        format!("{} {}", shift(1), forged(AT)),
    ] {
        let (_folder, copy) = honest.copy(&sql).await;
        rewrite(&honest.made.issuer, &copy, true).await;
        // Nothing in it is wrong: he has the key. Nor does it help to have kept what was signed before.
        assert_eq!(honest.audit(&copy, Vec::new()).await.findings, []);
        assert_eq!(honest.audit(&copy, vec![before.clone()]).await.findings, []);
        let removed = sql.starts_with("DELETE") && sql.contains("UPDATE");
        let (first_size, last_size) = (first.head().size(), last.head().size());
        let rewritten = |from, to| Finding::Rewritten { from, to, kept: true };
        for (kept, found) in [
            (vec![first.clone()], rewritten(0, first_size)),
            // It covers one event more than there are.
            (
                vec![last.clone()],
                if removed {
                    Finding::Cut { from: 0, left: last_size - 1, signed: last_size, kept: true }
                } else {
                    rewritten(0, last_size)
                },
            ),
            (vec![last.clone(), first.clone(), before.clone()], rewritten(before.head().size(), first_size)),
        ] {
            assert_eq!(honest.audit(&copy, kept).await.findings, [found], "{sql}");
        }
    }
    let (_folder, copy) = honest.copy(&format!("DELETE FROM events WHERE sequence >= {}", honest.size - 1)).await;
    rewrite(&honest.made.issuer, &copy, true).await;
    assert_eq!(honest.audit(&copy, Vec::new()).await.findings, []);
    let cut = Finding::Cut { from: 0, left: honest.size - 1, signed: honest.size, kept: true };
    assert_eq!(honest.audit(&copy, vec![last.clone()]).await.findings, [cut]);
}

#[tokio::test]
async fn a_ledger_that_was_begun_anew_says_so_to_whoever_kept_a_checkpoint() {
    let honest = Honest::new().await;
    let kept = honest.kept(honest.size).await;
    let sql = format!(
        "UPDATE ledger SET origin = 'localhost/ledger/new', promised = 0; DELETE FROM events WHERE sequence >= {}",
        honest.size - 1
    );
    let (_folder, copy) = honest.copy(&sql).await;
    rewrite(&honest.made.issuer, &copy, false).await;
    let findings = honest.audit(&copy, vec![kept]).await.findings;
    assert!(
        findings.contains(&Finding::Origin { kept: honest.kept(honest.size).await.origin().to_string() }),
        "{findings:?}"
    );
    assert!(
        findings.contains(&Finding::Cut { from: 0, left: honest.size - 1, signed: honest.size, kept: true }),
        "{findings:?}"
    );
}

#[tokio::test]
async fn an_export_stands_for_the_whole() {
    let honest = Honest::new().await;
    let issuer = &honest.made.issuer;
    let keyring = issuer.keyring();
    let mut bytes = Vec::new();
    assert_eq!(export(issuer.store.as_ref(), keyring.checkpoint_keys(), &mut bytes).await.unwrap(), honest.size);
    let lines: Vec<Line> =
        bytes.split_inclusive(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect();
    let audit = |lines: &[Line]| {
        let bytes: Vec<u8> =
            lines.iter().flat_map(|line| [serde_json::to_vec(line).unwrap(), vec![b'\n']].concat()).collect();
        audit_export::<ExportError>(&bytes[..], Judge::Pin(keyring.pin()), |_| Ok(Vec::new()))
    };
    let report = audit(&lines).unwrap();
    assert_eq!((report.findings.len(), report.events, report.checkpoints), (0, honest.size, 4), "{report:?}");
    assert!(
        matches!(audit_export::<ExportError>(&bytes[..], Judge::Keys(honest.keys()), |_| Ok(Vec::new())), Ok(report) if report.findings.is_empty())
    );
    let at = |lines: &[Line], number: u64| {
        lines.iter().position(|line| matches!(line, Line::Event(event) if event.sequence == number)).unwrap()
    };
    let touched = |touch: &dyn Fn(&mut Vec<Line>)| {
        let mut lines = lines.clone();
        touch(&mut lines);
        audit(&lines).unwrap().findings
    };
    let found = |findings: Vec<Finding>, finding: Finding| assert_eq!(findings.first(), Some(&finding), "{findings:?}");
    let place = at(&lines, AT);
    found(
        touched(&|lines| {
            let Some(Line::Event(event)) = lines.get_mut(place) else { panic!() };
            *event.leaf.0.last_mut().unwrap() ^= 1;
        }),
        Finding::Changed(AT),
    );
    found(touched(&|lines| drop(lines.remove(place))), Finding::Removed(AT));
    found(touched(&|lines| lines.swap(place, place + 3)), Finding::Reordered(AT));
    // Made to fit: the numbers and the tree's hashes too.
    let (from, to) = (honest.sizes[0], honest.sizes[1]);
    found(
        touched(&|lines| {
            let Some(Line::Event(event)) = lines.get_mut(place) else { panic!() };
            *event.leaf.0.last_mut().unwrap() ^= 1;
            event.hash.0 = leaf_hash(&event.leaf.0);
        }),
        Finding::Rewritten { from, to, kept: false },
    );
    found(
        touched(&|lines| {
            lines.remove(place);
            for line in lines {
                if let Line::Event(event) = line
                    && event.sequence > AT
                {
                    event.sequence -= 1;
                }
            }
        }),
        Finding::Cut { from, left: to - 1, signed: to, kept: false },
    );
    found(
        touched(&|lines| {
            let Some(Line::Event(event)) = lines.get_mut(place) else { panic!() };
            event.personal.get_mut("by").unwrap().value.push('x');
        }),
        Finding::Field { event: AT, field: "by".to_owned() },
    );
    // The end is cut off: the ledger's line says that there was more, or nothing does.
    let end = at(&lines, honest.sizes[2]);
    let findings = touched(&|lines| lines.truncate(end));
    assert_eq!(findings, [Finding::Size { said: honest.size, found: honest.sizes[2] }]);
}

#[tokio::test]
async fn what_cannot_be_audited_is_refused() {
    let honest = Honest::new().await;
    let keyring = honest.made.issuer.keyring();
    let mut bytes = Vec::new();
    export(honest.made.issuer.store.as_ref(), keyring.checkpoint_keys(), &mut bytes).await.unwrap();
    let read = |bytes: &[u8], pin| audit_export::<ExportError>(bytes, Judge::Pin(pin), |_| Ok(Vec::new())).unwrap_err();
    let foreign = Made::new().await.issuer.keyring().pin();
    assert!(matches!(read(&bytes, foreign), ExportError::Keys));
    assert!(certified_keys(honest.made.issuer.store.as_ref(), &foreign).await.unwrap().is_empty());
    assert!(matches!(read(b"", keyring.pin()), ExportError::Line { line: 1, .. }));
    assert!(matches!(read(&bytes[..bytes.len() - 1], keyring.pin()), ExportError::Line { .. }));
    let version = String::from_utf8(bytes.clone()).unwrap().replacen("\"version\":1", "\"version\":2", 1);
    assert!(matches!(read(version.as_bytes(), keyring.pin()), ExportError::Version(2)));
    let long = [&bytes[..bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1], &vec![b' '; 20 << 20]].concat();
    assert!(matches!(read(&long, keyring.pin()), ExportError::Line { line: 2, .. }));
    // A copy is opened to be read, and nothing else.
    let (_folder, copy) = honest.copy("").await;
    let store = SqliteStore::open_to_read(&copy).await.unwrap();
    assert!(store.decide(Decision::new(event(&honest.made.issuer, 1))).await.is_err());
}
