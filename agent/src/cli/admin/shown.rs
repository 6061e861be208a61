//! Answers of the admin API, for people.

use daypass_proto::{admin_api as api, time::Timestamp, words::harmless};
use serde::Serialize;

use super::{Failure, Terminal};

/// The word of a value that is one in JSON.
pub(super) fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What others wrote, not longer than a line.
pub(super) fn plain(text: &str) -> String {
    harmless(&text.chars().take(120).collect::<String>())
}

pub(super) fn or_none(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| plain(&value.to_string()))
}

pub(super) fn device(found: &api::Device, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let lines = [
        ("device", found.device.to_string()),
        ("state", word(&found.state)),
        ("collaborator", found.collaborator.to_string()),
        ("trust tier", word(&found.trust_tier)),
        ("compare code", or_none(found.comparison_code.as_ref())),
        ("host", format!("{} ({})", plain(&found.hostname), plain(&found.os))),
        ("secure boot", found.secure_boot.map_or("unknown", |on| if on { "on" } else { "off" }).to_owned()),
        ("enrolled", found.enrolled_at.to_string()),
    ];
    for (name, value) in lines {
        terminal.words(&format!("{name:<15} {value}"))?;
    }
    for grant in &found.grants {
        let (id, project, role, state, until) = (&grant.grant, &grant.project, &grant.role, &grant.state, grant.until);
        terminal.words(&format!("grant           {id} {project} as {role}, {} until {until}", plain(state)))?;
    }
    if found.grants_elsewhere > 0 {
        terminal.words(&format!("                and {} in projects of others", found.grants_elsewhere))?;
    }
    Ok(())
}

/// The terms of a grant with this hard end: each with its name.
pub(super) fn terms(terms: &api::Terms, until: Timestamp) -> Vec<(&'static str, String)> {
    let mut told = Vec::new();
    told.extend(terms.not_before.map(|begins| ("not before", begins.to_string())));
    told.extend(terms.phase.as_ref().map(|phase| ("phase", format!("{phase}, and ends with it"))));
    told.extend(terms.uses.map(|uses| ("tokens", format!("{uses} at most"))));
    if terms.grace > 0 {
        told.push(("grace", format!("less than that until {}", until.plus(terms.grace))));
    }
    told.extend(terms.networks.iter().map(|network| ("from", plain(network))));
    told.extend(terms.trust_tiers.iter().map(|tier| ("trust tier", word(tier))));
    if terms.secure_boot {
        told.push(("secure boot", "asked for".to_owned()));
    }
    told
}

pub(super) fn grant(found: &api::GrantShown, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let grant = &found.grant;
    let lines = [
        ("grant", grant.grant.to_string()),
        ("state", plain(&grant.state)),
        ("collaborator", grant.collaborator.to_string()),
        ("project", format!("{} as {}", grant.project, grant.role)),
        ("until", grant.until.to_string()),
        ("device", or_none(grant.device.as_ref())),
        ("tokens given", found.used.to_string()),
    ];
    for (name, value) in lines.into_iter().chain(terms(&found.terms, grant.until)) {
        terminal.words(&format!("{name:<15} {value}"))?;
    }
    if let Some(replaces) = &found.replaces {
        terminal.words(&format!("in place of     {replaces}, which ends when this one comes into force"))?;
    }
    for by in &found.approved_by {
        terminal.words(&format!("approved by     {by}"))?;
    }
    let waits = (grant.state == "requested").then_some((found.approvals_missing, grant.device.is_some()));
    match waits {
        None => {}
        Some((0, false)) => terminal.words("waits for       its machine")?,
        Some((0, true)) => terminal.words("waits for       the approval of its machine")?,
        Some((missing, _)) => {
            terminal.words(&format!("waits for       {missing} of {}", plain(&found.waits_for.join(", "))))?;
        }
    }
    for accepted in &found.acceptances {
        let is = if accepted.current { "as it is now" } else { "which is another by now" };
        let (hash, device, at) = (plain(&accepted.briefing), &accepted.device, accepted.at);
        terminal.words(&format!("briefing        {hash} accepted at {at} by {device}, {is}"))?;
    }
    if found.authorization_details.is_empty() {
        terminal.words("role gives      nothing: the policy in force has no such role for them")?;
    }
    for detail in found.authorization_details.iter() {
        terminal.words(&format!("role gives      {}", serde_json::to_string(detail).unwrap_or_default()))?;
    }
    Ok(())
}

pub(super) fn ended(ended: &api::Ended, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let invitations = ended.invitations.iter().map(|id| format!("  invitation {id}: withdrawn"));
    let requests = ended.requests.iter().map(|id| format!("  request {id}: lapses"));
    let grants = ended.grants.iter().map(|id| format!("  grant {id}: revoked"));
    let devices = ended.devices.iter().map(|id| format!("  device {id}: revoked, with its certificates and tokens"));
    let staying = ended.staying.iter().map(|id| format!("  device {id} stays: it has other grants"));
    for line in invitations.chain(requests).chain(grants).chain(devices).chain(staying) {
        terminal.words(&line)?;
    }
    Ok(())
}

pub(super) mod columns {
    //! Lists: columns that stay, whatever is in them.

    use daypass_proto::admin_api as api;
    use serde_json::Value;

    use super::{Failure, Terminal, or_none, plain, word};

    /// What stands in a list.
    pub(in super::super) trait Row {
        /// What stands above it.
        const HEADING: &'static [&'static str];

