//! What an invitation would allow, as people read it.

use daypass_proto::{
    authorization::AuthorizationDetails,
    names::{Collaborator, DeviceId, ProjectName, RoleName},
    time::Timestamp,
};
use serde_json::{Value, json};

use super::super::{CommandError, output::line, terms::told};
use crate::{
    approval::Offered,
    invitation::{GrantError, Judged, nearest},
    issuer::Issuer,
    replacement::{Carried, Replacement},
    store::{Grant, Terms},
    until,
};

/// What one grant would be.
pub(super) struct Offer {
    project: ProjectName,
    role: RoleName,
    until: Timestamp,
    /// Whether that was asked for: of a phase that is not there nobody knows the end.
    pub(super) has_end: bool,
    terms: Terms,
    /// What today's role gives.
    details: AuthorizationDetails,
    /// Those who may approve it.
    owners: Vec<String>,
    /// How many of them must; unknown where today's policy has no such role.
    approvers: Option<u32>,
    pub(super) excess: Vec<GrantError>,
    /// The most of it that would be allowed, where it goes beyond.
    pub(super) nearest: Option<(Timestamp, Terms)>,
    /// The grant whose place it takes.
    of: Option<Grant>,
}

/// The device that is replaced.
pub(super) struct Replaced {
    device: DeviceId,
    /// Whether it ends with the last grant.
    ends: bool,
    /// What gets no successor, each with why.
    left: Vec<(Grant, String)>,
}

/// All that would be sent, and to whom.
pub(super) struct Offers {
    pub(super) collaborator: Collaborator,
    pub(super) grants: Vec<Offer>,
    /// What is replaced, where something is.
    pub(super) replaces: Option<Replaced>,
    /// Whether the machine itself is let on by its EK.
    pub(super) registered: bool,
}

/// What a grant would be that was judged so.
pub(super) fn offer(
    issuer: &Issuer,
    collaborator: &Collaborator,
    (project, role): (&ProjectName, &RoleName),
    until: Timestamp,
    judged: Judged,
) -> Offer {
    let mut excess = judged.excess;
    let offered = Offered::of(&issuer.policy(), (project, role), collaborator, None).ok();
    let approvers = offered.as_ref().map(|offered| offered.approvers);
    let (details, owners) = offered.map_or_else(Default::default, |offered| {
        excess.extend(offered.nobody);
        (offered.details, offered.owners)
    });
    Offer {
        project: project.clone(),
        role: role.clone(),
        until,
        has_end: true,
        terms: judged.terms,
        details,
        owners,
        approvers,
        excess,
        nearest: None,
        of: None,
    }
}

/// What a replacement would be.
pub(super) fn replacing(issuer: &Issuer, found: &Replacement, registered: bool) -> Offers {
    let collaborator = found.device.collaborator.clone();
    let of = |carried: &Carried| {
        let (from, now) = (&carried.from, issuer.environment.now());
        let role = (&from.project, &from.role);
        let nearest = nearest(&issuer.policy(), role, &collaborator, carried.until, &carried.terms, now);
        let judged = Judged { terms: carried.terms.clone(), excess: carried.excess.clone() };
        Offer { nearest, of: Some(from.clone()), ..offer(issuer, &collaborator, role, carried.until, judged) }
    };
    let grants = found.carried.iter().map(of).collect();
    let replaces = Some(Replaced { device: found.device.id.clone(), ends: found.ends, left: found.left.clone() });
    Offers { collaborator: collaborator.clone(), grants, replaces, registered }
}

impl Offer {
    /// What goes beyond the policy, a text each.
    pub(super) fn beyond(&self) -> Vec<String> {
        let named = |error: &GrantError| match &self.of {
            Some(from) => format!("`{}`: {error}", from.id),
            None => error.to_string(),
        };
        self.excess.iter().map(named).collect()
    }

    /// What would be allowed instead, as one says it to `invite`.
    fn instead(&self) -> Option<String> {
        let (until, terms) = self.nearest.as_ref().filter(|_| !self.excess.is_empty() && !self.is_nobody_s())?;
        let uses = terms.uses.filter(|uses| Some(*uses) != self.terms.uses).map(|uses| format!("--uses {uses}"));
        let until = (*until != self.until).then(|| format!("--until {until}"));
        Some([until, uses].into_iter().flatten().collect::<Vec<_>>().join(" "))
    }

    /// Whether nobody could ever approve it.
    fn is_nobody_s(&self) -> bool {
        self.excess.iter().any(|error| matches!(error, GrantError::NobodyApproves { .. }))
    }

