use std::sync::LazyLock;

use daypass_proto::ledger::Event;
use sqlx::Execute as _;

use super::*;
use crate::{
    fixture::Made,
    ledger::integrate,
    store::{Decision, SqliteStore},
};

const EVENTS: u64 = 20_000;

/// What a test needs to know of an event to say what fits it.
fn about(number: u64) -> (String, String, String, EventKind) {
    let kind = match number % 1000 {
        7 => EventKind::GrantEnded,
        _ => EventKind::GrantActivated,
    };
    (
        format!("dev-{:016}", number % 40),
        format!("project-{}", number % 3),
        format!("person-{}@example.com", number % 40 % 7),
        kind,
    )
}

fn event(made: &Made, number: u64) -> Event {
    let environment = &made.issuer.environment;
    let (device, project, collaborator, kind) = about(number);
    let event = environment.event(kind).text("device", device).text("project", project).text("grant", number);
    let event = event.text("role", "r").number("until", 1).text("policy", "");
    let event = environment.personal(environment.personal(event, "owner", "[]"), "collaborator", collaborator);
    if kind == EventKind::GrantActivated { environment.personal(event, "by", "olga") } else { event }
}

/// A ledger of so many events, one a second each hundred, whose clock is put back once.
async fn seeded() -> (Made, u64) {
    let made = Made::new().await;
    integrate(&made.issuer).await;
    let before = made.issuer.store.ledger().await.unwrap().unwrap().head.size();
    for first in (0..EVENTS).step_by(500) {
        if first == EVENTS / 2 {
            made.pass(-40);
        }
        let mut decision = Decision::default();
        for number in first..first + 500 {
            if number % 100 == 0 {
                made.pass(1);
            }
            decision = decision.event(event(&made, number));
        }
        made.issuer.store.decide(decision).await.unwrap();
    }
    integrate(&made.issuer).await;
    (made, before)
}

static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap());
static SEEDED: LazyLock<(Made, u64)> = LazyLock::new(|| RUNTIME.block_on(seeded()));

fn filters(made: &Made) -> Vec<Filter> {
    let all = Filter::default();
    let (device, project) = ("dev-0000000000000012".parse().ok(), "project-1".parse().ok());
    let collaborator = "person-5@example.com".parse().ok();
    let now = made.now();
    let (since, until) = (Some(now.plus(-130)), Some(now.plus(-60)));
    vec![
        Filter { device: device.clone(), ..all.clone() },
        Filter { project: project.clone(), ..all.clone() },
        Filter { collaborator: collaborator.clone(), ..all.clone() },
        Filter { kind: Some(EventKind::GrantEnded), ..all.clone() },
        Filter { kind: Some(EventKind::TokenIssued), ..all.clone() },
        Filter { since, ..all.clone() },
        Filter { until, ..all.clone() },
        Filter { since, until, ..all.clone() },
        Filter { since: Some(now.plus(1)), ..all.clone() },
        Filter { device: device.clone(), collaborator: collaborator.clone(), since, ..all.clone() },
        Filter { project: project.clone(), kind: Some(EventKind::GrantActivated), until, ..all.clone() },
        Filter { project: project.clone(), kinds: vec![EventKind::GrantEnded, EventKind::TokenIssued], ..all.clone() },
        Filter { device: device.clone(), kinds: vec![EventKind::GrantActivated], ..all.clone() },
        Filter {
            device,
            project,
            collaborator,
            kind: Some(EventKind::GrantActivated),
            kinds: Vec::new(),
            since,
            until,
        },
        all,
    ]
}

/// What fits, by looking at everything.
fn fits(filter: &Filter, entry: &Entry) -> bool {
    let leaf: serde_json::Value = serde_json::from_slice(&entry.leaf).unwrap();
    let field = |name: &str, wanted: Option<&str>| wanted.is_none_or(|wanted| leaf["fields"][name] == wanted);
    let who = entry.personal.get("collaborator").map(|(_, value)| value.as_str());
    field("device", filter.device.as_ref().map(|device| device.as_str()))
        && field("project", filter.project.as_ref().map(|project| project.as_str()))
        && filter.collaborator.as_ref().is_none_or(|wanted| who == Some(wanted.as_str()))
        && filter.kind.is_none_or(|kind| leaf["kind"] == kind.as_str())
        && (filter.kinds.is_empty() || filter.kinds.iter().any(|kind| leaf["kind"] == kind.as_str()))
        && filter.since.is_none_or(|since| entry.at >= since)
        && filter.until.is_none_or(|until| entry.at <= until)
}

/// All that fits, by pages from either end.
async fn paged(made: &Made, filter: &Filter, side: Side) -> Vec<Entry> {
    let store = &made.issuer.store;
    let (mut within, mut all) = (store.span(filter).await.unwrap(), Vec::new());
    loop {
        let mut page = store.listed(filter, within.clone(), side, 128).await.unwrap();
        match (page.first(), page.last(), side) {
            (_, Some(last), Side::First) => within.start = last.sequence + 1,
            (Some(first), _, Side::Last) => within.end = first.sequence,
            _ => return all,
        }
        match side {
            Side::First => all.append(&mut page),
            Side::Last => all.splice(0..0, page).for_each(drop),
        }
    }
}

