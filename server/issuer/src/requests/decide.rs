//! What an owner says to a request.

use daypass_proto::{
    access_request::{RequestLife, Wanted},
    enrolment::DeviceLife,
    ledger::{Event, EventKind},
    names::{GrantId, RequestId, RoleName},
    time::Timestamp,
};

use super::{RequestError, about, judge};
use crate::{
    actor::Actor,
    approval::{ApprovalError, Waiting, bar, guard},
    ending::Told,
    issuer::Issuer,
    ledger::Source,
    policy::Action,
    store::{Change, Decision, Grant, GrantLife, Request},
};

/// What is said to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// As it was asked for; or as it was narrowed since.
    Approve,
    /// Less.
    Narrow {
        /// Not until when it was asked for.
        until: Option<Timestamp>,
        /// A role that gives less.
        role: Option<RoleName>,
    },
    /// Nothing.
    Refuse,
}

/// A request, after somebody decided about it.
#[derive(Clone, Debug)]
pub struct Decided {
    /// As it is now.
    pub request: Request,
    /// How many more approvals it takes.
    pub missing: u32,
    /// The grant that came of it, as it is now.
    pub grant: Option<Grant>,
}

/// Decides about a request that waits.
pub async fn decide(
    issuer: &Issuer,
    id: &RequestId,
    verdict: Verdict,
    actor: &Actor,
    reason: Option<&str>,
) -> Result<Decided, RequestError> {
    let from = issuer.store.request(id).await?.ok_or_else(|| RequestError::NoRequest(id.clone()))?;
    if from.state != RequestLife::Requested {
        return Err(RequestError::NotWaiting { request: id.clone(), state: from.state });
    }
    let source = Source::Actor(actor.clone());
    let told = Told { source: &source, rule: None, reason };
    let answer = reason.map(str::to_owned);
    if verdict == Verdict::Refuse {
        let to =
            Request { state: RequestLife::Refused, decided_at: Some(issuer.environment.now()), answer, ..from.clone() };
        // What today's policy does not have any more is refused by whoever could have approved it.
        let waiting = match waiting(issuer, &to).await {
            Err(RequestError::Grant(_)) => Waiting::request_as_asked(issuer, &to).await?,
            waiting => waiting?,
        };
        if let Err(error) = waiting.may_decide(&issuer.config, actor) {
            return Err(not_theirs(issuer, &from, &told, error).await);
        }
        let event = about(issuer, issuer.environment.event(EventKind::RequestRefused), &to, &issuer.policy());
        let change = Change::Request { to: Box::new(to.clone()), from: Box::new(from) };
        issuer.store.decide(Decision::new(told.on(issuer, event)).change(change)).await?;
        return Ok(Decided { request: to, missing: 0, grant: None });
    }
    let mut to = narrowed(issuer, &from, verdict)?;
    let waiting = match waiting(issuer, &to).await?.approved_by(&issuer.environment, &issuer.config, actor) {
        Ok(waiting) => waiting,
        Err(error) => return Err(not_theirs(issuer, &from, &told, error).await),
    };
    let (missing, is_narrowed) = (waiting.missing(), to.is_narrowed());
    if missing == 0 {
        to.state = if is_narrowed { RequestLife::Narrowed } else { RequestLife::Approved };
        to.decided_at = Some(issuer.environment.now());
    }
    to.answer = answer.or(to.answer);
    let event =
        waiting.counted(about(issuer, issuer.environment.event(EventKind::RequestApproved), &to, &issuer.policy()));
    let told = Told { rule: is_narrowed.then_some("narrowed"), ..told };
    let change = Change::Request { to: Box::new(to.clone()), from: Box::new(from.clone()) };
    let mut decision = Decision::new(told.on(issuer, event)).change(change).change(waiting.change());
    // Today's policy judges at each approval, and not only at the last.
    let given = match given(issuer, &to).await {
        Ok(given) => given,
        Err(RequestError::Approval(error)) => return Err(not_theirs(issuer, &from, &told, error).await),
        Err(error) => return Err(error),
    };
    let mut grant = None;
    if missing == 0 {
        decision = given.on(issuer, decision, &to, &told);
        grant = Some(given.into_grant());
    }
    issuer.store.decide(decision).await?;
    Ok(Decided { request: to, missing, grant })
}

async fn waiting(issuer: &Issuer, request: &Request) -> Result<Waiting, RequestError> {
    let today = bar(&issuer.policy(), &request.project, &request.given_role)?;
    Ok(Waiting::request_under(issuer, request, today).await?)
}

/// The request with what would be given. It is never more than what would have been given before.
fn narrowed(issuer: &Issuer, from: &Request, verdict: Verdict) -> Result<Request, RequestError> {
    let Verdict::Narrow { until, role } = verdict else { return Ok(from.clone()) };
    let no = |why: &str| Err(RequestError::NotNarrower(why.to_owned()));
    if until.is_none() && role.is_none() {
        return no("say an earlier end, or a role that gives less");
    }
    if until.is_some_and(|until| until >= from.given_until) {
        return no(&format!("the end is not before {}", from.given_until));
    }
    if let Some(role) = role.as_ref().filter(|role| **role != from.given_role) {
        if matches!(from.what, Wanted::Extension { .. }) {
            return no("an extension keeps the grant's role; refuse it, and have the other role asked for");
        }
        let policy = issuer.policy();
        let (Some(less), Some(more)) = (policy.role(&from.project, role), policy.role(&from.project, &from.given_role))
        else {
            return no(&format!("project `{}` has no role `{role}`", from.project));
        };
        if let Err(beyond) = less.gives_no_more_than(more, &from.collaborator) {
            return no(&format!("role `{role}` gives what `{}` does not: {beyond}", from.given_role));
        }
    }
    let (given_until, given_role) =
        (until.unwrap_or(from.given_until), role.unwrap_or_else(|| from.given_role.clone()));
    Ok(Request { given_until, given_role, ..from.clone() })
}

