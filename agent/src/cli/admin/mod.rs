//! `daypass admin`: deciding from one's own machine. The agent asks the issuer; here is what is asked, and how the answer is shown.

pub(crate) mod arguments;
mod invite;
mod policy;
mod request;
mod shown;
#[cfg(test)]
mod tests;

use daypass_proto::{
    admin_api as api,
    local_api::admin::{AdminMethod, AdminRequest},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use self::{
    arguments::{
        Admin, AdminCommand, AdministratorCommand, DeviceCommand, EventCommand, GateCommand, GrantCommand, How,
        InvitationCommand, NotificationCommand, PhaseCommand, ProjectCommand, Which, Why,
    },
    shown::{columns, plain},
};
use super::{failure::Failure, leave::issuer_named, terminal::Terminal};
use crate::local_client::{LONG, LocalClient};

/// Where requests go.
struct Api<'a> {
    agent: &'a LocalClient,
    issuer: Option<String>,
}

impl Api<'_> {
    fn ask<T: DeserializeOwned>(&self, method: AdminMethod, path: String, body: Option<Value>) -> Result<T, Failure> {
        let request =
            AdminRequest { issuer: self.issuer.clone(), method, path: format!("{}{path}", api::PREFIX), body };
        Ok(self.agent.post("/v1/admin", &request, LONG)?)
    }

    fn get<T: DeserializeOwned>(&self, path: impl Into<String>) -> Result<T, Failure> {
        self.ask(AdminMethod::Get, path.into(), None)
    }

    fn post<T: DeserializeOwned>(&self, path: impl Into<String>, body: &impl Serialize) -> Result<T, Failure> {
        self.ask(AdminMethod::Post, path.into(), Some(json!(body)))
    }
}

