//! Credentials for git: a token narrowed to one repository, and a presentation of it bound to a nonce of the gate.

use std::sync::Arc;

use daypass_proto::{
    authorization::AuthorizationDetails,
    enrolment::GrantState,
    local_api::{GitCredential, GitCredentialRequest, GitEraseRequest, ProofProtection},
    presentation::{BASIC_USERNAME, SCHEME, key_binding_input, present, token_of},
    resource::{Repository, Resource},
    time::Timestamp,
};

use super::{
    Agent, Member,
    tokens::{Ask, Wanted},
};
use crate::{
    error::AgentError,
    issuer::{outside_its_time, trusting, why},
    tokens::{CallerEvidence, Life},
};

/// The longest header that is looked at for a nonce, in bytes.
const MAX_HEADER: usize = 4096;

impl Agent {
    /// What git is to send for this repository.
    pub async fn git_credential(
        &self,
        uid: u32,
        caller: &CallerEvidence,
        request: &GitCredentialRequest,
    ) -> Result<GitCredential, AgentError> {
        let (member, resource) = self.member_at_host(uid, &request.host, request.scoped).await?;
        let remote = format!("{}://{}", request.protocol, request.host);
        if request.protocol != "https" {
            return Err(AgentError::PlainHttp(remote));
        }
        let path = request.path.as_deref().filter(|path| !path.is_empty()).ok_or(AgentError::NoPath)?;
        let repository = resource.repository(path)?;
        self.settle_time(&member).await;
        let details = self.details_for(&member, &repository).await?;
        let token = self
            .obtain(
                &member,
                &Wanted {
                    resource: &resource,
                    details: Some(&details),
                    life: Life::Most,
                    protection: Some(ProofProtection::Hardware),
                    caller,
                },
            )
            .await?;
        let nonce = match nonce_in(&request.wwwauth, &resource) {
            Some(nonce) => nonce,
            // An older git passes nothing on: ask the gate as git did.
            None => self.ask_for_nonce(&member, &repository).await?,
        };
        let input = key_binding_input(&token.token, &repository, &nonce, self.issuer_time(&member))
            .map_err(|error| AgentError::Internal { attempted: "make a presentation", why: error.to_string() })?;
        let presentation = present(&token.token, &self.sign_jws(&member, input).await?);
        let expires_at = token.expires_at(self.clock.moment());
        Ok(if request.authtype {
            GitCredential::Authtype { authtype: SCHEME.to_owned(), credential: presentation, expires_at }
        } else {
            GitCredential::Basic { username: BASIC_USERNAME.to_owned(), password: presentation, expires_at }
        })
    }

    /// git met a 401 with this: the token in it is not handed out again.
    pub fn git_erase(&self, uid: u32, request: &GitEraseRequest) {
        if let Some(token) = token_of(&request.secret) {
            self.tokens.drop_token(uid, token);
        }
    }

    /// The enrolment and resource at a host, as git names it.
    async fn member_at_host(&self, uid: u32, host: &str, scoped: bool) -> Result<(Arc<Member>, Resource), AgentError> {
        let unknown = || AgentError::UnknownHost(host.chars().take(260).collect());
        let resource: Resource = format!("https://{host}/").parse().map_err(|_| unknown())?;
        if scoped {
            return Ok((self.member_at(uid, &resource, Ask::All).await?, resource));
        }
        // Nobody's, or nobody's yet: other helpers may know it, and git says the rest.
        let member = self.member_at(uid, &resource, Ask::Pending).await.map_err(|error| {
            tracing::debug!(host, %error, "left to other helpers");
            unknown()
        })?;
        Ok((member, resource))
    }

    /// What is granted for this repository now, by the grant that gives most there: of one in grace, what is left.
    async fn details_for(&self, member: &Member, repository: &Repository) -> Result<AuthorizationDetails, AgentError> {
        let granted = |which: &dyn Fn(&GrantState) -> bool| {
            let grants = member.device().grants;
            let given = grants.iter().filter(|grant| which(grant));
            widest(given.map(|grant| grant.authorization_details.at_repository(repository)))
        };
        let now = self.issuer_time(member);
        if let Some(details) = granted(&|grant| gives(grant, now)) {
            return Ok(details);
        }
        // More may have been granted since the issuer was last asked, or a grant's grace have begun.
        self.ask_state(member).await?;
        // Where nothing is given any more, the issuer says best why.
        granted(&|grant| gives(grant, now))
            .or_else(|| granted(&|_| true))
            .ok_or_else(|| AgentError::NotGranted(repository.to_string()))
    }

