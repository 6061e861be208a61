//! `POST /oauth/token` (docs/wire.md section 6): the request, and every way in which it is refused.

use std::sync::Arc;

use axum::{
    Extension, Form, Json,
    extract::{State, rejection::FormRejection},
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use daypass_proto::{
    authorization::{AuthorizationDetails, MAX_DETAILS, NotCovered},
    caller::{Evidence, MAX_EVIDENCE},
    delegation::{self, DelegationError, VerifiedDelegation},
    dpop::{self, DpopError, VerifiedDpop},
    jose::JoseError,
    json::fault,
    ledger::EventKind,
    names::{GrantId, ProjectName, RoleName},
    oauth_error::{OAuthError, Reason},
    redaction::redacted,
    resource::Resource,
    time::Timestamp,
};
use daypass_service::Peer;
use serde::Serialize;
use thiserror::Error;

use super::issue;
use crate::{
    caller::{ApprovedDevice, CallerError, EnrolledDevice},
    error::{NEVER_STORED, Refusal},
    issuer::Issuer,
    ledger::Source,
    store::{Condition, DecideError, Decision, Device, StoreError},
};

/// The path of the endpoint.
pub const PATH: &str = "/oauth/token";

/// How often a request is decided anew where its device or its grant became another meanwhile, as one does whose tokens are counted.
const TRIES: u32 = 16;

struct TokenForm {
    client_id: String,
    resource: Resource,
    authorization_details: Option<String>,
    /// Vouches for the key of the `DPoP` header, where that is not the proof key (docs/wire.md section 6.1).
    daypass_delegation: Option<String>,
    /// Who asked the agent, as it reports it (docs/wire.md section 6.2).
    daypass_caller: Option<String>,
}

impl TokenForm {
    /// RFC 6749 section 3.2: a field without a value counts as left out, none may come twice, and unknown ones are passed over. Of
    /// `resource` there may be several (RFC 8707 section 2); we serve one, and say so in the RFC's own words.
    fn read(fields: &[(String, String)]) -> Result<Self, TokenError> {
        let take = |name: &str| -> Result<Option<String>, TokenError> {
            let mut found = fields.iter().filter(|(field, value)| field == name && !value.is_empty());
            let mut next = || found.next().map(|(_, value)| value.clone());
            match (next(), next()) {
                (value, None) => Ok(value),
                (_, Some(_)) if name == "resource" => {
                    Err(TokenError::Resource("is there more than once; a token is for one".to_owned()))
                }
                (_, Some(_)) => Err(TokenError::Malformed(format!("`{name}` is there more than once"))),
            }
        };
        let missing = |name: &str| TokenError::Malformed(format!("`{name}` is missing"));
        if take("grant_type")?.ok_or_else(|| missing("grant_type"))? != "client_credentials" {
            return Err(TokenError::GrantType);
        }
        let client_id = take("client_id")?.ok_or_else(|| missing("client_id"))?;
        let resource = take("resource")?.ok_or_else(|| TokenError::Resource("is missing".to_owned()))?;
        Ok(Self {
            client_id,
            resource: resource.parse().map_err(|error| TokenError::Resource(format!("is refused: {error}")))?,
            authorization_details: take("authorization_details")?,
            daypass_delegation: take("daypass_delegation")?,
            daypass_caller: take("daypass_caller")?,
        })
    }
}

/// RFC 6749 section 5.1, RFC 9396 section 7.
#[derive(Debug, Serialize)]
pub(super) struct TokenAnswer {
    pub(super) access_token: String,
    pub(super) token_type: &'static str,
    pub(super) expires_in: i64,
    pub(super) authorization_details: AuthorizationDetails,
    /// How many more tokens the grant gives, where they are counted (docs/wire.md section 6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) daypass_uses_left: Option<u32>,
}

/// Why no token is issued.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The form.
    #[error("the request does not fit the format: {0}")]
    Malformed(String),
    /// Another grant type.
    #[error("`grant_type` must be `client_credentials`")]
    GrantType,
    /// The caller.
    #[error(transparent)]
    Caller(#[from] CallerError),
    /// RFC 8705 section 2: the certificate is another client's.
    #[error("`client_id` is not the device of the client certificate")]
    ClientMismatch,
    /// RFC 9449 section 4.3, check 1.
    #[error("exactly one `DPoP` header is needed")]
    ProofHeader,
    /// The proof.
    #[error(transparent)]
    Proof(#[from] DpopError),
    /// A key that is not this device's proof key, and for which no delegation came along.
    #[error("the DPoP proof is signed by a key that is not this device's certified proof key")]
    ProofKey,
    /// The delegation.
    #[error(transparent)]
    Delegation(#[from] DelegationError),
    /// A delegation of another key than the one that signed the proof.
    #[error("the delegation is for another key than the one that signed the DPoP proof")]
    DelegatedKey,
    /// No role that gives what was asked for opts in.
    #[error("role `{role}` of project `{project}` takes proofs of the TPM's proof key only, no delegated ones")]
    DelegationNotAllowed {
        /// The project.
        project: ProjectName,
        /// The role.
        role: RoleName,
    },
    /// The proof or the delegation was used before.
    #[error("the DPoP proof, or the delegation of its key, was used before")]
    Replayed,
    /// Not a resource.
    #[error("`resource` {0}")]
    Resource(String),
    /// Not authorization details.
    #[error("`authorization_details` {0}")]
    Details(String),
    /// Nothing there.
    #[error("nothing is granted to this device at `{0}`")]
    NoGrant(Resource),
    /// Something was there, and its time is over.
    #[error("the grant for `{resource}` ended at {ended}, and it is {now}")]
    GrantEnded {
        /// The resource.
        resource: Resource,
        /// The end.
        ended: Timestamp,
        /// The clock here.
        now: Timestamp,
    },
    /// Its time has not come.
    #[error("the grant for `{resource}` begins at {begins}, and it is {now}")]
    GrantNotYet {
        /// The resource.
        resource: Resource,
        /// The begin.
        begins: Timestamp,
        /// The clock here.
        now: Timestamp,
    },
    /// Only its grace is left.
    #[error("the grant ended at {ended}, it is {now}, and until {over} its grace leaves less: {beyond}")]
    BeyondGrace {
        /// The hard end.
        ended: Timestamp,
        /// The end of the grace.
        over: Timestamp,
        /// The clock here.
        now: Timestamp,
        /// What is asked for beyond it.
        beyond: NotCovered,
    },
    /// Held back.
    #[error("the grant for `{0}` is suspended")]
    GrantSuspended(Resource),
    /// As many tokens as it gives.
    #[error("the grant for `{resource}` gave {used} token(s), which is all that it gives")]
    GrantUsedUp {
        /// The resource.
        resource: Resource,
        /// How many.
        used: u32,
    },
    /// Not from there, or not with this device.
    #[error("the grant is for {0}")]
    GrantElsewhere(String),
    /// All is there, and not read.
    #[error("the briefing of project `{project}` must be read and accepted first, for grant `{grant}`")]
    Unbriefed {
        /// The project.
        project: ProjectName,
        /// The grant.
        grant: GrantId,
    },
    /// More than is granted.
    #[error("more is asked for than is granted: {0}")]
    Exceeds(NotCovered),
    /// A guardrail of the policy.
    #[error("the guardrail `{rule}` forbids it: {reason}")]
    Guardrail {
        /// The rule's name.
        rule: String,
        /// What it says to whoever is refused.
        reason: String,
        /// All the rules that forbid it.
        all: Vec<String>,
    },
    /// The grant stands, its role does not.
    #[error("project `{0}` or its role do not stand in today's policy")]
    PolicyMissing(ProjectName),
    /// As many as a device may have.
    #[error(
        "this device has as many tokens as one may have; those count that live, and those that were revoked within the last hours"
    )]
    TooMany,
    /// No signing key, or it does not sign.
    #[error("could not sign the token")]
    Sign(#[from] JoseError),
    /// No signing key.
    #[error("no token key is in use")]
    NoKey,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else was faster, or the store failed.
    #[error(transparent)]
    Decide(DecideError),
}

impl From<DecideError> for TokenError {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::Conflict(Condition::ProofIsNew) => Self::Replayed,
            DecideError::Conflict(Condition::RoomForToken(_)) => Self::TooMany,
            other => Self::Decide(other),
        }
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        use OAuthError::{
            AccessDenied, InvalidAuthorizationDetails, InvalidClient, InvalidDpopProof, InvalidRequest, InvalidTarget,
            UnsupportedGrantType,
        };
        const PROOF: &str = "send a fresh proof for this very request; the agent does so by itself";
        const ASK: &str = "ask an owner of the project";
        let text = error.to_string();
        match error {
            TokenError::Malformed(_) => Self::malformed(text),
            TokenError::GrantType => {
                Self::new(UnsupportedGrantType, Reason::Malformed, text, "send `grant_type=client_credentials`")
            }
            TokenError::Caller(error) => error.into(),
            TokenError::ClientMismatch => {
                Self::new(InvalidClient, Reason::ClientMismatch, text, "send the `client_id` of the device")
            }
            TokenError::Proof(DpopError::Time { .. }) => {
                Self::new(InvalidDpopProof, Reason::ProofTime, text, "set this machine's clock")
            }
            TokenError::ProofHeader | TokenError::Proof(_) => {
                Self::new(InvalidDpopProof, Reason::ProofInvalid, text, PROOF)
            }
            TokenError::ProofKey => {
                Self::new(InvalidDpopProof, Reason::ProofKeyUnknown, text, "sign with the enrolled proof key")
            }
            TokenError::Delegation(DelegationError::Expired { .. } | DelegationError::TooLong { .. }) => {
                Self::new(InvalidDpopProof, Reason::ProofTime, text, "set this machine's clock, and delegate anew")
            }
            TokenError::Delegation(_) | TokenError::DelegatedKey => Self::new(
                InvalidDpopProof,
                Reason::DelegationInvalid,
                text,
                "delegate anew for this resource; the agent does so by itself",
            ),
            TokenError::DelegationNotAllowed { .. } => Self::new(
                InvalidDpopProof,
                Reason::DelegationNotAllowed,
                text,
                "sign with the proof key, or ask an owner of the project for a role with `protection = \"delegated\"`",
            ),
            TokenError::Replayed => Self::new(InvalidDpopProof, Reason::ProofReplayed, text, PROOF),
            TokenError::Resource(_) => Self::new(
                InvalidTarget,
                Reason::Malformed,
                text,
                "name one resource, such as `https://git.example.com/`",
            ),
            TokenError::Details(_) => Self::new(
                InvalidAuthorizationDetails,
                Reason::Malformed,
                text,
                "send what docs/wire.md section 6 describes",
            ),
            TokenError::NoGrant(_) => Self::new(InvalidTarget, Reason::NoGrant, text, ASK),
            TokenError::GrantEnded { .. } => Self::new(
                AccessDenied,
                Reason::GrantEnded,
                text,
                "ask an owner of the project for a new invitation: what is over is not extended",
            ),
            TokenError::BeyondGrace { .. } => Self::new(
                AccessDenied,
                Reason::GrantEnded,
                text,
                "ask for what is left, or an owner of the project for an extension",
            ),
            TokenError::GrantNotYet { .. } => Self::new(
                AccessDenied,
                Reason::GrantNotYet,
                text,
                "wait until it begins, or ask an owner of the project for an earlier begin",
            ),
            TokenError::GrantSuspended(_) => Self::new(
                AccessDenied,
                Reason::GrantSuspended,
                text,
                "ask an owner of the project why, and to resume the grant",
            ),
            TokenError::GrantUsedUp { .. } => {
                Self::new(AccessDenied, Reason::GrantUsedUp, text, "ask an owner of the project for another grant")
            }
            TokenError::GrantElsewhere(_) => Self::new(
                AccessDenied,
                Reason::GrantElsewhere,
                text,
                "ask from where and with what the grant is for, or an owner of the project for another grant",
            ),
            TokenError::Unbriefed { ref grant, .. } => Self::new(
                AccessDenied,
                Reason::BriefingRequired,
                text,
                format!("run `daypass briefing accept {grant}`, which shows it and asks"),
            ),
            TokenError::Exceeds(_) => {
                Self::new(InvalidAuthorizationDetails, Reason::ExceedsGrant, text, "ask for less, or an owner for more")
            }
            TokenError::Guardrail { .. } => Self::new(AccessDenied, Reason::Guardrail, text, ASK),
            TokenError::PolicyMissing(_) => Self::new(AccessDenied, Reason::PolicyMissing, text, ASK),
            TokenError::TooMany => Self::new(
                AccessDenied,
                Reason::TooManyTokens,
                text,
                "wait until some have ended; where a machine needs more, ask the issuer's administrator for more `tokens_per_device`",
            ),
            TokenError::Store(error) | TokenError::Decide(DecideError::Store(error)) => error.into(),
            TokenError::Decide(error @ DecideError::Clock { .. }) => error.into(),
            TokenError::Decide(error @ DecideError::Conflict(_)) => {
                // A device or grant that changed under us: the next try is told what it is now.
                Self::new(InvalidRequest, Reason::Conflict, error.to_string(), "try again")
            }
            other @ (TokenError::Sign(_) | TokenError::NoKey) => Self::internal(&other),
        }
    }
}

