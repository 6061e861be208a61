//! Requests for longer, or for more: the owners of a project see what was used, and decide.

use daypass_proto::{
    access_request::{AccessRequest, RequestLife},
    admin_api as api,
    names::RequestId,
};

use super::{
    Operation,
    caller::Decider,
    error::AdminError,
    perform::{Asked, reason},
    shown::grant,
};
use crate::{
    approval::Waiting,
    issuer::Issuer,
    requests::{Decided, Verdict, beside, decide, describe},
    store::Request,
    until,
};

/// The request, if they may do this about it. One that they may not see is not told from one that is not there.
async fn theirs(
    issuer: &Issuer,
    decider: &Decider,
    operation: Operation,
    asked: &Asked,
) -> Result<Request, AdminError> {
    let id: RequestId = asked.named("request", "request")?;
    let found = issuer.store.request(&id).await?.ok_or(AdminError::NotFound("request"))?;
    let seen = decider.standing.may_in(Operation::RequestShow, &found.project);
    seen.map_err(|_| AdminError::NotFound("request"))?;
    decider.standing.may_in(operation, &found.project)?;
    decider.standing.may_for(operation, &found.collaborator)?;
    Ok(found)
}

pub(super) async fn show(issuer: &Issuer, decider: &Decider, asked: &Asked) -> Result<api::RequestShown, AdminError> {
    let found = theirs(issuer, decider, Operation::RequestShow, asked).await?;
    let waiting = match found.state == RequestLife::Requested {
        true => Waiting::of_request(issuer, &found).await?,
        false => None,
    };
    let grants = beside(issuer, &found).await?;
    let grants = grants.iter().map(|(found, used)| api::GrantUse {
        grant: grant(issuer, found),
        scopes: used
            .iter()
            .map(|(scope, used)| api::ScopeUse {
                location: scope.location.clone(),
                action: scope.action.clone(),
                granted: used.granted,
                tokens: used.tokens,
                last: used.last,
                gates: used.gates.map(|gates| api::AtGates {
                    requests: gates.requests,
                    last: gates.last,
                    since: gates.since,
                }),
            })
            .collect(),
    });
    Ok(api::RequestShown {
        grants: grants.collect(),
        approvals_missing: waiting.as_ref().map_or(0, Waiting::missing),
        request: describe(issuer, found).await?,
    })
}

/// One that is approved as it is, or refused.
pub(super) async fn say(
    issuer: &Issuer,
    decider: &Decider,
    operation: Operation,
    verdict: Verdict,
    asked: &Asked,
) -> Result<api::RequestDecided, AdminError> {
    let found = theirs(issuer, decider, operation, asked).await?;
    answer(issuer, decider, &found, verdict, asked.reason()?).await
}

/// One that is given less.
pub(super) async fn narrow(
    issuer: &Issuer,
    decider: &Decider,
    asked: &Asked,
) -> Result<api::RequestDecided, AdminError> {
    let found = theirs(issuer, decider, Operation::RequestNarrow, asked).await?;
    let less: api::NarrowRequest = asked.body()?;
    let (zone, now) = (issuer.policy().zone(&found.project), issuer.environment.now());
    let until = less.until.as_deref().map(|text| until::until(text, now, &zone)).transpose();
    let until = until.map_err(|error| AdminError::Malformed(format!("`until`: {error}")))?;
    let why = less.reason.as_deref().map(reason).transpose()?;
    answer(issuer, decider, &found, Verdict::Narrow { until, role: less.role }, why).await
}

async fn answer(
    issuer: &Issuer,
    decider: &Decider,
    found: &Request,
    verdict: Verdict,
    reason: Option<String>,
) -> Result<api::RequestDecided, AdminError> {
    let Decided { request, missing, grant: given } =
        decide(issuer, &found.id, verdict, &decider.actor, reason.as_deref()).await?;
    let request: AccessRequest = describe(issuer, request).await?;
    Ok(api::RequestDecided { request, approvals_missing: missing, granted: given.as_ref().map(|it| grant(issuer, it)) })
}
