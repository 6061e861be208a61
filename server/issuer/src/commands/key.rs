//! `daypass-issuer key …`: rotation with overlap.
//!
//! A new token key is published at once and used from a quarter of the overlap on, when every gate has had the time to read
//! it; the old one is published until the overlap is over, when nothing that it signed is alive.

use daypass_proto::{ledger::EventKind, time::Timestamp};
use serde_json::json;

use super::{
    CommandError, init, master,
    output::{json as print_json, line, table},
};
use crate::{
    issuer::Issuer,
    keys::{Root, master_of, new_key},
    store::{Change, Decision, KeyPurpose},
};

pub(super) const ALL: [KeyPurpose; 5] =
    [KeyPurpose::Token, KeyPurpose::DeviceCa, KeyPurpose::GateCa, KeyPurpose::Tls, KeyPurpose::Checkpoint];

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List keys.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a new key of this purpose beside the old one; needs the root's key. `device_ca`, `gate_ca` and `tls` keys
    /// are used after the next start of the server.
    Rotate {
        /// `token`, `device_ca`, `gate_ca`, `tls` or `checkpoint`; or `master`, which wraps all of them anew under a new master key and needs
        /// no root key.
        #[arg(value_parser = rotated)]
        purpose: Rotated,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What rotates: a key in the store, or the one that wraps them all.
#[derive(Clone, Copy, Debug)]
pub enum Rotated {
    /// The master key.
    Master,
    /// A key in the store.
    Key(KeyPurpose),
}

fn rotated(text: &str) -> Result<Rotated, String> {
    if text == "master" { Ok(Rotated::Master) } else { purpose(text).map(Rotated::Key) }
}

fn purpose(text: &str) -> Result<KeyPurpose, String> {
    ALL.into_iter()
        .find(|purpose| purpose.as_str() == text)
        .ok_or_else(|| "expected token, device_ca, gate_ca, tls, checkpoint or master".to_owned())
}

pub(super) async fn run(issuer: &Issuer, command: Command) -> Result<(), CommandError> {
    match command {
        Command::List { json } => list(issuer, json).await,
        Command::Rotate { purpose: Rotated::Key(purpose), json } => rotate(issuer, purpose).await?.tell(json),
        Command::Rotate { purpose: Rotated::Master, json } => master::rotate(issuer, json).await,
    }
}

async fn list(issuer: &Issuer, json: bool) -> Result<(), CommandError> {
    let mut keys = Vec::new();
    for purpose in ALL {
        keys.extend(issuer.store.keys(purpose).await?);
    }
    if json {
        let all: Vec<_> = keys
            .iter()
            .map(|key| json!({"kid": key.kid, "purpose": key.purpose, "active_from": key.active_from, "retire_at": key.retire_at}))
            .collect();
        return print_json(&all);
    }
    let end = |time: Option<Timestamp>| time.map_or_else(|| "-".to_owned(), |time| time.to_string());
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|key| vec![key.purpose.to_string(), key.kid.clone(), key.active_from.to_string(), end(key.retire_at)])
        .collect();
    table(&["PURPOSE", "KEY", "USED FROM", "RETIRED AT"], &rows)
}

/// What a rotation made, and what it ends.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Rotation {
    purpose: KeyPurpose,
    kid: String,
    active_from: Timestamp,
    retired: Vec<String>,
    retire_at: Timestamp,
}

impl Rotation {
    fn tell(&self, json: bool) -> Result<(), CommandError> {
        if json {
            return print_json(self);
        }
        let Self { purpose, kid, active_from, retire_at, .. } = self;
        line(format!("new {purpose} key {kid}, used from {active_from}; the old one retires at {retire_at}"))
    }
}

