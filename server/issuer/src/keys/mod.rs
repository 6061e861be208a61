//! The issuer's keys: a root that is kept apart, and what it certifies.
//!
//! ```text
//! root (its SPKI's SHA-256 is the pin in every invitation)
//!  ├── token keys     sign access tokens; published with their chain as `x5c`
//!  ├── device CA      signs device certificates; trusted by this issuer alone
//!  ├── gate CA        signs gates' client certificates, and server certificates for their resources
//!  ├── checkpoint keys sign the ledger's checkpoints; published with their chain as long as the ledger is
//!  └── TLS            the issuer's own certificate
//! ```
//!
//! The root's key is a file that only `init` and `key rotate` read. The others stand in the store, wrapped under the master key.

mod certify;
mod keyring;
mod master;

use daypass_proto::time::Timestamp;
use thiserror::Error;

pub(crate) use self::master::read_secret_or_credential;
pub use self::{
    certify::{Root, Subject, certificate_validity, csr_key, not_before},
    keyring::{Keyring, checkpoint_keys_of, master_of, new_key},
    master::{MasterKey, MasterKeys, write_secret},
};
use crate::store::KeyPurpose;

/// Why a key could not be made, read or used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// A file.
    #[error("could not {attempted} `{path}`")]
    File {
        /// What was attempted.
        attempted: &'static str,
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A secret file that others can read.
    #[error("`{path}` can be read by others (mode {mode:o}); run `chmod 600 {path}`")]
    Permissions {
        /// Which.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// A secret file of the wrong form.
    #[error("`{path}` is not {expected}")]
    Form {
        /// Which.
        path: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The master key is not the one under which the store's keys are wrapped.
    #[error(
        "the private keys in the store are wrapped under the master key `{wanted}`, and `{}` {}; without it this store signs nothing. Put that key there: a copy from before a rotation needs the key from before it",
        at.display(),
        if found.is_empty() { "is missing".to_owned() } else { format!("has `{}`", found.join("`, `")) }
    )]
    MasterKey {
        /// The name of the one that is needed.
        wanted: String,
        /// The names of those that are there.
        found: Vec<String>,
        /// Where the current one is.
        at: std::path::PathBuf,
    },
    /// The right master key does not open a key.
    #[error(
        "the stored key `{0}` does not open under the master key that it names: the store is damaged, or was written by somebody else; restore a backup"
    )]
    Damaged(String),
    /// The next master key has to come from the service manager, and did not.
    #[error(
        "the master key is a systemd credential, which only you can change: provide a new one as the credential `daypass-master-key-next` beside it (`head -c 32 /dev/urandom | systemd-creds encrypt --name=daypass-master-key-next - FILE`), looked for at `{}`",
        .0.display()
    )]
    NextCredential(std::path::PathBuf),
    /// No key of this purpose is in its time.
    #[error("the store has no `{0}` key that is in its time now; check this machine's clock, it may be behind")]
    Missing(KeyPurpose),
    /// A certificate or key could not be made or read.
    #[error("could not {attempted}")]
    Certificate {
        /// What was attempted.
        attempted: &'static str,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A CA that is not in its time: whatever it signed now would be good nowhere once the clock is right.
    #[error("this issuer's clock says {now}, and its CA is good from {begins} to {ends}")]
    Clock {
        /// The CA's begin.
        begins: Timestamp,
        /// The CA's end.
        ends: Timestamp,
        /// The clock here.
        now: Timestamp,
    },
    /// A stored key does not read.
    #[error("the stored key `{0}` does not read")]
    Stored(String),
    /// A CSR that is not one.
    #[error("the certificate signing request {0}")]
    Csr(&'static str),
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
}
