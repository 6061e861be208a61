//! Issuing what was decided.

use daypass_proto::{
    authorization::AuthorizationDetails,
    caller::Evidence,
    encoding::{Fixed, base64url, sha256},
    jose::Header,
    ledger::{EventKind, Sealed},
    resource::Resource,
    token::{AccessTokenClaims, Confirmation, DaypassClaims, Protection, TYP},
};

use super::{
    decision::{Covered, Question},
    jti::new_jti,
    request::{Holder, TokenAnswer, TokenError},
};
use crate::{
    caller::ApprovedDevice,
    issuer::Issuer,
    ledger::Source,
    policy::Action,
    store::{Change, Decision, Grant, IssuedToken},
};

/// A request for a token, read and proven.
pub(super) struct Wanted<'a> {
    pub(super) holder: &'a Holder,
    pub(super) resource: &'a Resource,
    /// All that is granted at the resource, where nothing is named.
    pub(super) details: Option<AuthorizationDetails>,
    pub(super) source: &'a Source,
    pub(super) caller: Option<&'a Evidence>,
}

/// Issues a token: its event, its record and the memory of its proof commit together, before the answer leaves.
pub(super) async fn issue(
    issuer: &Issuer,
    approved: &ApprovedDevice,
    wanted: Wanted<'_>,
) -> Result<TokenAnswer, TokenError> {
    let Wanted { holder, resource, details, source, caller } = wanted;
    let (device, grants) = (approved.device(), approved.grants());
    let environment = &issuer.environment;
    let now = environment.now();
    let policy = issuer.policy();
    let Holder { proof, delegation } = holder;
    let protection = match delegation {
        _ if device.is_software() => Protection::Software,
        Some(_) => Protection::Delegated,
        None => Protection::Hardware,
    };
    let question = Question {
        action: Action::Issue,
        subject: device.subject(),
        grants,
        resource,
        asked: details.as_ref(),
        protection,
        delegated: delegation.is_some(),
        address: source.address(),
        now,
        caller,
        briefed: false,
    };
    let (covered, monitored) = question.decide(&policy)?;
    let lifetime = covered.lifetime(now);
    let Covered { grant, details, ends, uses_left, .. } = covered;
    let lifetime = delegation.as_ref().map_or(lifetime, |delegation| lifetime.min(delegation.expires_at().since(now)));
    let exp = now.plus(lifetime);
    let event = environment.event(EventKind::TokenIssued);
    let jti = new_jti(environment, event.at());
    let event = event
        .text("jti", &jti)
        .text("resource", resource)
        .text("jkt", proof.key().thumbprint())
        .number("exp", exp.seconds())
        .number("lifetime", lifetime)
        .structure("protection", &protection);
    let event = if monitored.is_empty() { event } else { event.structure("monitored", &monitored) };
    let event = match delegation {
        Some(delegation) => event.text("delegation", delegation.jti()),
        None => event,
    };
    let event = environment.asked(environment.of_grant(event, grant, &policy), source);
    let granted = serde_json::to_string(&details).unwrap_or_default();
    let event = environment.personal(event, "authorization_details", granted);
    // Paths tell of people. Nothing is said where the client reported nothing, as clients that are no agents do.
    let event = match caller {
        Some(caller) => environment.personal(event, "caller", serde_json::to_string(caller).unwrap_or_default()),
        None => event,
    };

    let mut claims = AccessTokenClaims {
        iss: issuer.config.issuer_url.clone(),
        sub: device.collaborator.clone(),
        aud: resource.clone(),
        client_id: device.id.client_id(),
        iat: now,
        nbf: now,
        exp,
        jti: jti.clone(),
        cnf: Confirmation::of(*proof.key()),
        authorization_details: details,
        daypass: DaypassClaims {
            device: device.id.clone(),
            grant: grant.id.clone(),
            grant_until: ends,
            project: grant.project.clone(),
            phase: grant.terms.phase.clone(),
            protection,
            posture: device.posture.clone(),
            leaf: Fixed([0; 32]),
        },
    };
    let event = Sealed::from(event.text("token_hash", base64url(&claims.hash())));
    claims.daypass.leaf = Fixed(*event.hash());
    let keyring = issuer.keyring();
    let key = keyring.signing(now).ok_or(TokenError::NoKey)?;
    let access_token = key.key.sign(&Header { typ: TYP, kid: Some(&key.record.kid), jwk: None }, &claims)?;

    let skew = issuer.config.skew;
    let mut decision = Decision::new(event).change(approved.as_seen(grant)).change(Change::RememberProof {
        id: sha256(&[proof.key().thumbprint().as_bytes(), b".", proof.jti().as_bytes()]),
        until: proof.remember_until(skew),
    });
    if uses_left.is_some() {
        // Of two at the same time, one finds the grant as it was seen, and the other looks again.
        let to = Grant { used: grant.used.saturating_add(1), ..Grant::clone(grant) };
        decision = decision.change(Change::Grant { to, from: grant.state });
    }
    if let Some(delegation) = delegation {
        let id = sha256(&[b"delegation.", device.proof.thumbprint().as_bytes(), b".", delegation.jti().as_bytes()]);
        decision = decision.change(Change::RememberProof { id, until: delegation.remember_until(skew) });
    }
    let token = IssuedToken {
        jti,
        device: device.id.clone(),
        grant: grant.id.clone(),
        resource: resource.clone(),
        expires_at: exp,
        revoked: false,
    };
    let decision = decision.change(Change::AddToken { token, now, most: issuer.config.tokens_per_device });
    issuer.store.decide(decision).await?;
    Ok(TokenAnswer {
        access_token,
        token_type: "DPoP",
        expires_in: lifetime,
        authorization_details: claims.authorization_details,
        daypass_uses_left: uses_left.map(|left| left.saturating_sub(1)),
    })
}
