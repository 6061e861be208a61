//! Obtaining tokens and making DPoP proofs.

use daypass_proto::{
    arguments::method,
    attestation::TpmPublic,
    authorization::{ApiPath, AuthorizationDetails, HttpAccess},
    delegation::{self, DelegatedKey},
    dpop,
    encoding::{base64url, sha256},
    enrolment::{DeviceLife, GrantState},
    jose::{EcPublicKey, Header, SoftwareKey, assemble},
    local_api::{DEFAULT_MIN_TTL, ErrorCode, ProofAnswer, ProofProtection, ProofRequest, TokenAnswer, TokenRequest},
    oauth_error::Reason,
    resource::Resource,
    time::Timestamp,
    token::{Protection, grant_of},
};
use std::sync::Arc;

use super::{
    Agent, Member,
    git::{gives, widest},
    upkeep::is_certificate_outside_its_time,
};
use crate::{
    clock::random,
    error::AgentError,
    issuer,
    tokens::{CallerEvidence, HeldToken, Life, TokenKey, TokenResponse},
    tpm::KeyFile,
};

/// Which issuers are asked about a resource that is not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ask {
    /// All: somebody named the resource.
    All,
    /// Those whose approval this machine waits for. git asks about every host there is, and most are nobody's: the others are left in peace.
    Pending,
}

/// A token that somebody wants.
pub(super) struct Wanted<'a> {
    pub(super) resource: &'a Resource,
    /// Everything that is granted there where it is left out.
    pub(super) details: Option<&'a AuthorizationDetails>,
    /// The life it must have left.
    pub(super) life: Life,
    /// What the roles say where it is left out.
    pub(super) protection: Option<ProofProtection>,
    pub(super) caller: &'a CallerEvidence,
}

fn internal(attempted: &'static str) -> impl Fn(String) -> AgentError {
    move |why| AgentError::Internal { attempted, why }
}

/// The point of a key file's key.
fn point(key: &KeyFile) -> Result<EcPublicKey, AgentError> {
    let coordinates = TpmPublic::parse(key.public()).ok().and_then(|public| public.ecc_point());
    let key =
        coordinates.and_then(|(_, x, y)| EcPublicKey::from_coordinates(x.try_into().ok()?, y.try_into().ok()?).ok());
    key.ok_or_else(|| internal("read the proof key")("it is not a P-256 key".to_owned()))
}

fn is_proof_outside_its_time(error: &AgentError) -> bool {
    matches!(error, AgentError::Refused(body) if body.daypass_reason == Reason::ProofTime)
}

/// A new P-256 key in memory.
fn new_key() -> Result<SoftwareKey, AgentError> {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
    };
    let failed = |why: String| internal("make a delegated key")(why);
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
        .map_err(|error| failed(error.to_string()))?;
    SoftwareKey::from_pkcs8(der.as_ref()).map_err(|error| failed(error.to_string()))
}

fn sign_in_memory(key: &SoftwareKey, claims: &dpop::Claims) -> Result<String, AgentError> {
    let header = Header { typ: dpop::TYP, kid: None, jwk: Some(key.public()) };
    key.sign(&header, claims).map_err(|error| internal("make a proof")(error.to_string()))
}

/// What the roles of this machine's grants say at a resource: delegated keys only where every one of them opts in, so that a token for
/// all that is granted there can be had.
fn protection_at(member: &Member, resource: &Resource) -> ProofProtection {
    let grants = member.device().grants;
    let mut there = grants
        .iter()
        .filter(|grant| {
            matches!(grant.state.as_str(), "active" | "grace")
                && !grant.authorization_details.at_resource(resource).is_empty()
        })
        .peekable();
    let opted_in = there.peek().is_some() && there.all(|grant| grant.protection == Protection::Delegated);
    if opted_in { ProofProtection::Delegated } else { ProofProtection::Hardware }
}

/// What to ask for where several grants, of several projects perhaps, give something at a resource: what the one gives that lets this request through.
/// Nothing in particular where there is but one, or none lets it.
fn at_several(
    grants: &[GrantState],
    resource: &Resource,
    request: &ProofRequest,
    now: Timestamp,
) -> Option<AuthorizationDetails> {
    let given = grants.iter().filter(|grant| gives(grant, now));
    let given = given.map(|grant| grant.authorization_details.at_resource(resource));
    let given: Vec<_> = given.filter(|details| !details.is_empty()).collect();
    if given.len() < 2 {
        return None;
    }
    let method = serde_json::from_value(request.method.as_str().into()).ok()?;
    let path: ApiPath = format!("/{}", dpop::htu(&request.url)?.strip_prefix(resource.as_str())?).parse().ok()?;
    widest(given.into_iter().filter(|details| details.allows(HttpAccess { resource, method, path: &path })))
}

