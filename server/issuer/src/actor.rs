//! Who decides: somebody at a shell on the issuer's machine, or a person whose enrolled device asks through the admin API.

use std::net::IpAddr;

use daypass_proto::{
    ledger::Event,
    names::{Collaborator, DeviceId},
};

use crate::clock::Environment;

/// Who decides.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Actor {
    /// A shell on the issuer's machine: whoever may use the issuer's files.
    Machine {
        /// The name of the account. Nobody's verified id: it is never compared with a collaborator's.
        account: String,
        /// The owner whose decision it is, where the account only carries it out.
        on_behalf_of: Option<Collaborator>,
    },
    /// Somebody whose request came from an enrolled device of theirs.
    Person {
        /// Who: the id that the device was enrolled for.
        collaborator: Collaborator,
        /// The device.
        device: DeviceId,
        /// Where the request came from.
        address: IpAddr,
    },
}

impl Actor {
    /// An account on the issuer's machine, acting for nobody but itself.
    pub fn account(name: impl Into<String>) -> Self {
        Self::Machine { account: name.into(), on_behalf_of: None }
    }

    /// The person whose decision it is: an id that can be compared with others. An account alone is nobody.
    pub const fn person(&self) -> Option<&Collaborator> {
        match self {
            Self::Machine { on_behalf_of, .. } => on_behalf_of.as_ref(),
            Self::Person { collaborator, .. } => Some(collaborator),
        }
    }
}

impl Environment {
    /// The event, with who decided: `by`, and how that is known.
    pub fn decided(&self, event: Event, actor: &Actor) -> Event {
        match actor {
            Actor::Machine { account, on_behalf_of } => {
                let event = self.personal(event, "by", account);
                match on_behalf_of {
                    Some(owner) => self.personal(event, "on_behalf_of", owner),
                    None => event,
                }
            }
            Actor::Person { collaborator, device, address } => {
                let event = self.personal(event, "by", collaborator).text("by_device", device);
                self.personal(event, "address", address.to_canonical())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use daypass_proto::ledger::{EventKind, vocabulary::fits};

    use super::*;
    use crate::fixture::Made;

    #[tokio::test]
    async fn an_event_says_who_decided_and_how_that_is_known() {
        let made = Made::new().await;
        let environment = &made.issuer.environment;
        let olga: Collaborator = "olga@example.com".parse().unwrap();
        let device = DeviceId::from_random([1; 10]);
        let person =
            Actor::Person { collaborator: olga.clone(), device: device.clone(), address: [192, 0, 2, 1].into() };
        let for_olga = Actor::Machine { account: "root".to_owned(), on_behalf_of: Some(olga.clone()) };
        for (actor, who, personal, by_device) in [
            (Actor::account("root"), None, &["by"][..], false),
            (for_olga, Some(&olga), &["by", "on_behalf_of"], false),
            (person, Some(&olga), &["address", "by"], true),
        ] {
            let event = environment.event(EventKind::GateRemoved).text("gate", "git");
            let event = environment.decided(event, &actor);
            assert_eq!(fits(&event), Ok(()));
            assert_eq!(event.personal_fields().keys().copied().collect::<Vec<_>>(), personal);
            assert_eq!(event.text_of("by_device"), by_device.then(|| device.as_str()));
            assert_eq!(actor.person(), who);
        }
    }
}
