//! How a refusal leaves: each endpoint has its own closed error enum, and says here what it looks like on the wire.
//!
//! Internal text never leaves; it is logged, once, with its chain.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use daypass_proto::{
    oauth_error::{ErrorBody, OAuthError, Reason, internal},
    redaction::redacted,
};

use daypass_service::told;

use crate::{
    keys::KeyError,
    store::{DecideError, StoreError},
};

/// RFC 6749 section 5.2 lets a description have visible ASCII without `"` and `\`. Some of ours repeat what the client sent.
fn in_description(c: char) -> char {
    match c {
        '"' => '\'',
        ' '..='~' if c != '\\' => c,
        _ => '?',
    }
}

/// The headers of whatever has a token in it, and of refusals: RFC 6749 section 5.1.
pub const NEVER_STORED: [(header::HeaderName, &str); 2] =
    [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];

/// A refusal, ready to leave.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    body: ErrorBody,
    retry_after: Option<u32>,
}

impl Refusal {
    /// A refusal with the status that its OAuth code has.
    pub fn new(
        error: OAuthError,
        reason: Reason,
        description: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        let status = match error {
            OAuthError::InvalidClient => StatusCode::UNAUTHORIZED,
            OAuthError::AccessDenied | OAuthError::UnauthorizedClient => StatusCode::FORBIDDEN,
            OAuthError::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
            OAuthError::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        let body = ErrorBody {
            error,
            error_description: redacted(&description.into()).chars().map(in_description).collect(),
            daypass_reason: reason,
            daypass_next_step: next_step.into(),
        };
        Self { status, body, retry_after: None }
    }

    /// A request that does not fit its format.
    pub fn malformed(description: impl Into<String>) -> Self {
        Self::new(
            OAuthError::InvalidRequest,
            Reason::Malformed,
            description,
            "send what docs/wire.md describes; a client of another version may be too old or too new",
        )
    }

    /// A fault of our own; `error` goes to the log and nowhere else.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = %told(error), "could not decide a request");
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, body: internal(Reason::Internal), retry_after: None }
    }

    /// With another status than the code's usual one.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// With the seconds after which another try is worth it.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Whether nothing can be written down now, so that not even this could be: it stands in the log.
    pub fn cannot_be_recorded(&self) -> bool {
        matches!(self.reason(), Reason::StoreUnavailable | Reason::IssuerClock)
    }

    /// The cause.
    pub fn reason(&self) -> Reason {
        self.body.daypass_reason
    }
}

impl From<KeyError> for Refusal {
    fn from(error: KeyError) -> Self {
        if !matches!(error, KeyError::Clock { .. }) {
            return Self::internal(&error);
        }
        tracing::error!(error = %told(&error), "signed nothing");
        issuer_clock(error.to_string())
    }
}

fn issuer_clock(description: String) -> Refusal {
    Refusal::new(
        OAuthError::TemporarilyUnavailable,
        Reason::IssuerClock,
        description.replace("this machine's clock", "the issuer's clock"),
        "ask the issuer's administrator to set the issuer's clock",
    )
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = %told(&error), "the store failed");
        Self::new(
            OAuthError::TemporarilyUnavailable,
            Reason::StoreUnavailable,
            format!("{}, and nothing is issued unlogged", error.fault().told()),
            "try again; if it stays, ask the issuer's administrator to read its log",
        )
    }
}

impl From<DecideError> for Refusal {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::Store(error) => error.into(),
            error @ DecideError::Clock { .. } => {
                tracing::error!(
                    error = %error,
                    "decided nothing; set the clock, or, where it is right now, run `daypass-issuer clock accept`"
                );
                issuer_clock(error.to_string())
            }
            DecideError::Conflict(condition) => Self::new(
                OAuthError::AccessDenied,
                Reason::Conflict,
                format!("{condition} was changed by somebody else at the same time"),
                "look at its state, and try again if it still makes sense",
            )
            .with_status(StatusCode::CONFLICT),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, NEVER_STORED, Json(self.body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_has_the_characters_that_the_rfc_allows() {
        let said = Refusal::malformed("`\u{e9}\"x\\y\r\n\u{1b}[2J~` is no resource").body.error_description;
        assert_eq!(said, "`?'x?y???[2J~` is no resource");
        // A token in the wrong field does not come back.
        let said = Refusal::malformed(format!("`{}` is no resource", "a".repeat(500))).body.error_description;
        assert_eq!(said, "`aaaaaaaaaaaa...` is no resource");
    }
}
