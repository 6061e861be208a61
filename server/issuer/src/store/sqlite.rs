//! The embedded engine: SQLite in write-ahead mode, with full synchronisation, one writer and several readers.
//!
//! The writer takes every decision that waits, writes them in one transaction, commits, and only then answers: a batch costs one `fsync`, and no answer
//! leaves before its decision is durable. Tokens, which are most of all decisions, go [a quick way](quick); all others get a savepoint each.

mod briefing;
mod copy;
mod dead;
mod erase;
mod find;
mod lanes;
mod ledger;
mod list;
mod lock;
mod notification;
#[cfg(test)]
mod plans;
mod published;
mod quick;
mod read;
mod recent;
#[cfg(test)]
mod upgrade;
mod usage;
mod write;

use std::{
    fs, io,
    ops::Range,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    str::FromStr as _,
    sync::Arc,
    time::Duration,
};

use daypass_proto::{
    enrolment::DeviceLife,
    gate_api::FLOW_OUTLIVES_TOKEN,
    ledger::{
        EventKind,
        tree::{Head, TileId, Tiles},
    },
    names::{Collaborator, DeviceId, GateName, GrantId, InvitationId, ProposalId, RequestId},
    resource::Resource,
    time::{Skew, Timestamp},
};
use daypass_service::{beside, folder_of};
use sqlx::{
    ConnectOptions as _, Connection as _, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

pub use self::published::PublishedError;
use self::{lanes::Lanes, write::Writer};
use super::{
    Acceptance, Answer, Approvals, CountedUse, Dead, DecideError, Decision, Fault, Find, GateReport, Presented,
    Reporting, Request, Scope, Store, StoreError,
    fault::Health,
    ledger::{
        Backlog, CheckpointRecord, Entry, Filter, Integration, LedgerState, LedgerStore, LedgerWork, Outcome, Place,
        Side, Traces, Unnumbered,
    },
    notification::{Attempt, Cursor, Found, NotificationStore, NotificationWork, Outgoing, Waiting},
    records::{
        Challenge, Device, Gate, Grant, GrantLife, Invitation, IssuedToken, KeyPurpose, KeyRecord, PolicyVersion,
        Proposal,
    },
};

/// How many decisions may wait for the writer, and how many one transaction takes.
const QUEUE: usize = 1024;
const BATCH: usize = 64;
/// What the writer keeps of the file in memory, in KiB as the engine takes it: the upper levels of each index, and the pages that rows are being added to.
const WRITER_CACHE: &str = "-32768";
/// After how many pages of the write-ahead log they are brought into the file. A token changes some fifteen, most of them the same ones as the token before.
const CHECKPOINT_PAGES: &str = "4000";
/// How many read at once.
const READERS: u32 = 4;
/// For how long after its end a token is kept, in seconds: a request may still be using it, at a gate whose clock is behind.
const USED_AFTER_END: i64 = FLOW_OUTLIVES_TOKEN + Skew::MAX_SECONDS;

/// Nobody waits longer for a decision to become durable than this. What is under way may still become so.
const PATIENCE: Duration = Duration::from_secs(15);

pub(super) fn engine<E: Into<Arc<sqlx::Error>>>(attempted: &'static str) -> impl Fn(E) -> StoreError {
    move |source| StoreError::Engine { attempted, source: source.into() }
}

/// Each step of the schema, in the order in which they were made.
static SCHEMA: Migrator = sqlx::migrate!("migrations/sqlite");

/// What the writer is asked.
enum Order {
    Decide(Decision, oneshot::Sender<Result<(), DecideError>>),
    /// Decides nothing either; it rides in the same transaction as the decisions that wait with it.
    Ledger(LedgerWork, oneshot::Sender<Outcome>),
    /// Decides nothing, so it has no event.
    Sweep(Timestamp, oneshot::Sender<Result<(), StoreError>>),
    /// The same.
    Probe(oneshot::Sender<Result<(), StoreError>>),
}

/// The store in one SQLite file.
pub struct SqliteStore {
    readers: SqlitePool,
    lanes: Lanes,
    writer: mpsc::Sender<Order>,
    health: Arc<Health>,
    /// Comes to an end when the writer has.
    writing: Option<oneshot::Receiver<()>>,
    path: PathBuf,
    turn: published::Turn,
    /// Held for as long as the store is open: a restore waits until nobody holds it.
    _lock: Option<fs::File>,
}

impl SqliteStore {
    /// Opens the file, makes it where it is missing and `create` allows it, and brings its schema up to date.
    pub async fn open(path: &Path, create: bool) -> Result<Self, StoreError> {
        if create {
            close_to_others(path)?;
        } else if fs::metadata(path).is_ok_and(|file| file.len() == 0) {
            // The engine would make a new store of it, and nobody would miss the old one.
            return Err(StoreError::Damaged("the file is empty".to_owned()));
        }
        may_write(path)?;
        let mut lock = lock::share(path)?;
        let options = SqliteConnectOptions::from_str("sqlite:")
            .map_err(engine("read the path"))?
            .filename(path)
            .create_if_missing(create)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // Commands on the issuer's machine write beside the server; each waits for the other's transaction.
            .busy_timeout(Duration::from_secs(10));
        while schema_is_old(&options).await.map_err(engine("read which schema it has"))? {
            // Tables made anew under a server would hold it up, and two programs would do it twice.
            drop(lock);
            let alone = lock::alone(path)?;
            let mut only = options.connect().await.map_err(engine("open the database"))?;
            SCHEMA.run(&mut only).await.map_err(StoreError::Migrate)?;
            only.close().await.map_err(engine("close the database"))?;
            drop(alone);
            // Whoever replaced the file in between is seen: it is not open here.
            lock = lock::share(path)?;
        }
        let writing = options
            .clone()
            .pragma("cache_size", WRITER_CACHE)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            // What a statement would need for taking itself back goes to memory, and not to a file that is made and removed for each.
            .pragma("temp_store", "MEMORY");
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(writing)
            .await
            .map_err(engine("open the database"))?;
        SCHEMA.run(&writer).await.map_err(StoreError::Migrate)?;
        let reading = options.read_only(true).create_if_missing(false);
        let lanes = Lanes::new(reading.clone(), READERS as usize);
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            // A file does not go away like a server does: asking first would be a second question for each.
            .test_before_acquire(false)
            .connect_with(reading)
            .await
            .map_err(engine("open the database for reading"))?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let health = Arc::new(Health::default());
        let writing = write_on_a_thread(Writer::new(writer, path), receiver, Arc::clone(&health))?;
        Ok(Self {
            readers,
            lanes,
            writer: sender,
            health,
            writing: Some(writing),
            path: path.to_owned(),
            turn: published::Turn::default(),
            _lock: Some(lock),
        })
    }

    /// Closes it, so that everything stands in the one file.
    pub async fn close(self) {
        let Self { readers, lanes, writer, writing, .. } = self;
        readers.close().await;
        lanes.close().await;
        drop(writer);
        // It ends with its queue.
        if let Some(writing) = writing {
            let _ = writing.await;
        }
    }

    /// Hands an order to the writer, and waits for its answer, but not for ever.
    async fn order<T, E: From<StoreError>>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Order,
    ) -> Result<T, E> {
        let (answer, done) = oneshot::channel();
        let ordered = async {
            self.writer.send(order(answer)).await.map_err(|_| StoreError::Stopped)?;
            done.await.map_err(|_| StoreError::Stopped)?
        };
        match tokio::time::timeout(PATIENCE, ordered).await {
            Ok(answer) => answer,
            Err(_) => {
                self.health.failed(Fault::Slow);
                Err(StoreError::Slow.into())
            }
        }
    }

    /// Opens a file to look at it: neither its content nor its schema is changed, and every write is refused.
    pub async fn open_to_read(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        // A copy comes without the files that go with a write-ahead log, and may lie where nothing can be written.
        let options = if beside(path, "-wal").exists() { options } else { options.immutable(true) };
        let failed = engine("open the database for reading");
        let done = steps_made(&options).await.map_err(&failed)?;
        if !done.is_empty() && !done.contains(&IN_ORDER) {
            return Err(StoreError::Earlier(path.to_owned()));
        }
        let lanes = Lanes::new(options.clone(), READERS as usize);
        let readers = SqlitePoolOptions::new().max_connections(READERS).connect_with(options).await.map_err(&failed)?;
        let (writer, _) = mpsc::channel(1);
        let health = Arc::default();
        let (path, turn) = (path.to_owned(), published::Turn::default());
        Ok(Self { readers, lanes, writer, health, writing: None, path, turn, _lock: None })
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

/// Asks the system before the engine does, which only says that it cannot open the file. Nothing is opened for it: closing a second descriptor
/// would take the engine's locks away.
fn may_write(path: &Path) -> Result<(), StoreError> {
    for place in [folder_of(path), path] {
        if let Err(error) = nix::unistd::access(place, nix::unistd::AccessFlags::W_OK) {
            return Err(engine("write to the database or its folder")(sqlx::Error::Io(error.into())));
        }
    }
    Ok(())
}

/// The step of the schema from which on events are read as they are now.
const IN_ORDER: i64 = 34;

/// Whether a step of the schema was not yet made here.
async fn schema_is_old(options: &SqliteConnectOptions) -> Result<bool, sqlx::Error> {
    let done = steps_made(options).await?;
    Ok(SCHEMA.iter().any(|step| !done.contains(&step.version)))
}

/// The steps of the schema that were made here.
async fn steps_made(options: &SqliteConnectOptions) -> Result<Vec<i64>, sqlx::Error> {
    let mut connection = options.connect().await?;
    let table = "SELECT COUNT(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    let done: Vec<i64> = match sqlx::query_scalar::<_, i64>(table).fetch_one(&mut connection).await? {
        0 => Vec::new(),
        _ => sqlx::query_scalar("SELECT version FROM _sqlx_migrations").fetch_all(&mut connection).await?,
    };
    connection.close().await?;
    Ok(done)
}

/// The writer has a thread of its own: one connection is called directly, and waits for the disk.
fn write_on_a_thread(
    writer: Writer,
    queue: mpsc::Receiver<Order>,
    health: Arc<Health>,
) -> Result<oneshot::Receiver<()>, StoreError> {
    let failed = |error| engine("start its writer")(sqlx::Error::Io(error));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(failed)?;
    let (ended, end) = oneshot::channel();
    let askers = Handle::current();
    let write = move || {
        runtime.block_on(write_loop(writer, queue, health, askers));
        drop(ended);
    };
    std::thread::Builder::new().name("store".to_owned()).spawn(write).map_err(failed)?;
    Ok(end)
}

async fn write_loop(mut writer: Writer, mut queue: mpsc::Receiver<Order>, health: Arc<Health>, askers: Handle) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        gather(&mut batch, &mut queue);
        let (mut decisions, mut answers) = (Vec::new(), Vec::new());
        let (mut works, mut outcomes) = (Vec::new(), Vec::new());
        for order in batch.drain(..) {
            // Whoever asked may be gone; what was done stands all the same.
            match order {
                _ if health.fault() == Some(Fault::Damaged) => order.refuse(),
                Order::Decide(decision, answer) => {
                    decisions.push(decision);
                    answers.push(answer);
                }
                Order::Ledger(work, outcome) => {
                    works.push(work);
                    outcomes.push(outcome);
                }
                Order::Sweep(now, answer) => {
                    let _ = answer.send(told(&health, writer.sweep(now).await));
                }
                Order::Probe(answer) => {
                    let _ = answer.send(told(&health, writer.probe().await));
                }
            }
        }
        if decisions.is_empty() && works.is_empty() {
            continue;
        }
        let results = writer.batch(&decisions, &works).await;
        if let Some(source) = &results.fault {
            tracing::error!(decisions = decisions.len(), "not all of this batch happened");
            let _ = told(&health, Err(engine("commit")(Arc::clone(source))));
        } else {
            let _ = told(&health, Ok(()));
            if decisions.iter().any(Decision::erases) {
                writer.empty_log().await;
            }
        }
        answer(answers.into_iter().zip(results.decisions).collect(), &askers);
        for (outcome, done) in outcomes.into_iter().zip(results.works) {
            let _ = outcome.send(done);
        }
    }
    writer.close().await;
}