/// What comes of a request.
enum Given {
    /// The grant with its later end.
    Extended { to: Box<Grant>, from: Box<Grant>, watching: Vec<String> },
    /// A new grant, beside one that is there.
    New { grant: Box<Grant>, beside: (GrantId, GrantLife), watching: Vec<String> },
}

impl Given {
    fn on(&self, issuer: &Issuer, decision: Decision, request: &Request, told: &Told<'_>) -> Decision {
        let (environment, policy) = (&issuer.environment, issuer.policy());
        match self {
            Self::Extended { to, from, watching } => {
                let event = environment.of_grant(environment.event(EventKind::GrantExtended), to, &policy);
                let event = event.text("request", &request.id).number("until_before", from.until.seconds());
                let event = watched(event, watching);
                decision.event(told.on(issuer, event)).change(Change::Extend { to: to.clone(), from: from.clone() })
            }
            Self::New { grant, beside: (beside, state), watching } => {
                let event = environment.of_grant(environment.event(EventKind::GrantActivated), grant, &policy);
                let event = told.on(issuer, watched(event.text("request", &request.id), watching));
                decision
                    .event(event)
                    .change(Change::RequireRoleFree(request.device.clone(), grant.project.clone(), grant.role.clone()))
                    .change(Change::AddGrant(Grant::clone(grant)))
                    .change(Change::RequireDevice(request.device.clone(), DeviceLife::Approved))
                    .change(Change::RequireGrant(beside.clone(), *state))
            }
        }
    }

    fn into_grant(self) -> Grant {
        match self {
            Self::Extended { to: grant, .. } | Self::New { grant, .. } => *grant,
        }
    }
}

/// The event, with the rules that would have forbidden it, were they enforced.
fn watched(event: Event, rules: &[String]) -> Event {
    if rules.is_empty() { event } else { event.structure("monitored", &rules) }
}

/// What would come of it now, if today's policy gives it.
async fn given(issuer: &Issuer, request: &Request) -> Result<Given, RequestError> {
    match &request.what {
        Wanted::Extension { grant } => {
            let from = issuer.store.grant(grant).await?.ok_or_else(|| RequestError::NoGrant(grant.clone()))?;
            let terms = judge::extension(issuer, &from, request.given_until)?;
            // Out of its grace it comes back; held back it stays.
            let state = if from.state == GrantLife::Grace { GrantLife::Active } else { from.state };
            // Of one from before this was kept, the estimate that its limit goes by stays as it is now.
            let made_at = Some(judge::made_at(issuer, &from)?);
            let to = Grant { until: request.given_until, state, made_at, terms, ..from.clone() };
            let device = issuer.store.device(&request.device).await?;
            let device = device.ok_or_else(|| RequestError::Device(request.device.clone()))?;
            let watching = guard(issuer, Action::Renew, &device, &to).map_err(ApprovalError::from)?;
            Ok(Given::Extended { to: Box::new(to), from: Box::new(from), watching })
        }
        Wanted::Scopes { project, .. } => {
            let device = issuer.store.device(&request.device).await?;
            let device = device
                .filter(|device| device.state == DeviceLife::Approved)
                .ok_or_else(|| RequestError::Device(request.device.clone()))?;
            let grants = issuer.store.grants_of(&request.device).await?;
            let has = judge::beside(&grants, project, &request.given_role)?;
            let terms = judge::scopes(issuer, has, &request.given_role, request.given_until)?;
            let grant = Grant {
                id: GrantId::from_random(issuer.environment.random()),
                collaborator: request.collaborator.clone(),
                project: project.clone(),
                role: request.given_role.clone(),
                until: request.given_until,
                state: GrantLife::Active,
                device: Some(request.device.clone()),
                made_at: Some(issuer.environment.now()),
                used: 0,
                terms,
                replaces: None,
                briefed: None,
            };
            let watching = guard(issuer, Action::Approve, &device, &grant).map_err(ApprovalError::from)?;
            Ok(Given::New { grant: Box::new(grant), beside: (has.id.clone(), has.state), watching })
        }
    }
}

/// Writes down that somebody tried what was not theirs to do.
async fn not_theirs(issuer: &Issuer, request: &Request, told: &Told<'_>, error: ApprovalError) -> RequestError {
    let Some(event) = error.event(&issuer.environment) else { return error.into() };
    let event = about(issuer, event, request, &issuer.policy());
    match issuer.store.decide(Decision::new(issuer.environment.asked(event, told.source))).await {
        Ok(()) => error.into(),
        Err(fault) => fault.into(),
    }
}
