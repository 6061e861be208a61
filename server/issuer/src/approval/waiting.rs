//! What something waits for, and whether somebody's approval counts.

use std::collections::BTreeSet;

use daypass_proto::{
    authorization::AuthorizationDetails,
    ledger::Event,
    names::{Collaborator, ProjectName, RoleName},
};

use super::ApprovalError;
use crate::{
    actor::Actor,
    clock::Environment,
    config::Config,
    invitation::{GrantError, limits},
    issuer::Issuer,
    policy::Policy,
    store::{Approval, Approvals, Bar, Change, Grant, Request, StoreError},
};

/// What this policy asks for where somebody is to get this role.
pub fn bar(policy: &Policy, project: &ProjectName, role: &RoleName) -> Result<Bar, GrantError> {
    let (found, limits) = limits(policy, project, role)?;
    Ok(Bar { owners: found.owners.iter().cloned().collect(), approvers: limits.approvers() })
}

/// Those who could approve what is for this person, where that one asked for it.
fn eligible<'b>(bar: &'b Bar, whose: &Collaborator, asked_by: Option<&Collaborator>) -> Vec<&'b str> {
    let is = |owner: &str, who: &Collaborator| owner.eq_ignore_ascii_case(who.as_str());
    let theirs = |owner: &str| is(owner, whose) || asked_by.is_some_and(|asked| is(owner, asked));
    let mut seen = BTreeSet::new();
    // Names that differ in small and capital letters alone approve as one.
    let first = |owner: &&str| seen.insert(owner.to_ascii_lowercase());
    bar.owners.iter().map(String::as_str).filter(|owner| !theirs(owner)).filter(first).collect()
}

/// Nothing, if enough of them are there: what nobody can approve is not asked for.
pub fn approvable(
    bar: &Bar,
    role: &RoleName,
    whose: &Collaborator,
    asked_by: Option<&Collaborator>,
) -> Result<(), GrantError> {
    let left = eligible(bar, whose, asked_by);
    if u32::try_from(left.len()).unwrap_or(u32::MAX) >= bar.approvers {
        return Ok(());
    }
    let left = if left.is_empty() { "nobody".to_owned() } else { left.join(", ") };
    Err(GrantError::NobodyApproves { role: role.clone(), approvers: bar.approvers, left })
}

/// What a role would give somebody, and whose approvals that would take: what is shown before anybody is invited.
#[derive(Debug)]
pub struct Offered {
    /// What it gives, by today's policy.
    pub details: AuthorizationDetails,
    /// Those who may approve it.
    pub owners: Vec<String>,
    /// How many of them must.
    pub approvers: u32,
    /// What speaks against asking, where too few of them are there.
    pub nobody: Option<GrantError>,
}

impl Offered {
    /// To this person, where that one asks for it; an account is none of those who approve.
    pub fn of(
        policy: &Policy,
        (project, role): (&ProjectName, &RoleName),
        whose: &Collaborator,
        asked_by: Option<&Collaborator>,
    ) -> Result<Self, GrantError> {
        let bar = bar(policy, project, role)?;
        let limits = policy.role(project, role);
        Ok(Self {
            details: limits.and_then(|role| role.details_for(whose).ok()).unwrap_or_default(),
            owners: eligible(&bar, whose, asked_by).into_iter().map(str::to_owned).collect(),
            approvers: bar.approvers,
            nobody: approvable(&bar, role, whose, asked_by).err(),
        })
    }
}

/// Something that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    record: Approvals,
    /// How many the store has; `None` where an older program wrote nothing down.
    known: Option<i64>,
    /// The stricter of what was asked for then, and is today.
    bar: Bar,
    /// Whom it is for.
    whose: Collaborator,
}