/// The endpoint.
pub async fn token(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Result<Response, Refusal> {
    let (source, mut asked) = (Source::from(&peer), Asked::default());
    if let (Some(device), Ok(Form(fields))) = (ApprovedDevice::remembered(&issuer, &peer), &form) {
        match decide(&issuer, &device, &headers, fields, &source, &mut asked).await {
            Ok(answer) => return Ok((NEVER_STORED, Json(answer)).into_response()),
            // What the store could not do, it may have done all the same: nothing is tried twice.
            Err(error @ (TokenError::Store(_) | TokenError::Decide(DecideError::Store(_)))) => return Err(error.into()),
            // Perhaps it is not so any more. Whoever is refused, is by what stands in the store now.
            Err(_) => device.forget(&issuer),
        }
        asked = Asked::default();
    }
    let mut tries = 0;
    loop {
        tries += 1;
        let caller = match EnrolledDevice::identify(&issuer, &peer).await {
            Ok(caller) => caller,
            Err(error) => {
                // Who it was is known, where its device is.
                let device = match error.device() {
                    Some(device) => issuer.store.device(&device).await?,
                    None => None,
                };
                return Err(match device {
                    Some(device) => refuse(&issuer, &device, &source, asked, error.into()).await?,
                    None => error.into(),
                });
            }
        };
        let device = caller.device().clone();
        let result = match (caller.approved(), &form) {
            (Err(error), _) => Err(error.into()),
            (Ok(_), Err(error)) => Err(TokenError::Malformed(fault(error))),
            (Ok(device), Ok(Form(fields))) => {
                let result = decide(&issuer, &device, &headers, fields, &source, &mut asked).await;
                // A grant whose tokens are counted is another one after each.
                if result.as_ref().is_ok_and(|answer| answer.daypass_uses_left.is_none()) {
                    device.remember(&issuer);
                }
                result
            }
        };
        match result {
            Ok(answer) => return Ok((NEVER_STORED, Json(answer)).into_response()),
            Err(TokenError::Decide(DecideError::Conflict(_))) if tries < TRIES => asked = Asked::default(),
            Err(error) => return Err(refuse(&issuer, &device, &source, asked, error).await?),
        }
    }
}

/// What was asked for, as far as it read.
#[derive(Default)]
struct Asked {
    resource: Option<Resource>,
    details: Option<AuthorizationDetails>,
    caller: Option<Evidence>,
}

/// Writes the refusal down.
async fn refuse(
    issuer: &Issuer,
    device: &Device,
    source: &Source,
    asked: Asked,
    error: TokenError,
) -> Result<Refusal, Refusal> {
    let late = matches!(error, TokenError::Proof(DpopError::Time { .. }));
    let (environment, why) = (&issuer.environment, error.to_string());
    let rules = if let TokenError::Guardrail { all, .. } = &error { all.clone() } else { Vec::new() };
    let refusal = Refusal::from(error);
    if refusal.cannot_be_recorded() {
        return Ok(refusal);
    }
    if late {
        // Of two clocks that differ, ours may be the wrong one; then it says so, and not that the client's is.
        issuer.clock_is_right().await?;
    }
    issuer.one_more(EventKind::TokenRefused, &device.id)?;
    let event = environment.event(EventKind::TokenRefused).text("policy", hex::encode(issuer.policy().hash()));
    let event = if rules.is_empty() { event } else { event.structure("rules", &rules) };
    let event = environment.refused(environment.of_device(event, device), refusal.reason(), &why);
    let mut event = environment.asked(event, source);
    // Whatever else is named stands in the words alone, which can be erased.
    let known =
        |resource: &Resource| *resource == issuer.config.admin || issuer.policy().resources().contains(resource);
    if let Some(resource) = asked.resource.filter(known) {
        event = event.text("resource", resource);
    }
    let sent = |json: serde_json::Result<String>| redacted(&json.unwrap_or_default()).into_owned();
    if let Some(details) = asked.details {
        event = environment.personal(event, "authorization_details", sent(serde_json::to_string(&details)));
    }
    if let Some(caller) = asked.caller {
        event = environment.personal(event, "caller", sent(serde_json::to_string(&caller)));
    }
    issuer.store.decide(Decision::new(event)).await?;
    Ok(refusal)
}

async fn decide(
    issuer: &Issuer,
    device: &ApprovedDevice,
    headers: &HeaderMap,
    fields: &[(String, String)],
    source: &Source,
    asked: &mut Asked,
) -> Result<TokenAnswer, TokenError> {
    let form = TokenForm::read(fields)?;
    asked.resource = Some(form.resource.clone());
    if form.client_id != device.device().id.client_id() {
        return Err(TokenError::ClientMismatch);
    }
    let proof = proof_of(issuer, headers)?;
    let holder = Holder::of(issuer, device, proof, &form.resource, form.daypass_delegation.as_deref())?;
    asked.details = form.authorization_details.as_deref().map(details).transpose()?;
    asked.caller = form.daypass_caller.as_deref().map(evidence).transpose()?;
    let wanted = issue::Wanted {
        holder: &holder,
        resource: &form.resource,
        details: asked.details.clone(),
        caller: asked.caller.as_ref(),
        source,
    };
    issue::issue(issuer, device, wanted).await
}

fn details(text: &str) -> Result<AuthorizationDetails, TokenError> {
    if text.len() > MAX_DETAILS {
        return Err(TokenError::Details(format!("are over {MAX_DETAILS} bytes")));
    }
    serde_json::from_str(text).map_err(|error| TokenError::Details(format!("do not read: {}", fault(&error))))
}

fn evidence(text: &str) -> Result<Evidence, TokenError> {
    if text.len() > MAX_EVIDENCE {
        return Err(TokenError::Malformed(format!("`daypass_caller` is over {MAX_EVIDENCE} bytes")));
    }
    serde_json::from_str(text).map_err(|error| TokenError::Malformed(format!("`daypass_caller`: {}", fault(&error))))
}

fn proof_of(issuer: &Issuer, headers: &HeaderMap) -> Result<VerifiedDpop, TokenError> {
    let mut all = headers.get_all("dpop").iter();
    let (Some(proof), None) = (all.next(), all.next()) else { return Err(TokenError::ProofHeader) };
    let proof = proof.to_str().map_err(|_| TokenError::ProofHeader)?;
    let url = issuer.config.mtls_endpoint(PATH);
    let expected = dpop::Expected {
        method: "POST",
        url: &url,
        token: None,
        now: issuer.environment.now(),
        skew: issuer.config.skew,
    };
    Ok(dpop::verify(proof, &expected)?)
}

/// Whose key a token is bound to: the device's certified proof key, or one that it vouched for. No other key gets a token; otherwise a
/// moment on the device would carry one off it.
pub(super) struct Holder {
    /// The proof of possession.
    pub(super) proof: VerifiedDpop,
    /// What vouches for its key, where that is not the proof key.
    pub(super) delegation: Option<VerifiedDelegation>,
}

impl Holder {
    fn of(
        issuer: &Issuer,
        device: &ApprovedDevice,
        proof: VerifiedDpop,
        resource: &Resource,
        delegation: Option<&str>,
    ) -> Result<Self, TokenError> {
        let certified = &device.device().proof;
        let Some(delegation) = delegation else {
            return if proof.key() == certified {
                Ok(Self { proof, delegation: None })
            } else {
                Err(TokenError::ProofKey)
            };
        };
        let expected = delegation::Expected {
            issuer: &issuer.config.issuer_url,
            resource,
            proof_key: certified,
            now: issuer.environment.now(),
            skew: issuer.config.skew,
        };
        let delegation = delegation::verify(delegation, &expected)?;
        if proof.key() != delegation.key() {
            return Err(TokenError::DelegatedKey);
        }
        Ok(Self { proof, delegation: Some(delegation) })
    }
}
