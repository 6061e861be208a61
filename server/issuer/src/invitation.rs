//! Invitations: a single-use code that carries a grant.

use daypass_proto::{
    encoding::Fixed,
    invitation::{Code, CodeError, CodeKind, CodeSecret},
    ledger::EventKind,
    names::{Collaborator, GrantId, InvitationId, PhaseName, ProjectName, RoleName},
    pin::Pin,
    time::Timestamp,
};
use thiserror::Error;

use crate::{
    actor::Actor,
    approval::{approvable, bar},
    clock::Environment,
    policy::{Policy, Project, Role, is_administration},
    store::{
        Approvals, Change, Condition, DecideError, Decision, Grant, GrantLife, Invitation, InvitationLife, Store, Terms,
    },
};

/// Why a grant cannot be.
#[derive(Clone, Debug, Error)]
pub enum GrantError {
    /// No such project.
    #[error("there is no project `{0}`; the policy has: {1}")]
    Project(ProjectName, String),
    /// No such role.
    #[error("project `{0}` has no role `{1}`; it has: {2}")]
    Role(ProjectName, RoleName, String),
    /// Administrators are made elsewhere.
    #[error(
        "nobody is given a role in `{0}` like in other projects; `daypass-issuer admin bootstrap` makes an administrator"
    )]
    Administration(ProjectName),
    /// Longer than the role allows.
    #[error("the grant would end at {until}; role `{role}` allows until {latest} at most")]
    TooLong {
        /// The role.
        role: RoleName,
        /// As asked.
        until: Timestamp,
        /// The latest.
        latest: Timestamp,
    },
    /// No such phase.
    #[error("project `{0}` has no phase `{1}`; it has: {2}")]
    Phase(ProjectName, PhaseName, String),
    /// Longer than its phase.
    #[error("the grant would end at {until}, and phase `{phase}` ends at {ends}")]
    BeyondPhase {
        /// The phase.
        phase: PhaseName,
        /// As asked.
        until: Timestamp,
        /// The phase's end.
        ends: Timestamp,
    },
    /// Its end comes before its begin.
    #[error("the grant would begin at {begins} and end at {until}")]
    NoTime {
        /// The begin.
        begins: Timestamp,
        /// As asked.
        until: Timestamp,
    },
    /// More tokens than the role allows.
    #[error("{uses} tokens are more than role `{role}` allows, which is {most}")]
    TooManyUses {
        /// The role.
        role: RoleName,
        /// As asked.
        uses: u32,
        /// The most.
        most: u32,
    },
    /// It would wait for ever.
    #[error(
        "role `{role}` needs {approvers} approval(s) by owners of its project, and could get them of {left} alone: nobody approves what is for them, or what they asked for; name another owner in the policy first, or have somebody invite who does not approve"
    )]
    NobodyApproves {
        /// The role.
        role: RoleName,
        /// How many it needs.
        approvers: u32,
        /// Who could give one.
        left: String,
    },
    /// The collaborator's name does not fit the role's templates.
    #[error("role `{0}` cannot be given to this collaborator: {1}")]
    Template(RoleName, String),
}

/// What there is of something, in words.
fn list(names: Vec<String>) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The project and the role in it.
pub fn limits<'p>(
    policy: &'p Policy,
    project: &ProjectName,
    role: &RoleName,
) -> Result<(&'p Project, &'p Role), GrantError> {
    let found = policy.project(project).ok_or_else(|| {
        GrantError::Project(project.clone(), list(policy.projects().map(|(name, _)| name.to_string()).collect()))
    })?;
    let limits = found.role(role).ok_or_else(|| {
        GrantError::Role(project.clone(), role.clone(), list(found.roles().map(|(name, _)| name.to_string()).collect()))
    })?;
    Ok((found, limits))
}

/// What a grant would be, and all in it that today's policy does not give.
#[derive(Debug)]
pub struct Judged {
    /// The terms that it would have, with what the role adds to those that were asked for.
    pub terms: Terms,
    /// What goes beyond the policy; such a grant is not made.
    pub excess: Vec<GrantError>,
}

