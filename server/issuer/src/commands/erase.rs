//! `daypass-issuer ledger erase-person`: removes a person from the ledger, which still verifies.

use daypass_proto::{ledger::EventKind, names::Collaborator};

use serde_json::json;

use super::{
    CommandError,
    arguments::reason,
    operator,
    output::{json as print_json, line},
};
use crate::{
    issuer::Issuer,
    store::{Change, Decision},
};

/// Options of `erase-person`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whom: a collaborator's name, as in their invitation.
    name: Collaborator,
    /// Why, for the ledger. Do not name them.
    #[arg(long, value_parser = reason)]
    reason: Option<String>,
    /// Erase; nothing brings it back.
    #[arg(long)]
    yes: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(issuer: &Issuer, args: Args) -> Result<(), CommandError> {
    let fields = erase(issuer, &args, &operator()).await?;
    if args.json {
        return print_json(&json!({"erased_fields": fields}));
    }
    line(format!("erased {fields} personal fields from the ledger, which verifies as before"))?;
    line("unused space of the store's file may have some of it until `daypass-issuer ledger compact`")?;
    line(
        "records of devices, grants, invitations and of what they approved keep the name, and so do policies that name them, backups, exports and logs",
    )
}

async fn erase(issuer: &Issuer, args: &Args, by: &str) -> Result<u64, CommandError> {
    let now = issuer.environment.now();
    let traces = issuer.store.traces(&args.name, now).await?;
    if !traces.live.is_empty() {
        return Err(CommandError::StillLive(args.name.clone(), traces.live.join(", ")));
    }
    if traces.fields == 0 {
        return Err(CommandError::NoTraces(args.name.clone()));
    }
    if !args.yes {
        return Err(CommandError::EraseUnconfirmed(traces.fields));
    }
    let environment = &issuer.environment;
    let event = environment.event(EventKind::PersonErased).structure("erased_fields", &traces.fields);
    let event = environment.personal(event, "by", by);
    let event = match &args.reason {
        Some(reason) => environment.personal(event, "why", reason),
        None => event,
    };
    let change = Change::ErasePerson { name: args.name.clone(), fields: traces.fields, now };
    issuer.store.decide(Decision::new(event).change(change)).await?;
    Ok(traces.fields)
}

#[cfg(test)]
mod tests {
    use daypass_proto::{
        access_request::{Ask, Wanted},
        encoding::Fixed,
        names::ProposalId,
    };

    use super::*;
    use crate::{
        actor::Actor,
        device::{Verb, decide_life},
        ending::{end_everything, look},
        fixture::Made,
        ledger::{Source, audit::audit_store, integrate},
        requests::{ask, lapse},
        store::{DecideError, LedgerStore as _, Proposal, ProposalLife, Scope, SqliteStore, Store as _},
    };

    fn args(name: &str, yes: bool) -> Args {
        Args { name: name.parse().unwrap(), reason: Some("asked to be forgotten".to_owned()), yes, json: false }
    }

    async fn revoke(made: &Made, id: &daypass_proto::names::DeviceId) {
        let source = Source::from(Actor::account("olga"));
        decide_life(&made.issuer, id, Verb::Revoke, &source, None, Some("alice left")).await.unwrap();
    }

    #[tokio::test]
    async fn a_person_is_gone_from_every_event_and_the_tree_verifies() {
        let made = Made::with_software().await;
        let issuer = &made.issuer;
        let device = made.client().await;
        revoke(&made, &device.id).await;
        integrate(issuer).await;
        let fields = erase(issuer, &args("alice", true), "otto").await.unwrap();
        integrate(issuer).await;
        let mut erased = 0;
        for entry in issuer.store.entries(0, 100).await.unwrap() {
            let leaf: serde_json::Value = serde_json::from_slice(&entry.leaf).unwrap();
            let about = ["device", "grant"].iter().any(|name| leaf["fields"].get(name).is_some());
            for (name, (_, value)) in &entry.personal {
                assert!(!value.contains("alice"), "{} still has {name}", entry.kind);
                assert!(!about || matches!(name.as_str(), "by" | "owner"), "{} still has {name}", entry.kind);
            }
            erased += leaf["personal"].as_object().unwrap().len() - entry.personal.len();
            if entry.kind == "person_erased" {
                assert_eq!(leaf["fields"], serde_json::json!({"erased_fields": fields}), "and it does not say who");
            }
        }
        assert!(fields >= 5 && erased as u64 == fields, "{fields} {erased}");
        let keys = issuer.keyring().checkpoint_keys().iter().map(|(key, _)| *key).collect();
        let report = audit_store(issuer.store.as_ref(), keys, Vec::new()).await.unwrap();
        assert_eq!((report.findings, report.erased), (Vec::new(), fields));
        let again = erase(issuer, &args("alice", true), "otto").await;
        assert!(matches!(again, Err(CommandError::NoTraces(_))));
    }