pub(crate) async fn rotate(issuer: &Issuer, purpose: KeyPurpose) -> Result<Rotation, CommandError> {
    let (config, environment) = (&issuer.config, &issuer.environment);
    let root = Root::load(&config.root_certificate, &config.root_key)?;
    let master = master_of(config, issuer.store.as_ref()).await?;
    let now = environment.now();
    let (active_from, retire_old) = match purpose {
        KeyPurpose::Token => (now.plus(config.key_overlap / 4), now.plus(config.key_overlap)),
        // Whoever meets a checkpoint by a key that is new to them asks for the keys, and finds it under the root that they know.
        KeyPurpose::Tls | KeyPurpose::Checkpoint => (now, now),
        // Certificates that the old CA signed must stay good to their end.
        KeyPurpose::DeviceCa => (now, now.plus(2 * config.device_certificate_lifetime)),
        KeyPurpose::GateCa => (now, now.plus(2 * config.gate_certificate_lifetime)),
    };
    let key = new_key(environment, &root, &master, purpose, &init::configured_hosts(config), active_from)?;
    let event = environment.event(EventKind::KeyCreated).text("kid", &key.kid).text("purpose", purpose);
    let by = super::operator();
    let event = environment.personal(event.number("active_from", active_from.seconds()), "by", &by);
    let mut decision = Decision::new(event);
    let mut retired = Vec::new();
    for old in issuer.store.keys(purpose).await?.into_iter().filter(|old| old.retire_at.is_none()) {
        let event = environment.event(EventKind::KeyRetired).text("kid", &old.kid).text("purpose", purpose);
        let event = environment.personal(event.number("retire_at", retire_old.seconds()), "by", &by);
        decision = decision.event(event).change(Change::RetireKey { kid: old.kid.clone(), at: retire_old });
        retired.push(old.kid);
    }
    let kid = key.kid.clone();
    issuer.store.decide(decision.change(Change::AddKey(key))).await?;
    Ok(Rotation { purpose, kid, active_from, retired, retire_at: retire_old })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{commands::CommandError, fixture::Made, keys::KeyError};

    async fn signing(made: &Made) -> (String, usize) {
        made.issuer.reload_keys().await.unwrap();
        let keyring = made.issuer.keyring();
        let kid = keyring.signing(made.now()).unwrap().record.kid.clone();
        (kid, keyring.published(made.now()).count())
    }

    #[tokio::test]
    async fn a_new_token_key_is_known_before_it_signs_and_the_old_one_outlives_its_tokens() {
        let made = Made::new().await;
        let overlap = made.issuer.config.key_overlap;
        let (old, published) = signing(&made).await;
        assert_eq!(published, 1);
        rotate(&made.issuer, KeyPurpose::Token).await.unwrap();
        assert_eq!(signing(&made).await, (old.clone(), 2), "published at once, used later");
        made.pass(overlap / 4);
        let (new, published) = signing(&made).await;
        assert!(new != old && published == 2);
        assert!(made.issuer.keyring().public(&old, made.now()).is_some());
        made.pass(overlap - overlap / 4);
        assert_eq!(signing(&made).await, (new, 1));
        assert!(made.issuer.keyring().public(&old, made.now()).is_none(), "what it signed is dead");
    }

    #[tokio::test]
    async fn two_rotations_in_a_row_leave_a_key_that_signs() {
        let made = Made::new().await;
        rotate(&made.issuer, KeyPurpose::Token).await.unwrap();
        made.pass(1);
        rotate(&made.issuer, KeyPurpose::Token).await.unwrap();
        let overlap = made.issuer.config.key_overlap;
        for _ in 0..8 {
            signing(&made).await;
            made.pass(overlap / 4);
        }
        assert_eq!(signing(&made).await.1, 1);
    }

    #[tokio::test]
    async fn certificates_of_an_earlier_ca_stay_good() {
        let made = Made::new().await;
        let before = made.issuer.keyring();
        let old = before.device_ca().der().to_vec();
        rotate(&made.issuer, KeyPurpose::DeviceCa).await.unwrap();
        made.issuer.reload_keys().await.unwrap();
        let after = made.issuer.keyring();
        assert_ne!(after.device_ca().der(), old);
        assert!(after.client_cas().any(|ca| ca == old));
        made.pass(2 * made.issuer.config.device_certificate_lifetime);
        made.issuer.reload_keys().await.unwrap();
        assert!(!made.issuer.keyring().client_cas().any(|ca| ca == old), "its last certificate has ended");
    }

    #[tokio::test]
    async fn without_the_root_key_nothing_rotates() {
        let made = Made::new().await;
        std::fs::remove_file(&made.issuer.config.root_key).unwrap();
        let refused = rotate(&made.issuer, KeyPurpose::Token).await;
        assert!(matches!(refused, Err(CommandError::Key(KeyError::File { .. }))));
        assert_eq!(made.issuer.store.keys(KeyPurpose::Token).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_foreign_master_key_and_a_clock_before_every_key_are_refused() {
        let made = Made::new().await;
        made.pass(-1);
        assert!(matches!(made.issuer.reload_keys().await, Err(KeyError::Missing(_))));
        made.pass(1);
        let at = &made.issuer.config.master_key;
        std::fs::remove_file(at).unwrap();
        crate::keys::write_secret(at, &[7; 32]).unwrap();
        assert!(matches!(made.issuer.reload_keys().await, Err(KeyError::MasterKey { .. })));
    }
}
