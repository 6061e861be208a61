//! For tests: a whole issuer in a temporary folder, whose clock stands still until the test moves it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use daypass_proto::{
    jose::EcPublicKey,
    ledger::{Event, EventKind},
    time::Timestamp,
};
use daypass_service::ClientCertificate;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use tempfile::TempDir;

use crate::{
    actor::Actor,
    clock::{Clock, Entropy, Environment},
    commands::{make_in, put_in_force},
    config::Config,
    device::{Registration, register_software},
    invitation::{Invite, invite},
    issuer::Issuer,
    store::{Device, Invitation, Terms},
};

pub mod calling;

const PROJECT: &str = include_str!("../project.toml.example");

struct Hands {
    time: AtomicI64,
    drawn: AtomicU64,
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.time.load(Ordering::SeqCst))
    }

    fn since_boot(&self) -> i64 {
        self.time.load(Ordering::SeqCst)
    }
}

impl Entropy for Hands {
    /// Never the same twice, which is all that tests need of it.
    fn fill(&self, bytes: &mut [u8]) {
        let count = self.drawn.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        for (byte, value) in bytes.iter_mut().rev().zip(count.iter().rev().chain(std::iter::repeat(&0))) {
            *byte = *value;
        }
    }
}

/// An issuer with the sample project as `apollo`.
pub struct Made {
    pub issuer: Arc<Issuer>,
    pub config: PathBuf,
    hands: Arc<Hands>,
    _folder: TempDir,
}

