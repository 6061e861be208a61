//! Requests that nobody has made: what would come of them.
//!
//! Whatever an example or a question leaves out is as it usually is: a machine with a known TPM and Secure Boot, noon of a working day, a
//! grant that is in force. The time never depends on when it is asked, so that an example that holds today holds tonight.

use std::{collections::BTreeMap, net::IpAddr};

use daypass_proto::{
    authorization::AuthorizationDetails,
    caller::Evidence,
    encoding::Fixed,
    enrolment::TrustTier,
    names::{Collaborator, DeviceId, GrantId, ProjectName, RoleName},
    oauth_error::Reason,
    resource::Resource,
    time::Timestamp,
    token::Protection,
};

use super::{decision::Question, request::TokenError};
use crate::{
    error::Refusal,
    policy::{Action, Example, Expected, Fault, Policy, Subject},
    store::{Device, Grant, GrantLife, Terms},
};

/// Wednesday, 2027-01-06, 12:00 UTC.
pub(crate) const USUALLY: Timestamp = Timestamp::from_seconds(1_799_236_800);
/// How long a grant that nobody made is still in force.
const IN_FORCE: i64 = 24 * 3600;

/// A device that nobody has, or one as it stands.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Its name.
    pub device: DeviceId,
    /// Whose it is.
    pub collaborator: Collaborator,
    /// How well its TPM is known.
    pub trust_tier: TrustTier,
    /// Secure Boot, where something is known of it.
    pub secure_boot: Option<bool>,
    /// The PCRs that it quoted last, SHA-256.
    pub pcrs: BTreeMap<u8, Fixed<32>>,
    /// As it says itself.
    pub os: String,
    /// As it says itself.
    pub agent_version: String,
}

impl Asker {
    fn subject(&self) -> Subject<'_> {
        Subject {
            device: &self.device,
            collaborator: &self.collaborator,
            trust_tier: self.trust_tier,
            secure_boot: self.secure_boot,
            pcrs: &self.pcrs,
            os: &self.os,
            agent_version: &self.agent_version,
        }
    }
}

impl From<Subject<'_>> for Asker {
    fn from(subject: Subject<'_>) -> Self {
        Self {
            device: subject.device.clone(),
            collaborator: subject.collaborator.clone(),
            trust_tier: subject.trust_tier,
            secure_boot: subject.secure_boot,
            pcrs: subject.pcrs.clone(),
            os: subject.os.to_owned(),
            agent_version: subject.agent_version.to_owned(),
        }
    }
}

/// A request that nobody has made.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What would be decided.
    pub action: Action,
    /// The device that would ask.
    pub asker: Asker,
    /// What it would be granted.
    pub grant: Grant,
    /// What the token would be for.
    pub resource: Resource,
    /// What would be asked for; everything there, where nothing is named.
    pub asked: Option<AuthorizationDetails>,
    /// Who would sign the proofs.
    pub protection: Protection,
    /// Where the request would come from.
    pub address: Option<IpAddr>,
    /// The time it would be.
    pub now: Timestamp,
    /// Who would have asked the agent.
    pub caller: Option<Evidence>,
    /// Whether it is supposed that briefings were accepted.
    pub briefed: bool,
}

impl Trial {
    /// As it usually is, at a usual time where none is given.
    pub fn of(
        collaborator: Collaborator,
        project: ProjectName,
        role: RoleName,
        resource: Resource,
        now: Option<Timestamp>,
    ) -> Self {
        let now = now.unwrap_or(USUALLY);
        Self::under(Self::granted(collaborator, project, role, now), resource, now)
    }