/// The filters of a list, as they stand in a query.
#[derive(Default)]
struct Query(Vec<(&'static str, String)>);

impl Query {
    fn with(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.0.extend(value.map(|value| (name, value.to_string())));
        self
    }

    fn of(which: &Which) -> Self {
        Self::default()
            .with("collaborator", which.collaborator.as_ref())
            .with("project", which.project.as_ref())
            .with("role", which.role.as_ref())
            .states(&which.state)
            .with("sort", Some(which.sort))
            .with("limit", Some(which.limit.limit))
    }

    fn states(self, states: &[String]) -> Self {
        self.with("state", (!states.is_empty()).then(|| states.join(",")))
    }

    fn to(&self, path: &str) -> String {
        let query = Serializer::new(String::new()).extend_pairs(&self.0).finish();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
    }
}

pub(super) fn run(asked: &Admin, agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let api = Api { agent, issuer: asked.issuer.as_deref().map(issuer_named).transpose()? };
    match &asked.command {
        AdminCommand::Device(command) => device(command, &api, terminal),
        AdminCommand::Grant(command) => grant(command, &api, terminal),
        AdminCommand::Request(command) => request::run(command, &api, terminal),
        AdminCommand::Invite(asked) => invite::run(asked, &api, terminal),
        AdminCommand::Invitation(command) => invitation(command, &api, terminal),
        AdminCommand::Offboard { collaborator, how } => {
            let body =
                |confirmed| api::Offboard { collaborator: collaborator.clone(), reason: how.reason.clone(), confirmed };
            end("offboard", body, &format!("`{collaborator}`"), how, &api, terminal)
        }
        AdminCommand::Project(ProjectCommand::End { project, how }) => {
            let body = |confirmed| api::End { reason: how.reason.clone(), confirmed };
            end(&format!("projects/{project}/end"), body, &format!("project `{project}`"), how, &api, terminal)
        }
        AdminCommand::Phase(PhaseCommand::List { project }) => {
            let query = Query::default().with("project", project.as_ref());
            list::<api::Phase>(&query.to("phases"), &api, terminal)
        }
        AdminCommand::Phase(PhaseCommand::End { project, phase, how }) => {
            let body = |confirmed| api::End { reason: how.reason.clone(), confirmed };
            let what = format!("phase `{phase}` of project `{project}`");
            end(&format!("projects/{project}/phases/{phase}/end"), body, &what, how, &api, terminal)
        }
        AdminCommand::Policy(command) => policy::run(command, &api, terminal),
        AdminCommand::Administrator(AdministratorCommand::List) => {
            list::<api::Administrator>("administrators", &api, terminal)
        }
        AdminCommand::Gate(command) => gate(command, &api, terminal),
        AdminCommand::Notification(command) => notification(command, &api, terminal),
        AdminCommand::Ledger(EventCommand::List {
            collaborator,
            project,
            device,
            kind,
            since,
            until,
            after,
            limit,
        }) => {
            let query = Query::default()
                .with("collaborator", collaborator.as_ref())
                .with("project", project.as_ref())
                .with("device", device.as_ref())
                .with("kind", kind.as_ref())
                .with("since", since.as_ref())
                .with("until", until.as_ref())
                .with("after", after.as_ref())
                .with("limit", Some(limit.limit));
            list::<api::Event>(&query.to("ledger/events"), &api, terminal)
        }
    }
}

fn list<T: columns::Row + DeserializeOwned + Serialize>(
    path: &str,
    api: &Api<'_>,
    terminal: &mut dyn Terminal,
) -> Result<(), Failure> {
    let listed: api::List<T> = api.get(path)?;
    if terminal.json() {
        return terminal.document(&listed);
    }
    columns::table(&listed.items, terminal)?;
    if listed.more {
        terminal.note("there are more than these; narrow the list");
    }
    Ok(())
}

/// The state of a grant that waits.
const REQUESTED: &str = "requested";

/// Asks before something is done that is not undone.
fn confirmed(what: &str, yes: bool, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    match terminal.confirm(&format!("{what}?")) {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::Declined),
        None => Err(Failure::Unconfirmed("this asks for a yes")),
    }
}

fn decide(why: &Why) -> api::Decide {
    api::Decide { reason: why.reason.clone() }
}

/// Shows what became of something: the whole of it as JSON, or a line.
fn done<T: Serialize>(made: &T, words: String, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    if terminal.json() { terminal.document(made) } else { terminal.words(&words) }
}

fn device(command: &DeviceCommand, api: &Api<'_>, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let (id, verb, why) = match command {
        DeviceCommand::List { collaborator, project, state, limit } => {
            let query = Query::default()
                .with("collaborator", collaborator.as_ref())
                .with("project", project.as_ref())
                .states(state)
                .with("limit", Some(limit.limit));
            return list::<api::Device>(&query.to("devices"), api, terminal);
        }
        DeviceCommand::Show { device } => {
            let found: api::Device = api.get(format!("devices/{device}"))?;
            return if terminal.json() { terminal.document(&found) } else { shown::device(&found, terminal) };
        }
        DeviceCommand::Approve { device, code, with_grants, yes, why } => {
            if *with_grants && !yes {
                let found: api::Device = api.get(format!("devices/{device}"))?;
                let waiting = found.grants.iter().filter(|grant| grant.state == REQUESTED);
                for grant in waiting.take(if terminal.json() { 0 } else { usize::MAX }) {
                    shown::grant(&api.get(format!("grants/{}", grant.grant))?, terminal)?;
                }
                confirmed("approve this device, and what it was invited to, as far as that is yours", false, terminal)?;
            }
            let (code, reason) = (code.clone(), why.reason.clone());
            let body = api::ApproveDevice { code, with_grants: *with_grants, reason };
            let found: api::Device = api.post(format!("devices/{device}/approve"), &body)?;
            if terminal.json() {
                return terminal.document(&found);
            }
            terminal.words(&format!("approved {device} for {}", found.collaborator))?;
            for api::Grant { grant, project, role, state, .. } in &found.grants {
                let waits =
                    if state == REQUESTED { format!(": `daypass admin grant approve {grant}`") } else { String::new() };
                terminal.words(&format!("  {grant} to {project} as {role} is {}{waits}", plain(state)))?;
            }
            return Ok(());
        }
        DeviceCommand::Suspend { device, why } => (device, "suspend", why),
        DeviceCommand::Resume { device, why } => (device, "resume", why),
        DeviceCommand::Revoke { device, why, yes } => {
            if !yes.yes {
                let found: api::Device = api.get(format!("devices/{device}"))?;
                if !terminal.json() {
                    shown::device(&found, terminal)?;
                }
                confirmed("end this device, its grants and its tokens, for good", yes.yes, terminal)?;
            }
            (device, "revoke", why)
        }
    };
    let found: api::Device = api.post(format!("devices/{id}/{verb}"), &decide(why))?;
    done(&found, format!("{id} is now {}", shown::word(&found.state)), terminal)
}

