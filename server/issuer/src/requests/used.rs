//! What was really used, beside what is granted: what gates counted of requests, and the tokens, read from the ledger's own events when somebody
//! decides, so that no token pays for it. A token is for a whole role; what was done with it, only a gate knows.

use std::collections::BTreeMap;

use daypass_proto::{
    access_request::Wanted,
    authorization::{AuthorizationDetail, AuthorizationDetails},
    ledger::EventKind,
    resource::{Repository, Resource},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    issuer::Issuer,
    store::{Filter, Grant, Request, Side, StoreError},
};

/// How many tokens are looked at, the newest ones.
const LOOKED_AT: u32 = 20_000;

/// One thing that is granted, or was used.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Scope {
    /// The repository or API.
    pub location: String,
    /// What may be done there.
    pub action: String,
}

/// How often.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Used {
    /// Whether the role gives it today.
    pub granted: bool,
    /// How many tokens were issued for it.
    pub tokens: u64,
    /// When the last one was.
    pub last: Option<Timestamp>,
    /// What gates let through of it; `None` where none of this resource reports.
    pub gates: Option<AtGates>,
}

/// What gates let through.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct AtGates {
    /// How many requests.
    pub requests: u64,
    /// When the last one was.
    pub last: Option<Timestamp>,
    /// When the first report about this resource came: what was before is not counted.
    pub since: Timestamp,
}

#[derive(Deserialize)]
struct Leaf {
    at: Timestamp,
    fields: Fields,
}

#[derive(Deserialize)]
struct Fields {
    grant: Option<String>,
}

/// Every scope that a grant gives today or gave a token for, with its use.
pub async fn used(issuer: &Issuer, grant: &Grant) -> Result<BTreeMap<Scope, Used>, StoreError> {
    let role = issuer.policy().role(&grant.project, &grant.role).map(|role| role.details_for(&grant.collaborator));
    let reported = reported(issuer).await?;
    let at_gates = |resource: Option<Resource>| {
        let since = reported.get(&resource?)?;
        Some(AtGates { requests: 0, last: None, since: *since })
    };
    let unused = |resource| Used { gates: at_gates(resource), ..Used::default() };
    let mut scopes: BTreeMap<Scope, Used> = BTreeMap::new();
    for (scope, resource) in role.and_then(Result::ok).iter().flat_map(of) {
        scopes.entry(scope).or_insert_with(|| unused(resource)).granted = true;
    }
    for counted in issuer.store.uses_of(&grant.id).await? {
        let resource = counted.location.parse().ok().map(|repository: Repository| repository.resource());
        let scope = Scope { location: counted.location, action: counted.action };
        if let Some(gates) = &mut scopes.entry(scope).or_insert_with(|| unused(resource)).gates {
            (gates.requests, gates.last) = (counted.count, Some(counted.last));
        }
    }
    let Some(device) = &grant.device else { return Ok(scopes) };
    let filter = Filter {
        device: Some(device.clone()),
        kind: Some(EventKind::TokenIssued),
        since: grant.made_at,
        ..Filter::default()
    };
    let span = issuer.store.span(&filter).await?;
    for entry in issuer.store.listed(&filter, span, Side::Last, LOOKED_AT).await? {
        let Ok(leaf) = serde_json::from_slice::<Leaf>(&entry.leaf) else { continue };
        if leaf.fields.grant.as_deref() != Some(grant.id.as_str()) {
            continue;
        }
        let details = entry.personal.get("authorization_details");
        let details = details.and_then(|(_, value)| serde_json::from_str::<AuthorizationDetails>(value).ok());
        for (scope, resource) in details.iter().flat_map(of) {
            let used = scopes.entry(scope).or_insert_with(|| unused(resource));
            used.tokens += 1;
            used.last = used.last.max(Some(leaf.at));
        }
    }
    Ok(scopes)
}

/// The grants by which it can be seen what is really used: the one that is to be extended, or all of the device in the project.
pub async fn beside(issuer: &Issuer, request: &Request) -> Result<Vec<(Grant, BTreeMap<Scope, Used>)>, StoreError> {
    let grants = match &request.what {
        Wanted::Extension { grant } => issuer.store.grant(grant).await?.into_iter().collect(),
        Wanted::Scopes { .. } => issuer.store.grants_of(&request.device).await?,
    };
    let mut beside = Vec::new();
    for grant in grants.into_iter().filter(|grant| grant.project == request.project) {
        let used = used(issuer, &grant).await?;
        beside.push((grant, used));
    }
    Ok(beside)
}

/// The resources of which gates say what they let through, and since when.
async fn reported(issuer: &Issuer) -> Result<BTreeMap<Resource, Timestamp>, StoreError> {
    let (gates, mut since) = (issuer.store.gates().await?, BTreeMap::new());
    for reporting in issuer.store.reporting().await? {
        let resources = gates.iter().find(|gate| gate.name == reporting.gate).map(|gate| gate.resources.clone());
        for resource in resources.unwrap_or_default() {
            since
                .entry(resource)
                .and_modify(|at: &mut Timestamp| *at = reporting.since.min(*at))
                .or_insert(reporting.since);
        }
    }
    Ok(since)
}

/// Each thing that is given; a repository with its resource, at whose gates it is used.
fn of(details: &AuthorizationDetails) -> Vec<(Scope, Option<Resource>)> {
    fn each(locations: Vec<(String, Option<Resource>)>, actions: Vec<String>) -> Vec<(Scope, Option<Resource>)> {
        let of = |(location, resource): &(String, Option<Resource>), action: &String| {
            (Scope { location: location.clone(), action: action.clone() }, resource.clone())
        };
        locations.iter().flat_map(|location| actions.iter().map(move |action| of(location, action))).collect()
    }
    fn words<T: ToString>(all: impl IntoIterator<Item = T>) -> Vec<String> {
        all.into_iter().map(|one| one.to_string()).collect()
    }
    let mut scopes: Vec<(Scope, Option<Resource>)> = details
        .iter()
        .flat_map(|detail| match detail {
            AuthorizationDetail::GitRepository(git) => {
                let repositories = git.locations().iter().map(|one| (one.to_string(), Some(one.resource())));
                each(repositories.collect(), words(git.actions()))
            }
            AuthorizationDetail::HttpApi(api) => {
                each(words(api.locations()).into_iter().map(|one| (one, None)).collect(), words(api.actions()))
            }
        })
        .collect();
    scopes.sort_by(|a, b| a.0.cmp(&b.0));
    scopes.dedup_by(|a, b| a.0 == b.0);
    scopes
}
