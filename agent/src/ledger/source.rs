//! Where the ledger's answers come from: the issuer's public listener, over TLS that ends at its root. Every answer has a limit, which is held before
//! anything is kept of it.

use daypass_proto::{
    encoding::{Fixed, base64url},
    ledger::{
        api::{self, Consistency, Inclusion, Log},
        checkpoint::MAX_CHECKPOINT,
        tree::MAX_PROOF,
    },
};
use reqwest::Client;
use serde::de::DeserializeOwned;

use crate::{error::AgentError, issuer};

/// The longest answer with a proof, in bytes: the proof's hashes in base64url, and what stands around them.
const MAX_PROOF_ANSWER: usize = MAX_PROOF * 64 + 1024;
/// The longest list of keys and beginnings, in bytes: a hundred keys and as many beginnings as there may be.
const MAX_LOG: usize = 512 * 1024;

/// What the check asks. The issuer's answers are not believed.
pub(crate) trait Source {
    /// Which ledger it is, and its keys.
    fn log(&self) -> impl Future<Output = Result<Log, AgentError>> + Send;
    /// The newest checkpoint.
    fn checkpoint(&self) -> impl Future<Output = Result<String, AgentError>> + Send;
    /// The proof that the larger tree begins with the smaller.
    fn consistency(&self, first: u64, second: u64) -> impl Future<Output = Result<Consistency, AgentError>> + Send;
    /// The proof that the leaf stands in the tree of this size.
    fn inclusion(&self, leaf: Fixed<32>, size: u64) -> impl Future<Output = Result<Inclusion, AgentError>> + Send;
}

/// An issuer.
pub(crate) struct Issuer<'a> {
    /// Trusts the issuer's root and nothing else.
    pub(crate) client: Client,
    /// Its identifier, where its public listener is.
    pub(crate) url: &'a str,
}

impl Issuer<'_> {
    async fn ask<T: DeserializeOwned>(&self, path: &str, limit: usize) -> Result<T, AgentError> {
        let url = format!("{}{path}", self.url);
        let body = issuer::bytes_within(&url, self.client.get(&url), limit).await?;
        serde_json::from_slice(&body).map_err(|_| AgentError::IssuerAnswer { url, status: 200 })
    }
}

impl Source for Issuer<'_> {
    async fn log(&self) -> Result<Log, AgentError> {
        self.ask(api::LOG, MAX_LOG).await
    }

    async fn checkpoint(&self) -> Result<String, AgentError> {
        let url = format!("{}{}", self.url, api::CHECKPOINT);
        let body = issuer::bytes_within(&url, self.client.get(&url), MAX_CHECKPOINT).await?;
        String::from_utf8(body).map_err(|_| AgentError::IssuerAnswer { url, status: 200 })
    }

    async fn consistency(&self, first: u64, second: u64) -> Result<Consistency, AgentError> {
        self.ask(&format!("{}?first={first}&second={second}", api::CONSISTENCY), MAX_PROOF_ANSWER).await
    }

    async fn inclusion(&self, leaf: Fixed<32>, size: u64) -> Result<Inclusion, AgentError> {
        self.ask(&format!("{}?leaf={}&size={size}", api::INCLUSION, base64url(&leaf.0)), MAX_PROOF_ANSWER).await
    }
}