type Answered = (oneshot::Sender<Result<(), DecideError>>, Result<(), DecideError>);

/// Answers. Several are answered from among the askers' own threads: one of those is woken then, and not one for each.
fn answer(answers: Vec<Answered>, askers: &Handle) {
    let several = answers.len() > 1;
    // Whoever asked may be gone.
    let tell = move || answers.into_iter().for_each(|(answer, result)| drop(answer.send(result)));
    if several {
        askers.spawn(async move { tell() });
    } else {
        tell();
    }
}

/// Lets whoever is at work on a request come to its order before the batch begins, for as long as that brings more: a commit costs the same for all of them.
/// Nobody is waited for, so one who asks alone loses nothing by it.
fn gather(batch: &mut Vec<Order>, queue: &mut mpsc::Receiver<Order>) {
    loop {
        std::thread::yield_now();
        let before = batch.len();
        while batch.len() < BATCH
            && let Ok(order) = queue.try_recv()
        {
            batch.push(order);
        }
        if batch.len() == before {
            return;
        }
    }
}

impl Order {
    /// The store is damaged: nothing is written to it any more.
    fn refuse(self) {
        let damaged = || StoreError::Damaged("a write met it, and none was made since".to_owned());
        let _ = match self {
            Self::Decide(_, answer) => answer.send(Err(damaged().into())).is_ok(),
            Self::Ledger(_, outcome) => outcome.send(Err(damaged())).is_ok(),
            Self::Sweep(_, answer) | Self::Probe(answer) => answer.send(Err(damaged())).is_ok(),
        };
    }
}

