//! What tokens were taken for, beside what is granted: read from the ledger's own events when somebody decides, so that no token pays for it.

use std::collections::BTreeMap;

use daypass_proto::{
    access_request::Wanted,
    authorization::{AuthorizationDetail, AuthorizationDetails},
    ledger::EventKind,
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
    let mut scopes: BTreeMap<Scope, Used> = BTreeMap::new();
    for scope in role.and_then(Result::ok).iter().flat_map(of) {
        scopes.entry(scope).or_default().granted = true;
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
        for scope in details.iter().flat_map(of) {
            let used = scopes.entry(scope).or_default();
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

fn of(details: &AuthorizationDetails) -> Vec<Scope> {
    fn each(locations: Vec<String>, actions: &[String]) -> Vec<Scope> {
        let of = |location: &String, action: &String| Scope { location: location.clone(), action: action.clone() };
        locations.iter().flat_map(|location| actions.iter().map(move |action| of(location, action))).collect()
    }
    fn words<T: ToString>(all: impl IntoIterator<Item = T>) -> Vec<String> {
        all.into_iter().map(|one| one.to_string()).collect()
    }
    let mut scopes: Vec<Scope> = details
        .iter()
        .flat_map(|detail| match detail {
            AuthorizationDetail::GitRepository(git) => each(words(git.locations()), &words(git.actions())),
            AuthorizationDetail::HttpApi(api) => each(words(api.locations()), &words(api.actions())),
        })
        .collect();
    scopes.sort();
    scopes.dedup();
    scopes
}
