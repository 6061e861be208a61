//! What sinks have not taken, and what is to become of what is not tried any more.

use daypass_proto::admin_api as api;

use super::{caller::Decider, error::AdminError, list::Which, perform::reason};
use crate::{issuer::Issuer, notification::drop_dead};

pub(super) async fn list(issuer: &Issuer, query: &str) -> Result<api::List<api::Notification>, AdminError> {
    let which = Which::read(query, &["dead", "limit"])?;
    let found = issuer.store.outgoing(which.dead.unwrap_or(false), which.limit().saturating_add(1)).await?;
    let shown = found.into_iter().map(|message| api::Notification {
        payload: serde_json::from_str(&message.payload).unwrap_or_default(),
        message: message.id,
        sink: message.sink,
        kind: message.kind,
        dead: message.dead,
        happened_at: message.created_at,
        attempts: message.attempts,
        next_attempt_at: message.due_at,
        error: message.error,
    });
    Ok(which.cut(shown.collect()))
}

/// This message, or all of them where it is none.
fn which(asked: &api::DeadNotifications) -> Result<Option<&str>, AdminError> {
    match (&asked.message, asked.all) {
        (Some(message), false) => Ok(Some(message)),
        (None, true) => Ok(None),
        _ => Err(AdminError::Malformed("either a `message` is named, or `all` is true".to_owned())),
    }
}

fn done(which: Option<&str>, notifications: u64) -> Result<api::Notifications, AdminError> {
    match (which, notifications) {
        (Some(_), 0) => Err(AdminError::NotFound("notification that is not tried any more")),
        _ => Ok(api::Notifications { notifications }),
    }
}

pub(super) async fn retry(issuer: &Issuer, asked: api::DeadNotifications) -> Result<api::Notifications, AdminError> {
    if asked.reason.is_some() {
        return Err(AdminError::Malformed("trying again is no decision, and has no `reason`".to_owned()));
    }
    let which = which(&asked)?;
    done(which, issuer.store.retry(which, issuer.environment.now()).await?)
}

pub(super) async fn take_out(
    issuer: &Issuer,
    decider: &Decider,
    asked: api::DeadNotifications,
) -> Result<api::Notifications, AdminError> {
    let (which, why) = (which(&asked)?, asked.reason.as_deref().map(reason).transpose()?);
    let count = drop_dead(issuer, which, &decider.actor, why.as_deref()).await.map_err(AdminError::Decide)?;
    done(which, count)
}