/// Remembers how a write went, and says when that changed.
fn told(health: &Health, result: Result<(), StoreError>) -> Result<(), StoreError> {
    match &result {
        Ok(()) => {
            if let Some(before) = health.succeeded() {
                tracing::info!("the store takes writes again; before, {}", before.told());
            }
        }
        Err(error) => {
            tracing::error!(error = %daypass_service::told(error), "the store does not take writes");
            health.failed(error.fault());
        }
    }
    result
}

impl SqliteStore {
    async fn work(&self, work: LedgerWork) -> Outcome {
        self.order(|outcome| Order::Ledger(work, outcome)).await
    }

    async fn notify(&self, work: NotificationWork) -> Outcome {
        self.work(LedgerWork::Notify(work)).await
    }
}

impl LedgerStore for SqliteStore {
    fn ledger(&self) -> Answer<'_, Option<LedgerState>> {
        Box::pin(ledger::state(&self.readers))
    }

    fn take_lease<'a>(&'a self, holder: &'a str, now: Timestamp, until: Timestamp) -> Answer<'a, Option<i64>> {
        Box::pin(self.work(LedgerWork::TakeLease { holder: holder.to_owned(), now, until }))
    }

    fn unnumbered(&self, limit: u32) -> Answer<'_, Vec<Unnumbered>> {
        Box::pin(ledger::unnumbered(&self.readers, limit))
    }

    fn unnumbered_of(&self, kind: EventKind) -> Answer<'_, Vec<Vec<u8>>> {
        Box::pin(ledger::unnumbered_of(&self.readers, kind))
    }

    fn backlog(&self) -> Answer<'_, Backlog> {
        Box::pin(ledger::backlog(&self.readers))
    }

    fn tiles<'a>(&'a self, ids: &'a [TileId]) -> Answer<'a, Tiles> {
        Box::pin(ledger::tiles(&self.readers, ids))
    }

    fn integrate(&self, integration: Integration) -> Answer<'_, bool> {
        Box::pin(async move { Ok(self.work(LedgerWork::Integrate(Box::new(integration))).await?.is_some()) })
    }

    fn promise_checkpoint(&self, epoch: i64, head: Head, at: Timestamp) -> Answer<'_, bool> {
        Box::pin(async move { Ok(self.work(LedgerWork::Promise { epoch, head, at }).await?.is_some()) })
    }

    fn seal_checkpoint(&self, promised: CheckpointRecord, note: String) -> Answer<'_, bool> {
        Box::pin(async move {
            // First outside the store: nobody has seen a checkpoint that a restored store could not be held against.
            published::remember(&self.turn, &self.path, &note).await?;
            Ok(self.work(LedgerWork::Seal { promised, note }).await?.is_some())
        })
    }

    fn unsealed_checkpoint(&self) -> Answer<'_, Option<CheckpointRecord>> {
        Box::pin(ledger::newest_checkpoint(&self.readers, false))
    }

    fn newest_checkpoint(&self) -> Answer<'_, Option<CheckpointRecord>> {
        Box::pin(ledger::newest_checkpoint(&self.readers, true))
    }

    fn checkpoints(&self, from: u64, limit: u32) -> Answer<'_, Vec<CheckpointRecord>> {
        Box::pin(ledger::checkpoints(&self.readers, from, limit))
    }

    fn place_of(&self, leaf_hash: [u8; 32]) -> Answer<'_, Place> {
        Box::pin(ledger::place_of(&self.readers, leaf_hash))
    }

    fn traces<'a>(&'a self, name: &'a Collaborator, now: Timestamp) -> Answer<'a, Traces> {
        Box::pin(erase::traces(&self.readers, name, now))
    }

    fn beginnings(&self, limit: u32) -> Answer<'_, Vec<Vec<u8>>> {
        Box::pin(ledger::beginnings(&self.readers, limit))
    }

    fn span<'a>(&'a self, filter: &'a Filter) -> Answer<'a, Range<u64>> {
        Box::pin(list::span(&self.readers, filter))
    }

    fn listed<'a>(&'a self, filter: &'a Filter, within: Range<u64>, side: Side, limit: u32) -> Answer<'a, Vec<Entry>> {
        Box::pin(list::listed(&self.readers, filter, within, side, limit))
    }

    fn event<'a>(&'a self, leaf_hash: &'a [u8]) -> Answer<'a, Option<Entry>> {
        Box::pin(list::event(&self.readers, leaf_hash))
    }

    fn issuing<'a>(&'a self, jti: &'a str, at: Timestamp) -> Answer<'a, Option<Vec<u8>>> {
        Box::pin(list::issuing(&self.readers, jti, at))
    }

    fn entries(&self, from: u64, limit: u32) -> Answer<'_, Vec<Entry>> {
        Box::pin(ledger::entries(&self.readers, from, limit))
    }
}

