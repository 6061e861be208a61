//! Which gates there are, and what each guards.

use daypass_proto::{
    encoding::Fixed,
    invitation::{Code, CodeError, CodeKind, CodeSecret},
    ledger::EventKind,
    names::GateName,
    pin::Pin,
    resource::Resource,
    time::Timestamp,
};
use thiserror::Error;

use crate::{
    clock::Environment,
    store::{Change, DecideError, Decision, Gate, GateLife, Holder, Store, StoreError},
};

/// Why the registry does not change.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The name is taken.
    #[error("there is a gate `{0}` already; `daypass-issuer gate remove {0}` takes it out")]
    Exists(GateName),
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
    pub by: String,
}

/// Registers a gate, or one that was removed again; gives its one-time code.
pub async fn add(
    store: &dyn Store,
    environment: &Environment,
    issuer_url: &str,
    pin: Pin,
    registration: Registration,
) -> Result<Code, RegistryError> {
    let secret = CodeSecret::from_random(environment.random());
    let gate = Gate {
        name: registration.name.clone(),
        secret_hash: Fixed(secret.hash()),
        code_expires_at: registration.code_expires_at,
        resources: registration.resources,
        ca: registration.ca,
        state: GateLife::Added,
    };
    let code = Code::try_new(CodeKind::Gate, pin, secret, issuer_url)?;
    let event =
        environment.event(EventKind::GateAdded).text("gate", &gate.name).structure("resources", &gate.resources);
    let event = event.number("expires_at", gate.code_expires_at.seconds());
    let decision = Decision::new(environment.personal(event, "by", &registration.by));
    let change = match store.gate(&registration.name).await? {
        None => Change::AddGate(gate),
        Some(old) if old.state == GateLife::Removed => Change::Gate { to: gate, from: GateLife::Removed },
        Some(_) => return Err(RegistryError::Exists(registration.name)),
    };
    store.decide(decision.change(change)).await?;
    Ok(code)
}

/// Takes a gate out: its certificates are forgotten, and it is told nothing more.
pub async fn remove(
    store: &dyn Store,
    environment: &Environment,
    name: &GateName,
    by: &str,
) -> Result<(), RegistryError> {
    let gate = store.gate(name).await?.filter(|gate| gate.state != GateLife::Removed);
    let gate = gate.ok_or_else(|| RegistryError::Unknown(name.clone()))?;
    let event = environment.personal(environment.event(EventKind::GateRemoved).text("gate", name), "by", by);
    let decision = Decision::new(event)
        .change(Change::DropCertificates(Holder::Gate(name.clone())))
        .change(Change::Gate { from: gate.state, to: Gate { state: GateLife::Removed, ..gate } });
    Ok(store.decide(decision).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture::Made, store::CertificateRecord};

    async fn register(made: &Made, name: &str) -> Result<Code, RegistryError> {
        let issuer = &made.issuer;
        let registration = Registration {
            name: name.parse().unwrap(),
            resources: vec!["https://git.example.com/".parse().unwrap()],
            ca: None,
            code_expires_at: made.now().plus(60),
            by: "olga".to_owned(),
        };
        let pin = issuer.keyring().pin();
        add(issuer.store.as_ref(), &issuer.environment, &issuer.config.issuer_url, pin, registration).await
    }

    #[tokio::test]
    async fn a_name_belongs_to_one_gate_until_it_is_removed() {
        let made = Made::new().await;
        let (store, environment) = (made.issuer.store.as_ref(), &made.issuer.environment);
        let name: GateName = "front".parse().unwrap();
        assert!(matches!(remove(store, environment, &name, "olga").await, Err(RegistryError::Unknown(_))));
        let first = register(&made, "front").await.unwrap();
        assert!(matches!(register(&made, "front").await, Err(RegistryError::Exists(_))));

        let holder = Holder::Gate(name.clone());
        let record = CertificateRecord { holder: holder.clone(), not_before: made.now(), not_after: made.now() };
        let certificate = Change::AddCertificate { hash: [1; 32], record };
        let event = crate::fixture::event(environment);
        store.decide(Decision::new(event).change(certificate)).await.unwrap();
        remove(store, environment, &name, "olga").await.unwrap();
        assert!(store.presented([1; 32]).await.unwrap().is_none(), "its certificate is nobody's now");
        assert!(matches!(remove(store, environment, &name, "olga").await, Err(RegistryError::Unknown(_))));

        let second = register(&made, "front").await.unwrap();
        assert_ne!(first.expose().as_str(), second.expose().as_str());
        let gates = store.gates().await.unwrap();
        assert_eq!(gates.iter().map(|gate| gate.state).collect::<Vec<_>>(), [GateLife::Added]);
    }
}