    /// As it usually is, under this grant.
    pub(crate) fn under(grant: Grant, resource: Resource, now: Timestamp) -> Self {
        let asker = Asker {
            device: DeviceId::from_random([0; 10]),
            collaborator: grant.collaborator.clone(),
            trust_tier: TrustTier::EkChain,
            secure_boot: Some(true),
            pcrs: [].into(),
            os: "Debian GNU/Linux 13 (trixie)".to_owned(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let protection = Protection::Hardware;
        Self {
            action: Action::Issue,
            asker,
            grant,
            resource,
            asked: None,
            protection,
            address: None,
            now,
            caller: None,
            briefed: true,
        }
    }

    /// A grant that nobody made, in force at `now`.
    pub(crate) fn granted(collaborator: Collaborator, project: ProjectName, role: RoleName, now: Timestamp) -> Grant {
        Grant {
            id: GrantId::from_random([0; 10]),
            collaborator,
            project,
            role,
            until: now.plus(IN_FORCE),
            state: GrantLife::Active,
            device: None,
            made_at: None,
            used: 0,
            terms: Terms::default(),
            replaces: None,
            briefed: None,
        }
    }

    /// By this device, as it stands.
    pub(crate) fn by(mut self, device: &Device) -> Self {
        self.asker = device.subject().into();
        if device.is_software() {
            self.protection = Protection::Software;
        }
        self
    }

    /// With proofs that another key signs; software keys are those of a client without a TPM.
    #[must_use]
    pub fn with_protection(mut self, protection: Protection) -> Self {
        self.protection = protection;
        if protection == Protection::Software {
            (self.asker.trust_tier, self.asker.secure_boot) = (TrustTier::Software, None);
        }
        self
    }

    /// Whether a client without a TPM asks.
    pub(crate) fn is_software(&self) -> bool {
        self.asker.trust_tier == TrustTier::Software
    }

    /// What cannot be: software keys sign for a client without a TPM, and for no other.
    pub(crate) fn contradiction(&self) -> Option<&'static str> {
        (self.protection == Protection::Software && !self.is_software())
            .then_some("`software` keys sign for clients of trust tier `software` alone, and another tier is named")
    }

    /// The question that the request would put, with these grants.
    pub(crate) fn question<'a>(&'a self, grants: &'a [&'a Grant]) -> Question<'a, &'a Grant> {
        // As tokens are issued: a client without a TPM signs with what it has.
        let protection = if self.is_software() { Protection::Software } else { self.protection };
        Question {
            action: self.action,
            subject: self.asker.subject(),
            grants,
            resource: &self.resource,
            asked: self.asked.as_ref(),
            protection,
            delegated: protection == Protection::Delegated,
            address: self.address,
            now: self.now,
            caller: self.caller.as_ref(),
            briefed: self.briefed,
        }
    }
}

/// The cause that whoever is refused is told.
pub(crate) fn cause(error: TokenError) -> Reason {
    Refusal::from(error).reason()
}

/// The word of a cause.
pub(crate) fn word(reason: Reason) -> String {
    serde_json::to_value(reason).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Runs a policy's own examples; tells those that come out otherwise.
pub fn failing(policy: &Policy) -> Vec<Fault> {
    let failed = |example: &Example| {
        let message = come_out(policy, example).err()?;
        let grant = &example.trial.grant;
        let message = format!("`{}` as `{}` of `{}` {message}", grant.collaborator, grant.role, grant.project);
        Some(Fault { message, ..example.at.clone() })
    };
    policy.examples().iter().filter_map(failed).collect()
}

/// Whether an example comes out as it must.
fn come_out(policy: &Policy, example: &Example) -> Result<(), String> {
    let grants = [&example.trial.grant];
    let result = example.trial.question(&grants).decide(policy).map(|(_, monitored)| monitored);
    match (&example.expected, result) {
        (Expected::Allowed(None), Ok(_)) => Ok(()),
        (Expected::Allowed(Some(expected)), Ok(monitored)) => {
            let (mut expected, mut monitored) = (expected.clone(), monitored);
            expected.sort();
            monitored.sort();
            if expected == monitored {
                Ok(())
            } else {
                Err(format!(
                    "is allowed as it should be, but `monitored` must be {}, and is {}",
                    list(&expected),
                    list(&monitored)
                ))
            }
        }
        (Expected::Allowed(_), Err(error)) => Err(format!("should be allowed, and is refused: {error}")),
        (Expected::Refused(reason), Ok(_)) => {
            Err(format!("should be refused with `{}`, and is allowed", word(*reason)))
        }
        (Expected::Guardrail(id), Ok(monitored)) => Err(format!(
            "should be refused by the guardrail `{id}`, and is allowed{}",
            if policy.guardrails().rules().all(|rule| rule.id != *id) {
                "; there is no such guardrail"
            } else if monitored.contains(id) {
                "; the guardrail only watches (`@mode(\"monitor\")`)"
            } else {
                ""
            }
        )),
        (Expected::Guardrail(id), Err(TokenError::Guardrail { all, .. })) if all.contains(id) => Ok(()),
        (Expected::Guardrail(id), Err(error)) => {
            Err(format!("should be refused by the guardrail `{id}`, and is refused otherwise: {error}"))
        }
        (Expected::Refused(expected), Err(error)) => {
            let told = error.to_string();
            match cause(error) {
                reason if reason == *expected => Ok(()),
                reason => Err(format!(
                    "should be refused with `{}`, and is refused with `{}`: {told}",
                    word(*expected),
                    word(reason)
                )),
            }
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "empty".to_owned() } else { format!("`{}`", names.join("`, `")) }
}
