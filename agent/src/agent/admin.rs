//! Asking an issuer's admin API for this user. It is the one resource that the agent itself goes to: no token and no proof for it is handed out.

use std::sync::Arc;

use daypass_proto::{
    admin_api::PREFIX,
    dpop,
    local_api::{
        DEFAULT_MIN_TTL, ProofProtection,
        admin::{AdminMethod, AdminRequest},
    },
    oauth_error::Reason,
    resource::Resource,
};
use serde_json::Value;
use url::Url;

use super::{Agent, Member, tokens::Wanted};
use crate::{
    error::AgentError,
    issuer,
    tokens::{CallerEvidence, Life},
};

/// The largest answer that is read, in bytes: a list as long as one may be, and less than our own programs take.
const MAX_ANSWER: usize = 3 * 1024 * 1024;

/// Where a request goes, if it goes to the admin API and nowhere else on that listener.
fn target(member: &Member, path: &str) -> Result<(Resource, Url), AgentError> {
    let malformed = || AgentError::Malformed(format!("`path` must begin with `{PREFIX}`, and name a path below it"));
    let origin = member.device().mtls_url;
    let resource: Resource = origin.parse().map_err(AgentError::Url)?;
    let url = Url::parse(&format!("{origin}{path}")).map_err(|_| malformed())?;
    // As the parser left it, without dots and what it takes for slashes.
    let plain = path.split('?').next().unwrap_or_default();
    let same = Resource::of_url(url.as_str()).is_ok_and(|found| found == resource);
    if !same || url.fragment().is_some() || url.path() != plain || !plain.starts_with(PREFIX) {
        return Err(malformed());
    }
    Ok((resource, url))
}

impl Agent {
    /// One request to the admin API, with what it answered.
    pub async fn administer(
        &self,
        uid: u32,
        caller: &CallerEvidence,
        request: &AdminRequest,
    ) -> Result<Value, AgentError> {
        let member = self.administered(uid, request.issuer.as_deref())?;
        let (resource, url) = target(&member, &request.path)?;
        self.settle_time(&member).await;
        let wanted = Wanted {
            resource: &resource,
            details: None,
            life: Life::AtLeast(DEFAULT_MIN_TTL),
            protection: Some(ProofProtection::Hardware),
            caller,
        };
        let token = self.obtain(&member, &wanted).await?;
        let htu = dpop::htu(url.as_str()).unwrap_or_default();
        let ath = Some(dpop::token_hash(&token.token));
        let claims = self.dpop_claims(&member, request.method.as_str(), htu, ath, None);
        let proof = self.sign_dpop(&member, &claims).await?;
        let client = member.client();
        let asked = match request.method {
            AdminMethod::Get => client.get(url.clone()),
            AdminMethod::Post => client.post(url.clone()).json(request.body.as_ref().unwrap_or(&Value::Null)),
        };
        let asked = asked.header("authorization", format!("DPoP {}", token.token.as_str())).header("dpop", proof);
        let answer = issuer::bytes_within(url.as_str(), asked, MAX_ANSWER).await;
        if let Err(AgentError::Refused(body)) = &answer
            && matches!(body.daypass_reason, Reason::TokenRevoked | Reason::TokenInvalid)
        {
            // The next request asks for another.
            self.tokens.drop_token(uid, &token.token);
        }
        serde_json::from_slice(&answer?)
            .map_err(|_| AgentError::IssuerAnswer { url: url.as_str().to_owned(), status: 200 })
    }

    /// Whose admin API is meant: the only one, where none is named.
    fn administered(&self, uid: u32, issuer: Option<&str>) -> Result<Arc<Member>, AgentError> {
        if let Some(issuer) = issuer {
            return self.member(uid, issuer);
        }
        let mut all = self.members_of(uid);
        match (all.pop(), all.len()) {
            (None, _) => Err(AgentError::NeverEnrolled),
            (Some(only), 0) => Ok(only),
            (Some(_), _) => Err(AgentError::Malformed("there are several enrolments; name the issuer".to_owned())),
        }
    }
}
