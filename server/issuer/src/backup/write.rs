//! Making a backup, whole or not at all: under a temporary name first, then made durable, then given its name.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use daypass_proto::{encoding::Fixed, time::Timestamp};
use daypass_service::{beside, open_file};

use super::{
    BackupError, CONFIG, EK_ROOTS, Hashing, MANIFEST, MASTER_KEY, Manifest, PROJECTS, ROOT, ROOT_KEY, STORE, VERSION,
    create, failed, remove_if_there, sync_folder,
};
use crate::{config::Config, store::SqliteStore};

/// Which keys come along, beside those that are wrapped in the store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Include {
    /// The master key: with it, the backup is the issuer.
    pub master_key: bool,
    /// The root key: with it, the backup is every issuer that could ever be under this root.
    pub root_key: bool,
}

/// What is removed again when a backup does not come to its end.
struct Unfinished(Vec<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        for path in &self.0 {
            // It may have its name already.
            let _ = fs::remove_file(path);
        }
    }
}

/// Writes the issuer of `config`, which is at `config_path`, into the new file `to`.
pub async fn back_up(
    config_path: &Path,
    config: &Config,
    now: Timestamp,
    include: Include,
    to: &Path,
) -> Result<(), BackupError> {
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let (part, copy) = (beside(to, ".part"), beside(to, ".part-store"));
    for left in [&part, &copy] {
        remove_if_there(left)?;
    }
    let unfinished = Unfinished(vec![part.clone(), copy.clone(), SqliteStore::lock_at(&copy)]);
    // The engine takes an empty file over with its mode.
    create(&copy)?;
    SqliteStore::copy(&config.database, &copy).await?;
    // A backup of a damaged store would be found out when it is needed.
    SqliteStore::examine(&copy).await?;

    let mut archive = Archive { tar: tar::Builder::new(create(&part)?), at: part.clone(), files: BTreeMap::new(), now };
    archive.file(CONFIG, config_path)?;
    archive.file(ROOT, &config.root_certificate)?;
    archive.folder(PROJECTS, &config.projects)?;
    archive.folder(EK_ROOTS, &config.ek_roots)?;
    if include.master_key {
        archive.file(MASTER_KEY, &config.master_key)?;
    }
    if include.root_key {
        archive.file(ROOT_KEY, &config.root_key)?;
    }
    archive.file(STORE, &copy)?;
    archive.finish(config.issuer_url.clone())?;

    // A link and not a renaming, which would go over a file that came meanwhile.
    fs::hard_link(&part, to).map_err(failed("make", to))?;
    drop(unfinished);
    sync_folder(to)
}

struct Archive {
    tar: tar::Builder<File>,
    at: PathBuf,
    files: BTreeMap<String, Fixed<32>>,
    now: Timestamp,
}

impl Archive {
    fn header(&self, size: u64) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(self.now.seconds()).unwrap_or_default());
        header
    }

    fn file(&mut self, name: &str, path: &Path) -> Result<(), BackupError> {
        let file = open_file(path).map_err(failed("read", path))?;
        let size = file.metadata().map_err(failed("read", path))?.len();
        let mut hashing = Hashing::new(std::io::Read::take(file, size));
        let mut header = self.header(size);
        self.tar.append_data(&mut header, name, &mut hashing).map_err(failed("write", &self.at))?;
        self.files.insert(name.to_owned(), hashing.finish());
        Ok(())
    }

    fn folder(&mut self, prefix: &str, folder: &Path) -> Result<(), BackupError> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed("read", folder))? {
            let path = entry.map_err(failed("read", folder))?.path();
            if path.is_file() {
                paths.push(path);
            }
        }
        paths.sort();
        for path in paths {
            if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
                self.file(&format!("{prefix}{name}"), &path)?;
            }
        }
        Ok(())
    }

    fn finish(mut self, issuer: String) -> Result<(), BackupError> {
        let manifest = Manifest { version: VERSION, made_at: self.now, issuer, files: std::mem::take(&mut self.files) };
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| failed("describe the backup in", &self.at)(error.into()))?;
        let mut header = self.header(u64::try_from(text.len()).unwrap_or(u64::MAX));
        let finished = self.tar.append_data(&mut header, MANIFEST, text.as_slice()).and_then(|()| {
            let mut file = self.tar.into_inner()?;
            file.flush()?;
            file.sync_all()
        });
        finished.map_err(failed("write", &self.at))
    }
}
