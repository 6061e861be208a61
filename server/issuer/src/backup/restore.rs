//! Putting a backup in place. Everything is looked at before anything is touched; a store that is there is moved aside, never written over.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use daypass_proto::{
    encoding::Fixed,
    ledger::{
        EventKind,
        checkpoint::{Origin, VerifiedCheckpoint, peek},
        tree::{Frontier, Head},
    },
    time::Timestamp,
};
use daypass_service::{beside, folder_of, open_file, read_text};
use zeroize::Zeroizing;

use super::{
    BackupError, CONFIG, EK_ROOTS, Hashing, MANIFEST, MASTER_KEY, MAX_SMALL, Manifest, POLICY, ROOT, ROOT_KEY, STORE,
    VERSION, create, failed, folders, remove_if_there, sync_folder,
};
use crate::{
    clock::Environment,
    config::Config,
    keys::{KeyError, MasterKeys, checkpoint_keys_of},
    policy::FOLDERS,
    store::{Change, Decision, KeyPurpose, LedgerStore as _, SqliteStore, Store as _},
};

/// Members of an archive by name; there may be keys among them.
type Members = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// How many events are read at once.
const PAGE: u32 = 4096;

/// What is to be restored.
#[derive(Debug)]
pub struct Restore<'a> {
    /// The backup.
    pub from: &'a Path,
    /// Where the configuration is, or goes.
    pub config: &'a Path,
    /// Put it in the place of a store that is there.
    pub replace: bool,
    /// A checkpoint that was published, where somebody has one.
    pub checkpoint: Option<&'a Path>,
    /// Who does it.
    pub by: String,
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// When the backup was made: whatever was decided since is not in it.
    pub made_at: Timestamp,
    /// Files that were written.
    pub written: Vec<PathBuf>,
    /// Files and folders that were there, and stay as they are.
    pub kept: Vec<PathBuf>,
    /// Where the former store is.
    pub aside: Option<PathBuf>,
    /// The ledger's new name, and why it has one.
    pub new_origin: Option<(Origin, String)>,
    /// Why the store's keys do not open yet.
    pub no_key: Option<KeyError>,
}

/// Restores a backup.
pub async fn restore(environment: &Environment, order: Restore<'_>) -> Result<Restored, BackupError> {
    // Before anything is changed.
    order.checkpoint.map(handed_over).transpose()?;
    let (manifest, small) = look_at(order.from)?;
    let text = |name: &str| {
        let bytes = small.get(name).ok_or_else(|| not_whole(order.from, format!("it has no `{name}`")))?;
        String::from_utf8(bytes.to_vec()).map_err(|_| not_whole(order.from, format!("`{name}` is not text")))
    };
    let config = match order.config.exists() {
        true => Config::load(order.config)?,
        false => Config::parse(&text(CONFIG)?, order.config)?,
    };
    if config.issuer_url != manifest.issuer {
        let (theirs, ours) = (manifest.issuer, config.issuer_url);
        return Err(BackupError::OtherIssuer { theirs, ours, path: order.config.to_owned() });
    }
    let root = text(ROOT)?;
    if read_text(&config.root_certificate).is_ok_and(|there| there != root) {
        return Err(BackupError::OtherRoot(config.root_certificate));
    }
    if config.database.exists() && !order.replace {
        return Err(BackupError::StoreExists(config.database));
    }
    let folder = folder_of(&config.database);
    fs::create_dir_all(folder).map_err(failed("make", folder))?;
    let _alone = SqliteStore::hold_alone(&config.database)?;

    // What the checkpoint is held against needs the root, so the files come first. If anything fails below they stay, and the same command
    // goes on from there. What an earlier one left of the store goes.
    let fresh = beside(&config.database, ".restoring");
    for suffix in ["", "-wal", "-shm"] {
        remove_if_there(&beside(&fresh, suffix))?;
    }
    extract_store(order.from, &manifest, &fresh)?;
    SqliteStore::examine(&fresh).await?;

    let mut restored = Restored {
        made_at: manifest.made_at,
        written: Vec::new(),
        kept: Vec::new(),
        aside: None,
        new_origin: None,
        no_key: None,
    };
    put_files(&config, order.config, &small, &mut restored)?;
    let store = SqliteStore::open(&fresh, false).await?;
    let recorded = record(environment, &config, &order, &store, &mut restored).await;
    store.close().await;
    recorded?;
    remove_if_there(&SqliteStore::lock_at(&fresh))?;
    File::open(&fresh).and_then(|file| file.sync_all()).map_err(failed("make durable", &fresh))?;

    restored.aside = move_aside(&config.database, environment.now())?;
    fs::rename(&fresh, &config.database).map_err(failed("put in place", &config.database))?;
    sync_folder(&config.database)?;
    restored.written.push(config.database);
    Ok(restored)
}