impl Waiting {
    /// A grant that waits, by today's policy; `None` where that does not have its role.
    pub async fn of_grant(issuer: &Issuer, grant: &Grant) -> Result<Option<Self>, StoreError> {
        match bar(&issuer.policy(), &grant.project, &grant.role) {
            Ok(today) => Self::under(issuer, grant, today).await.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// A grant that waits, by what today's policy asks for.
    pub(super) async fn under(issuer: &Issuer, grant: &Grant, today: Bar) -> Result<Self, StoreError> {
        Self::read(issuer, grant.id.as_str(), &grant.collaborator, today).await
    }

    /// A request that waits, by today's policy; `None` where that does not have its role.
    pub async fn of_request(issuer: &Issuer, request: &Request) -> Result<Option<Self>, StoreError> {
        match bar(&issuer.policy(), &request.project, &request.given_role) {
            Ok(today) => Self::request_under(issuer, request, today).await.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// A request that waits, by what today's policy asks for.
    pub async fn request_under(issuer: &Issuer, request: &Request, today: Bar) -> Result<Self, StoreError> {
        Self::read(issuer, request.id.as_str(), &request.collaborator, today).await
    }

    /// A request that waits, by what was asked for then alone.
    pub async fn request_as_asked(issuer: &Issuer, request: &Request) -> Result<Self, StoreError> {
        let stored = issuer.store.approvals(request.id.as_str()).await?;
        let nobody = || Bar { owners: BTreeSet::new(), approvers: u32::MAX };
        Self::request_under(issuer, request, stored.map_or_else(nobody, |stored| stored.bar)).await
    }

    async fn read(issuer: &Issuer, id: &str, whose: &Collaborator, today: Bar) -> Result<Self, StoreError> {
        let stored = issuer.store.approvals(id).await?;
        let known = stored.as_ref().map(Approvals::count);
        let now = issuer.environment.now();
        let record = stored.unwrap_or_else(|| Approvals::new(id.to_owned(), None, now, today.clone()));
        Ok(Self { known, bar: record.bar.stricter(&today), record, whose: whose.clone() })
    }

    /// The record.
    pub const fn record(&self) -> &Approvals {
        &self.record
    }

    /// How many must approve.
    pub const fn approvers(&self) -> u32 {
        self.bar.approvers
    }

    /// The approvals that count today: those of people who may still give them, and in person where it takes two.
    pub fn given(&self) -> impl Iterator<Item = &Approval> {
        let counts = |approval: &&Approval| {
            let in_person = approval.through.is_none();
            self.may(&approval.by) && !self.is_theirs(&approval.by) && (in_person || self.bar.approvers <= 1)
        };
        self.record.given.iter().filter(counts)
    }

    /// How many more it takes.
    pub fn missing(&self) -> u32 {
        self.bar.approvers.saturating_sub(u32::try_from(self.given().count()).unwrap_or(u32::MAX))
    }

    /// Those who may still approve it.
    pub fn open_to(&self) -> Vec<String> {
        let has = |owner: &str| self.given().any(|approval| approval.by.as_str() == owner);
        self.others().filter(|owner| !has(owner)).cloned().collect()
    }

    /// Nothing, if it still has the approvals that it had here.
    pub fn unchanged(&self) -> Change {
        Change::RequireApprovals(self.record.id.clone(), self.known)
    }

    /// With this person's approval, or why it does not count.
    pub fn approved_by(
        mut self,
        environment: &Environment,
        config: &Config,
        actor: &Actor,
    ) -> Result<Self, ApprovalError> {
        let who = self.may_decide(config, actor)?;
        let through = match actor {
            Actor::Machine { .. } if self.bar.approvers > 1 => {
                return Err(ApprovalError::OnBehalfSensitive { approvers: self.bar.approvers });
            }
            Actor::Machine { account, .. } => Some(account.clone()),
            Actor::Person { .. } => None,
        };
        if self.given().any(|approval| same(&approval.by, who)) {
            return Err(ApprovalError::Already(who.clone()));
        }
        self.record.given.push(Approval { by: who.clone(), through, at: environment.now() });
        Ok(self)
    }

    /// The person whose decision about this it would be, or why it is not theirs to make.
    pub fn may_decide<'a>(&self, config: &Config, actor: &'a Actor) -> Result<&'a Collaborator, ApprovalError> {
        let who = actor.person().ok_or_else(|| ApprovalError::Nobody { owners: self.owners() })?;
        if matches!(actor, Actor::Machine { .. }) && !config.approve_on_behalf {
            return Err(ApprovalError::OnBehalfOff);
        }
        if !self.may(who) {
            return Err(ApprovalError::NotOwner { who: who.clone(), owners: self.owners() });
        }
        if self.is_theirs(who) {
            return Err(ApprovalError::Own { who: who.clone(), owners: self.owners() });
        }
        Ok(who)
    }

    /// The event, with how many have approved of how many.
    pub fn counted(&self, event: Event) -> Event {
        event
            .number("approvals", i64::try_from(self.given().count()).unwrap_or(i64::MAX))
            .number("approvers", i64::from(self.approvers()))
    }

    /// What writes one approval down.
    pub fn change(&self) -> Change {
        Change::Approvals(self.record.clone())
    }

    fn may(&self, who: &Collaborator) -> bool {
        self.bar.owners.contains(who.as_str())
    }

    fn is_theirs(&self, who: &Collaborator) -> bool {
        same(&self.whose, who) || self.record.asked_by.as_ref().is_some_and(|asked| same(asked, who))
    }

    fn others(&self) -> impl Iterator<Item = &String> {
        let theirs = |owner: &str| owner.parse().is_ok_and(|owner| self.is_theirs(&owner));
        self.bar.owners.iter().filter(move |owner| !theirs(owner))
    }

    /// Those who may approve, in words.
    fn owners(&self) -> String {
        let others: Vec<&str> = self.others().map(String::as_str).collect();
        if others.is_empty() {
            return "nobody, since its owners were exchanged while it waited, or it is their own; withdraw it and ask anew".to_owned();
        }
        others.join(", ")
    }
}

/// Whether both are one person. Whoever writes an id in other letters is not a second one.
pub(super) fn same(one: &Collaborator, other: &Collaborator) -> bool {
    one.as_str().eq_ignore_ascii_case(other.as_str())
}
