//! Lists of the admin API: of what is theirs to see, by filters that stand in the query.

use std::collections::{BTreeMap, BTreeSet};

use daypass_proto::{
    access_request::{AccessRequest, RequestLife},
    admin_api::{self as api, LIST, Sort},
    arguments::word as known,
    enrolment::DeviceLife,
    ledger::EventKind,
    names::{Collaborator, DeviceId, ProjectName, RoleName},
    redaction::glimpse,
};
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;

use super::{
    Bootstrapped, Operation, Versioned, bootstraps,
    caller::Decider,
    error::AdminError,
    is_administrator,
    shown::{device_with, gate, grant, invitation, proposal},
    versions,
};
use crate::{
    commands::event_json,
    grant::{Among, Pages, Shown},
    issuer::Issuer,
    requests::describe,
    store::{Filter, Find, InvitationLife, ProposalLife, Side},
    until::{Edge, past},
};

/// How many grants are looked at for one list at most, where their state is one that time makes.
const LOOKED_AT: usize = 20_000;

/// The filters of a list. Each list knows some of them; the table of routes says which.
#[derive(Debug)]
pub(super) struct Which {
    collaborator: Option<Collaborator>,
    project: Option<ProjectName>,
    role: Option<RoleName>,
    device: Option<DeviceId>,
    state: Option<String>,
    sort: Sort,
    kind: Option<String>,
    since: Option<String>,
    until: Option<String>,
    after: Option<u64>,
    pub(super) dead: Option<bool>,
    limit: Option<u32>,
}

impl Which {
    pub(super) fn read(query: &str, known: &[&str]) -> Result<Self, AdminError> {
        let pairs: Vec<(String, String)> =
            url::form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name.into(), value.into())).collect();
        let mut seen = BTreeSet::new();
        for (name, _) in &pairs {
            if !known.contains(&name.as_str()) {
                return Err(AdminError::Malformed(format!(
                    "`{name}` is no filter of this list; it has {}",
                    known.join(", ")
                )));
            }
            if !seen.insert(name) {
                return Err(AdminError::Malformed(format!("`{name}` is there more than once")));
            }
        }
        let text = |name: &str| pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let which = Self {
            collaborator: parsed("collaborator", text("collaborator"))?,
            project: parsed("project", text("project"))?,
            role: parsed("role", text("role"))?,
            device: parsed("device", text("device"))?,
            state: text("state"),
            sort: parsed("sort", text("sort"))?.unwrap_or_default(),
            kind: text("kind"),
            since: text("since"),
            until: text("until"),
            after: parsed("after", text("after"))?,
            dead: parsed("dead", text("dead"))?,
            limit: parsed("limit", text("limit"))?,
        };
        match which.limit {
            Some(limit) if !(1..=LIST).contains(&limit) => {
                Err(AdminError::Malformed(format!("`limit` is a number from 1 to {LIST}")))
            }
            _ => Ok(which),
        }
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit.unwrap_or(LIST)
    }

    fn states<T: DeserializeOwned>(&self) -> Result<Vec<T>, AdminError> {
        let words = self.state.iter().flat_map(|states| states.split(','));
        words
            .map(|word| {
                known(word).map_err(|known| {
                    AdminError::Malformed(format!("`state`: `{}` is none here; {known}", glimpse(word)))
                })
            })
            .collect()
    }

    /// In which projects is looked: `None` is everywhere.
    fn projects(&self, decider: &Decider, operation: Operation) -> Result<Option<BTreeSet<ProjectName>>, AdminError> {
        match &self.project {
            Some(project) => {
                decider.standing.may_in(operation, project)?;
                Ok(Some(BTreeSet::from([project.clone()])))
            }
            None if decider.standing.everywhere(operation) => Ok(None),
            None => Ok(Some(decider.standing.projects.clone())),
        }
    }

    fn finds(&self, decider: &Decider, operation: Operation, states: &[&'static str]) -> Result<Vec<Find>, AdminError> {
        let find = |project| -> Result<Find, AdminError> {
            Ok(Find {
                collaborator: self.collaborator.clone(),
                project,
                role: self.role.clone(),
                device: self.device.clone(),
                states: states.to_vec(),
                sort: self.sort,
                ..Find::up_to(self.limit().saturating_add(1))
            })
        };
        match self.projects(decider, operation)? {
            None => Ok(vec![find(None)?]),
            Some(projects) => projects.into_iter().map(|project| find(Some(project))).collect(),
        }
    }

    pub(super) fn cut<T>(&self, mut items: Vec<T>) -> api::List<T> {
        let limit = usize::try_from(self.limit()).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        api::List { items, more }
    }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    name: &str,
    text: Option<String>,
) -> Result<Option<T>, AdminError> {
    let malformed = |error| AdminError::Malformed(format!("`{name}`: {error}"));
    text.map(|text| text.parse().map_err(|error: T::Err| malformed(error.to_string()))).transpose()
}