    #[tokio::test]
    async fn whoever_answered_for_a_project_is_erased_from_its_lists_and_nobody_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("s.db"), true).await.unwrap();
        let environment = crate::clock::Environment::system();
        let owned = |owners: &str| {
            let event =
                environment.event(EventKind::GrantEnded).text("grant", "g").text("project", "p").text("role", "r");
            let event = event.number("until", 1).text("policy", "0");
            let event = environment.personal(event, "collaborator", "alice");
            environment.personal(event, "owner", owners)
        };
        for owners in [r#"["olga"]"#, r#"["otto","olga"]"#, r#"["olgaf"]"#, "[]", r#"["otto"]"#, r#"["otto","olga"]"#] {
            store.decide(Decision::new(owned(owners))).await.unwrap();
        }
        let traces = async |name: &str| store.traces(&name.parse().unwrap(), environment.now()).await.unwrap().fields;
        assert_eq!((traces("olga").await, traces("otto").await, traces("alice").await), (3, 3, 6));
        let change = Change::ErasePerson { name: "olga".parse().unwrap(), fields: 3, now: environment.now() };
        store.decide(Decision::new(crate::fixture::event(&environment)).change(change)).await.unwrap();
        assert_eq!((traces("olga").await, traces("otto").await, traces("alice").await), (0, 1, 6));
    }

    #[tokio::test]
    async fn whoever_lost_something_with_others_is_erased_from_their_list() {
        let made = Made::new().await;
        let issuer = &made.issuer;
        for name in ["alice", "alicia", "bob"] {
            made.invited(name).await;
        }
        let scope = Scope::Project("apollo".parse().unwrap());
        let ending = look(issuer, scope).await.unwrap();
        end_everything(issuer, ending, &Source::from(Actor::account("olga")), "over").await.unwrap();
        let named = async || {
            let entries = issuer.store.entries(0, 100).await.unwrap();
            let event = entries.into_iter().find(|entry| entry.kind == "everything_ended").unwrap();
            event.personal.get("collaborators").map(|(_, value)| value.clone())
        };
        // With its number and without.
        let counted = async |name: &str| issuer.store.traces(&name.parse().unwrap(), made.now()).await.unwrap().fields;
        let before = (counted("bob").await, counted("ali").await);
        integrate(issuer).await;
        assert_eq!((counted("bob").await, counted("ali").await), before);
        assert!(before.0 > 0 && before.1 == 0, "{before:?}");
        assert_eq!(named().await.unwrap(), r#"["alice","alicia","bob"]"#);
        erase(issuer, &args("bob", true), "otto").await.unwrap();
        assert_eq!((named().await, counted("bob").await), (None, 0));
    }

    #[tokio::test]
    async fn nobody_is_erased_who_still_has_something_or_by_mistake() {
        let made = Made::with_software().await;
        let issuer = &made.issuer;
        let device = made.client().await;
        let refused = erase(issuer, &args("alice", true), "otto").await;
        assert!(
            matches!(&refused, Err(CommandError::StillLive(_, what)) if what.contains(&device.id.to_string()) && what.contains("grant gr-")),
            "{refused:?}"
        );
        // The writer looks for itself: somebody could be invited in between.
        let change = |fields| Change::ErasePerson { name: "alice".parse().unwrap(), fields, now: made.now() };
        let counted = issuer.store.traces(&"alice".parse().unwrap(), made.now()).await.unwrap().fields;
        let event = || crate::fixture::event(&issuer.environment);
        let decided = issuer.store.decide(Decision::new(event()).change(change(counted))).await;
        assert!(matches!(decided, Err(DecideError::Conflict(_))));
        let what = Wanted::Scopes { project: "apollo".parse().unwrap(), role: "reader".parse().unwrap() };
        let asked = Ask { what, until: None, reason: "alice@home".to_owned() };
        let request = ask(issuer, &device, &asked, &Source::Address([192, 0, 2, 7].into())).await.unwrap();
        revoke(&made, &device.id).await;
        let waits = erase(issuer, &args("alice", true), "otto").await;
        assert!(matches!(&waits, Err(CommandError::StillLive(_, what)) if *what == format!("request {}", request.id)));
        lapse(issuer).await.unwrap();
        let unsure = erase(issuer, &args("alice", false), "otto").await;
        assert!(matches!(unsure, Err(CommandError::EraseUnconfirmed(_))));
        let stale = issuer.store.decide(Decision::new(event()).change(change(counted))).await;
        assert!(matches!(stale, Err(DecideError::Conflict(_))), "there is more by now than was counted");
        assert!(issuer.store.traces(&"alice".parse().unwrap(), made.now()).await.unwrap().fields > counted);
        erase(issuer, &args("alice", true), "otto").await.unwrap();
        assert!(issuer.store.request(&request.id).await.unwrap().is_none());
        assert!(issuer.store.approvals(request.id.as_str()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn whoever_brought_a_policy_is_erased_from_it_once_it_waits_no_more() {
        let made = Made::new().await;
        let (store, environment) = (&made.issuer.store, &made.issuer.environment);
        let name: Collaborator = "ada@example.com".parse().unwrap();
        let proposal = Proposal {
            id: ProposalId::from_random([1; 10]),
            state: ProposalLife::Waiting,
            hash: Fixed([1; 32]),
            base: 1,
            at: made.now(),
            by: Some(name.clone()),
            guarded: Vec::new(),
            files: crate::policy::Files::default(),
        };
        let event = environment.personal(crate::fixture::event(environment), "by", &name);
        let add = Decision::new(event).change(Change::AddProposal(proposal.clone()));
        store.decide(add).await.unwrap();
        let waits = erase(&made.issuer, &args(name.as_str(), true), "otto").await;
        assert!(
            matches!(&waits, Err(CommandError::StillLive(_, what)) if what.contains(proposal.id.as_str())),
            "who brought it must not confirm it: {waits:?}"
        );
        let to = Proposal { state: ProposalLife::Withdrawn, ..proposal.clone() };
        let withdraw = Decision::new(crate::fixture::event(environment)).change(Change::Proposal(to.clone()));
        store.decide(withdraw).await.unwrap();
        erase(&made.issuer, &args(name.as_str(), true), "otto").await.unwrap();
        assert_eq!(store.proposal(&proposal.id).await.unwrap().unwrap(), Proposal { by: None, ..to });
    }

    #[tokio::test]
    async fn what_was_erased_is_not_in_the_file_either() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("s.db");
        let store = SqliteStore::open(&at, true).await.unwrap();
        let environment = crate::clock::Environment::system();
        let name: Collaborator = "zebulon.q@example.com".parse().unwrap();
        let event = environment.personal(crate::fixture::event(&environment), "by", &name);
        store.decide(Decision::new(event)).await.unwrap();
        let is_there = |suffix| {
            let file = std::fs::read(daypass_service::beside(&at, suffix)).unwrap();
            String::from_utf8_lossy(&file).contains(name.as_str())
        };
        assert!(is_there("-wal"));
        let change = |fields| Change::ErasePerson { name: name.clone(), fields, now: environment.now() };
        store.decide(Decision::new(crate::fixture::event(&environment)).change(change(1))).await.unwrap();
        assert!(!is_there("") && !is_there("-wal"));
    }
}