impl Agent {
    /// A token for this user.
    pub async fn token(
        &self,
        uid: u32,
        caller: &CallerEvidence,
        request: &TokenRequest,
    ) -> Result<TokenAnswer, AgentError> {
        let member = self.member_at(uid, &request.resource, Ask::All).await?;
        let min_ttl = request.min_ttl.unwrap_or(DEFAULT_MIN_TTL);
        self.settle_time(&member).await;
        let wanted = Wanted {
            resource: &request.resource,
            details: request.authorization_details.as_ref(),
            life: Life::AtLeast(min_ttl),
            protection: request.protection,
            caller,
        };
        let token = self.obtain(&member, &wanted).await?;
        Ok(TokenAnswer {
            access_token: token.token.to_string(),
            token_type: "DPoP".to_owned(),
            expires_at: token.expires_at(self.clock.moment()),
            authorization_details: token.details,
            uses_left: token.uses_left,
        })
    }

    /// A token and a DPoP proof for one request.
    pub async fn proof(
        &self,
        uid: u32,
        caller: &CallerEvidence,
        request: &ProofRequest,
    ) -> Result<ProofAnswer, AgentError> {
        method(&request.method).map_err(|error| AgentError::Malformed(format!("`method`: {error}")))?;
        // Only https URLs have a resource, and only resources have proofs; the issuer is none.
        let resource = Resource::of_url(&request.url).map_err(AgentError::Url)?;
        let member = self.member_at(uid, &resource, Ask::All).await.map_err(|error| match error {
            AgentError::NotGranted(_) | AgentError::NeverEnrolled => AgentError::NoProofFor(resource.to_string()),
            other => other,
        })?;
        self.settle_time(&member).await;
        let details = at_several(&member.device().grants, &resource, request, self.issuer_time(&member));
        let wanted = Wanted {
            resource: &resource,
            details: details.as_ref(),
            life: Life::AtLeast(DEFAULT_MIN_TTL),
            protection: request.protection,
            caller,
        };
        let token = self.obtain(&member, &wanted).await?;
        let htu = dpop::htu(&request.url).ok_or_else(|| AgentError::Malformed("`url` is not a URL".to_owned()))?;
        let ath = Some(dpop::token_hash(&token.token));
        let claims = self.dpop_claims(&member, &request.method, htu, ath, request.nonce.clone());
        let proof = match &token.delegated {
            Some(key) => sign_in_memory(key, &claims)?,
            None => self.sign_dpop(&member, &claims).await?,
        };
        Ok(ProofAnswer {
            access_token: token.token.to_string(),
            proof,
            expires_at: token.expires_at(self.clock.moment()),
        })
    }

    /// The enrolment of this user that has access at `resource`. Where none is known to, the issuers in `ask` are asked.
    pub(super) async fn member_at(&self, uid: u32, resource: &Resource, ask: Ask) -> Result<Arc<Member>, AgentError> {
        let members = self.members_of(uid);
        if members.is_empty() {
            return Err(AgentError::NeverEnrolled);
        }
        let serves = |member: &Member| member.device().resources.iter().any(|trust| trust.resource == *resource);
        if let Some(member) = members.iter().find(|member| serves(member)) {
            return Ok(Arc::clone(member));
        }
        // It may have been approved, or granted more, since the issuer was last asked.
        let mut refusal = None;
        for member in members {
            if ask == Ask::Pending && member.device().state != DeviceLife::Pending {
                continue;
            }
            match self.ask_state(&member).await {
                Ok(()) if serves(&member) => return Ok(member),
                Ok(()) => {}
                Err(error) => refusal = Some(error),
            }
            let device = member.device();
            if device.state == DeviceLife::Pending && refusal.is_none() {
                refusal = Some(AgentError::Pending {
                    device: device.device.to_string(),
                    owners: if device.waits_for.is_empty() {
                        "an owner".to_owned()
                    } else {
                        device.waits_for.join(", ")
                    },
                    code: device.comparison_code.unwrap_or_default(),
                });
            }
        }
        Err(refusal.unwrap_or_else(|| AgentError::NotGranted(resource.to_string())))
    }