impl Judged {
    /// Where no end was asked for but its phase's: that there is no such phase is what is wrong, and not that it has no time.
    pub fn ends_with_its_phase(&mut self) {
        if self.excess.iter().any(|error| matches!(error, GrantError::Phase(..))) {
            self.excess.retain(|error| !matches!(error, GrantError::NoTime { .. }));
        }
    }

    /// The terms, where nothing speaks against them; otherwise the first that does.
    fn given(self) -> Result<Terms, GrantError> {
        self.excess.into_iter().next().map_or(Ok(self.terms), Err)
    }
}

/// Whether such a grant could be made now; gives the terms that it would have, with what the role adds to those that were asked for.
pub fn check_grant(
    policy: &Policy,
    role: (&ProjectName, &RoleName),
    collaborator: &Collaborator,
    until: Timestamp,
    terms: &Terms,
    now: Timestamp,
) -> Result<Terms, GrantError> {
    judge_grant(policy, role, collaborator, until, terms, now).given()
}

/// The same, with everything that speaks against it, and not the first alone.
pub fn judge_grant(
    policy: &Policy,
    role: (&ProjectName, &RoleName),
    collaborator: &Collaborator,
    until: Timestamp,
    terms: &Terms,
    now: Timestamp,
) -> Judged {
    // Administrators are made in a way of their own.
    match not_administration(role.0) {
        Ok(()) => judge(policy, role, collaborator, until, terms, now),
        Err(error) => Judged { terms: terms.clone(), excess: vec![error] },
    }
}

/// The most of what was asked for that would be given: an earlier end, and fewer tokens. `None` where something else speaks against it.
pub fn nearest(
    policy: &Policy,
    role: (&ProjectName, &RoleName),
    collaborator: &Collaborator,
    until: Timestamp,
    terms: &Terms,
    now: Timestamp,
) -> Option<(Timestamp, Terms)> {
    let (mut end, mut less) = (until, terms.clone());
    for excess in judge_grant(policy, role, collaborator, until, terms, now).excess {
        match excess {
            GrantError::TooLong { latest: limit, .. } | GrantError::BeyondPhase { ends: limit, .. } => {
                end = end.min(limit)
            }
            GrantError::TooManyUses { most, .. } => less.uses = Some(most),
            _ => return None,
        }
    }
    let left = judge_grant(policy, role, collaborator, end, &less, now).excess;
    left.is_empty().then_some((end, less))
}

/// Administrators are made in a way of their own.
fn not_administration(project: &ProjectName) -> Result<(), GrantError> {
    if is_administration(project) { Err(GrantError::Administration(project.clone())) } else { Ok(()) }
}

/// The same for a grant that is there, whoever made it: an administrator's, too.
pub(crate) fn within_limits(
    policy: &Policy,
    role: (&ProjectName, &RoleName),
    collaborator: &Collaborator,
    until: Timestamp,
    terms: &Terms,
    now: Timestamp,
) -> Result<Terms, GrantError> {
    judge(policy, role, collaborator, until, terms, now).given()
}

fn judge(
    policy: &Policy,
    (project, role): (&ProjectName, &RoleName),
    collaborator: &Collaborator,
    until: Timestamp,
    terms: &Terms,
    now: Timestamp,
) -> Judged {
    let (found, limits) = match limits(policy, project, role) {
        Ok(found) => found,
        Err(error) => return Judged { terms: terms.clone(), excess: vec![error] },
    };
    let mut excess = Vec::new();
    let phase = terms.phase.as_ref().and_then(|name| {
        let phase = found.phase(name);
        if phase.is_none() {
            let phases = found.phases().map(|(name, _)| name.to_string()).collect();
            excess.push(GrantError::Phase(project.clone(), name.clone(), list(phases)));
        }
        phase.map(|phase| (name, phase))
    });
    let begins = terms.not_before.max(phase.and_then(|(_, phase)| phase.begins)).map_or(now, |begins| begins.max(now));
    // What is granted ahead is as long as what is granted from now on.
    let latest = begins.plus(limits.longest_grant);
    if until > latest {
        excess.push(GrantError::TooLong { role: role.clone(), until, latest });
    }
    if let Some((name, phase)) = phase
        && until > phase.ends
    {
        excess.push(GrantError::BeyondPhase { phase: name.clone(), until, ends: phase.ends });
    }
    if until <= begins {
        excess.push(GrantError::NoTime { begins, until });
    }
    if let (Some(uses), Some(most)) = (terms.uses, limits.uses)
        && uses > most
    {
        excess.push(GrantError::TooManyUses { role: role.clone(), uses, most });
    }
    if let Err(message) = limits.details_for(collaborator) {
        excess.push(GrantError::Template(role.clone(), message));
    }
    let terms = Terms {
        uses: terms.uses.or(limits.uses),
        grace: limits.grace.as_ref().map_or(0, |grace| grace.seconds),
        ..terms.clone()
    };
    Judged { terms, excess }
}

