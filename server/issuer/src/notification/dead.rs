//! What is not tried any more.

use daypass_proto::ledger::EventKind;

use crate::{
    actor::Actor,
    issuer::Issuer,
    store::{Change, DecideError, Decision},
};

/// Takes out this message, or all of them, so that nobody is told; gives how many there were.
pub async fn drop_dead(
    issuer: &Issuer,
    message: Option<&str>,
    actor: &Actor,
    reason: Option<&str>,
) -> Result<u64, DecideError> {
    let dead = issuer.store.outgoing(true, u32::MAX).await?;
    let ids: Vec<(String, String)> = dead
        .into_iter()
        .filter(|found| message.is_none_or(|id| id == found.id))
        .map(|found| (found.sink, found.id))
        .collect();
    if ids.is_empty() {
        return Ok(0);
    }
    let (environment, count) = (&issuer.environment, u64::try_from(ids.len()).unwrap_or(u64::MAX));
    let event = environment
        .event(EventKind::NotificationsDropped)
        .number("notifications", count.try_into().unwrap_or(i64::MAX));
    let event = environment.decided(event, actor);
    let event = match reason {
        Some(reason) => environment.personal(event, "why", reason),
        None => event,
    };
    issuer.store.decide(Decision::new(event).change(Change::DropNotifications(ids))).await?;
    Ok(count)
}