pub(super) async fn devices(
    issuer: &Issuer,
    decider: &Decider,
    query: &str,
) -> Result<api::List<api::Device>, AdminError> {
    let which = Which::read(query, &["collaborator", "project", "state", "limit"])?;
    let states: Vec<_> = which.states::<DeviceLife>()?.into_iter().map(DeviceLife::as_str).collect();
    let mut devices = BTreeMap::new();
    for find in which.finds(decider, Operation::DeviceList, &states)? {
        devices.extend(issuer.store.find_devices(&find).await?.into_iter().map(|device| (device.id.clone(), device)));
    }
    // By name, each once, and no more than are shown.
    let api::List { items, more } = which.cut(devices.into_values().collect());
    let mut found = Vec::with_capacity(items.len());
    for device in items {
        let grants = issuer.store.grants_of(&device.id).await?;
        found.push(device_with(issuer, &decider.standing, &device, &grants));
    }
    Ok(api::List { items: found, more })
}

pub(super) async fn grants(
    issuer: &Issuer,
    decider: &Decider,
    query: &str,
) -> Result<api::List<api::Grant>, AdminError> {
    let which = Which::read(query, &["collaborator", "project", "role", "device", "state", "sort", "limit"])?;
    let states = which.states::<Shown>()?;
    let (policy, now) = (issuer.policy(), issuer.environment.now());
    let mut pages = Pages::up_to(LOOKED_AT);
    let mut found = Vec::new();
    for find in which.finds(decider, Operation::GrantList, &[])? {
        for among in Among::of(&find, &states, now) {
            found.extend(pages.read(issuer.store.as_ref(), &policy, &among, now).await?);
        }
    }
    found.sort_by_cached_key(|it| it.place(which.sort));
    let mut found: Vec<_> = found.iter().map(|it| grant(issuer, it)).collect();
    if which.sort == Sort::State {
        // As it is shown, and not as the store has it.
        found.sort_by(|one, other| one.state.cmp(&other.state));
    }
    let api::List { items, more } = which.cut(found);
    Ok(api::List { items, more: more || pages.is_cut() })
}

pub(super) async fn invitations(
    issuer: &Issuer,
    decider: &Decider,
    query: &str,
) -> Result<api::List<api::Invitation>, AdminError> {
    let which = Which::read(query, &["collaborator", "project", "role", "state", "sort", "limit"])?;
    let states: Vec<_> = which.states::<InvitationLife>()?.into_iter().map(InvitationLife::as_str).collect();
    let now = issuer.environment.now();
    let mut found = Vec::new();
    for find in which.finds(decider, Operation::InvitationList, &states)? {
        found.extend(issuer.store.find_invitations(&find).await?.iter().map(|it| invitation(it, now)));
    }
    match which.sort {
        Sort::Id => found.sort_by(|one, other| one.invitation.cmp(&other.invitation)),
        Sort::Collaborator => found.sort_by(|one, other| one.collaborator.cmp(&other.collaborator)),
        Sort::Project => found.sort_by(|one, other| one.project.cmp(&other.project)),
        Sort::Role => found.sort_by(|one, other| one.role.cmp(&other.role)),
        Sort::State => found.sort_by(|one, other| one.state.cmp(&other.state)),
        Sort::Until => found.sort_by_key(|it| it.expires_at),
    }
    Ok(which.cut(found))
}

pub(super) async fn requests(
    issuer: &Issuer,
    decider: &Decider,
    query: &str,
) -> Result<api::List<AccessRequest>, AdminError> {
    let which = Which::read(query, &["collaborator", "project", "role", "device", "state", "sort", "limit"])?;
    let states: Vec<_> = which.states::<RequestLife>()?.into_iter().map(RequestLife::as_str).collect();
    let mut found = Vec::new();
    for find in which.finds(decider, Operation::RequestList, &states)? {
        found.extend(issuer.store.find_requests(&find).await?);
    }
    match which.sort {
        Sort::Id => found.sort_by(|one, other| one.id.cmp(&other.id)),
        Sort::Collaborator => found.sort_by(|one, other| one.collaborator.cmp(&other.collaborator)),
        Sort::Project => found.sort_by(|one, other| one.project.cmp(&other.project)),
        Sort::Role => found.sort_by(|one, other| one.role.cmp(&other.role)),
        Sort::State => found.sort_by_key(|it| it.state.as_str()),
        Sort::Until => found.sort_by_key(|it| it.until),
    }
    let api::List { items: found, more } = which.cut(found);
    let mut items = Vec::with_capacity(found.len());
    for request in found {
        items.push(describe(issuer, request).await?);
    }
    Ok(api::List { items, more })
}

