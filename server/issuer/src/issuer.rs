//! What every endpoint and every command of a running issuer shares.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use daypass_proto::{attestation::EkRoots, ledger::EventKind, time::Skew};
use daypass_service::read_file;
use thiserror::Error;

use crate::{
    certificates::{CertificatesError, MAX_FILE, certificates},
    clock::Environment,
    config::{Config, ConfigError},
    keys::{KeyError, Keyring},
    notification::Counters,
    pace::{Pace, TooMany},
    policy::{Policy, PolicyError},
    remembered::Remembered,
    store::{DecideError, Decision, Fault, PublishedError, SqliteStore, Store, StoreError},
};

/// Why the issuer does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store.
    #[error(
        "the store `{}` cannot be used{}", path.display(),
        match source.fault() {
            _ if !path.exists() => "; run `daypass-issuer init`, or `daypass-issuer restore` with the newest backup".to_owned(),
            Fault::Other => String::new(),
            fault => format!(": {fault}"),
        }
    )]
    Store {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// An older copy of the store was put in its place.
    #[error(
        "the store `{}` is older than what was published of it: it has {held} events, and the checkpoint `{}` has {published}. Put the newest backup in place with `daypass-issuer restore --replace`; it begins a new ledger and says so",
        path.display(), checkpoint.display()
    )]
    Behind {
        /// The store.
        path: PathBuf,
        /// Its size.
        held: u64,
        /// The published size.
        published: u64,
        /// Where that stands.
        checkpoint: PathBuf,
    },
    /// It cannot be known whether one was.
    #[error(
        "`{}` holds the newest checkpoint that was published of the store, and what it says cannot be known. Make it a file again that the issuer can read; where that cannot be done, move it away and put the newest backup in place with `daypass-issuer restore --replace`, which begins a new ledger",
        checkpoint.display()
    )]
    Published {
        /// Where it stands.
        checkpoint: PathBuf,
        /// Why not.
        #[source]
        source: PublishedError,
    },
    /// The keys.
    #[error("the issuer's keys cannot be used")]
    Keys(#[from] KeyError),
    /// The roots of TPM makers.
    #[error("could not read the EK roots in `{}`", path.display())]
    EkRoots {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file among them that is not what it should be.
    #[error("`{}`, in `ek_roots`, is not a file of certificates in PEM or DER; get it anew from the TPM's maker, or take it away", path.display())]
    EkRootForm {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: CertificatesError,
    },
    /// The first event could not be written.
    #[error("could not record the start")]
    Record(#[from] DecideError),
}

/// Why a policy was not taken over.
#[derive(Debug, Error)]
pub enum PolicyReload {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A rule that this program does not know.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// A configured issuer with its store open.
pub struct Issuer {
    /// The configuration.
    pub config: Config,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The roots of TPM makers.
    pub ek_roots: EkRoots,
    /// Clock and randomness.
    pub environment: Environment,
    pace: Pace,
    keyring: RwLock<Arc<Keyring>>,
    pub(crate) remembered: Remembered,
    pub(crate) notified: Counters,
    policy: RwLock<InForce>,
}

/// The policy in force, and the number of its version.
#[derive(Clone, Debug)]
struct InForce {
    number: i64,
    policy: Arc<Policy>,
}

impl Issuer {
    /// Opens everything that `config` names.
    pub async fn open(config: Config, environment: Environment) -> Result<Self, StartError> {
        let path = config.database.clone();
        let store = SqliteStore::open(&path, false).await.map_err(|source| StartError::Store { path, source })?;
        Self::with_store(config, environment, Arc::new(store)).await
    }

    /// The same over a given store.
    pub async fn with_store(
        config: Config,
        environment: Environment,
        store: Arc<dyn Store>,
    ) -> Result<Self, StartError> {
        let ek_roots = load_ek_roots(&config.ek_roots)?;
        let keyring = Keyring::load(&config, store.as_ref(), environment.now()).await?;
        // Nothing but that, where no policy was ever loaded.
        let policy = Arc::new(Policy::default().with_administration(&config.admin));
        let issuer = Self {
            config,
            store,
            ek_roots,
            environment,
            pace: Pace::default(),
            keyring: RwLock::new(Arc::new(keyring)),
            remembered: Remembered::default(),
            notified: Counters::default(),
            policy: RwLock::new(InForce { number: 0, policy }),
        };
        if let Err(PolicyReload::Store(source)) = issuer.reload_policy().await {
            return Err(StartError::Store { path: issuer.config.database, source });
        }
        Ok(issuer)
    }

    /// Records the start: version of the policy, and every loosening.
    pub async fn record_start(&self) -> Result<(), DecideError> {
        let event = self.environment.event(EventKind::IssuerStarted).text("version", env!("CARGO_PKG_VERSION"));
        let mut decision = Decision::new(event.text("policy", hex::encode(self.policy().hash())));
        for loosening in self.config.loosenings() {
            tracing::warn!(loosening, "this issuer runs with a loosened setting");
            decision = decision.event(self.environment.event(EventKind::LooseningEnabled).text("setting", loosening));
        }
        self.store.decide(decision).await
    }

    /// Whether the store is what was written to it, and all that was published of it. Reads the whole file.
    pub async fn store_is_whole(&self) -> Result<(), StartError> {
        let path = &self.config.database;
        let at = || path.clone();
        SqliteStore::examine(path).await.map_err(|source| StartError::Store { path: at(), source })?;
        let checkpoint = SqliteStore::published_at(path);
        let published = SqliteStore::published(path)
            .map_err(|source| StartError::Published { checkpoint: checkpoint.clone(), source })?;
        let Some((origin, head)) = published else { return Ok(()) };
        let held = self.store.ledger().await.map_err(|source| StartError::Store { path: at(), source })?;
        match held {
            Some(held) if held.origin == origin && held.head.size() < head.size() => {
                Err(StartError::Behind { path: at(), held: held.head.size(), published: head.size(), checkpoint })
            }
            _ => Ok(()),
        }
    }

    /// Whether the clock is not behind what was decided already.
    pub async fn clock_is_right(&self) -> Result<(), DecideError> {
        let (now, floor) = (self.environment.now(), self.store.clock_floor().await?);
        if now.plus(Skew::MAX_SECONDS) < floor { Err(DecideError::Clock { now, floor }) } else { Ok(()) }
    }

    /// The policy in force; an empty one, which gives nothing, where there is none.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner).policy)
    }

    /// Takes over the policy that is in force by now, so that it is followed without a restart. One that this program does not understand is
    /// said, and replaces nothing.
    pub async fn reload_policy(&self) -> Result<(), PolicyReload> {
        let known = self.policy.read().unwrap_or_else(PoisonError::into_inner).number;
        let Some(version) = self.store.newer_policy(known).await? else { return Ok(()) };
        let checked = Policy::check(&version.files);
        let mut in_force = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        // Looked at once, whatever it is.
        in_force.number = version.number;
        match checked {
            Ok(policy) => {
                tracing::info!(version = hex::encode(version.hash.0), "a policy came into force");
                in_force.policy = Arc::new(policy.with_administration(&self.config.admin));
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the policy in the store is not understood by this program; what was in force here stays");
                Err(error.into())
            }
        }
    }

    /// Whether `who` may cause one more event of this kind that gives him nothing.
    pub(crate) fn one_more(&self, kind: EventKind, who: impl ToString) -> Result<(), TooMany> {
        self.pace.one_more(kind, who, self.environment.since_boot())
    }

    /// Forgets whose pace is of no interest any more.
    pub(crate) fn forget_pace(&self) {
        self.pace.forget(self.environment.since_boot());
    }

    /// How many requests were not decided for their number.
    pub(crate) fn held_up(&self) -> u64 {
        self.pace.held_up()
    }

    /// The keys in use.
    pub fn keyring(&self) -> Arc<Keyring> {
        // A panic while swapping leaves the old keyring, which is whole.
        Arc::clone(&self.keyring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the keys anew, so that a rotation is followed without a restart.
    pub async fn reload_keys(&self) -> Result<(), KeyError> {
        let fresh = Keyring::load(&self.config, self.store.as_ref(), self.environment.now()).await?;
        *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(())
    }
}

/// Reads every `.pem` and `.crt` of the folder.
pub fn load_ek_roots(folder: &Path) -> Result<EkRoots, StartError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| StartError::EkRoots { path, source }
    };
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        if !path.extension().is_some_and(|extension| extension == "pem" || extension == "crt") {
            continue;
        }
        let bytes = read_file(&path, MAX_FILE).map_err(failed(&path))?;
        all.extend(certificates(&bytes).map_err(|source| StartError::EkRootForm { path, source })?);
    }
    Ok(EkRoots::new(all).0)
}