        /// Its cells, as many.
        fn cells(&self) -> Vec<String>;
    }

    /// Rows under their heading, in columns as wide as their widest cell.
    pub(in super::super) fn table<T: Row>(items: &[T], terminal: &mut dyn Terminal) -> Result<(), Failure> {
        let heading = T::HEADING.iter().map(|cell| (*cell).to_owned()).collect();
        let rows: Vec<Vec<String>> = std::iter::once(heading).chain(items.iter().map(Row::cells)).collect();
        let width = |column: usize| rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max();
        for row in &rows {
            let cells = row.iter().enumerate();
            let padded: Vec<String> =
                cells.map(|(column, cell)| format!("{cell:<width$}", width = width(column).unwrap_or(0))).collect();
            terminal.words(padded.join("  ").trim_end())?;
        }
        Ok(())
    }

    impl Row for api::Device {
        const HEADING: &'static [&'static str] =
            &["DEVICE", "STATE", "COLLABORATOR", "TRUST", "CODE", "HOST", "ENROLLED"];

        fn cells(&self) -> Vec<String> {
            vec![
                self.device.to_string(),
                word(&self.state),
                self.collaborator.to_string(),
                word(&self.trust_tier),
                or_none(self.comparison_code.as_ref()),
                plain(&self.hostname),
                self.enrolled_at.to_string(),
            ]
        }
    }

    impl Row for api::Grant {
        const HEADING: &'static [&'static str] =
            &["GRANT", "STATE", "COLLABORATOR", "PROJECT", "ROLE", "UNTIL", "DEVICE"];

        fn cells(&self) -> Vec<String> {
            vec![
                self.grant.to_string(),
                plain(&self.state),
                self.collaborator.to_string(),
                self.project.to_string(),
                self.role.to_string(),
                self.until.to_string(),
                or_none(self.device.as_ref()),
            ]
        }
    }

    impl Row for api::Invitation {
        const HEADING: &'static [&'static str] =
            &["INVITATION", "STATE", "COLLABORATOR", "PROJECT", "ROLE", "CODE UNTIL", "GRANT", "DEVICE"];

        fn cells(&self) -> Vec<String> {
            let expired = if self.expired && self.state == "open" { " (expired)" } else { "" };
            vec![
                self.invitation.to_string(),
                format!("{}{expired}", plain(&self.state)),
                self.collaborator.to_string(),
                self.project.to_string(),
                self.role.to_string(),
                self.expires_at.to_string(),
                self.grant.to_string(),
                or_none(self.device.as_ref()),
            ]
        }
    }

    impl Row for api::Phase {
        const HEADING: &'static [&'static str] = &["PROJECT", "PHASE", "STATE", "BEGINS", "ENDS"];

        fn cells(&self) -> Vec<String> {
            vec![
                self.project.to_string(),
                self.phase.to_string(),
                plain(&self.state),
                or_none(self.begins.as_ref()),
                self.ends.to_string(),
            ]
        }
    }

    impl Row for api::Gate {
        const HEADING: &'static [&'static str] = &["GATE", "STATE", "RESOURCES"];

        fn cells(&self) -> Vec<String> {
            vec![self.gate.to_string(), plain(&self.state), plain(&self.resources.join(" "))]
        }
    }

    impl Row for api::Notification {
        const HEADING: &'static [&'static str] =
            &["MESSAGE", "SINK", "TYPE", "HAPPENED", "ATTEMPTS", "NEXT", "LAST ERROR"];

        fn cells(&self) -> Vec<String> {
            vec![
                plain(&self.message),
                plain(&self.sink),
                plain(&self.kind),
                self.happened_at.to_string(),
                self.attempts.to_string(),
                if self.dead { "dead".to_owned() } else { self.next_attempt_at.to_string() },
                or_none(self.error.as_ref()),
            ]
        }
    }

    impl Row for api::PolicyVersion {
        const HEADING: &'static [&'static str] =
            &["NUMBER", "VERSION", "IN FORCE FROM", "FILES", "STATE", "BY", "CONFIRMED"];

        fn cells(&self) -> Vec<String> {
            vec![
                self.number.to_string(),
                self.version.chars().take(12).collect(),
                self.at.to_string(),
                self.files.to_string(),
                if self.in_force { "in force" } else { "-" }.to_owned(),
                or_none(self.by.as_ref()),
                or_none(self.proposal.as_ref()),
            ]
        }
    }

    impl Row for api::Administrator {
        const HEADING: &'static [&'static str] = &["COLLABORATOR", "ACTING", "UNTIL", "DEVICES", "MADE"];

        fn cells(&self) -> Vec<String> {
            let devices: Vec<String> =
                self.grants.iter().filter_map(|grant| grant.device.as_ref().map(ToString::to_string)).collect();
            vec![
                self.collaborator.to_string(),
                if self.acting { "yes" } else { "not yet" }.to_owned(),
                or_none(self.grants.iter().map(|grant| grant.until).max().as_ref()),
                if devices.is_empty() { "-".to_owned() } else { devices.join(" ") },
                self.bootstraps.last().map_or_else(
                    || "-".to_owned(),
                    |made| format!("{} by {}", made.at, made.by.as_deref().map_or_else(|| "?".to_owned(), plain)),
                ),
            ]
        }
    }

    impl Row for api::Event {
        const HEADING: &'static [&'static str] = &["EVENT", "TIME", "KIND", "COLLABORATOR", "PROJECT", "DEVICE", "BY"];

        fn cells(&self) -> Vec<String> {
            let text = |value: Option<&Value>| match value {
                Some(Value::String(text)) => plain(text),
                Some(Value::Null) => "(erased)".to_owned(),
                _ => "-".to_owned(),
            };
            vec![
                or_none(self.event.as_ref()),
                or_none(self.at.as_ref()),
                plain(&self.kind),
                text(self.personal.get("collaborator")),
                text(self.fields.get("project")),
                text(self.fields.get("device")),
                text(self.personal.get("by")),
            ]
        }
    }
}
