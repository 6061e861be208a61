//! What each operation does: it reads what was asked, looks whether that is theirs, and calls what the command on the issuer's machine calls.

use axum::body::Bytes;
use daypass_proto::{
    admin_api as api,
    enrolment::DeviceLife,
    json::read,
    names::{DeviceId, GateName, GrantId, InvitationId, PhaseName, ProjectName},
    words::words,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Operation,
    authority::Forbidden,
    caller::Decider,
    error::AdminError,
    invite, list, notifications,
    openapi::description,
    policy, replace, requests,
    shown::{device, ended, gate, grant, grant_shown, invitation, proposal},
};
use crate::{
    approval::approve_grant,
    device::{Verb, compare, decide_life},
    ending::{GrantVerb, Told, carried, decide_grant, end_everything, look, withdraw},
    gates::remove,
    issuer::Issuer,
    policy::{Files, PolicyError},
    requests::Verdict,
    store::{Device, Grant, Scope},
};

/// What came with a request.
pub(super) struct Asked {
    pub(super) params: Vec<(String, String)>,
    pub(super) query: String,
    pub(super) body: Bytes,
}

impl Asked {
    /// A part of the path.
    pub(super) fn named<T: std::str::FromStr>(&self, name: &str, what: &'static str) -> Result<T, AdminError> {
        let value = self.params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        value.and_then(|value| value.parse().ok()).ok_or(AdminError::NotFound(what))
    }

    pub(super) fn body<T: DeserializeOwned>(&self) -> Result<T, AdminError> {
        read(&self.body).map_err(AdminError::Malformed)
    }

    /// The reason in the body.
    pub(super) fn reason(&self) -> Result<Option<String>, AdminError> {
        self.body::<api::Decide>()?.reason.as_deref().map(reason).transpose()
    }
}

pub(super) fn reason(text: &str) -> Result<String, AdminError> {
    words(text).map(str::to_owned).map_err(|error| AdminError::Malformed(format!("`reason` {error}")))
}

fn answer(value: &impl Serialize) -> Result<Value, AdminError> {
    serde_json::to_value(value).map_err(|error| AdminError::Malformed(error.to_string()))
}

