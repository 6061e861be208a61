//! Who is asking, and with what right: the token, the proof, the nonce, the replay memory and the issuer's word, in this order.
//!
//! An [`Authenticated`] exists only behind all of them. What it allows is asked next, of `proto`.

use std::{fmt, net::IpAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use daypass_proto::{
    dpop::{self, DpopError},
    encoding::sha256,
    oauth_error::Reason,
    presentation::{self, BASIC_USERNAME, PresentationError, SCHEME},
    time::Timestamp,
    token::{AccessTokenClaims, Expected, Protection, TokenError, VerifiedToken},
};
use http::{HeaderMap, HeaderValue, header};
use thiserror::Error;

use crate::{
    gate::Gate,
    nonce::{NonceError, Scope},
    replay::{ReplayError, Use},
    route::Route,
    trust::{Freshness, Moment},
};

/// Why nobody was authenticated.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum AuthenticationError {
    /// No credential came along: the first request of every git command.
    #[error("this repository needs a Daypass credential; run `daypass status` to see what this machine may do")]
    Missing,
    /// Several `Authorization` headers, or one that does not read.
    #[error("the `Authorization` header does not read")]
    Malformed,
    /// A username that is not ours.
    #[error("the username must be `{BASIC_USERNAME}`: another credential helper answered; run `daypass doctor`")]
    Username,
    /// RFC 9449 section 7.2.
    #[error("a bound token was sent as a plain bearer token; send it with a proof")]
    Bearer,
    /// A scheme that is not served.
    #[error("the authentication scheme is not served here")]
    Scheme,
    /// The presentation, or the token in it.
    #[error(transparent)]
    Presentation(#[from] PresentationError),
    /// The token beside a DPoP proof.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Not exactly one proof.
    #[error("exactly one `DPoP` header is needed")]
    ProofHeader,
    /// The proof.
    #[error(transparent)]
    Proof(#[from] DpopError),
    /// No nonce in the proof.
    #[error("the DPoP proof has no nonce; take the one of this answer")]
    NoNonce,
    /// The nonce.
    #[error(transparent)]
    Nonce(#[from] NonceError),
    /// It was used.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// Keys in a file.
    #[error("the token's keys are software keys, and this gate takes none")]
    Software,
    /// Keys in an agent's memory.
    #[error(
        "the token's key is a delegated one, and this gate takes proofs of the TPM only; ask for a token with `hardware` protection"
    )]
    Delegated,
    /// The issuer said that it is dead.
    #[error("the access was ended: {}", reason_text(*.0))]
    Dead(Reason),
    /// The issuer has not been heard.
    #[error("this gate has not heard from the issuer since {0}")]
    Unheard(Silence),
    /// The issuer does not let this gate guard what was asked for.
    #[error("the issuer has not registered this gate for this resource")]
    NotGuarded,
}

/// Since when the issuer has been silent, and why where that is the clocks' fault: nothing that strangers must not know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Silence {
    since: Option<Timestamp>,
    wrong_time: Option<String>,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.since {
            Some(since) => write!(f, "{since}")?,
            None => f.write_str("its start")?,
        }
        f.write_str(", and lets nobody pass unheard; ")?;
        match &self.wrong_time {
            Some(wrong) => write!(f, "{wrong}: one of the two clocks is wrong, tell whoever runs the gate"),
            None => f.write_str("try again shortly"),
        }
    }
}

const fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::DeviceSuspended => "the device is suspended; ask an owner of the project",
        Reason::DeviceRevoked => "the device is revoked; ask an owner of the project",
        Reason::GrantEnded => "the grant has ended, or is held back; ask an owner of the project",
        Reason::SoftwareKeysOff => "software keys were switched off",
        _ => "the token was revoked",
    }
}

/// Somebody whose token, proof and nonce are good here and now.
#[derive(Debug)]
pub struct Authenticated(VerifiedToken);

impl Authenticated {
    /// The token's claims.
    pub fn claims(&self) -> &AccessTokenClaims {
        self.0.claims()
    }
}

