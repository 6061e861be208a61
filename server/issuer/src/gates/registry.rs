//! Which gates there are, and what each guards.

use daypass_proto::{
    encoding::Fixed,
    invitation::{Code, CodeError, CodeKind, CodeSecret},
    ledger::EventKind,
    names::GateName,
    resource::Resource,
    time::Timestamp,
};
use thiserror::Error;

use crate::{
    actor::Actor,
    issuer::Issuer,
    store::{Change, DecideError, Decision, Gate, GateLife, Holder, StoreError},
};

/// Why the registry does not change.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The name is taken.
    #[error("there is a gate `{0}` already; `daypass-issuer gate remove {0}` takes it out")]
    Exists(GateName),
    /// What is ours is guarded by nobody else.
    #[error("`{0}` is this issuer itself, and no gate stands before it; name what the gate guards")]
    Own(Resource),
    /// No such gate.
    #[error("there is no gate `{0}`; `daypass-issuer gate list` shows them")]
    Unknown(GateName),
    /// The code.
    #[error("could not make the code")]
    Code(#[from] CodeError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else was faster, or the store failed.
    #[error(transparent)]
    Decide(#[from] DecideError),
}

/// What is to be registered.
pub struct Registration {
    /// The name.
    pub name: GateName,
    /// What it guards.
    pub resources: Vec<Resource>,
    /// The CA of its own certificate in PEM; `None` for one under the issuer's root.
    pub ca: Option<String>,
    /// The end of its code.
    pub code_expires_at: Timestamp,
    /// Who registers it.
    pub by: Actor,
}

/// Registers a gate, or one that was removed again; gives its one-time code.
pub async fn add(issuer: &Issuer, registration: Registration) -> Result<Code, RegistryError> {
    let (store, environment, config) = (&issuer.store, &issuer.environment, &issuer.config);
    // A gate with the audience of our own tokens would be shown every administrator's.
    let ours = |resource: &&Resource| {
        **resource == config.admin || Resource::of_url(&config.issuer_url).as_ref() == Ok(*resource)
    };
    if let Some(own) = registration.resources.iter().find(ours) {
        return Err(RegistryError::Own(own.clone()));
    }
    let secret = CodeSecret::from_random(environment.random());
    let gate = Gate {
        name: registration.name.clone(),
        secret_hash: Fixed(secret.hash()),
        code_expires_at: registration.code_expires_at,
        resources: registration.resources,
        ca: registration.ca,
        state: GateLife::Added,
    };
    let code = Code::try_new(CodeKind::Gate, issuer.keyring().pin(), secret, &config.issuer_url)?;
    let event =
        environment.event(EventKind::GateAdded).text("gate", &gate.name).structure("resources", &gate.resources);
    let event = event.number("expires_at", gate.code_expires_at.seconds());
    let decision = Decision::new(environment.decided(event, &registration.by));
    let change = match store.gate(&registration.name).await? {
        None => Change::AddGate(gate),
        Some(old) if old.state == GateLife::Removed => Change::Gate { to: gate, from: GateLife::Removed },
        Some(_) => return Err(RegistryError::Exists(registration.name)),
    };
    store.decide(decision.change(change)).await?;
    Ok(code)
}

/// Takes a gate out: its certificates are forgotten, and it is told nothing more.
pub async fn remove(issuer: &Issuer, name: &GateName, by: &Actor, reason: Option<&str>) -> Result<Gate, RegistryError> {
    let (store, environment) = (&issuer.store, &issuer.environment);
    let gate = store.gate(name).await?.filter(|gate| gate.state != GateLife::Removed);
    let gate = gate.ok_or_else(|| RegistryError::Unknown(name.clone()))?;
    let event = environment.decided(environment.event(EventKind::GateRemoved).text("gate", name), by);
    let event = match reason {
        Some(reason) => environment.personal(event, "why", reason),
        None => event,
    };
    let to = Gate { state: GateLife::Removed, ..gate.clone() };
    let decision = Decision::new(event)
        .change(Change::DropCertificates(Holder::Gate(name.clone())))
        .change(Change::Gate { from: gate.state, to: to.clone() });
    store.decide(decision).await?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture::Made, store::CertificateRecord};

    fn olga() -> Actor {
        Actor::account("olga")
    }

    async fn register(made: &Made, name: &str) -> Result<Code, RegistryError> {
        register_for(made, name, "https://git.example.com/").await
    }

    async fn register_for(made: &Made, name: &str, resource: &str) -> Result<Code, RegistryError> {
        let issuer = &made.issuer;
        let registration = Registration {
            name: name.parse().unwrap(),
            resources: vec![resource.parse().unwrap()],
            ca: None,
            code_expires_at: made.now().plus(60),
            by: olga(),
        };
        add(issuer, registration).await
    }

    #[tokio::test]
    async fn a_name_belongs_to_one_gate_until_it_is_removed() {
        let made = Made::new().await;
        let (store, environment) = (made.issuer.store.as_ref(), &made.issuer.environment);
        let name: GateName = "front".parse().unwrap();
        assert!(matches!(remove(&made.issuer, &name, &olga(), Some("moved")).await, Err(RegistryError::Unknown(_))));
        let first = register(&made, "front").await.unwrap();
        assert!(matches!(register(&made, "front").await, Err(RegistryError::Exists(_))));

        let holder = Holder::Gate(name.clone());
        let record = CertificateRecord { holder: holder.clone(), not_before: made.now(), not_after: made.now() };
        let certificate = Change::AddCertificate { hash: [1; 32], record };
        let event = crate::fixture::event(environment);
        store.decide(Decision::new(event).change(certificate)).await.unwrap();
        remove(&made.issuer, &name, &olga(), Some("moved")).await.unwrap();
        assert!(store.presented([1; 32]).await.unwrap().is_none(), "its certificate is nobody's now");
        assert!(matches!(remove(&made.issuer, &name, &olga(), Some("moved")).await, Err(RegistryError::Unknown(_))));

        let second = register(&made, "front").await.unwrap();
        assert_ne!(first.expose().as_str(), second.expose().as_str());
        let gates = store.gates().await.unwrap();
        assert_eq!(gates.iter().map(|gate| gate.state).collect::<Vec<_>>(), [GateLife::Added]);
    }
    #[tokio::test]
    async fn no_gate_stands_before_the_issuer_itself() {
        let made = Made::new().await;
        let config = &made.issuer.config;
        for own in [config.admin.as_str().to_owned(), format!("{}/", config.issuer_url)] {
            let refused = register_for(&made, "front", &own).await;
            assert!(matches!(refused, Err(RegistryError::Own(_))), "{own}: {refused:?}");
        }
        assert!(made.issuer.store.gates().await.unwrap().is_empty());
    }
}
