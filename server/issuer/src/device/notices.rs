//! What a device's user is told of what was decided: read from the ledger's own events about this device, from a number on.

use daypass_proto::{
    enrolment::DeviceLife,
    ledger::EventKind,
    notice::{About, MOST, Notice},
};
use serde_json::Value;

use crate::{
    issuer::Issuer,
    store::{Device, Entry, Filter, Side, StoreError},
};

const KINDS: [EventKind; 13] = [
    EventKind::DeviceApproved,
    EventKind::DeviceSuspended,
    EventKind::DeviceResumed,
    EventKind::RequestApproved,
    EventKind::RequestRefused,
    EventKind::RequestLapsed,
    EventKind::GrantActivated,
    EventKind::GrantExtended,
    EventKind::GrantSuspended,
    EventKind::GrantResumed,
    EventKind::GrantGraceBegun,
    EventKind::GrantEnded,
    EventKind::GrantRevoked,
];

/// What happened to this device from number `after` on, the newest [`MOST`] of it, and the number to ask for next. Nothing while it is pending.
pub async fn notices(issuer: &Issuer, device: &Device, after: u64) -> Result<(Vec<Notice>, Option<u64>), StoreError> {
    if device.state != DeviceLife::Approved {
        return Ok((Vec::new(), None));
    }
    let Some(ledger) = issuer.store.ledger().await? else { return Ok((Vec::new(), None)) };
    // A ledger that was restored may be behind what was asked for: it goes on from where it is.
    let filter = Filter { device: Some(device.id.clone()), kinds: KINDS.to_vec(), ..Filter::default() };
    let entries = issuer.store.listed(&filter, after..ledger.head.size(), Side::Last, MOST).await?;
    Ok((entries.iter().filter_map(notice).collect(), Some(ledger.head.size())))
}

fn notice(entry: &Entry) -> Option<Notice> {
    let leaf: Value = serde_json::from_slice(&entry.leaf).ok()?;
    let field = |name: &str| leaf.get("fields")?.get(name);
    let number = |name: &str| field(name).and_then(Value::as_i64);
    let about = match entry.kind.parse().ok()? {
        EventKind::DeviceApproved => About::DeviceApproved,
        EventKind::DeviceSuspended => About::DeviceSuspended,
        EventKind::DeviceResumed => About::DeviceResumed,
        // Until the last one that is missing, it waits.
        EventKind::RequestApproved if number("approvals") < number("approvers") => return None,
        EventKind::RequestApproved if field("rule").is_some_and(|rule| rule == "narrowed") => About::RequestNarrowed,
        EventKind::RequestApproved => About::RequestApproved,
        EventKind::RequestRefused => About::RequestRefused,
        EventKind::RequestLapsed => About::RequestLapsed,
        EventKind::GrantActivated => About::GrantActivated,
        EventKind::GrantExtended => About::GrantExtended,
        EventKind::GrantSuspended => About::GrantSuspended,
        EventKind::GrantResumed => About::GrantResumed,
        EventKind::GrantGraceBegun => About::GrantGrace,
        EventKind::GrantEnded => About::GrantEnded,
        EventKind::GrantRevoked => About::GrantRevoked,
        _ => return None,
    };
    // Why somebody was held back or ended, is written for the ledger. What is answered to a request is written for whoever asked.
    let answered = matches!(about, About::RequestApproved | About::RequestNarrowed | About::RequestRefused);
    let answer = answered.then(|| entry.personal.get("why").map(|(_, value)| value.clone())).flatten();
    let name = |name: &str| field(name).and_then(Value::as_str);
    Some(Notice {
        event: entry.number()?,
        at: entry.at,
        about,
        grant: name("grant").and_then(|grant| grant.parse().ok()),
        request: name("request").and_then(|request| request.parse().ok()),
        project: name("project").and_then(|project| project.parse().ok()),
        role: name("role").and_then(|role| role.parse().ok()),
        until: number("until").map(daypass_proto::time::Timestamp::from_seconds),
        answer,
    })
}

#[cfg(test)]
mod tests;
