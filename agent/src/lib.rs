//! The agent of Daypass: keeps keys in the TPM, obtains tokens, and serves them to this machine's tools.

pub mod clock;
pub mod tpm;
pub mod git_config;
pub mod git_helper;
pub mod local_client;
#[cfg(test)]
mod mock_agent;