    fn json(&self, collaborator: &Collaborator, registered: bool) -> Value {
        let mut told = json!({
            "collaborator": collaborator, "project": self.project, "role": self.role, "until": self.has_end.then_some(self.until),
            "terms": self.terms, "authorization_details": self.details, "approved_by": self.owners,
            "approvers": self.approvers, "device_approved_by_ek": registered,
            "excess": self.excess.iter().map(ToString::to_string).collect::<Vec<_>>(), "nearest": self.instead(),
        });
        if let (Some(from), Some(told)) = (&self.of, told.as_object_mut()) {
            told.insert("replaces".to_owned(), json!(from.id));
            told.insert("used".to_owned(), json!(from.used));
        }
        told
    }

    /// What the grant allows, for how long, who has to say yes before it does, and what in it nobody may say yes to.
    pub(super) fn show(&self, issuer: &Issuer) -> Result<(), CommandError> {
        let zone = issuer.policy().zone(&self.project);
        let used = self.of.as_ref().map_or(0, |from| from.used);
        if let Some(from) = &self.of {
            line(format!("  in place of {}: {} as {}", from.id, self.project, self.role))?;
        }
        if self.has_end {
            line(format!("  until {} ({})", self.until, until::there(self.until, &zone)))?;
        }
        for (name, said) in told(&self.terms, issuer.policy().project(&self.project), self.until, used) {
            line(format!("  {name}: {said}"))?;
        }
        for detail in self.details.iter() {
            line(format!("  allows {}", serde_json::to_string(detail).unwrap_or_default()))?;
        }
        let approvers = self.approvers.filter(|_| !self.is_nobody_s());
        approvers.map_or(Ok(()), |approvers| line(told_approval(&self.owners, approvers)))?;
        for error in &self.excess {
            line(format!("  goes beyond the policy: {error}"))?;
        }
        self.instead().map_or(Ok(()), |instead| line(format!("  would be allowed: `{instead}`")))
    }
}

impl Offers {
    pub(super) fn told(&self) -> String {
        match (&self.replaces, self.grants.first()) {
            (Some(Replaced { device, .. }), _) => {
                let count = self.grants.len();
                format!("{} to replace {device}, with {count} grant(s)", self.collaborator)
            }
            (None, Some(offer)) => format!("{} to {} as {}", self.collaborator, offer.project, offer.role),
            (None, None) => self.collaborator.to_string(),
        }
    }

    pub(super) fn json(&self) -> Value {
        let each = |offer: &Offer| offer.json(&self.collaborator, self.registered);
        let Some(Replaced { device, ends, left }) = &self.replaces else {
            return self.grants.first().map(each).unwrap_or_default();
        };
        let left: Vec<Value> =
            left.iter().map(|(grant, why)| json!({"grant": grant.id, "state": grant.state, "why": why})).collect();
        json!({
            "collaborator": self.collaborator, "replaces": device, "device_ends": ends,
            "grants": self.grants.iter().map(each).collect::<Vec<_>>(), "left": left,
            "device_approved_by_ek": self.registered,
        })
    }

    pub(super) fn show(&self, issuer: &Issuer) -> Result<(), CommandError> {
        self.grants.iter().try_for_each(|offer| offer.show(issuer))?;
        line(told_device(self.registered))?;
        let Some(Replaced { device, ends, left }) = &self.replaces else { return Ok(()) };
        for (grant, why) in left {
            line(format!("  {} ({} as {}) gets no successor: it {why}", grant.id, grant.project, grant.role))?;
        }
        line(match ends {
            true => format!(
                "  each grant of {device} ends when its successor comes into force, and the device with the last"
            ),
            false => format!(
                "  each grant of {device} ends when its successor comes into force; the device stays for its others"
            ),
        })
    }
}

/// Who has to say yes to the grant.
fn told_approval(owners: &[String], approvers: u32) -> String {
    match approvers {
        0 => "  nobody has to approve it beside its machine".to_owned(),
        1 => format!("  it waits for approval by {}", owners.join(" or ")),
        more => format!("  it waits for approval by {more} of {}", owners.join(", ")),
    }
}

/// Who has to say yes to the machine.
fn told_device(registered: bool) -> String {
    match registered {
        true => "  only the machine with that EK hash can use the code, and the machine itself needs no approval",
        false => "  the machine waits for approval, too: compare its code, then `daypass-issuer device approve`",
    }
    .to_owned()
}
