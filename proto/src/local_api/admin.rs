//! `POST /v1/admin`: one request to an issuer's admin API. The agent gets the token and makes the proof; neither comes back.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is asked of the admin API.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AdminRequest {
    /// Which issuer's, where this user has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// `GET` or `POST`.
    pub method: AdminMethod,
    /// The path and the query: `/admin/v1/…`.
    pub path: String,
    /// What goes along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
}

/// How it is asked.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AdminMethod {
    /// To see something.
    Get,
    /// To decide something.
    Post,
}

impl AdminMethod {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}