/// Writes the event into the store that is going to be put in place, and begins a new ledger where the old one may have gone further.
async fn record(
    environment: &Environment,
    config: &Config,
    order: &Restore<'_>,
    store: &SqliteStore,
    restored: &mut Restored,
) -> Result<(), BackupError> {
    let Some(ledger) = store.ledger().await? else {
        return Err(not_whole(order.from, "its store has no ledger".to_owned()));
    };
    let event = environment
        .event(EventKind::StoreRestored)
        .number("made_at", restored.made_at.seconds())
        .number("size", i64::try_from(ledger.head.size()).unwrap_or(i64::MAX));
    let mut decision = Decision::new(environment.personal(event, "by", &order.by));
    let published = published(config, order)?;
    if let Some(why) = behind(config, &published, store, &ledger.origin, &ledger.head).await? {
        // Whoever holds a checkpoint of that name learns that it is the restore's doing.
        let names = published.iter().filter_map(|note| peek(note).ok().map(|(origin, _)| origin));
        let instead_of = names.into_iter().find(|name| *name != ledger.origin);
        let to = Origin::of_issuer(&config.issuer_url, environment.random())
            .map_err(|_| not_whole(order.from, "its issuer has no name for a ledger".to_owned()))?;
        let event = environment
            .event(EventKind::LedgerBegun)
            .text("origin", &to)
            .text("continues", &ledger.origin)
            .number("size", i64::try_from(ledger.head.size()).unwrap_or(i64::MAX))
            .number("made_at", restored.made_at.seconds());
        let event = environment.personal(environment.personal(event, "by", &order.by), "why", &why);
        let event = match instead_of {
            Some(published) => event.text("instead_of", published),
            None => event,
        };
        decision = decision.event(event).change(Change::RenameLedger { to: to.clone(), from: ledger.origin });
        restored.new_origin = Some((to, why));
    }
    store.decide(decision).await?;
    if let Some(key) = store.keys(KeyPurpose::Token).await?.pop() {
        restored.no_key = MasterKeys::at(&config.master_key).find(&key.master).err();
    }
    Ok(())
}

/// The checkpoints that are known to have been published.
fn published(config: &Config, order: &Restore<'_>) -> Result<Vec<String>, BackupError> {
    let beside = SqliteStore::published_at(&config.database);
    let mut notes = Vec::new();
    notes.extend(order.checkpoint.map(handed_over).transpose()?);
    if beside.exists() {
        // It may be as damaged as the rest.
        notes.push(read_text(&beside).map_err(failed("read", &beside))?);
    }
    Ok(notes)
}

/// The checkpoint that somebody hands over, which is theirs to get right.
fn handed_over(path: &Path) -> Result<String, BackupError> {
    let note = read_text(path).map_err(failed("read", path))?;
    if peek(&note).is_err() { Err(BackupError::Checkpoint(path.to_owned())) } else { Ok(note) }
}

