//! Where messages go.

use std::{io, path::PathBuf, process::ExitStatus, sync::Arc};

use daypass_proto::time::Timestamp;
use thiserror::Error;

use super::{command::Command, settings::Settings, webhook::Webhook};
use crate::{certificates::CertificatesError, keys::KeyError};

/// Why a sink cannot be used as it is configured.
#[derive(Debug, Error)]
pub enum SinkError {
    /// The secret.
    #[error("the secret of the webhook cannot be used")]
    Secret(#[from] KeyError),
    /// It is no such secret.
    #[error(
        "`{}` does not have a secret of Standard Webhooks in each line: `whsec_` and 24 to 64 bytes in base64; make one with `echo whsec_$(head -c 32 /dev/urandom | base64)`",
        .0.display()
    )]
    SecretForm(PathBuf),
    /// The file of its CA.
    #[error("could not read the webhook's CA `{}`", path.display())]
    Ca {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has no certificates.
    #[error("the webhook's CA `{}` is not a file of certificates in PEM or DER", path.display())]
    CaForm {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: CertificatesError,
    },
    /// The system trusts nobody.
    #[error(
        "this system has no CA certificates; install its package `ca-certificates`, or name the webhook's CA in `notification.webhook.ca`"
    )]
    NoRoots,
    /// TLS.
    #[error("could not configure TLS for the webhook")]
    Tls(#[source] rustls::Error),
    /// HTTP.
    #[error("could not configure the webhook's HTTP client")]
    Client(#[source] reqwest::Error),
}

/// Why a sink did not take a message.
#[derive(Debug, Error)]
pub enum SendError {
    /// Not reached, or not in time.
    #[error("could not reach the webhook")]
    Unreachable(#[source] reqwest::Error),
    /// It answered something else than that it took it. Nothing of the answer but its status is read.
    #[error("the webhook answered with status {0}")]
    Status(u16),
    /// The command does not start.
    #[error("could not start the command")]
    Start(#[source] io::Error),
    /// Its standard input was closed, or its end could not be waited for.
    #[error("could not talk to the command")]
    Talk(#[source] io::Error),
    /// It did not end.
    #[error("the command did not end within {0} s, and was ended")]
    TimedOut(u64),
    /// It says that it failed.
    #[error("the command ended with {status}{}", if said.is_empty() { String::new() } else { format!(": {said}") })]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// The begin of what it wrote to standard error.
        said: String,
    },
}

/// Somewhere that messages go.
pub enum Sink {
    /// Over HTTPS.
    Webhook(Box<Webhook>),
    /// To a program.
    Command(Command),
}

impl Sink {
    /// Its name in store and lists.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Command(_) => "command",
        }
    }

    /// Sends one message; it is taken when this is well.
    pub async fn send(&self, id: &str, at: Timestamp, payload: &str) -> Result<(), SendError> {
        match self {
            Self::Webhook(webhook) => webhook.send(id, at, payload).await,
            Self::Command(command) => command.send(payload).await,
        }
    }
}

/// All that are configured.
#[derive(Default)]
pub struct Sinks(pub(super) Vec<Arc<Sink>>);

impl Sinks {
    /// Reads what they need: secrets, and whom they trust.
    pub fn open(settings: &Settings) -> Result<Self, SinkError> {
        let mut all = Vec::new();
        if let Some(webhook) = &settings.webhook {
            all.push(Arc::new(Sink::Webhook(Box::new(Webhook::open(webhook)?))));
        }
        if let Some(command) = &settings.command {
            all.push(Arc::new(Sink::Command(Command::new(command.clone()))));
        }
        Ok(Self(all))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Sink> {
        self.0.iter().map(AsRef::as_ref)
    }
}