fn grant(command: &GrantCommand, api: &Api<'_>, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let (id, verb, why) = match command {
        GrantCommand::List { which, device } => {
            let query = Query::of(which).with("device", device.as_ref());
            return list::<api::Grant>(&query.to("grants"), api, terminal);
        }
        GrantCommand::Show { grant } => {
            let found: api::GrantShown = api.get(format!("grants/{grant}"))?;
            return if terminal.json() { terminal.document(&found) } else { shown::grant(&found, terminal) };
        }
        GrantCommand::Approve { grant, why } => {
            let found: api::GrantShown = api.post(format!("grants/{grant}/approve"), &decide(why))?;
            let words = match (found.approvals_missing, found.grant.device.is_some()) {
                (0, true) => format!("approved: {grant} is now {}", found.grant.state),
                (0, false) => format!("approved: {grant} comes into force with its machine"),
                (missing, _) => {
                    format!("approved: {grant} waits for {missing} more, of {}", found.waits_for.join(", "))
                }
            };
            return done(&found, words, terminal);
        }
        GrantCommand::Suspend { grant, why } => (grant, "suspend", why),
        GrantCommand::Resume { grant, why } => (grant, "resume", why),
        GrantCommand::Revoke { grant, why, yes } => {
            if !yes.yes {
                let found: api::GrantShown = api.get(format!("grants/{grant}"))?;
                if !terminal.json() {
                    shown::grant(&found, terminal)?;
                }
                confirmed("end this grant, and the tokens under it, for good", yes.yes, terminal)?;
            }
            (grant, "revoke", why)
        }
    };
    let found: api::Grant = api.post(format!("grants/{id}/{verb}"), &decide(why))?;
    done(&found, format!("{id} is now {}", found.state), terminal)
}

fn invitation(command: &InvitationCommand, api: &Api<'_>, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    match command {
        InvitationCommand::List { which } => {
            list::<api::Invitation>(&Query::of(which).to("invitations"), api, terminal)
        }
        InvitationCommand::Withdraw { invitation, why, yes } => {
            confirmed(&format!("end {invitation} and the grant that it carries, for good"), yes.yes, terminal)?;
            let found: api::Invitation = api.post(format!("invitations/{invitation}/withdraw"), &decide(why))?;
            let words = format!("{invitation} is now {}, and its grant {} is revoked", found.state, found.grant);
            done(&found, words, terminal)
        }
    }
}

fn gate(command: &GateCommand, api: &Api<'_>, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    match command {
        GateCommand::List => list::<api::Gate>("gates", api, terminal),
        GateCommand::Remove { gate, why, yes } => {
            if !yes.yes {
                let all: api::List<api::Gate> = api.get("gates")?;
                let guards = all.items.into_iter().find(|found| found.gate == *gate).map(|found| found.resources);
                let guards = plain(&guards.unwrap_or_default().join(" "));
                if !terminal.json() {
                    terminal.words(&format!("gate {gate} guards {guards}, and will serve nobody"))?;
                }
                confirmed("take this gate out", false, terminal)?;
            }
            let found: api::Gate = api.post(format!("gates/{gate}/remove"), &decide(why))?;
            done(&found, format!("gate {gate} is now {}", plain(&found.state)), terminal)
        }
    }
}

fn notification(command: &NotificationCommand, api: &Api<'_>, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let (verb, which, why) = match command {
        NotificationCommand::List { dead, limit } => {
            let query = Query::default().with("dead", dead.then_some(true)).with("limit", Some(limit.limit));
            return list::<api::Notification>(&query.to("notifications"), api, terminal);
        }
        NotificationCommand::Retry { which } => ("retry", which, None),
        NotificationCommand::Drop { which, why, yes } => {
            confirmed("take this out, so that nobody is told of it", yes.yes, terminal)?;
            ("drop", which, why.reason.clone())
        }
    };
    let body = api::DeadNotifications { message: which.message.clone(), all: which.all, reason: why };
    let done_with: api::Notifications = api.post(format!("notifications/{verb}"), &body)?;
    let count = done_with.notifications;
    let words = if verb == "retry" { "tried again" } else { "taken out" };
    done(&done_with, format!("{count} notification(s) {words}"), terminal)
}

/// Says what would end, asks, and ends it.
fn end<T: Serialize>(
    path: &str,
    ask: impl Fn(bool) -> T,
    what: &str,
    how: &How,
    api: &Api<'_>,
    terminal: &mut dyn Terminal,
) -> Result<(), Failure> {
    let counted = |ended: &api::Ended| {
        format!(
            "{} open invitation(s), {} grant(s), {} device(s)",
            ended.invitations.len(),
            ended.grants.len(),
            ended.devices.len()
        )
    };
    if !how.yes {
        let would: api::Ended = api.post(path, &ask(false))?;
        if !terminal.json() {
            terminal.words(&format!("this will end of {what}: {}", counted(&would)))?;
            shown::ended(&would, terminal)?;
        }
        confirmed("end all of this, for good", false, terminal)?;
    }
    let ended: api::Ended = api.post(path, &ask(true))?;
    let words = if ended.ended {
        format!("ended of {what}: {}", counted(&ended))
    } else {
        format!("there is nothing to end of {what}")
    };
    done(&ended, words, terminal)
}