enum Credential {
    Presentation(String),
    Dpop(String),
}

/// Whether the client uses DPoP. Such a client is an OAuth client, and is answered as RFC 9449 and RFC 6750 have it.
pub fn uses_dpop(headers: &HeaderMap) -> bool {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.split_once(' ')).is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("DPoP"))
}

fn credential(headers: &HeaderMap) -> Result<Credential, AuthenticationError> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (all.next(), all.next()) {
        (None, _) => return Err(AuthenticationError::Missing),
        (Some(value), None) => value.to_str().map_err(|_| AuthenticationError::Malformed)?,
        (Some(_), Some(_)) => return Err(AuthenticationError::Malformed),
    };
    let (scheme, rest) = value.split_once(' ').ok_or(AuthenticationError::Malformed)?;
    if scheme.eq_ignore_ascii_case(SCHEME) {
        Ok(Credential::Presentation(rest.to_owned()))
    } else if scheme.eq_ignore_ascii_case("Basic") {
        let decoded = STANDARD.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.ok_or(AuthenticationError::Malformed)?;
        match decoded.split_once(':') {
            Some((BASIC_USERNAME, password)) => Ok(Credential::Presentation(password.to_owned())),
            _ => Err(AuthenticationError::Username),
        }
    } else if scheme.eq_ignore_ascii_case("DPoP") {
        Ok(Credential::Dpop(rest.to_owned()))
    } else if scheme.eq_ignore_ascii_case("Bearer") {
        Err(AuthenticationError::Bearer)
    } else {
        Err(AuthenticationError::Scheme)
    }
}

/// Whether the issuer was heard of late.
fn heard(gate: &Gate) -> Result<(), AuthenticationError> {
    let since = match gate.view().freshness(gate.moment(), gate.config().feed_max_age) {
        Freshness::Fresh => return Ok(()),
        Freshness::Never => None,
        Freshness::Stale(heard) => Some(heard),
    };
    Err(AuthenticationError::Unheard(Silence { since, wrong_time: gate.view().wrong_time() }))
}

/// Whether the hard end of a token's grant has come, for something that was begun at `begun`: by the gate's own clocks, whatever the issuer
/// has said meanwhile, and without a skew.
fn grant_is_over(claims: &AccessTokenClaims, begun: Moment, now: Moment) -> bool {
    let until = claims.daypass.grant_until;
    until <= now.at || until.since(begun.at) <= now.since_boot.saturating_sub(begun.since_boot)
}

/// Whether a token that was authenticated at `begun` may be used now, whatever its own end says: by its grant's hard end, and by the issuer's
/// newest word.
pub fn still_good(gate: &Gate, claims: &AccessTokenClaims, begun: Moment) -> Result<(), AuthenticationError> {
    heard(gate)?;
    if grant_is_over(claims, begun, gate.moment()) {
        return Err(AuthenticationError::Dead(Reason::GrantEnded));
    }
    if !gate.view().guards(&claims.aud) {
        return Err(AuthenticationError::NotGuarded);
    }
    match gate.view().dead(claims) {
        Some(reason) => Err(AuthenticationError::Dead(reason)),
        None => Ok(()),
    }
}

/// Authenticates a routed request.
pub async fn authenticate(
    gate: &Gate,
    route: &Route,
    method: &str,
    headers: &HeaderMap,
    client: IpAddr,
    target: &str,
) -> Result<Authenticated, AuthenticationError> {
    heard(gate)?;
    if !gate.view().guards(&route.resource) {
        return Err(AuthenticationError::NotGuarded);
    }
    let credential = credential(headers)?;
    let (Credential::Presentation(text) | Credential::Dpop(text)) = &credential;
    gate.know_key_of(text).await;
    // From here on nothing is waited for: what is good now is good when it is said.
    let now = gate.moment();
    let token = match credential {
        Credential::Presentation(text) => present(gate, route, &text, client, now)?,
        Credential::Dpop(token) => prove(gate, route, &token, method, headers, client, target, now)?,
    };
    let claims = token.claims();
    if claims.daypass.protection == Protection::Software && !gate.config().allow_software_keys {
        return Err(AuthenticationError::Software);
    }
    if claims.daypass.protection == Protection::Delegated && gate.config().require_hardware_proofs {
        return Err(AuthenticationError::Delegated);
    }
    still_good(gate, claims, now)?;
    Ok(Authenticated(token))
}