impl NotificationStore for SqliteStore {
    fn notifying(&self) -> Answer<'_, Option<Cursor>> {
        Box::pin(notification::cursor(&self.readers))
    }

    fn begin_notifying(&self, sinks: Vec<String>) -> Answer<'_, ()> {
        Box::pin(async move { self.notify(NotificationWork::Begin(sinks)).await.map(drop) })
    }

    fn lease_notifying<'a>(&'a self, holder: &'a str, now: Timestamp, until: Timestamp) -> Answer<'a, Option<i64>> {
        Box::pin(self.notify(NotificationWork::Lease { holder: holder.to_owned(), now, until }))
    }

    fn is_leased_notifying(&self, epoch: i64) -> Answer<'_, bool> {
        Box::pin(async move { Ok(self.notifying().await?.is_some_and(|cursor| cursor.epoch == epoch)) })
    }

    fn entries_of<'a>(&'a self, kinds: &'a [EventKind], from: u64, limit: u32) -> Answer<'a, Vec<Entry>> {
        Box::pin(notification::entries_of(&self.readers, kinds, from, limit))
    }

    fn ends_to_tell(&self, now: Timestamp, ahead: i64, limit: u32) -> Answer<'_, Vec<Grant>> {
        Box::pin(notification::ends_to_tell(&self.readers, now, ahead, limit))
    }

    fn keep_found(&self, found: Found) -> Answer<'_, bool> {
        Box::pin(async move { Ok(self.notify(NotificationWork::Found(Box::new(found))).await?.is_some()) })
    }

    fn due<'a>(&'a self, sink: &'a str, now: Timestamp, limit: u32) -> Answer<'a, Vec<Outgoing>> {
        Box::pin(notification::due(&self.readers, sink, now, limit))
    }

    fn settle<'a>(&'a self, epoch: i64, message: &'a Outgoing, attempt: Attempt) -> Answer<'a, bool> {
        let (id, sink) = (message.id.clone(), message.sink.clone());
        Box::pin(async move { Ok(self.notify(NotificationWork::Settle { epoch, id, sink, attempt }).await?.is_some()) })
    }

    fn outgoing(&self, dead: bool, limit: u32) -> Answer<'_, Vec<Outgoing>> {
        Box::pin(notification::outgoing(&self.readers, dead, limit))
    }

    fn waiting(&self) -> Answer<'_, Vec<Waiting>> {
        Box::pin(notification::waiting(&self.readers))
    }

    fn retry<'a>(&'a self, id: Option<&'a str>, now: Timestamp) -> Answer<'a, u64> {
        let id = id.map(ToOwned::to_owned);
        Box::pin(async move {
            let count = self.notify(NotificationWork::Retry { id, now }).await?;
            Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
        })
    }
}

