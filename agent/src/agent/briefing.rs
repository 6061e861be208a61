//! Briefings: asking an issuer for one, and having the proof key sign that somebody accepted it.

use daypass_proto::{
    briefing::{self, ACCEPT_PATH, AcceptRequest, Briefing, Claims, PATH},
    local_api::{BriefingAccepted, BriefingAsked},
    names::GrantId,
};
use reqwest::RequestBuilder;

use super::{Agent, member::Member};
use crate::error::AgentError;

impl Agent {
    /// The briefing of a grant of this user's.
    pub async fn briefing(&self, uid: u32, asked: &BriefingAsked) -> Result<Briefing, AgentError> {
        let member = self.member(uid, &asked.issuer)?;
        let url = format!("{}{PATH}{}", member.device().mtls_url, asked.grant);
        self.briefed(&member, &asked.grant, &url, member.client().get(&url)).await
    }

    /// Signs that somebody accepted what they were shown, and tells the issuer, which compares it with what there is now.
    pub async fn accept_briefing(&self, uid: u32, accepted: &BriefingAccepted) -> Result<Briefing, AgentError> {
        let member = self.member(uid, &accepted.issuer)?;
        self.settle_time(&member).await;
        let claims = Claims {
            aud: member.issuer.clone(),
            iat: self.issuer_time(&member),
            grant: accepted.grant.clone(),
            project: accepted.project.clone(),
            briefing: accepted.briefing,
            text: accepted.text,
        };
        let input = briefing::acceptance_input(&claims)
            .map_err(|error| AgentError::Internal { attempted: "accept a briefing", why: error.to_string() })?;
        let acceptance = self.sign_jws(&member, input).await?;
        let url = format!("{}{ACCEPT_PATH}", member.device().mtls_url);
        let request = AcceptRequest { grant: accepted.grant.clone(), acceptance };
        let answer = self.briefed(&member, &accepted.grant, &url, member.client().post(&url).json(&request)).await?;
        // It is accepted whether or not the issuer can be asked what that changes.
        if let Err(error) = self.ask_state(&member).await {
            tracing::info!(issuer = member.issuer, %error, "could not ask for the state");
        }
        Ok(answer)
    }

    async fn briefed(
        &self,
        member: &Member,
        grant: &GrantId,
        url: &str,
        request: RequestBuilder,
    ) -> Result<Briefing, AgentError> {
        let answer: Briefing = self.answer(member, url, request).await?;
        if answer.grant == *grant {
            Ok(answer)
        } else {
            Err(AgentError::IssuerAnswer { url: url.to_owned(), status: 200 })
        }
    }
}