pub(super) fn phases(issuer: &Issuer, decider: &Decider, query: &str) -> Result<api::List<api::Phase>, AdminError> {
    let (policy, now) = (issuer.policy(), issuer.environment.now());
    let projects = Which::read(query, &["project"])?.projects(decider, Operation::PhaseList)?;
    let seen = policy.projects().filter(|(name, _)| projects.as_ref().is_none_or(|in_these| in_these.contains(*name)));
    let items = seen.flat_map(|(name, project)| project.phases().map(move |(phase, times)| (name, phase, times)));
    let items = items.map(|(project, phase, times)| api::Phase {
        project: project.clone(),
        phase: phase.clone(),
        begins: times.begins,
        ends: times.ends,
        state: match times.begins {
            _ if times.ends <= now => "over",
            Some(begins) if begins > now => "ahead",
            _ => "running",
        }
        .to_owned(),
    });
    Ok(api::List { items: items.collect(), more: false })
}

pub(super) async fn gates(issuer: &Issuer) -> Result<api::List<api::Gate>, AdminError> {
    Ok(api::List { items: issuer.store.gates().await?.iter().map(gate).collect(), more: false })
}

pub(super) async fn policies(issuer: &Issuer) -> Result<api::Policies, AdminError> {
    let all = versions(issuer).await?;
    let newest = all.last().map(|found| found.version.number);
    let items = all.iter().map(|Versioned { version, by, by_device, proposal }| api::PolicyVersion {
        number: version.number,
        version: hex::encode(version.hash.0),
        at: version.at,
        files: version.files.len(),
        in_force: Some(version.number) == newest,
        by: by.clone(),
        by_device: by_device.clone(),
        proposal: proposal.clone(),
    });
    let mut waiting = Vec::new();
    for found in issuer.store.proposals().await?.iter().filter(|found| found.state == ProposalLife::Waiting) {
        waiting.push(proposal(issuer, found).await?);
    }
    Ok(api::Policies { items: items.collect(), waiting })
}

/// Everybody who administers, or will once a machine of theirs is approved.
pub(super) async fn administrators(issuer: &Issuer) -> Result<api::List<api::Administrator>, AdminError> {
    let (all, now) = (super::administrators(issuer).await?, issuer.environment.now());
    let mut made = bootstraps(issuer).await?;
    let items = all.iter().map(|(who, grants)| api::Administrator {
        collaborator: who.clone(),
        acting: grants.iter().any(|grant| is_administrator(grant, now)),
        grants: grants.iter().map(|it| grant(issuer, it)).collect(),
        bootstraps: made
            .remove(who)
            .unwrap_or_default()
            .into_iter()
            .map(|Bootstrapped { invitation, at, by, why, administrators }| api::Bootstrap {
                invitation,
                at,
                by,
                reason: why,
                administrators,
            })
            .collect(),
    });
    Ok(api::List { items: items.collect(), more: false })
}

pub(super) async fn proposals(issuer: &Issuer) -> Result<api::List<api::Proposal>, AdminError> {
    let mut items = Vec::new();
    for found in issuer.store.proposals().await? {
        items.push(proposal(issuer, &found).await?);
    }
    Ok(api::List { items, more: false })
}

/// Events with a number, oldest first. An owner sees what is about one of their projects.
pub(super) async fn events(
    issuer: &Issuer,
    decider: &Decider,
    query: &str,
) -> Result<api::List<api::Event>, AdminError> {
    let which = Which::read(query, &["collaborator", "project", "device", "kind", "since", "until", "after", "limit"])?;
    let project = match which.projects(decider, Operation::LedgerList)? {
        None => None,
        Some(projects) if projects.len() == 1 => projects.into_iter().next(),
        Some(_) => {
            return Err(AdminError::Malformed(
                "`project` is needed: they own more than one, and see one at a time".to_owned(),
            ));
        }
    };
    let now = issuer.environment.now();
    let zone = which.project.as_ref().map_or_else(TimeZone::system, |project| issuer.policy().zone(project));
    let moment = |name: &str, text: &Option<String>, edge| {
        let found = text.as_deref().map(|text| past(text, now, &zone, edge)).transpose();
        found.map_err(|error| AdminError::Malformed(format!("`{name}`: {error}")))
    };
    let filter = Filter {
        collaborator: which.collaborator.clone(),
        project,
        device: which.device.clone(),
        kind: parsed::<EventKind>("kind", which.kind.clone())?,
        kinds: Vec::new(),
        since: moment("since", &which.since, Edge::Begin)?,
        until: moment("until", &which.until, Edge::End)?,
    };
    let size = issuer.store.ledger().await?.map_or(0, |ledger| ledger.head.size());
    let span = issuer.store.span(&filter).await?;
    let first = which.after.map_or(0, |after| after.saturating_add(1));
    let within = span.start.max(first)..span.end.min(size);
    let found = issuer.store.listed(&filter, within, Side::First, which.limit().saturating_add(1)).await?;
    let events: Vec<api::Event> = found
        .into_iter()
        .map(|entry| {
            serde_json::from_value(event_json(entry)).map_err(|error| AdminError::Malformed(error.to_string()))
        })
        .collect::<Result<_, _>>()?;
    Ok(which.cut(events))
}