/// Why no invitation is made.
#[derive(Debug, Error)]
pub enum InviteError {
    /// The grant.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The code.
    #[error("could not make the code")]
    Code(#[from] CodeError),
    /// Somebody else decided in between.
    #[error(
        "{0} was changed by somebody else at the same time, and nobody was invited; run the command again, which goes by what there is now"
    )]
    Changed(Condition),
    /// The store.
    #[error(transparent)]
    Decide(DecideError),
}

impl From<DecideError> for InviteError {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::Conflict(condition) => Self::Changed(condition),
            error @ (DecideError::Clock { .. } | DecideError::Store(_)) => Self::Decide(error),
        }
    }
}

/// What is asked for.
pub struct Invite {
    /// For whom.
    pub collaborator: Collaborator,
    /// To which project.
    pub project: ProjectName,
    /// In which role.
    pub role: RoleName,
    /// The grant's hard end.
    pub until: Timestamp,
    /// What else it is bound to; the role adds its grace.
    pub terms: Terms,
    /// The code's end; the grant's end at the latest.
    pub code_expires_at: Timestamp,
    /// The only EK that may use it.
    pub ek_hash: Option<[u8; 32]>,
    /// Why, where somebody says.
    pub reason: Option<String>,
    /// Who invites: somebody who does not approve it, too.
    pub by: Actor,
}

/// Makes an invitation and the grant that it carries; gives the code, which is stored as a hash only.
pub async fn invite(
    store: &dyn Store,
    environment: &Environment,
    policy: &Policy,
    issuer_url: &str,
    pin: Pin,
    invite: Invite,
) -> Result<(Invitation, Code), InviteError> {
    not_administration(&invite.project)?;
    let (decision, invitation, code) = prepare(environment, policy, issuer_url, pin, invite)?;
    store.decide(decision).await?;
    Ok((invitation, code))
}

/// The decision by which an invitation is made; administrators' too, whose events say more.
pub(crate) fn prepare(
    environment: &Environment,
    policy: &Policy,
    issuer_url: &str,
    pin: Pin,
    invite: Invite,
) -> Result<(Decision, Invitation, Code), InviteError> {
    let role = (&invite.project, &invite.role);
    let terms = within_limits(policy, role, &invite.collaborator, invite.until, &invite.terms, environment.now())?;
    let grant = Grant {
        id: GrantId::from_random(environment.random()),
        collaborator: invite.collaborator,
        project: invite.project,
        role: invite.role,
        until: invite.until,
        state: GrantLife::Requested,
        device: None,
        made_at: Some(environment.now()),
        used: 0,
        terms,
        replaces: None,
        briefed: None,
    };
    let Invite { code_expires_at, ek_hash, reason, by, .. } = invite;
    let letter = Letter { grant, further: Vec::new(), code_expires_at, ek_hash, reason, by };
    write(environment, policy, issuer_url, pin, letter)
}

/// What an invitation carries, made and not yet sent.
pub(crate) struct Letter {
    /// The grant.
    pub(crate) grant: Grant,
    /// The others, of the same person.
    pub(crate) further: Vec<Grant>,
    /// The code's end; the last grant's end at the latest.
    pub(crate) code_expires_at: Timestamp,
    /// The only EK that may use it.
    pub(crate) ek_hash: Option<[u8; 32]>,
    /// Why.
    pub(crate) reason: Option<String>,
    /// Who invites.
    pub(crate) by: Actor,
}

