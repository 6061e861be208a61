//! What events tell, in one place for each thing that they tell of: `proto::ledger::vocabulary` says which kind needs which.

use std::net::IpAddr;

use daypass_proto::{ledger::Event, names::ProjectName, oauth_error::Reason, redaction::redacted};
use daypass_service::Peer;

use crate::{
    actor::Actor,
    clock::Environment,
    policy::Policy,
    store::{Device, Grant, Invitation, Terms},
};

/// From where a decision was asked for.
#[derive(Clone, Debug)]
pub enum Source {
    /// By somebody who decides.
    Actor(Actor),
    /// By a device's or a gate's request, from this address.
    Address(IpAddr),
}

impl Source {
    /// Where the request comes from.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Actor(Actor::Machine { .. }) => None,
            Self::Actor(Actor::Person { address, .. }) => Some(*address),
            Self::Address(address) => Some(*address),
        }
    }
}

impl From<Actor> for Source {
    fn from(actor: Actor) -> Self {
        Self::Actor(actor)
    }
}

impl From<&Peer> for Source {
    fn from(peer: &Peer) -> Self {
        Self::Address(peer.address.ip())
    }
}

impl Environment {
    /// The event, with where it comes from.
    pub fn asked(&self, event: Event, source: &Source) -> Event {
        match source {
            Source::Actor(actor) => self.decided(event, actor),
            Source::Address(address) => self.personal(event, "address", address.to_canonical()),
        }
    }

    /// The event, about this device.
    pub fn of_device(&self, event: Event, device: &Device) -> Event {
        self.personal(event.text("device", &device.id), "collaborator", &device.collaborator)
    }

    /// The event, about this invitation under today's policy.
    pub fn of_invitation(&self, event: Event, invitation: &Invitation, policy: &Policy) -> Event {
        let event = event
            .text("invitation", &invitation.id)
            .text("grant", &invitation.grant)
            .text("project", &invitation.project)
            .text("role", &invitation.role)
            .text("policy", hex::encode(policy.hash()));
        let event = self.owned(event, &invitation.project, policy);
        self.personal(event, "collaborator", &invitation.collaborator)
    }

    /// The event, about this grant under today's policy.
    pub fn of_grant(&self, event: Event, grant: &Grant, policy: &Policy) -> Event {
        let event = event
            .text("grant", &grant.id)
            .text("project", &grant.project)
            .text("role", &grant.role)
            .number("until", grant.until.seconds())
            .text("policy", hex::encode(policy.hash()));
        let event = match &grant.device {
            Some(device) => event.text("device", device),
            None => event,
        };
        let event = match &grant.terms.phase {
            Some(phase) => event.text("phase", phase),
            None => event,
        };
        self.personal(self.owned(event, &grant.project, policy), "collaborator", &grant.collaborator)
    }

    /// The event, with who answers for this project today.
    pub(crate) fn owned(&self, event: Event, project: &ProjectName, policy: &Policy) -> Event {
        let owners = policy.project(project).map(|project| project.owners.as_slice()).unwrap_or_default();
        self.personal(event, "owner", serde_json::to_string(owners).unwrap_or_default())
    }

    /// The event, with what this grant's role gives today, and what else the grant is bound to.
    pub fn with_details(&self, event: Event, grant: &Grant, policy: &Policy) -> Event {
        let role = policy.role(&grant.project, &grant.role);
        let details = role.and_then(|role| role.details_for(&grant.collaborator).ok()).unwrap_or_default();
        let event = self.personal(event, "authorization_details", serde_json::to_string(&details).unwrap_or_default());
        if grant.terms == Terms::default() {
            return event;
        }
        self.personal(event, "terms", serde_json::to_string(&grant.terms).unwrap_or_default())
    }

    /// The event, with why something was refused. The words repeat what somebody sent.
    pub fn refused(&self, event: Event, reason: Reason, why: &str) -> Event {
        self.personal(event.structure("reason", &reason), "why", redacted(why))
    }
}
