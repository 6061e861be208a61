//! Who administers this issuer.

use std::collections::BTreeMap;

use daypass_proto::{
    invitation::Code,
    ledger::EventKind,
    names::{Collaborator, NameError, ProjectName},
    time::Timestamp,
};
use thiserror::Error;

use crate::{
    actor::Actor,
    ending::{GrantVerb, Told, withdraw_with},
    invitation::{Invite, InviteError, prepare},
    issuer::Issuer,
    ledger::Source,
    policy::{ADMINISTRATION, ADMINISTRATOR, is_administration},
    store::{
        Change, Condition, DecideError, Decision, Filter, Find, Grant, GrantLife, Invitation, InvitationLife, Side,
        StoreError, Terms,
    },
};

/// More than anybody has.
const MOST: u32 = 1000;
const LIVE: [GrantLife; 3] = [GrantLife::Requested, GrantLife::Active, GrantLife::Suspended];

/// Why administrators do not change.
#[derive(Debug, Error)]
pub enum AdministratorError {
    /// Not one.
    #[error("`{0}` is no administrator; `daypass-issuer admin list` shows who is")]
    Unknown(Collaborator),
    /// Nobody would be left.
    #[error(
        "`{0}` is the last administrator, and is not removed; make another first: `daypass-issuer admin bootstrap`, and approve their device"
    )]
    Last(Collaborator),
    /// The invitation.
    #[error(transparent)]
    Invite(#[from] InviteError),
    /// Ours are fixed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else was faster, or the store failed.
    #[error(transparent)]
    Decide(DecideError),
}

/// Those who administer, each with the grants that they do it by. More than one is more than one device.
pub type Administrators = BTreeMap<Collaborator, Vec<Grant>>;

fn project() -> Result<ProjectName, NameError> {
    ADMINISTRATION.parse()
}

/// Everybody who is an administrator, or will be once a device of theirs is approved.
pub async fn administrators(issuer: &Issuer) -> Result<Administrators, AdministratorError> {
    let states = LIVE.map(GrantLife::as_str).to_vec();
    let find = Find { project: Some(project()?), states, ..Find::up_to(MOST) };
    let now = issuer.environment.now();
    let mut all = Administrators::new();
    for grant in issuer.store.find_grants(&find).await?.into_iter().filter(|grant| grant.until > now) {
        all.entry(grant.collaborator.clone()).or_default().push(grant);
    }
    Ok(all)
}

/// Whether there ever was an administrator, with a device: also where the last one is suspended or ended by now.
pub(crate) async fn was_administered(issuer: &Issuer) -> Result<bool, AdministratorError> {
    let (project, kind) = (project()?, EventKind::GrantActivated);
    let states = GrantLife::WERE_IN_FORCE.map(GrantLife::as_str).to_vec();
    let find = Find { project: Some(project.clone()), states, ..Find::up_to(1) };
    if !issuer.store.find_grants(&find).await?.is_empty() {
        return Ok(true);
    }
    // One that was revoked says no more whether it ever was in force.
    for hash in issuer.store.unnumbered_of(kind).await? {
        let found = issuer.store.event(&hash).await?;
        if found.is_some_and(|event| event.project.as_deref() == Some(project.as_str())) {
            return Ok(true);
        }
    }
    let filter = Filter { kind: Some(kind), project: Some(project), ..Filter::default() };
    let span = issuer.store.span(&filter).await?;
    Ok(!issuer.store.listed(&filter, span, Side::First, 1).await?.is_empty())
}

/// Whether a grant makes whoever has it an administrator now.
pub fn is_administrator(grant: &Grant, now: Timestamp) -> bool {
    is_administration(&grant.project) && grant.is_in_force(now)
}

/// How many there are who can decide now.
pub(crate) fn acting(all: &Administrators, now: Timestamp) -> usize {
    all.values().filter(|grants| grants.iter().any(|grant| is_administrator(grant, now))).count()
}

