//! Putting a policy in force, and waiting for a second administrator where it touches what guards others.
//!
//! ```text
//! load ──► nothing guarded is touched, or there is no administrator yet ──► in force
//!   └────► waits ──► confirmed by an administrator who did not bring it ──► in force
//!            └─────► withdrawn
//! ```
//!
//! An account on the issuer's machine is nobody: what it brings waits as well, and it confirms nothing. Before there ever was an administrator there is
//! nobody to ask; then a load says so in its event. Once there was one, it waits for the next: otherwise whoever ends or suspends them would be asked
//! by nobody. What waits follows the version that it was compared with, and no other.

use daypass_proto::{
    encoding::Fixed,
    ledger::{Event, EventKind},
    names::{Collaborator, ProposalId},
};
use thiserror::Error;

use super::{AdministratorError, was_administered};
use crate::{
    actor::Actor,
    issuer::Issuer,
    policy::{ExamplesError, Files, Policy, PolicyError, guarded},
    store::{Change, Condition, DecideError, Decision, PolicyVersion, Proposal, ProposalLife, StoreError},
};

/// Why a policy does not come into force.
#[derive(Debug, Error)]
pub enum LoadError {
    /// It has faults.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Its own examples come out otherwise.
    #[error(transparent)]
    Examples(#[from] ExamplesError),
    /// No such proposal.
    #[error("there is no proposal `{0}`; `policy proposals` shows them")]
    NoProposal(ProposalId),
    /// It waits no more.
    #[error("proposal `{proposal}` is {state} already")]
    NotWaiting {
        /// Which.
        proposal: ProposalId,
        /// Where it is.
        state: ProposalLife,
    },
    /// Nobody confirms their own.
    #[error("`{0}` brought this policy; another administrator must confirm it")]
    Own(Collaborator),
    /// An account confirms nothing.
    #[error("a policy is confirmed by an administrator, from an enrolled device: `daypass admin policy confirm`")]
    Nobody,
    /// Another version came into force meanwhile.
    #[error(
        "another policy came into force since proposal `{0}` was made; load it again, so that it is compared with that one"
    )]
    Stale(ProposalId),
    /// Who administers.
    #[error(transparent)]
    Administrators(#[from] AdministratorError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else was faster, or the store failed.
    #[error(transparent)]
    Decide(#[from] DecideError),
}

/// What is said of a policy in force with which nothing can be compared: all of the new one is new, and what it leaves out nobody can say.
const UNREAD: &str = "the policy in force is not understood by this program, so that nobody can say what of it is gone";

/// What came of a load.
#[derive(Debug)]
pub enum Loaded {
    /// It is in force already.
    Unchanged,
    /// It is in force now.
    InForce,
    /// It waits.
    Waits(Box<Proposal>),
}

/// Checks a policy and puts it in force, or lets it wait.
pub async fn load(issuer: &Issuer, files: Files, actor: &Actor) -> Result<Loaded, LoadError> {
    let policy = Policy::check(&files)?;
    ExamplesError::of(&policy)?;
    let (environment, now) = (&issuer.environment, issuer.environment.now());
    let before = issuer.store.newer_policy(0).await?;
    if before.as_ref().is_some_and(|before| before.hash.0 == policy.hash()) {
        return Ok(Loaded::Unchanged);
    }
    let old = before.as_ref().map(|before| Policy::check(&before.files));
    let unread = matches!(old, Some(Err(_)));
    let mut touched = guarded(&old.and_then(Result::ok).unwrap_or_default(), &policy);
    if unread {
        touched.insert(0, UNREAD.to_owned());
    }
    // Whoever asks through the admin API is an administrator, or was a moment ago.
    let alone = matches!(actor, Actor::Machine { .. }) && !was_administered(issuer).await?;
    if touched.is_empty() || alone {
        let event = loaded(issuer, &policy.hash(), before.as_ref(), actor);
        let event = if touched.is_empty() { event } else { event.text("rule", "no_administrator") };
        issuer.store.decide(Decision::new(event).change(version(issuer, before.as_ref(), &policy, files))).await?;
        return Ok(Loaded::InForce);
    }
    let proposal = Proposal {
        id: ProposalId::from_random(environment.random()),
        state: ProposalLife::Waiting,
        hash: Fixed(policy.hash()),
        base: before.as_ref().map_or(0, |before| before.number),
        at: now,
        by: actor.person().cloned(),
        guarded: touched,
        files,
    };
    let event = about(issuer, EventKind::PolicyProposed, &proposal, actor);
    let event = environment.personal(event, "why", proposal.guarded.join("; "));
    let event = match &before {
        Some(before) => event.text("before", hex::encode(before.hash.0)),
        None => event,
    };
    issuer.store.decide(Decision::new(event).change(Change::AddProposal(proposal.clone()))).await?;
    Ok(Loaded::Waits(Box::new(proposal)))
}

fn loaded(issuer: &Issuer, hash: &[u8; 32], before: Option<&PolicyVersion>, actor: &Actor) -> Event {
    let event = issuer.environment.event(EventKind::PolicyLoaded).text("policy", hex::encode(hash));
    let event = match before {
        Some(before) => event.text("before", hex::encode(before.hash.0)),
        None => event,
    };
    issuer.environment.decided(event, actor)
}

fn version(issuer: &Issuer, before: Option<&PolicyVersion>, policy: &Policy, files: Files) -> Change {
    Change::SetPolicy(PolicyVersion {
        number: before.map_or(0, |before| before.number) + 1,
        hash: Fixed(policy.hash()),
        at: issuer.environment.now(),
        files,
    })
}

fn about(issuer: &Issuer, kind: EventKind, proposal: &Proposal, actor: &Actor) -> Event {
    let event = issuer.environment.event(kind).text("policy", hex::encode(proposal.hash.0));
    issuer.environment.decided(event.text("proposal", &proposal.id), actor)
}

async fn waiting(issuer: &Issuer, id: &ProposalId) -> Result<Proposal, LoadError> {
    let found = issuer.store.proposal(id).await?.ok_or_else(|| LoadError::NoProposal(id.clone()))?;
    match found.state {
        ProposalLife::Waiting => Ok(found),
        state => Err(LoadError::NotWaiting { proposal: id.clone(), state }),
    }
}

/// Puts what waits in force: another administrator than the one who brought it. That it is one, the caller has seen.
pub async fn confirm(
    issuer: &Issuer,
    id: &ProposalId,
    actor: &Actor,
    reason: Option<&str>,
) -> Result<Proposal, LoadError> {
    let proposal = waiting(issuer, id).await?;
    let Actor::Person { collaborator: who, .. } = actor else { return Err(LoadError::Nobody) };
    if proposal.by.as_ref().is_some_and(|by| by.as_str().eq_ignore_ascii_case(who.as_str())) {
        return Err(LoadError::Own(who.clone()));
    }
    let policy = Policy::check(&proposal.files)?;
    ExamplesError::of(&policy)?;
    let before = issuer.store.newer_policy(0).await?;
    if before.as_ref().map_or(0, |before| before.number) != proposal.base {
        return Err(LoadError::Stale(id.clone()));
    }
    let event = loaded(issuer, &policy.hash(), before.as_ref(), actor).text("proposal", id);
    let event = event.text("rule", "second_administrator");
    let event = match reason {
        Some(reason) => issuer.environment.personal(event, "why", reason),
        None => event,
    };
    let to = Proposal { state: ProposalLife::Confirmed, ..proposal };
    let version = version(issuer, before.as_ref(), &policy, to.files.clone());
    let decision = Decision::new(event).change(version).change(Change::Proposal(to.clone()));
    match issuer.store.decide(decision).await {
        Ok(()) => Ok(to),
        Err(DecideError::Conflict(Condition::Policy)) => Err(LoadError::Stale(id.clone())),
        Err(error) => Err(error.into()),
    }
}

/// Takes back what waits.
pub async fn withdraw(
    issuer: &Issuer,
    id: &ProposalId,
    actor: &Actor,
    reason: Option<&str>,
) -> Result<Proposal, LoadError> {
    let to = Proposal { state: ProposalLife::Withdrawn, ..waiting(issuer, id).await? };
    let event = about(issuer, EventKind::ProposalWithdrawn, &to, actor);
    let event = match reason {
        Some(reason) => issuer.environment.personal(event, "why", reason),
        None => event,
    };
    issuer.store.decide(Decision::new(event).change(Change::Proposal(to.clone()))).await?;
    Ok(to)
}