pub(super) async fn perform(
    issuer: &Issuer,
    decider: &Decider,
    operation: Operation,
    asked: Asked,
) -> Result<Value, AdminError> {
    use Operation as O;
    match operation {
        O::Describe => Ok(description()),
        O::DeviceList => answer(&list::devices(issuer, decider, &asked.query).await?),
        O::DeviceShow => {
            let found = theirs(issuer, decider, operation, &asked).await?;
            answer(&device(issuer, &decider.standing, &found).await?)
        }
        O::DeviceApprove => answer(&approve_device(issuer, decider, &asked).await?),
        O::DeviceSuspend => decide_device(issuer, decider, operation, Verb::Suspend, &asked).await,
        O::DeviceResume => decide_device(issuer, decider, operation, Verb::Resume, &asked).await,
        O::DeviceRevoke => decide_device(issuer, decider, operation, Verb::Revoke, &asked).await,
        O::DeviceReplace => answer(&replace::make(issuer, decider, &asked).await?),
        O::GrantList => answer(&list::grants(issuer, decider, &asked.query).await?),
        O::GrantShow => answer(&grant_shown(issuer, &their_grant(issuer, decider, operation, &asked).await?).await?),
        O::GrantApprove => {
            let found = their_grant(issuer, decider, operation, &asked).await?;
            let reason = asked.reason()?;
            let approved = approve_grant(issuer, &found.id, &decider.actor, reason.as_deref()).await?;
            answer(&grant_shown(issuer, &approved.grant).await?)
        }
        O::GrantSuspend => end_grant(issuer, decider, operation, GrantVerb::Suspend, &asked).await,
        O::GrantResume => end_grant(issuer, decider, operation, GrantVerb::Resume, &asked).await,
        O::GrantRevoke => end_grant(issuer, decider, operation, GrantVerb::Revoke, &asked).await,
        O::RequestList => answer(&list::requests(issuer, decider, &asked.query).await?),
        O::RequestShow => answer(&requests::show(issuer, decider, &asked).await?),
        O::RequestApprove => answer(&requests::say(issuer, decider, operation, Verdict::Approve, &asked).await?),
        O::RequestNarrow => answer(&requests::narrow(issuer, decider, &asked).await?),
        O::RequestRefuse => answer(&requests::say(issuer, decider, operation, Verdict::Refuse, &asked).await?),
        O::Invite => answer(&invite::make(issuer, decider, asked.body()?).await?),
        O::InvitationList => answer(&list::invitations(issuer, decider, &asked.query).await?),
        O::InvitationWithdraw => {
            let id: InvitationId = asked.named("invitation", "invitation")?;
            let found = issuer.store.invitation(&id).await?.ok_or(AdminError::NotFound("invitation"))?;
            decider.standing.may_in(operation, &found.project).map_err(|_| AdminError::NotFound("invitation"))?;
            // One for another machine of somebody's may carry grants of several projects.
            for grant in carried(issuer, &found).await? {
                decider.standing.may_in(operation, &grant.project).map_err(|_| Forbidden::Elsewhere)?;
            }
            let reason = asked.reason()?;
            let told = Told { source: &decider.source, rule: None, reason: reason.as_deref() };
            answer(&invitation(&withdraw(issuer, &id, &told).await?, issuer.environment.now()))
        }
        O::Offboard => {
            let api::Offboard { collaborator, reason, confirmed } = asked.body()?;
            let how = api::End { reason, confirmed };
            answer(&end_all(issuer, decider, Scope::Collaborator(collaborator), how).await?)
        }
        O::ProjectEnd => {
            let project: ProjectName = asked.named("project", "project")?;
            decider.standing.may_in(operation, &project)?;
            answer(&end_all(issuer, decider, Scope::Project(project), asked.body()?).await?)
        }
        O::PhaseList => answer(&list::phases(issuer, decider, &asked.query)?),
        O::PhaseEnd => {
            let project: ProjectName = asked.named("project", "project")?;
            let phase: PhaseName = asked.named("phase", "phase")?;
            decider.standing.may_in(operation, &project)?;
            answer(&end_all(issuer, decider, Scope::Phase(project, phase), asked.body()?).await?)
        }
        O::PolicyList => answer(&list::policies(issuer).await?),
        O::PolicyLoad => answer(&load_policy(issuer, decider, asked.body()?).await?),
        O::ProposalList => answer(&list::proposals(issuer).await?),
        O::ProposalConfirm => {
            let (id, reason) = (asked.named("proposal", "proposal")?, asked.reason()?);
            let confirmed = policy::confirm(issuer, &id, &decider.actor, reason.as_deref()).await?;
            answer(&proposal(issuer, &confirmed).await?)
        }
        O::ProposalWithdraw => {
            let (id, reason) = (asked.named("proposal", "proposal")?, asked.reason()?);
            let withdrawn = policy::withdraw(issuer, &id, &decider.actor, reason.as_deref()).await?;
            answer(&proposal(issuer, &withdrawn).await?)
        }
        O::AdministratorList => answer(&list::administrators(issuer).await?),
        O::GateList => answer(&list::gates(issuer).await?),
        O::GateRemove => {
            let (name, reason): (GateName, _) = (asked.named("gate", "gate")?, asked.reason()?);
            answer(&gate(&remove(issuer, &name, &decider.actor, reason.as_deref()).await?))
        }
        O::NotificationList => answer(&notifications::list(issuer, &asked.query).await?),
        O::NotificationRetry => answer(&notifications::retry(issuer, asked.body()?).await?),
        O::NotificationDrop => answer(&notifications::take_out(issuer, decider, asked.body()?).await?),
        O::LedgerList => answer(&list::events(issuer, decider, &asked.query).await?),
    }
}