/// Who is to be an administrator.
#[derive(Debug)]
pub struct Bootstrap {
    /// Whom.
    pub collaborator: Collaborator,
    /// Until when.
    pub until: Timestamp,
    /// The code's end.
    pub code_expires_at: Timestamp,
    /// Why.
    pub reason: Option<String>,
    /// Who does it.
    pub by: Actor,
}

/// Invites an administrator, without asking anybody; gives the code, and how many administrators there are already. A machine that accepts it
/// waits for approval like any other.
pub async fn bootstrap(issuer: &Issuer, asked: Bootstrap) -> Result<(Invitation, Code, usize), AdministratorError> {
    let environment = &issuer.environment;
    let there = acting(&administrators(issuer).await?, environment.now());
    let Bootstrap { collaborator, until, code_expires_at, reason, by } = asked;
    let event = environment.event(EventKind::AdministratorBootstrapped);
    let event = environment.decided(event, &by).number("administrators", i64::try_from(there).unwrap_or(i64::MAX));
    let event = match &reason {
        Some(reason) => environment.personal(event, "why", reason),
        None => event,
    };
    let invite = Invite {
        collaborator,
        project: project()?,
        role: ADMINISTRATOR.parse()?,
        until,
        terms: Terms::default(),
        code_expires_at,
        ek_hash: None,
        reason,
        by,
    };
    let pin = issuer.keyring().pin();
    let (decision, invitation, code) = prepare(environment, &issuer.policy(), &issuer.config.issuer_url, pin, invite)?;
    let event = event.text("invitation", &invitation.id).text("grant", &invitation.grant);
    let event = environment.personal(event, "collaborator", &invitation.collaborator);
    issuer.store.decide(decision.event(event)).await.map_err(AdministratorError::Decide)?;
    tracing::warn!(
        invitation = %invitation.id, administrators = there,
        "an administrator was invited on the issuer's machine, and nobody was asked"
    );
    Ok((invitation, code, there))
}

