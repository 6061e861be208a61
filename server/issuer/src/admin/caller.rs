//! Who asks: an approved device, with a token for the admin API and a proof for this very request.
//!
//! The checks are those of a gate, in its order, by the same code in `proto`. The issuer asks its own store for the rest.

use std::collections::BTreeSet;

use axum::http::{HeaderMap, header};
use daypass_proto::{
    authorization::{HttpAccess, HttpMethod},
    dpop::{self, DpopError},
    encoding::sha256,
    names::ProjectName,
    token::{self, AccessTokenClaims},
};
use daypass_service::Peer;

use super::{Standing, error::AdminError, is_administrator};
use crate::{
    actor::Actor,
    caller::ApprovedDevice,
    issuer::Issuer,
    ledger::Source,
    policy::is_owner,
    store::{Change, Condition, DecideError, Decision, Grant},
    token::is_active,
};

/// Somebody whose token and proof are good here and now.
pub(super) struct Decider {
    pub(super) source: Source,
    pub(super) actor: Actor,
    pub(super) standing: Standing,
}

/// The person at a device, as the ledger names them.
pub(super) fn actor(device: &ApprovedDevice, peer: &Peer) -> Actor {
    let (collaborator, device) = (device.device().collaborator.clone(), device.device().id.clone());
    Actor::Person { collaborator, device, address: peer.address.ip() }
}

/// The one value of a header that must be there once.
fn only(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

impl Decider {
    /// Lets somebody in, who then may not do everything.
    pub(super) async fn admit(
        issuer: &Issuer,
        device: &ApprovedDevice,
        peer: &Peer,
        (method, path): (HttpMethod, &str),
        headers: &HeaderMap,
    ) -> Result<Self, AdminError> {
        let credential = only(headers, header::AUTHORIZATION).and_then(|value| value.split_once(' '));
        let token = credential.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("DPoP")).map(|(_, token)| token);
        let token = token.ok_or(AdminError::NoToken)?;
        let claims = verified(issuer, device, token)?;
        let proof = only(headers, header::HeaderName::from_static("dpop")).ok_or(AdminError::ProofHeader)?;
        let (now, skew) = (issuer.environment.now(), issuer.config.skew);
        let expected = dpop::Expected {
            method: &method.to_string(),
            url: &issuer.config.mtls_endpoint(path),
            token: Some((token, &claims.cnf.jwk)),
            now,
            skew,
        };
        let proof = dpop::verify(proof, &expected)?;
        if !is_active(issuer, &claims).await? {
            return Err(AdminError::Dead);
        }
        let path = path.parse().map_err(|_| AdminError::NotCovered)?;
        let access = HttpAccess { resource: &issuer.config.admin, method, path: &path };
        if !claims.authorization_details.allows(access) {
            return Err(AdminError::NotCovered);
        }
        // Whoever holds a proof that was used is told before anything is done. It decides nothing else, so it has no event.
        let id = sha256(&[proof.key().thumbprint().as_bytes(), b".", proof.jti().as_bytes()]);
        let remember = Change::RememberProof { id, until: proof.remember_until(skew) };
        issuer.store.decide(Decision::default().change(remember)).await.map_err(|error| match error {
            DecideError::Conflict(Condition::ProofIsNew) => AdminError::Replayed,
            other => AdminError::Decide(other),
        })?;
        let who = claims.sub.clone();
        // An owner by name, at a device that has an owner's grant there: a name alone is what an inviter said.
        let owned: BTreeSet<_> = issuer.policy().owned_by(&who);
        let here = |grant: &Grant| is_owner(&grant.role) && grant.is_in_force(now);
        let granted =
            |project: &ProjectName| device.grants().iter().any(|grant| here(grant) && grant.project == *project);
        let projects = owned.into_iter().filter(granted).collect();
        let administrator = device.grants().iter().any(|grant| is_administrator(grant, now));
        let actor = actor(device, peer);
        Ok(Self { source: actor.clone().into(), actor, standing: Standing { who, administrator, projects } })
    }
}

/// The claims of a token that was issued to this very device for the admin API.
fn verified(issuer: &Issuer, device: &ApprovedDevice, token: &str) -> Result<AccessTokenClaims, AdminError> {
    let now = issuer.environment.now();
    let keyring = issuer.keyring();
    let key = |kid: &str| keyring.public(kid, now);
    let expected = token::Expected {
        issuer: &issuer.config.issuer_url,
        resource: &issuer.config.admin,
        now,
        skew: issuer.config.skew,
        key: &key,
    };
    let claims = token::verify(token, &expected)?.claims().clone();
    if claims.client_id != device.device().id.client_id() || claims.sub != device.device().collaborator {
        return Err(AdminError::OtherDevice);
    }
    Ok(claims)
}

impl From<DpopError> for AdminError {
    fn from(error: DpopError) -> Self {
        Self::Proof(error)
    }
}