/// The device, if they may do this about it.
async fn theirs(issuer: &Issuer, decider: &Decider, operation: Operation, asked: &Asked) -> Result<Device, AdminError> {
    let id: DeviceId = asked.named("device", "device")?;
    let found = issuer.store.device(&id).await?.ok_or(AdminError::NotFound("device"))?;
    let grants = issuer.store.grants_of(&id).await?;
    let live = |grant: &&Grant| !grant.state.is_over();
    let seeing = operation == Operation::DeviceShow;
    let projects = grants.iter().filter(|grant| seeing || live(grant)).map(|grant| &grant.project);
    decider.standing.may_about(operation, projects)?;
    decider.standing.may_for(operation, &found.collaborator)?;
    Ok(found)
}

async fn approve_device(issuer: &Issuer, decider: &Decider, asked: &Asked) -> Result<api::Device, AdminError> {
    let found = theirs(issuer, decider, Operation::DeviceApprove, asked).await?;
    let given: api::ApproveDevice = asked.body()?;
    let reason = given.reason.as_deref().map(reason).transpose()?;
    // Nothing is compared where nothing can be approved; the decision itself looks again.
    if found.state == DeviceLife::Pending {
        compare(issuer, &found, &given.code, &decider.source).await?;
    }
    let (rule, reason) = (Some("code_compared"), reason.as_deref());
    let verb = Verb::Approve { with_grants: given.with_grants };
    let found = decide_life(issuer, &found.id, verb, &decider.source, rule, reason).await?;
    device(issuer, &decider.standing, &found).await
}

async fn decide_device(
    issuer: &Issuer,
    decider: &Decider,
    operation: Operation,
    verb: Verb,
    asked: &Asked,
) -> Result<Value, AdminError> {
    let found = theirs(issuer, decider, operation, asked).await?;
    let reason = asked.reason()?;
    let found = decide_life(issuer, &found.id, verb, &decider.source, None, reason.as_deref()).await?;
    tracing::info!(device = %found.id, state = found.state.as_str(), "decided through the admin API");
    answer(&device(issuer, &decider.standing, &found).await?)
}

/// The grant, if they may do this about it. One that they may not see is not told from one that is not there.
async fn their_grant(
    issuer: &Issuer,
    decider: &Decider,
    operation: Operation,
    asked: &Asked,
) -> Result<Grant, AdminError> {
    let id: GrantId = asked.named("grant", "grant")?;
    let found = issuer.store.grant(&id).await?.ok_or(AdminError::NotFound("grant"))?;
    let seen = decider.standing.may_in(Operation::GrantShow, &found.project);
    seen.map_err(|_| AdminError::NotFound("grant"))?;
    decider.standing.may_in(operation, &found.project)?;
    decider.standing.may_for(operation, &found.collaborator)?;
    Ok(found)
}

async fn end_grant(
    issuer: &Issuer,
    decider: &Decider,
    operation: Operation,
    verb: GrantVerb,
    asked: &Asked,
) -> Result<Value, AdminError> {
    let found = their_grant(issuer, decider, operation, asked).await?;
    let reason = asked.reason()?;
    let told = Told { source: &decider.source, rule: None, reason: reason.as_deref() };
    answer(&grant(issuer, &decide_grant(issuer, &found.id, verb, &told).await?))
}

async fn load_policy(
    issuer: &Issuer,
    decider: &Decider,
    asked: api::LoadPolicy,
) -> Result<api::LoadedPolicy, AdminError> {
    let files = Files::received(asked.files).map_err(|partly| AdminError::Load(PolicyError::from(partly).into()))?;
    let version = hex::encode(files.hash());
    let (changed, waiting) = match policy::load(issuer, files, &decider.actor).await? {
        policy::Loaded::Unchanged => (false, None),
        policy::Loaded::InForce => (true, None),
        policy::Loaded::Waits(waiting) => (false, Some(proposal(issuer, &waiting).await?)),
    };
    Ok(api::LoadedPolicy { version, changed, waiting })
}

async fn end_all(issuer: &Issuer, decider: &Decider, scope: Scope, asked: api::End) -> Result<api::Ended, AdminError> {
    let reason = reason(&asked.reason)?;
    let ending = look(issuer, scope).await?;
    let told = ended(&ending, asked.confirmed && !ending.is_empty());
    if told.ended {
        end_everything(issuer, ending, &decider.source, &reason).await?;
    }
    Ok(told)
}