    /// A token with what is wanted: from memory, or from the issuer; whoever asks for the same at the same time waits for the same answer.
    pub(super) async fn obtain(&self, member: &Member, wanted: &Wanted<'_>) -> Result<HeldToken, AgentError> {
        let details = wanted.details.map(serde_json::to_string).transpose();
        let details = details.map_err(|error| AgentError::Malformed(error.to_string()))?.unwrap_or_default();
        let key = |protection| TokenKey {
            uid: member.uid,
            issuer: member.issuer.clone(),
            resource: wanted.resource.clone(),
            details: details.clone(),
            protection,
            caller: wanted.caller.clone(),
        };
        let protection = wanted.protection.unwrap_or_else(|| protection_at(member, wanted.resource));
        match self.obtain_for(member, key(protection), wanted.life).await {
            // Policy changed since the issuer was last asked: what nobody insisted on is had the other way.
            Err(AgentError::Refused(body))
                if wanted.protection.is_none() && body.daypass_reason == Reason::DelegationNotAllowed =>
            {
                self.obtain_for(member, key(ProofProtection::Hardware), wanted.life).await
            }
            other => other,
        }
    }

    async fn obtain_for(&self, member: &Member, key: TokenKey, life: Life) -> Result<HeldToken, AgentError> {
        if let Some(token) = self.tokens.get(&key, self.clock.moment(), life) {
            return Ok(token);
        }
        let flight = self.tokens.flight(&key);
        let _one_at_a_time = flight.lock().await;
        if let Some(token) = self.tokens.get(&key, self.clock.moment(), life) {
            return Ok(token);
        }
        let live = || self.tokens.get(&key, self.clock.moment(), life.least());
        // An issuer that was silent a moment ago is not waited for once more where what there is will do.
        if self.rests(member)
            && let Some(token) = live()
        {
            return Ok(token);
        }
        let result = self.request(member, &key).await;
        let token = match member.note(result) {
            Err(error) if error.code() == ErrorCode::IssuerUnreachable => {
                let Some(token) = live() else { return Err(error) };
                self.rest(member);
                return Ok(token);
            }
            other => other?,
        };
        self.tokens.put(key, token.clone(), false);
        match life.least() {
            Life::AtLeast(seconds) if !token.is_fit(self.clock.moment(), life.least()) => {
                Err(AgentError::TooShort(seconds))
            }
            _ => Ok(token),
        }
    }

    pub(super) async fn renew_token(&self, member: &Member, key: TokenKey) -> Result<(), AgentError> {
        let flight = self.tokens.flight(&key);
        let _one_at_a_time = flight.lock().await;
        let result = self.request(member, &key).await;
        let token = member.note(result)?;
        self.tokens.put(key, token, true);
        Ok(())
    }

    /// Asks the issuer for a token; again where what stood in the way can be put right from here: a certificate whose time is over, or
    /// a clock that was thought to be right.
    async fn request(&self, member: &Member, key: &TokenKey) -> Result<HeldToken, AgentError> {
        // Each can stand in the way once, one behind the other.
        for _ in 0..2 {
            match self.request_once(member, key).await {
                Err(error) if is_certificate_outside_its_time(&error) => self.renew_certificate(member).await?,
                Err(error) if is_proof_outside_its_time(&error) => self.ask_state(member).await?,
                other => return other,
            }
        }
        self.request_once(member, key).await
    }