/// Why this store may be behind what was published, unless it is shown that it is not: two trees under one name would be a lie.
async fn behind(
    config: &Config,
    notes: &[String],
    store: &SqliteStore,
    origin: &Origin,
    head: &Head,
) -> Result<Option<String>, BackupError> {
    if notes.is_empty() {
        return Ok(Some("it is not known what was published".to_owned()));
    }
    let keys = checkpoint_keys_of(store, &config.root_certificate).await?;
    for note in notes {
        let Ok(published) = VerifiedCheckpoint::verify_any(note, &keys) else {
            return Ok(Some("the published checkpoint is by a key that the backup does not have".to_owned()));
        };
        let (size, held) = (published.head().size(), head.size());
        if published.origin() != origin {
            return Ok(Some(format!("the ledger `{}` was published meanwhile", published.origin())));
        }
        if size > held {
            return Ok(Some(format!("{size} events were published, and the backup has {held}")));
        }
        if root_at(store, size).await? != Some(published.head().root()) {
            return Ok(Some(format!("the first {size} events of the backup are not those that were published")));
        }
    }
    Ok(None)
}

/// The root over the first `size` events, from the events themselves.
async fn root_at(store: &SqliteStore, size: u64) -> Result<Option<[u8; 32]>, BackupError> {
    let mut frontier = Frontier::default();
    while frontier.size() < size {
        let page = store.entries(frontier.size(), PAGE).await?;
        let before = frontier.size();
        for entry in page {
            if entry.sequence != frontier.size() {
                return Ok(None);
            }
            if frontier.size() < size {
                frontier.push(daypass_proto::ledger::leaf_hash(&entry.leaf));
            }
        }
        if frontier.size() == before {
            return Ok(None);
        }
    }
    Ok(Some(frontier.root()))
}

/// Moves the store that is there aside, with all its files; what is left of one that is gone as well, since the engine would take a
/// foreign write-ahead log for the new store's own.
fn move_aside(database: &Path, now: Timestamp) -> Result<Option<PathBuf>, BackupError> {
    let aside = beside(database, &format!(".replaced-{}", now.seconds()));
    let mut moved = None;
    for suffix in ["-wal", "-shm", ""] {
        let (from, to) = (beside(database, suffix), beside(&aside, suffix));
        if from.exists() {
            fs::rename(&from, &to).map_err(failed("move aside", &from))?;
            moved = Some(aside.clone());
        }
    }
    Ok(moved)
}

/// Writes what is not there. Policy, EK roots and configuration that are there may be newer than the backup, and stay.
fn put_files(config: &Config, config_path: &Path, small: &Members, restored: &mut Restored) -> Result<(), BackupError> {
    let mut put = |path: &Path, content: &[u8]| {
        if path.exists() {
            if fs::read(path).is_ok_and(|there| there != content) {
                restored.kept.push(path.to_owned());
            }
            return Ok(());
        }
        fs::create_dir_all(folder_of(path)).map_err(failed("make", folder_of(path)))?;
        let mut file = create(path)?;
        file.write_all(content).and_then(|()| file.sync_all()).map_err(failed("write", path))?;
        restored.written.push(path.to_owned());
        sync_folder(path)
    };
    for (name, path) in [
        (ROOT, config.root_certificate.as_path()),
        (MASTER_KEY, &config.master_key),
        (ROOT_KEY, &config.root_key),
        (CONFIG, config_path),
    ] {
        if let Some(content) = small.get(name) {
            put(path, content)?;
        }
    }
    let folders = folders(config);
    for (prefix, folder) in &folders {
        let is_empty = fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
        if !is_empty {
            // One file of an older policy among newer ones may grant what somebody took away.
            continue;
        }
        fs::create_dir_all(folder).map_err(failed("make", folder))?;
        for (name, content) in small {
            if let Some(name) = name.strip_prefix(prefix) {
                put(&folder.join(name), content)?;
            }
        }
    }
    for (prefix, folder) in folders {
        let same = small.iter().filter_map(|(name, content)| Some((name.strip_prefix(&prefix)?, content)));
        if same.into_iter().any(|(name, content)| fs::read(folder.join(name)).map_or(true, |there| there != **content))
        {
            restored.kept.push(folder);
        }
    }
    Ok(())
}

fn not_whole(path: &Path, why: String) -> BackupError {
    BackupError::NotWhole { path: path.to_owned(), why }
}