    async fn ask_for_nonce(&self, member: &Member, repository: &Repository) -> Result<String, AgentError> {
        let resource = repository.resource();
        let completed = member.completed();
        let custom = completed
            .device
            .resources
            .iter()
            .find(|trust| trust.resource == resource)
            .and_then(|trust| trust.ca.clone());
        let authorities = match custom {
            Some(pem) => certificates(&pem),
            None => vec![completed.root.0.clone()],
        };
        let url = format!("{repository}.git/info/refs?service=git-upload-pack");
        let answer = trusting(authorities)?.get(&url).send().await.map_err(|error| {
            outside_its_time(resource.as_str(), &error)
                .unwrap_or_else(|| AgentError::GateUnreachable { repository: repository.clone(), why: why(&error) })
        })?;
        let headers: Vec<String> = answer
            .headers()
            .get_all("www-authenticate")
            .iter()
            .filter_map(|value| value.to_str().ok().map(str::to_owned))
            .collect();
        nonce_in(&headers, &resource).ok_or(AgentError::NoNonce(resource))
    }
}

/// Whether a grant gives what stands in it: what was heard before its hard end does not hold after it.
pub(super) fn gives(grant: &GrantState, now: Timestamp) -> bool {
    grant.state == "grace" || grant.state == "active" && now < grant.until
}

/// Those that give most: what one grant gives is not added to what another one does, and a token is for one of them. Of two that differ, the first.
pub(super) fn widest(all: impl Iterator<Item = AuthorizationDetails>) -> Option<AuthorizationDetails> {
    let some = all.filter(|details| !details.is_empty());
    some.reduce(|best, next| if best.is_subset_of(&next).is_ok() { next } else { best })
}

fn certificates(pem: &str) -> Vec<Vec<u8>> {
    use rustls_pki_types::{CertificateDer, pem::PemObject as _};
    CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).map(|der| der.to_vec()).collect()
}

/// The nonce of a `Daypass` challenge for this resource. What a challenge says widens nothing: it only gives the nonce.
pub fn nonce_in(challenges: &[String], resource: &Resource) -> Option<String> {
    let parameters = challenges.iter().filter(|challenge| challenge.len() <= MAX_HEADER).find_map(|challenge| {
        challenge.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case(SCHEME)).map(|(_, rest)| rest)
    })?;
    let value = |name: &str| {
        parameters.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
    };
    let plain = |nonce: &str| {
        (1..=256).contains(&nonce.len()) && nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"')
    };
    (value("realm")? == resource.as_str())
        .then(|| value("nonce").filter(|nonce| plain(nonce)).map(str::to_owned))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_grants_the_one_that_gives_most_is_asked_for() {
        let one = |actions: &str| -> AuthorizationDetails {
            let refs = if actions == r#""read""# { "" } else { r#","refs":["refs/heads/a"]"# };
            let text = format!(
                r#"[{{"type":"git_repository","locations":["https://h/team/app"],"actions":[{actions}]{refs}}}]"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let (read, push, create) = (one(r#""read""#), one(r#""push""#), one(r#""create""#));
        let nothing = AuthorizationDetails::default;
        let of = |all: &[&AuthorizationDetails]| widest(all.iter().map(|details| (*details).clone()));
        assert_eq!(of(&[&read, &push]), Some(push.clone()));
        assert_eq!(of(&[&push, &nothing(), &read]), Some(push.clone()));
        assert_eq!(of(&[&push, &create]), Some(push), "neither has the other: the first");
        assert_eq!(of(&[&nothing()]), None);
    }

    #[test]
    fn the_nonce_is_taken_from_our_challenge_only() {
        let resource: Resource = "https://h:1/".parse().unwrap();
        let nonce = |challenges: &[&str]| {
            nonce_in(&challenges.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>(), &resource)
        };
        let ours = "Daypass realm=\"https://h:1/\", nonce=\"abc_-1\"";
        assert_eq!(nonce(&["Basic realm=\"x\"", ours]).as_deref(), Some("abc_-1"));
        assert_eq!(nonce(&[&ours.replace("Daypass", "daypass")]).as_deref(), Some("abc_-1"));
        for bad in [
            "",
            "Daypass",
            "Bearer nonce=\"x\"",
            "Daypass realm=\"https://other/\", nonce=\"x\"",
            "Daypass realm=\"https://h:1/\", nonce=\"\"",
            "Daypass realm=\"https://h:1/\", nonce=x",
        ] {
            assert_eq!(nonce(&[bad]), None, "{bad}");
        }
    }
}