fn with_expected<T>(gate: &Gate, route: &Route, now: Moment, check: impl FnOnce(&Expected<'_>) -> T) -> T {
    let key = |kid: &str| gate.view().key(kid);
    check(&Expected {
        issuer: gate.issuer(),
        resource: &route.resource,
        now: now.at,
        skew: gate.config().skew,
        key: &key,
    })
}

fn present(
    gate: &Gate,
    route: &Route,
    text: &str,
    client: IpAddr,
    now: Moment,
) -> Result<VerifiedToken, AuthenticationError> {
    let verified = with_expected(gate, route, now, |expected| presentation::verify(text, &route.repository, expected))?;
    let scope = Scope::Presentation(route.repository.as_str());
    let nonce_age = gate.nonces().age(verified.nonce(), scope, client, now)?;
    let claims = verified.token().claims();
    let until = claims.exp.plus(2 * gate.config().skew.seconds());
    let using = Use { id: verified.hash(), device: &claims.daypass.device, nonce_age, until };
    gate.replay().presentation(using, route.endpoint.service(), now)?;
    Ok(verified.token().clone())
}

#[expect(clippy::too_many_arguments, reason = "each is a different part of one request")]
fn prove(
    gate: &Gate,
    route: &Route,
    text: &str,
    method: &str,
    headers: &HeaderMap,
    client: IpAddr,
    target: &str,
    now: Moment,
) -> Result<VerifiedToken, AuthenticationError> {
    let token = with_expected(gate, route, now, |expected| daypass_proto::token::verify(text, expected))?;
    let mut proofs = headers.get_all("dpop").iter();
    let (Some(proof), None) = (proofs.next(), proofs.next()) else { return Err(AuthenticationError::ProofHeader) };
    let proof = HeaderValue::to_str(proof).map_err(|_| AuthenticationError::ProofHeader)?;
    let url = format!("{}{target}", route.resource.origin());
    let skew = gate.config().skew;
    let expected =
        dpop::Expected { method, url: &url, token: Some((text, &token.claims().cnf.jwk)), now: now.at, skew };
    let proof = dpop::verify(proof, &expected)?;
    let nonce = proof.nonce().ok_or(AuthenticationError::NoNonce)?;
    let nonce_age = gate.nonces().age(nonce, Scope::Dpop(route.resource.as_str()), client, now)?;
    let id = sha256(&[proof.key().thumbprint().as_bytes(), b".", proof.jti().as_bytes()]);
    let device = &token.claims().daypass.device;
    gate.replay().proof(Use { id, device, nonce_age, until: proof.remember_until(skew) }, now)?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use daypass_proto::time::Timestamp;

    use super::*;

    #[test]
    fn a_grant_s_end_is_hard_whatever_becomes_of_the_clock() {
        let clocks = |at, since_boot| Moment { at: Timestamp::from_seconds(at), since_boot };
        // Its grant ends with the token.
        let claims = crate::flow::sample_claims(1300);
        let over = |now| grant_is_over(&claims, clocks(1000, 5), now);
        assert!(!over(clocks(1299, 304)));
        assert!(over(clocks(1300, 304)));
        // Put back meanwhile, by a little or by years.
        assert!(over(clocks(1299, 305)) && over(clocks(-1_000_000, 305)));
        // Begun behind it, within the skew that the token's own end has.
        assert!(grant_is_over(&claims, clocks(1300, 5), clocks(1300, 5)));
    }
}