#[test]
fn pages_from_either_end_have_what_fits_and_nothing_else() {
    let (made, before) = &*SEEDED;
    RUNTIME.block_on(async {
        let everything = made.issuer.store.entries(0, u32::MAX).await.unwrap();
        assert_eq!(everything.len() as u64, before + EVENTS);
        assert!(everything.is_sorted_by_key(|entry| entry.sequence) && !everything.is_sorted_by_key(|entry| entry.at));
        let mut some = 0;
        for filter in filters(made) {
            let expected: Vec<&Entry> = everything.iter().filter(|entry| fits(&filter, entry)).collect();
            for side in [Side::First, Side::Last] {
                let found = paged(made, &filter, side).await;
                let same = |(found, expected): (&Entry, &&Entry)| {
                    found.sequence == expected.sequence && found.personal == expected.personal
                };
                assert_eq!(found.len(), expected.len(), "{filter:?} {side:?}");
                assert!(found.iter().zip(&expected).all(same), "{filter:?} {side:?}");
            }
            some += usize::from(!expected.is_empty());
        }
        assert_eq!(some, filters(made).len() - 2, "all but the kind that there is none of, and the future");
    });
}

/// The engine's plan for a statement.
async fn plan(made: &Made, sql: &str) -> String {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&made.issuer.config.database).read_only(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"))).fetch_all(&pool).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>("detail")).collect::<Vec<_>>().join("\n")
}

#[test]
fn no_page_reads_everything_or_sorts() {
    let (made, _) = &*SEEDED;
    RUNTIME.block_on(async {
        let mut plans = vec![plan(made, ISSUING).await];
        for filter in filters(made) {
            for side in [Side::First, Side::Last] {
                let block = Along::of(&filter).in_blocks().then_some(0);
                let found = plan(made, statement(&filter, &(5..500), block, side, 10).build().sql().as_str()).await;
                if block.is_some() {
                    let blocks = plan(made, blocks_statement(&filter, &(5..500)).build().sql().as_str()).await;
                    let along = if filter.device.is_some() {
                        "events_by_device (<expr>=? AND device=?"
                    } else {
                        "PRIMARY KEY (block=? AND collaborator=?"
                    };
                    assert!(blocks.contains(along), "{filter:?}\n{blocks}");
                }
                let along = match Along::of(&filter) {
                    Along::Device => "events_by_device (<expr>=? AND device=? AND sequence>? AND sequence<?)",
                    Along::ToldToDevice => "events_told_to_device (device=? AND sequence>? AND sequence<?)",
                    Along::Kind => "events_by_kind (kind=? AND sequence>? AND sequence<?)",
                    Along::Project => "events_by_project (project=? AND sequence>? AND sequence<?)",
                    Along::Collaborator => "PRIMARY KEY (block=? AND collaborator=? AND sequence>? AND sequence<?)",
                    Along::Number => "(sequence>? AND sequence<?)",
                };
                assert!(found.contains(along), "{filter:?}\n{found}");
                plans.push(found);
            }
            if let Some(span) = span_statement(&filter).as_mut() {
                plans.push(plan(made, span.build().sql().as_str()).await);
            }
        }
        for plan in plans {
            assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{plan}");
        }
    });
}

#[test]
fn a_person_is_looked_for_by_indexes_and_is_no_longer_found_once_erased() {
    let made = Made::new();
    RUNTIME.block_on(async {
        let made = made.await;
        let mut decision = Decision::default();
        for number in 0..80 {
            decision = decision.event(event(&made, number));
        }
        made.issuer.store.decide(decision).await.unwrap();
        integrate(&made.issuer).await;
        let name: daypass_proto::names::Collaborator = "person-5@example.com".parse().unwrap();
        let filter = Filter { collaborator: Some(name.clone()), ..Filter::default() };
        let found = paged(&made, &filter, Side::First).await;
        assert!(found.len() > 5);
        let fields = made.issuer.store.traces(&name, made.now()).await.unwrap().fields;
        let erase = crate::store::Change::ErasePerson { name, fields, now: made.now() };
        let event = crate::fixture::event(&made.issuer.environment);
        made.issuer.store.decide(Decision::new(event).change(erase)).await.unwrap();
        assert!(paged(&made, &filter, Side::First).await.is_empty());
        // Pages that were divided keep in their unused space what was moved.
        let before = made.issuer.store.entries(0, 1000).await.unwrap();
        SqliteStore::compact(&made.issuer.config.database).await.unwrap();
        for suffix in ["", "-wal"] {
            let file = std::fs::read(daypass_service::beside(&made.issuer.config.database, suffix)).unwrap();
            assert!(!String::from_utf8_lossy(&file).contains("person-5@"), "nor by anybody who reads the file");
        }
        assert_eq!(made.issuer.store.entries(0, 1000).await.unwrap(), before);
        let of_device = Filter { device: found[0].device.as_ref().unwrap().parse().ok(), ..Filter::default() };
        assert!(!paged(&made, &of_device, Side::First).await.is_empty(), "the events stay");
    });
}