/// A name that a backup may have: one of ours, or one file in one of our folders.
fn known(name: &str) -> bool {
    let plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
    [CONFIG, ROOT, STORE, MASTER_KEY, ROOT_KEY, MANIFEST].contains(&name)
        || name.rsplit_once('/').is_some_and(|(folder, name)| {
            let policy = folder.strip_prefix(POLICY).and_then(|inner| inner.strip_prefix('/'));
            plain(name) && (folder == EK_ROOTS || policy.is_some_and(|inner| FOLDERS.contains(&inner)))
        })
}

/// Calls `each` for every member of the archive, which must have a known name and be a plain file.
fn members(
    path: &Path,
    mut each: impl FnMut(&str, tar::Entry<'_, File>) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let broken = |error: io::Error| not_whole(path, error.to_string());
    let mut archive = tar::Archive::new(open_file(path).map_err(failed("read", path))?);
    for entry in archive.entries().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.to_str().unwrap_or_default().to_owned();
        if !known(&name) || entry.header().entry_type() != tar::EntryType::Regular {
            return Err(not_whole(path, format!("`{}` has no business in one", name.escape_debug())));
        }
        each(&name, entry)?;
    }
    Ok(())
}

/// Reads the whole archive once: every hash against the manifest, and every member but the store into memory.
fn look_at(path: &Path) -> Result<(Manifest, Members), BackupError> {
    let broken = |error: io::Error| not_whole(path, error.to_string());
    let (mut hashes, mut small, mut manifest) = (BTreeMap::new(), BTreeMap::new(), None);
    members(path, |name, entry| {
        if manifest.is_some() {
            return Err(not_whole(path, "something stands behind its manifest".to_owned()));
        }
        let size = entry.size();
        let mut hashing = Hashing::new(entry);
        if name == STORE {
            io::copy(&mut hashing, &mut io::sink()).map_err(broken)?;
        } else if size > MAX_SMALL {
            return Err(not_whole(path, format!("`{name}` is too large")));
        } else {
            let mut content = Zeroizing::new(Vec::new());
            hashing.read_to_end(&mut content).map_err(broken)?;
            if name == MANIFEST {
                let read: Manifest = serde_json::from_slice(&content)
                    .map_err(|error| not_whole(path, format!("its manifest does not read: {error}")))?;
                manifest = Some(read);
                return Ok(());
            }
            small.insert(name.to_owned(), content);
        }
        match hashes.insert(name.to_owned(), hashing.finish()) {
            None => Ok(()),
            Some(_) => Err(not_whole(path, format!("it has two `{name}`"))),
        }
    })?;
    let manifest = manifest.ok_or_else(|| not_whole(path, "it has no manifest, which stands last".to_owned()))?;
    if manifest.version != VERSION {
        return Err(not_whole(path, format!("it has version {}, and this program knows {VERSION}", manifest.version)));
    }
    if hashes != manifest.files {
        let wrong = |name: &&String| hashes.get(*name) != manifest.files.get(*name);
        let name = hashes.keys().chain(manifest.files.keys()).find(wrong).cloned().unwrap_or_default();
        return Err(not_whole(path, format!("`{name}` is not what its manifest says")));
    }
    Ok((manifest, small))
}

/// Writes the store of the archive to `to`, and looks at its hash once more: the archive may have changed since it was read.
fn extract_store(path: &Path, manifest: &Manifest, to: &Path) -> Result<(), BackupError> {
    let mut found: Option<Fixed<32>> = None;
    members(path, |name, entry| {
        if name != STORE {
            return Ok(());
        }
        let mut file = create(to)?;
        let mut hashing = Hashing::new(entry);
        io::copy(&mut hashing, &mut file).and_then(|_| file.sync_all()).map_err(failed("write", to))?;
        found = Some(hashing.finish());
        Ok(())
    })?;
    match found {
        Some(hash) if manifest.files.get(STORE) == Some(&hash) => Ok(()),
        Some(_) => Err(not_whole(path, "it changed while it was read".to_owned())),
        None => Err(not_whole(path, format!("it has no `{STORE}`"))),
    }
}
