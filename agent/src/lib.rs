//! The agent of Daypass: keeps keys in the TPM, obtains tokens, and serves them to this machine's tools.

pub mod agent;
pub mod api;
pub mod caller;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connections;
pub mod daemon;
pub mod enrolment;
pub mod error;
mod file_kind;
pub mod git_config;
pub mod git_helper;
pub mod issuer;
mod large_body;
mod ledger;
pub mod local_client;
pub mod memory;
#[cfg(test)]
mod mock_agent;
mod notices;
pub mod state;
pub mod tokens;
pub mod tpm;
pub mod warning;