/// The decision by which these grants are made and wait, with an event for each.
pub(crate) fn write(
    environment: &Environment,
    policy: &Policy,
    issuer_url: &str,
    pin: Pin,
    letter: Letter,
) -> Result<(Decision, Invitation, Code), InviteError> {
    let Letter { grant, further, code_expires_at, ek_hash, reason, by } = letter;
    let secret = CodeSecret::from_random(environment.random());
    let last = further.iter().fold(grant.until, |last, grant| last.max(grant.until));
    let invitation = Invitation {
        id: InvitationId::from_random(environment.random()),
        secret_hash: Fixed(secret.hash()),
        collaborator: grant.collaborator.clone(),
        project: grant.project.clone(),
        role: grant.role.clone(),
        phase: grant.terms.phase.clone(),
        grant: grant.id.clone(),
        further: further.iter().map(|grant| grant.id.clone()).collect(),
        replaces: grant.replaces.as_ref().map(|replaces| replaces.device.clone()),
        // A code that is good for longer would enrol machines for nothing.
        expires_at: code_expires_at.min(last),
        ek_hash: ek_hash.map(Fixed),
        state: InvitationLife::Open,
        device: None,
    };
    let code = Code::try_new(CodeKind::Invitation, pin, secret, issuer_url)?;
    let mut decision = Decision::default().change(Change::AddInvitation(invitation.clone()));
    for grant in std::iter::once(grant).chain(further) {
        let event = environment
            .event(EventKind::Invited)
            .text("invitation", &invitation.id)
            .number("expires_at", invitation.expires_at.seconds());
        let event = match invitation.ek_hash {
            Some(_) => event.text("rule", "ek_hash_in_invitation"),
            None => event,
        };
        let event = match &grant.replaces {
            Some(replaces) => event.text("replaces", &replaces.grant),
            None => event,
        };
        let event = environment.with_details(environment.of_grant(event, &grant, policy), &grant, policy);
        let event = environment.decided(event, &by);
        let event = match &reason {
            Some(reason) => environment.personal(event, "why", reason),
            None => event,
        };
        let bar = bar(policy, &grant.project, &grant.role)?;
        approvable(&bar, &grant.role, &grant.collaborator, by.person())?;
        let waits = Approvals::new(grant.id.to_string(), by.person().cloned(), environment.now(), bar);
        decision = decision.event(event).change(Change::AddGrant(grant)).change(Change::Approvals(waits));
    }
    Ok((decision, invitation, code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Made;

    async fn ask(
        made: &Made,
        project: &str,
        role: &str,
        who: &str,
        life: i64,
    ) -> Result<(Invitation, Code), InviteError> {
        ask_with(made, (project, role), who, life, Terms::default()).await
    }

    async fn ask_with(
        made: &Made,
        (project, role): (&str, &str),
        who: &str,
        life: i64,
        terms: Terms,
    ) -> Result<(Invitation, Code), InviteError> {
        let issuer = &made.issuer;
        let asked = Invite {
            collaborator: who.parse().unwrap(),
            project: project.parse().unwrap(),
            role: role.parse().unwrap(),
            until: made.now().plus(life),
            terms,
            code_expires_at: made.now().plus(60),
            ek_hash: None,
            reason: None,
            by: Actor::account("olga"),
        };
        let pin = issuer.keyring().pin();
        let (store, environment) = (issuer.store.as_ref(), &issuer.environment);
        invite(store, environment, &issuer.policy(), &issuer.config.issuer_url, pin, asked).await
    }

    #[tokio::test]
    async fn a_code_is_stored_as_a_hash_and_its_grant_waits() {
        let made = Made::new().await;
        let (invitation, code) = ask(&made, "apollo", "developer", "alice", 60).await.unwrap();
        let text = code.expose();
        let secret = Code::parse(CodeKind::Invitation, &text).unwrap();
        assert_eq!(secret.issuer(), made.issuer.config.issuer_url);
        let store = &made.issuer.store;
        let found = store.invitation_by_secret(invitation.secret_hash.0).await.unwrap().unwrap();
        assert_eq!((found.state, found.id), (InvitationLife::Open, invitation.id));
        assert_eq!(store.grant(&invitation.grant).await.unwrap().unwrap().state, GrantLife::Requested);
    }

    #[tokio::test]
    async fn a_code_ends_with_its_grant() {
        let made = Made::new().await;
        let end = async |life| ask(&made, "apollo", "developer", "alice", life).await.unwrap().0.expires_at;
        assert_eq!(end(61).await, made.now().plus(60));
        assert_eq!(end(59).await, made.now().plus(59));
    }

    #[tokio::test]
    async fn terms_are_held_to_role_and_phase_and_the_role_adds_its_own() {
        const DAY: i64 = 86_400;
        let made = Made::new().await;
        let text = std::fs::read_to_string(made.issuer.config.policy.join("projects/apollo.toml")).unwrap();
        let phase = "[phases.build]\nends = 2026-12-01T00:00:00Z\n[roles.developer]\nuses = 9\n\
             grace = { for = \"2d\", authorization_details = [{ type = \"git_repository\", locations = [\"https://git.example.com/team/app\"], actions = [\"read\"] }] }\n";
        made.project(&text.replace("[roles.developer]\n", phase)).await;
        let with = async |life, terms| ask_with(&made, ("apollo", "developer"), "alice", life, terms).await;
        let given = async |terms| {
            let (invitation, _) = with(DAY, terms).await.unwrap();
            let grant = made.issuer.store.grant(&invitation.grant).await.unwrap().unwrap();
            assert_eq!((invitation.phase, grant.made_at), (grant.terms.phase.clone(), Some(made.now())));
            grant.terms
        };
        let role = Terms { uses: Some(9), grace: 2 * DAY, ..Terms::default() };
        assert_eq!(given(Terms::default()).await, role);
        let networks = vec!["192.0.2.0/24".parse().unwrap()];
        let narrower = Terms { uses: Some(1), networks, phase: "build".parse().ok(), ..Terms::default() };
        assert_eq!(given(Terms { grace: 99 * DAY, ..narrower.clone() }).await, Terms { grace: 2 * DAY, ..narrower });
        let events = made.events("invited").await;
        assert!(events[1].contains(r#""phase":"build""#) && !events[0].contains("phase"), "{events:?}");
        let refused = async |life, terms| match with(life, terms).await {
            Err(InviteError::Grant(error)) => error.to_string(),
            other => panic!("{other:?}"),
        };
        let later = |days| Some(made.now().plus(days * DAY));
        for (life, terms, words) in [
            (
                DAY,
                Terms { uses: Some(10), ..Terms::default() },
                "10 tokens are more than role `developer` allows, which is 9",
            ),
            (
                DAY,
                Terms { phase: "biuld".parse().ok(), ..Terms::default() },
                "project `apollo` has no phase `biuld`; it has: build",
            ),
            (
                80 * DAY,
                Terms { phase: "build".parse().ok(), ..Terms::default() },
                "and phase `build` ends at 2026-12-01T00:00:00Z",
            ),
            (DAY, Terms { not_before: later(1), ..Terms::default() }, "the grant would begin at"),
            (101 * DAY, Terms { not_before: later(10), ..Terms::default() }, "allows until"),
        ] {
            let told = refused(life, terms).await;
            assert!(told.contains(words), "{words}: {told}");
        }
        // The role's time counts from the begin on.
        with(100 * DAY, Terms { not_before: later(10), ..Terms::default() }).await.unwrap();
    }

    #[tokio::test]
    async fn nobody_is_invited_to_what_nobody_could_approve() {
        let made = Made::new().await;
        let sensitive = ("[roles.developer]\n", "[roles.developer]\nsensitivity = \"sensitive\"\n");
        let owners = |names: &str| ("owners = [\"olga@example.com\"]", format!("owners = [{names}]"));
        let refused = async |role, who| ask(&made, "apollo", role, who, 60).await.err().map(|error| error.to_string());
        // Their own, in other letters.
        let alone = refused("developer", "Olga@example.com").await.unwrap();
        assert!(alone.contains("needs 1 approval(s)") && alone.contains("of nobody alone"), "{alone}");
        assert_eq!(refused("developer", "alice").await, None);
        let (from, two) = owners("\"olga@example.com\", \"otto@example.com\"");
        made.edit_policy(&[(from, &two), sensitive]).await;
        let one = refused("developer", "olga@example.com").await.unwrap();
        assert!(one.contains("needs 2 approval(s)") && one.contains("of otto@example.com alone"), "{one}");
        assert_eq!(refused("developer", "alice").await, None);
        // Whoever asks does not approve.
        let otto = "otto@example.com".parse().unwrap();
        let bar = bar(&made.issuer.policy(), &"apollo".parse().unwrap(), &"developer".parse().unwrap()).unwrap();
        let asked = approvable(&bar, &"developer".parse().unwrap(), &"alice".parse().unwrap(), Some(&otto));
        assert!(matches!(asked, Err(GrantError::NobodyApproves { .. })), "{asked:?}");
        // Two who differ in letters alone are one.
        let (from, twice) = (two.as_str(), "\"olga@example.com\", \"Olga@example.com\"");
        made.edit_policy(&[(from, &format!("owners = [{twice}]"))]).await;
        let one = refused("developer", "alice").await.unwrap();
        assert!(one.contains("needs 2 approval(s)"), "{one}");
        // An owner's device needs nobody.
        assert_eq!(refused("owner", "olga@example.com").await, None);
    }

    #[tokio::test]
    async fn what_would_be_allowed_is_within_every_limit_or_is_not_said() {
        const DAY: i64 = 86_400;
        let made = Made::new().await;
        let ends = made.now().plus(80 * DAY);
        let phase = format!(
            "[phases.build]\nends = {ends}\n[phases.late]\nbegins = {}\nends = {}\n[roles.developer]\nuses = 9\n",
            made.now().plus(60 * DAY),
            made.now().plus(400 * DAY)
        );
        made.edit_policy(&[("[roles.developer]\n", &phase)]).await;
        let near = |who: &str, life: i64, terms: Terms| {
            let role = ("apollo".parse().unwrap(), "developer".parse().unwrap());
            let (policy, now) = (made.issuer.policy(), made.now());
            let judged = judge_grant(&policy, (&role.0, &role.1), &who.parse().unwrap(), now.plus(life), &terms, now);
            let nearest = nearest(&policy, (&role.0, &role.1), &who.parse().unwrap(), now.plus(life), &terms, now);
            (judged.excess.len(), nearest.map(|(until, terms)| (until.since(now), terms.uses)))
        };
        let with =
            |uses, phase: bool| Terms { uses, phase: phase.then(|| "build".parse().unwrap()), ..Terms::default() };
        for (life, terms, excess, expected) in [
            (DAY, with(Some(9), true), 0, Some((DAY, Some(9)))),
            (91 * DAY, with(None, false), 1, Some((90 * DAY, None))),
            (91 * DAY, with(Some(10), true), 3, Some((80 * DAY, Some(9)))),
            // It begins with its phase, and is as long from there on.
            (DAY, with(None, false), 0, Some((DAY, None))),
            (DAY, Terms { phase: "late".parse().ok(), ..Terms::default() }, 1, None),
            (150 * DAY, Terms { phase: "late".parse().ok(), ..Terms::default() }, 0, Some((150 * DAY, None))),
            (151 * DAY, Terms { phase: "late".parse().ok(), ..Terms::default() }, 1, Some((150 * DAY, None))),
            // What would be left after that is no time at all.
            (91 * DAY, Terms { not_before: Some(ends.plus(1)), ..with(None, true) }, 1, None),
        ] {
            assert_eq!(near("alice", life, terms.clone()), (excess, expected), "{life} {terms:?}");
        }
        assert_eq!(near("a/../b", 91 * DAY, with(Some(10), false)), (3, None));
    }

    #[tokio::test]
    async fn what_the_policy_does_not_have_cannot_be_given() {
        let made = Made::new().await;
        let refused = async |project, role, who, life| match ask(&made, project, role, who, life).await {
            Err(InviteError::Grant(error)) => error,
            other => panic!("{other:?}"),
        };
        assert!(matches!(refused("gemini", "developer", "alice", 60).await, GrantError::Project(..)));
        let no_role = refused("apollo", "admin", "alice", 60).await;
        assert_eq!(no_role.to_string(), "project `apollo` has no role `admin`; it has: developer, reader");
        assert!(matches!(refused("apollo", "developer", "alice", 91 * 86_400).await, GrantError::TooLong { .. }));
        assert!(matches!(refused("apollo", "developer", "a/../b", 60).await, GrantError::Template(..)));
        assert!(made.issuer.store.grants_in(GrantLife::Requested).await.unwrap().is_empty());
    }
}