    async fn request_once(&self, member: &Member, key: &TokenKey) -> Result<HeldToken, AgentError> {
        let device = member.device();
        let url = format!("{}/oauth/token", device.mtls_url);
        let claims = self.dpop_claims(member, "POST", url.clone(), None, None);
        let (proof, delegated) = match key.protection {
            ProofProtection::Hardware => (self.sign_dpop(member, &claims).await?, None),
            ProofProtection::Delegated => {
                let (delegated, delegation) = self.delegate(member, &key.resource).await?;
                (sign_in_memory(&delegated, &claims)?, Some((Arc::new(delegated), delegation)))
            }
        };
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", device.client_id.as_str()),
            ("resource", key.resource.as_str()),
            ("daypass_caller", key.caller.as_str()),
        ];
        if !key.details.is_empty() {
            form.push(("authorization_details", key.details.as_str()));
        }
        if let Some((_, delegation)) = &delegated {
            form.push(("daypass_delegation", delegation.as_str()));
        }
        let asked = self.clock.moment();
        let sent =
            issuer::answer::<TokenResponse>(&url, member.client().post(&url).header("dpop", proof).form(&form)).await;
        match sent {
            Ok(response) => {
                self.remember_promise(member, &url, &response.access_token)?;
                self.learn_uses(member, &response).await?;
                Ok(HeldToken::new(response, delegated.map(|(key, _)| key), asked))
            }
            Err(AgentError::Refused(body)) => {
                self.learn_refusal(member, &body).await?;
                if body.daypass_reason == Reason::BriefingRequired {
                    // So that a status says so too; the refusal stands whether or not it can be asked for.
                    let _ = self.ask_state(member).await;
                }
                Err(AgentError::Refused(body))
            }
            Err(error) => Err(error),
        }
    }

    /// Tokens that are counted are one fewer from here on.
    async fn learn_uses(&self, member: &Member, response: &TokenResponse) -> Result<(), AgentError> {
        let (Some(left), Some(grant)) = (response.daypass_uses_left, grant_of(&response.access_token)) else {
            return Ok(());
        };
        self.change(member, |completed| {
            let grants = completed.device.grants.iter_mut();
            grants.filter(|known| known.grant == grant).for_each(|known| known.uses_left = Some(left));
        })
        .await
    }

    pub(super) fn dpop_claims(
        &self,
        member: &Member,
        method: &str,
        htu: String,
        ath: Option<String>,
        nonce: Option<String>,
    ) -> dpop::Claims {
        dpop::Claims {
            jti: base64url(&random::<16>()),
            htm: method.to_owned(),
            htu,
            iat: self.issuer_time(member),
            ath,
            nonce,
        }
    }

    pub(super) async fn sign_dpop(&self, member: &Member, claims: &dpop::Claims) -> Result<String, AgentError> {
        let key = point(&member.keys.proof)?;
        let input = dpop::proof_input(&key, claims).map_err(|error| internal("make a proof")(error.to_string()))?;
        self.sign_jws(member, input).await
    }

    /// A new key in memory, and the proof key's word for it at this resource: the one TPM signature that its token costs.
    async fn delegate(&self, member: &Member, resource: &Resource) -> Result<(SoftwareKey, String), AgentError> {
        let key = new_key()?;
        let claims = delegation::Claims {
            aud: member.issuer.clone(),
            resource: resource.clone(),
            cnf: DelegatedKey { jwk: *key.public() },
            exp: self.issuer_time(member).plus(delegation::LONGEST),
            jti: base64url(&random::<16>()),
        };
        let input =
            delegation::delegation_input(&claims).map_err(|error| internal("delegate a key")(error.to_string()))?;
        Ok((key, self.sign_jws(member, input).await?))
    }

    pub(super) async fn sign_jws(&self, member: &Member, input: String) -> Result<String, AgentError> {
        let signature = self.tpm.sign(&member.keys.proof, sha256(&[input.as_bytes()])).await?;
        Ok(assemble(input, &signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_grants_at_an_api_the_one_is_asked_that_lets_the_request_through() {
        let resource: Resource = "https://api.example.com/".parse().unwrap();
        let details = |path: &str, actions: &str| {
            format!(r#"[{{"type":"http_api","locations":["{resource}"],"actions":[{actions}],"paths":["{path}"]}}]"#)
        };
        let grant = |details: &str, state: &str| -> GrantState {
            serde_json::from_str(&format!(
                r#"{{"grant":"gr-3k7q0x9a1b2c3d4e","project":"apollo","role":"developer","state":"{state}","until":1000,"protection":"hardware","authorization_details":{details}}}"#
            ))
            .unwrap()
        };
        let (apollo, gemini) = (details("/apollo/**", r#""GET""#), details("/gemini/**", r#""GET","POST""#));
        let both = [grant(&apollo, "active"), grant(&gemini, "active")];
        let asked = |grants: &[GrantState], method: &str, url: &str, now: i64| {
            let text = format!(r#"{{"method":"{method}","url":"{url}"}}"#);
            let request: ProofRequest = serde_json::from_str(&text).unwrap();
            at_several(grants, &resource, &request, Timestamp::from_seconds(now))
        };
        let all = |details: &str| serde_json::from_str::<AuthorizationDetails>(details).ok();
        let at = |path: &str| format!("https://api.example.com{path}");
        assert_eq!(asked(&both, "GET", &at("/apollo/items?of=gemini"), 0), all(&apollo));
        assert_eq!(asked(&both, "POST", &at("/gemini/items"), 0), all(&gemini));
        assert_eq!(asked(&both, "POST", "https://api.example.com:443/gemini/items", 0), all(&gemini));
        for (method, path) in [("POST", "/apollo/items"), ("GET", "/hermes"), ("TRACE", "/gemini/items")] {
            assert_eq!(asked(&both, method, &at(path), 0), None, "whoever serves it says best why not");
        }
        assert_eq!(asked(&both[1..], "POST", &at("/gemini/items"), 0), None, "all that the one gives");
        assert_eq!(asked(&both, "POST", &at("/gemini/items"), 1000), None, "over");
        let waits = [grant(&apollo, "active"), grant(&gemini, "requested")];
        assert_eq!(asked(&waits, "POST", &at("/gemini/items"), 0), None);
    }
}
