//! What time ends.

use daypass_proto::ledger::EventKind;

use super::grant::{span, standing};
use crate::{
    issuer::Issuer,
    store::{Change, DecideError, Decision, Find, Grant, GrantLife},
};

/// How many are marked at once.
const AT_ONCE: u32 = 1000;

/// Marks grants whose time, or whose phase, is over, the rest of very many at the next time. They give no more than what is left of them
/// from that moment on, marked or not.
pub async fn mark_over(issuer: &Issuer) -> Result<(), DecideError> {
    let now = issuer.environment.now();
    let mut over = issuer.store.grants_over(now, AT_ONCE).await?;
    for (project, rules) in issuer.policy().projects() {
        for (phase, _) in rules.phases().filter(|(_, phase)| phase.ends <= now) {
            let find = Find {
                project: Some(project.clone()),
                phase: Some(phase.clone()),
                states: vec![GrantLife::Active.as_str(), GrantLife::Grace.as_str()],
                ..Find::up_to(AT_ONCE)
            };
            over.extend(issuer.store.find_grants(&find).await?);
        }
    }
    for grant in over {
        let to = standing(issuer, &grant).life();
        if to == grant.state {
            continue;
        }
        match mark(issuer, grant, to).await {
            // Somebody decided about it meanwhile.
            Ok(()) | Err(DecideError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn mark(issuer: &Issuer, grant: Grant, to: GrantLife) -> Result<(), DecideError> {
    let environment = &issuer.environment;
    let event = if to == GrantLife::Grace {
        let until = span(issuer, &grant).over;
        environment.event(EventKind::GrantGraceBegun).number("grace_until", until.seconds())
    } else {
        environment.event(EventKind::GrantEnded).text("rule", "time")
    };
    let event = environment.of_grant(event, &grant, &issuer.policy());
    let from = grant.state;
    let change = Change::Grant { to: Grant { state: to, ..grant }, from };
    issuer.store.decide(Decision::new(event).change(change)).await
}
