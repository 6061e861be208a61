//! The embedded engine: SQLite in write-ahead mode, with full synchronisation, one writer and several readers.
//!
//! The writer takes every decision that waits, opens one transaction, gives each decision its savepoint, commits, and only then
//! answers: a batch costs one `fsync`, and no answer leaves before its decision is durable.

mod dead;
mod read;
mod write;

use std::{fs, io, os::unix::fs::OpenOptionsExt as _, path::Path, str::FromStr as _, time::Duration};

use daypass_proto::{
    enrolment::DeviceLife,
    gate_api::FLOW_OUTLIVES_TOKEN,
    names::{DeviceId, GateName, GrantId},
    resource::Resource,
    time::{Skew, Timestamp},
};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    Answer, Dead, DecideError, Decision, Store, StoreError,
    records::{
        CertificateRecord, Challenge, Device, Gate, Grant, GrantLife, Invitation, IssuedToken, KeyPurpose, KeyRecord,
    },
};

/// How many decisions may wait for the writer, and how many one transaction takes.
const QUEUE: usize = 1024;
const BATCH: usize = 64;
/// For how long after its end a token is kept, in seconds: a request may still be using it, at a gate whose clock is behind.
const USED_AFTER_END: i64 = FLOW_OUTLIVES_TOKEN + Skew::MAX_SECONDS;

pub(super) fn engine(attempted: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| StoreError::Engine { attempted, source }
}

/// What the writer is asked.
enum Order {
    Decide(Decision, oneshot::Sender<Result<(), DecideError>>),
    /// Decides nothing, so it has no event.
    Sweep(Timestamp, oneshot::Sender<Result<(), StoreError>>),
}

/// The store in one SQLite file.
pub struct SqliteStore {
    readers: SqlitePool,
    writer: mpsc::Sender<Order>,
}

impl SqliteStore {
    /// Opens the file, makes it where it is missing and `create` allows it, and brings its schema up to date.
    pub async fn open(path: &Path, create: bool) -> Result<Self, StoreError> {
        if create {
            close_to_others(path)?;
        }
        let options = SqliteConnectOptions::from_str("sqlite:")
            .map_err(engine("read the path"))?
            .filename(path)
            .create_if_missing(create)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // Commands on the issuer's machine write beside the server; each waits for the other's transaction.
            .busy_timeout(Duration::from_secs(10));
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await
            .map_err(engine("open the database"))?;
        sqlx::migrate!("migrations/sqlite").run(&writer).await.map_err(StoreError::Migrate)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await
            .map_err(engine("open the database for reading"))?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(write_loop(writer, receiver));
        Ok(Self { readers, writer: sender })
    }
}

/// Makes the file before the engine would: it holds names of people and wrapped keys, and the engine's own files take over its mode.
fn close_to_others(path: &Path) -> Result<(), StoreError> {
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(engine("make the database")(sqlx::Error::Io(source)))
        }
        _ => Ok(()),
    }
}

async fn write_loop(pool: SqlitePool, mut queue: mpsc::Receiver<Order>) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        let (mut decisions, mut answers) = (Vec::new(), Vec::new());
        for order in batch.drain(..) {
            match order {
                Order::Decide(decision, answer) => {
                    decisions.push(decision);
                    answers.push(answer);
                }
                Order::Sweep(now, answer) => {
                    let _ = answer.send(write::sweep(&pool, now).await);
                }
            }
        }
        if decisions.is_empty() {
            continue;
        }
        match write::batch(&pool, &decisions).await {
            Ok(results) => {
                for (answer, result) in answers.into_iter().zip(results) {
                    // Whoever asked may be gone; the decision stands all the same.
                    let _ = answer.send(result);
                }
            }
            Err(source) => {
                tracing::error!(error = %source, decisions = decisions.len(), "could not commit; nothing of this batch happened");
                let mut source = Some(source);
                for answer in answers {
                    let error = match source.take() {
                        Some(source) => StoreError::Engine { attempted: "commit", source },
                        None => StoreError::Engine { attempted: "commit", source: sqlx::Error::WorkerCrashed },
                    };
                    let _ = answer.send(Err(DecideError::Store(error)));
                }
            }
        }
    }
    pool.close().await;
}

impl Store for SqliteStore {
    fn decide(&self, decision: Decision) -> Answer<'_, (), DecideError> {
        Box::pin(async move {
            let (answer, done) = oneshot::channel();
            self.writer.send(Order::Decide(decision, answer)).await.map_err(|_| StoreError::Stopped)?;
            done.await.map_err(|_| StoreError::Stopped)?
        })
    }

    fn invitation_by_secret(&self, hash: [u8; 32]) -> Answer<'_, Option<Invitation>> {
        Box::pin(read::invitation_by_secret(&self.readers, hash))
    }

    fn device(&self, id: &DeviceId) -> Answer<'_, Option<Device>> {
        Box::pin(read::device(&self.readers, id.to_string()))
    }

    fn devices(&self, state: Option<DeviceLife>) -> Answer<'_, Vec<Device>> {
        Box::pin(read::devices(&self.readers, state))
    }

    fn certificate(&self, hash: [u8; 32]) -> Answer<'_, Option<CertificateRecord>> {
        Box::pin(read::certificate(&self.readers, hash))
    }

    fn grant(&self, id: &GrantId) -> Answer<'_, Option<Grant>> {
        Box::pin(read::grant(&self.readers, id.to_string()))
    }

    fn grants_of(&self, device: &DeviceId) -> Answer<'_, Vec<Grant>> {
        Box::pin(read::grants_of(&self.readers, device.to_string()))
    }

    fn grants_in(&self, state: GrantLife) -> Answer<'_, Vec<Grant>> {
        Box::pin(read::grants_in(&self.readers, state))
    }

    fn challenge(&self, id: &str) -> Answer<'_, Option<Challenge>> {
        Box::pin(read::challenge(&self.readers, id.to_owned()))
    }

    fn token(&self, jti: &str) -> Answer<'_, Option<IssuedToken>> {
        Box::pin(read::token(&self.readers, jti.to_owned()))
    }

    fn dead(&self, resources: &[Resource], now: Timestamp, software_allowed: bool) -> Answer<'_, Dead> {
        Box::pin(dead::dead(&self.readers, resources.to_vec(), now, software_allowed))
    }

    fn gate_by_secret(&self, hash: [u8; 32]) -> Answer<'_, Option<Gate>> {
        Box::pin(read::gate_by_secret(&self.readers, hash))
    }

    fn gate(&self, name: &GateName) -> Answer<'_, Option<Gate>> {
        Box::pin(read::gate(&self.readers, name.to_string()))
    }

    fn gates(&self) -> Answer<'_, Vec<Gate>> {
        Box::pin(read::gates(&self.readers))
    }

    fn keys(&self, purpose: KeyPurpose) -> Answer<'_, Vec<KeyRecord>> {
        Box::pin(read::keys(&self.readers, purpose))
    }

    fn sweep(&self, now: Timestamp) -> Answer<'_, ()> {
        Box::pin(async move {
            let (answer, done) = oneshot::channel();
            self.writer.send(Order::Sweep(now, answer)).await.map_err(|_| StoreError::Stopped)?;
            done.await.map_err(|_| StoreError::Stopped)?
        })
    }
}