impl Made {
    /// With each `(old, new)` replaced in its configuration.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hands = Arc::new(Hands { time: AtomicI64::new(1_790_000_000), drawn: AtomicU64::new(1) });
        let environment =
            Environment::new(Arc::clone(&hands) as Arc<dyn Clock>, Arc::clone(&hands) as Arc<dyn Entropy>);
        let config = make_in(folder.path(), &environment).await;
        // Tests say themselves which rules there are.
        for name in ["projects/starter.toml", "guardrails/starter.cedar", "tests/starter.toml"] {
            std::fs::remove_file(folder.path().join("policy").join(name)).unwrap();
        }
        std::fs::write(folder.path().join("policy/projects/apollo.toml"), PROJECT).unwrap();
        let mut text = std::fs::read_to_string(&config).unwrap();
        for (old, new) in settings {
            assert!(text.contains(old), "{old} is in the reference file");
            text = text.replace(old, new);
        }
        std::fs::write(&config, text).unwrap();
        let issuer = Arc::new(Issuer::open(Config::load(&config).unwrap(), environment).await.unwrap());
        put_in_force(&issuer, &issuer.config.policy).await.unwrap();
        issuer.reload_policy().await.unwrap();
        Self { issuer, config, hands, _folder: folder }
    }

    /// As `init` makes it.
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// Where software clients are allowed.
    pub async fn with_software() -> Self {
        Self::with(&[("allow_software_keys = false", "allow_software_keys = true")]).await
    }

    /// Puts another text in force, with each `(old, new)` replaced in the project's file.
    pub async fn edit_policy(&self, changes: &[(&str, &str)]) {
        let file = self.issuer.config.policy.join("projects/apollo.toml");
        let mut text = std::fs::read_to_string(&file).unwrap();
        for (old, new) in changes {
            assert!(text.contains(old), "{old} is in {text}");
            text = text.replace(old, new);
        }
        self.project(&text).await;
    }

    pub fn now(&self) -> Timestamp {
        self.hands.now()
    }

    /// The leaves of all events of this kind.
    pub async fn events(&self, kind: &str) -> Vec<String> {
        leaves(&self.issuer, kind).await
    }

    /// How many events there are that are of none of these kinds.
    pub async fn events_but(&self, kinds: &[&str]) -> usize {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&self.issuer.config.database).read_only(true);
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        let all: Vec<String> = sqlx::query_scalar("SELECT kind FROM events").fetch_all(&pool).await.unwrap();
        all.iter().filter(|kind| !kinds.contains(&kind.as_str())).count()
    }

    /// The reasons in words that events of this kind have.
    pub async fn reasons(&self, kind: &str) -> Vec<String> {
        let statement = "SELECT p.value FROM personal_fields p JOIN events e ON e.id = p.event \
             WHERE e.kind = $1 AND p.name = 'why' ORDER BY e.rowid";
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&self.issuer.config.database).read_only(true);
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        sqlx::query_scalar(statement).bind(kind.to_owned()).fetch_all(&pool).await.unwrap()
    }

    /// An invitation to the sample project, good for an hour.
    pub async fn invited(&self, collaborator: &str) -> Invitation {
        self.invited_with(collaborator, "developer", Actor::account("olga"), Terms::default()).await
    }

    /// The same, made by somebody.
    pub async fn invited_by(&self, collaborator: &str, by: Actor) -> Invitation {
        self.invited_with(collaborator, "developer", by, Terms::default()).await
    }

    /// The same, in another role.
    pub async fn invited_as(&self, collaborator: &str, role: &str, by: Actor) -> Invitation {
        self.invited_with(collaborator, role, by, Terms::default()).await
    }

    /// The same, for a phase of it.
    pub async fn invited_for(&self, collaborator: &str, phase: &str) -> Invitation {
        let terms = Terms { phase: phase.parse().ok(), ..Terms::default() };
        self.invited_with(collaborator, "developer", Actor::account("olga"), terms).await
    }

    async fn invited_with(&self, collaborator: &str, role: &str, by: Actor, terms: Terms) -> Invitation {
        let asked = Invite {
            collaborator: collaborator.parse().unwrap(),
            project: "apollo".parse().unwrap(),
            role: role.parse().unwrap(),
            until: self.now().plus(3600),
            terms,
            code_expires_at: self.now().plus(3600),
            ek_hash: None,
            reason: None,
            by,
        };
        let (issuer, pin) = (&self.issuer, self.issuer.keyring().pin());
        let (store, environment) = (issuer.store.as_ref(), &issuer.environment);
        invite(store, environment, &issuer.policy(), &issuer.config.issuer_url, pin, asked).await.unwrap().0
    }

    /// Puts another text of the sample project in force.
    pub async fn project(&self, text: &str) {
        std::fs::write(self.issuer.config.policy.join("projects/apollo.toml"), text).unwrap();
        put_in_force(&self.issuer, &self.issuer.config.policy).await.unwrap();
        self.issuer.reload_policy().await.unwrap();
    }

    /// Moves the clock.
    pub fn pass(&self, seconds: i64) {
        self.hands.time.fetch_add(seconds, Ordering::SeqCst);
    }

    /// A registered software client, which is the quickest approved device with an active grant.
    pub async fn client(&self) -> Device {
        self.client_in("developer").await
    }

    /// The same, in this role.
    pub async fn client_in(&self, role: &str) -> Device {
        self.registered("alice", role, 3600, request().0).await.0
    }

    /// A software client of this person with a grant for so many seconds, and its certificate. Whoever has the key of `proof` can ask for tokens.
    pub async fn registered(
        &self,
        who: &str,
        role: &str,
        seconds: i64,
        proof: EcPublicKey,
    ) -> (Device, Arc<ClientCertificate>) {
        let (_, csr) = request();
        let registration = Registration {
            collaborator: who.parse().unwrap(),
            project: "apollo".parse().unwrap(),
            role: role.parse().unwrap(),
            until: self.now().plus(seconds),
            csr: &csr,
            proof,
            by: "olga".to_owned(),
        };
        let (device, chain) = register_software(&self.issuer, registration).await.unwrap();
        (device, Arc::new(chain[0].clone().into()))
    }
}

/// The leaves of all events of this kind.
pub async fn leaves(issuer: &Issuer, kind: &str) -> Vec<String> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&issuer.config.database).read_only(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let query = sqlx::query_as("SELECT leaf FROM events WHERE kind = $1").bind(kind.to_owned());
    let rows: Vec<(Vec<u8>,)> = query.fetch_all(&pool).await.unwrap();
    rows.into_iter().map(|(leaf,)| String::from_utf8(leaf).unwrap()).collect()
}

/// An event that fits the vocabulary, for decisions whose event does not matter.
pub fn event(environment: &Environment) -> Event {
    environment.event(EventKind::IssuerStarted).text("version", "test").text("policy", "test")
}

/// A key and a request for it, DER.
pub fn request() -> (EcPublicKey, Vec<u8>) {
    let pair = KeyPair::generate().unwrap();
    let csr = CertificateParams::default().serialize_request(&pair).unwrap().der().to_vec();
    (EcPublicKey::from_spki_der(&pair.subject_public_key_info()).unwrap(), csr)
}
