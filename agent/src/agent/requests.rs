//! Asking issuers for longer, or for more. The issuer decides; the agent passes on what its user asks.

use daypass_proto::{
    access_request::{AccessRequest, Requests, Withdraw},
    local_api::{AllRequests, AskIssuer, RequestsAt, WithdrawAsked},
};
use serde::Serialize;

use super::{Agent, member::Member};
use crate::{error::AgentError, issuer};

const PATH: &str = "/device/v1/requests";

impl Agent {
    /// Asks an issuer.
    pub async fn ask(&self, uid: u32, asked: &AskIssuer) -> Result<AccessRequest, AgentError> {
        self.tell(&*self.member(uid, &asked.issuer)?, PATH, &asked.ask).await
    }

    /// Takes a request back.
    pub async fn withdraw(&self, uid: u32, asked: &WithdrawAsked) -> Result<AccessRequest, AgentError> {
        let withdraw = Withdraw { request: asked.request.clone() };
        self.tell(&*self.member(uid, &asked.issuer)?, "/device/v1/requests/withdraw", &withdraw).await
    }

    /// What this user asked, and what has become of it; an issuer that does not say is told beside the others.
    pub async fn requests(&self, uid: u32) -> AllRequests {
        let mut issuers = Vec::new();
        for member in self.members_of(uid) {
            let url = format!("{}{PATH}", member.device().mtls_url);
            let answer = issuer::answer::<Requests>(&url, member.client().get(&url)).await;
            let (requests, problem) = match answer {
                Ok(answer) => (answer.requests, None),
                Err(error) => (Vec::new(), Some(error.problem())),
            };
            issuers.push(RequestsAt { issuer: member.issuer.clone(), requests, problem });
        }
        AllRequests { issuers }
    }

    async fn tell(&self, member: &Member, path: &str, said: &impl Serialize) -> Result<AccessRequest, AgentError> {
        let url = format!("{}{path}", member.device().mtls_url);
        self.answer(member, &url, member.client().post(&url).json(said)).await
    }
}