impl Store for SqliteStore {
    fn decide(&self, decision: Decision) -> Answer<'_, (), DecideError> {
        Box::pin(self.order(|answer| Order::Decide(decision, answer)))
    }

    fn invitation_by_secret(&self, hash: [u8; 32]) -> Answer<'_, Option<Invitation>> {
        Box::pin(read::invitation_by_secret(&self.readers, hash))
    }

    fn invitation(&self, id: &InvitationId) -> Answer<'_, Option<Invitation>> {
        Box::pin(read::invitation(&self.readers, id.to_string()))
    }

    fn device(&self, id: &DeviceId) -> Answer<'_, Option<Device>> {
        Box::pin(read::device(&self.readers, id.to_string()))
    }

    fn devices(&self, state: Option<DeviceLife>) -> Answer<'_, Vec<Device>> {
        Box::pin(read::devices(&self.readers, state))
    }

    fn presented(&self, hash: [u8; 32]) -> Answer<'_, Option<Presented>> {
        Box::pin(read::presented(&self.lanes, hash))
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

    fn grants_over(&self, now: Timestamp, limit: u32) -> Answer<'_, Vec<Grant>> {
        Box::pin(read::grants_over(&self.readers, now, limit))
    }

    fn find_grants<'a>(&'a self, find: &'a Find) -> Answer<'a, Vec<Grant>> {
        Box::pin(find::grants(&self.readers, find))
    }

    fn find_invitations<'a>(&'a self, find: &'a Find) -> Answer<'a, Vec<Invitation>> {
        Box::pin(find::invitations(&self.readers, find))
    }

    fn find_devices<'a>(&'a self, find: &'a Find) -> Answer<'a, Vec<Device>> {
        Box::pin(find::devices(&self.readers, find))
    }

    fn devices_of<'a>(&'a self, scope: &'a Scope, limit: u32) -> Answer<'a, Vec<Device>> {
        Box::pin(find::devices_of(&self.readers, scope, limit))
    }

    fn named_alike<'a>(&'a self, name: &'a Collaborator) -> Answer<'a, Vec<Collaborator>> {
        Box::pin(find::named_alike(&self.readers, name))
    }

    fn knows<'a>(&'a self, scope: &'a Scope) -> Answer<'a, bool> {
        Box::pin(find::knows(&self.readers, scope))
    }

    fn approvals<'a>(&'a self, id: &'a str) -> Answer<'a, Option<Approvals>> {
        Box::pin(read::approvals(&self.readers, id.to_owned()))
    }

    fn acceptances<'a>(&'a self, grant: &'a GrantId) -> Answer<'a, Vec<Acceptance>> {
        Box::pin(briefing::of_grant(&self.readers, grant))
    }

    fn acceptance<'a>(&'a self, hash: &'a [u8]) -> Answer<'a, Option<Acceptance>> {
        Box::pin(briefing::one(&self.readers, hash))
    }

    fn acceptances_after<'a>(&'a self, hash: &'a [u8], limit: u32) -> Answer<'a, Vec<Vec<u8>>> {
        Box::pin(briefing::after(&self.readers, hash, limit))
    }

    fn request<'a>(&'a self, id: &'a RequestId) -> Answer<'a, Option<Request>> {
        Box::pin(read::request(&self.readers, id.to_string()))
    }

    fn find_requests<'a>(&'a self, find: &'a Find) -> Answer<'a, Vec<Request>> {
        Box::pin(find::requests(&self.readers, find))
    }

    fn requests_of<'a>(&'a self, device: &'a DeviceId, limit: u32) -> Answer<'a, Vec<Request>> {
        Box::pin(find::requests_of(&self.readers, device, limit))
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

    fn count_uses(&self, report: GateReport) -> Answer<'_, ()> {
        Box::pin(async move { self.work(LedgerWork::Count(Box::new(report))).await.map(drop) })
    }

    fn uses_of<'a>(&'a self, grant: &'a GrantId) -> Answer<'a, Vec<CountedUse>> {
        Box::pin(usage::of_grant(&self.readers, grant))
    }

    fn reporting(&self) -> Answer<'_, Vec<Reporting>> {
        Box::pin(usage::reporting(&self.readers))
    }

    fn gates(&self) -> Answer<'_, Vec<Gate>> {
        Box::pin(read::gates(&self.readers))
    }

    fn newer_policy(&self, known: i64) -> Answer<'_, Option<PolicyVersion>> {
        Box::pin(read::newer_policy(&self.readers, known))
    }

    fn proposal(&self, id: &ProposalId) -> Answer<'_, Option<Proposal>> {
        Box::pin(read::proposal(&self.readers, id.to_string()))
    }

    fn proposals(&self) -> Answer<'_, Vec<Proposal>> {
        Box::pin(read::proposals(&self.readers))
    }

    fn policies(&self) -> Answer<'_, Vec<PolicyVersion>> {
        Box::pin(read::policies(&self.readers))
    }

    fn keys(&self, purpose: KeyPurpose) -> Answer<'_, Vec<KeyRecord>> {
        Box::pin(read::keys(&self.readers, purpose))
    }

    fn sweep(&self, now: Timestamp) -> Answer<'_, ()> {
        Box::pin(self.order(move |answer| Order::Sweep(now, answer)))
    }

    fn probe(&self) -> Answer<'_, ()> {
        Box::pin(self.order(Order::Probe))
    }

    fn fault(&self) -> Option<Fault> {
        self.health.fault()
    }

    fn clock_floor(&self) -> Answer<'_, Timestamp> {
        Box::pin(async move { write::clock_floor(&self.readers).await.map_err(engine("read the time")) })
    }
}