/// Takes somebody's administration away: every grant of it, and open invitations to it. Not the last one's.
pub async fn remove(
    issuer: &Issuer,
    collaborator: &Collaborator,
    source: &Source,
    reason: &str,
) -> Result<Vec<Grant>, AdministratorError> {
    let mut all = administrators(issuer).await?;
    let theirs = all.remove(collaborator).ok_or_else(|| AdministratorError::Unknown(collaborator.clone()))?;
    let (now, project) = (issuer.environment.now(), project()?);
    let told = Told { source, rule: Some("administrator_removed"), reason: Some(reason) };
    let open = Find {
        collaborator: Some(collaborator.clone()),
        project: Some(project.clone()),
        states: vec![InvitationLife::Open.as_str()],
        ..Find::up_to(MOST)
    };
    let mut decision = Decision::default();
    for invitation in issuer.store.find_invitations(&open).await? {
        decision = withdraw_with(issuer, decision, invitation, &told);
    }
    for grant in theirs.clone() {
        decision = GrantVerb::Revoke.on(issuer, decision, grant, &told);
    }
    let acted = theirs.iter().any(|grant| is_administrator(grant, now));
    if acted {
        decision = decision.change(Change::RequireSomebody(project, now));
    }
    match issuer.store.decide(decision).await {
        Ok(()) => Ok(theirs),
        Err(DecideError::Conflict(Condition::Somebody(_))) => Err(AdministratorError::Last(collaborator.clone())),
        Err(error) => Err(AdministratorError::Decide(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture::Made, store::GrantLife};

    async fn made(made: &Made, who: &str) -> Invitation {
        let asked = Bootstrap {
            collaborator: who.parse().unwrap(),
            until: made.now().plus(86_400),
            code_expires_at: made.now().plus(60),
            reason: Some("begin".to_owned()),
            by: Actor::account("root"),
        };
        bootstrap(&made.issuer, asked).await.unwrap().0
    }

    /// As after enrolment and approval.
    async fn activated(made: &Made, invitation: &Invitation) {
        let issuer = &made.issuer;
        let grant = issuer.store.grant(&invitation.grant).await.unwrap().unwrap();
        let source = Source::from(Actor::account("root"));
        let told = Told { source: &source, rule: None, reason: None };
        issuer.store.decide(GrantVerb::Activate.on(issuer, Decision::default(), grant, &told)).await.unwrap();
    }

    async fn removed(made: &Made, who: &str) -> Result<Vec<Grant>, AdministratorError> {
        remove(&made.issuer, &who.parse().unwrap(), &Source::from(Actor::account("root")), "left").await
    }

    #[tokio::test]
    async fn a_bootstrap_is_loud_each_time_and_says_how_many_there_were() {
        let issuer = Made::new().await;
        assert!(administrators(&issuer.issuer).await.unwrap().is_empty());
        let first = made(&issuer, "ada").await;
        assert_eq!((first.project.as_str(), first.role.as_str()), ("administration", "administrator"));
        activated(&issuer, &first).await;
        made(&issuer, "bob").await;
        let events = issuer.events("administrator_bootstrapped").await;
        assert_eq!(events.len(), 2);
        assert!(
            events[0].contains(r#""administrators":0"#) && events[1].contains(r#""administrators":1"#),
            "{events:?}"
        );
        assert_eq!(issuer.reasons("administrator_bootstrapped").await, ["begin", "begin"]);
        let all = administrators(&issuer.issuer).await.unwrap();
        assert_eq!((all.len(), acting(&all, issuer.now())), (2, 1), "bob's device is not there yet");
        issuer.pass(86_400);
        assert!(administrators(&issuer.issuer).await.unwrap().is_empty(), "an administrator's time ends, too");
    }

    #[tokio::test]
    async fn the_last_administrator_is_not_removed() {
        let issuer = Made::new().await;
        let (ada, bob) = (made(&issuer, "ada").await, made(&issuer, "bob").await);
        activated(&issuer, &ada).await;
        let refused = removed(&issuer, "ada").await;
        assert!(matches!(refused, Err(AdministratorError::Last(_))), "bob is invited only: {refused:?}");
        assert!(matches!(removed(&issuer, "carol").await, Err(AdministratorError::Unknown(_))));
        activated(&issuer, &bob).await;
        removed(&issuer, "ada").await.unwrap();
        let grant = issuer.issuer.store.grant(&ada.grant).await.unwrap().unwrap();
        assert_eq!(grant.state, GrantLife::Revoked);
        assert!(matches!(removed(&issuer, "bob").await, Err(AdministratorError::Last(_))));
        assert_eq!(issuer.reasons("grant_revoked").await, ["left"]);
        let open = issuer.issuer.store.invitation(&ada.id).await.unwrap().unwrap();
        assert_eq!(open.state, InvitationLife::Withdrawn, "a code that lay around makes nobody one again");
    }

    #[tokio::test]
    async fn nobody_becomes_an_administrator_or_an_owner_by_an_ordinary_invitation() {
        use crate::invitation::{GrantError, check_grant};
        let issuer = Made::new().await;
        let policy = issuer.issuer.policy();
        let check = |project: &str, role: &str, who: &str| {
            let until = issuer.now().plus(60);
            let (project, role, who) = (project.parse().unwrap(), role.parse().unwrap(), who.parse().unwrap());
            check_grant(&policy, (&project, &role), &who, until, &Terms::default(), issuer.now())
        };
        assert!(matches!(check("administration", "administrator", "ada"), Err(GrantError::Administration(_))));
        let owner = policy.project(&"apollo".parse().unwrap()).unwrap().owners[0].clone();
        check("apollo", "owner", &owner).unwrap();
        assert!(matches!(check("apollo", "owner", "alice"), Err(GrantError::Template(..))));
    }
}
