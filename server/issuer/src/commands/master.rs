//! `daypass-issuer key rotate master`: every private key in the store is wrapped anew, under a new master key.
//!
//! ```text
//! 1  the new key is written beside the old one            the store names the old one
//! 2  one decision rewraps every key, with its event       the store names the new one
//! 3  the old key is kept under its name, for old copies
//! 4  the new key takes the old one's place
//! ```
//!
//! Whoever pulls the plug anywhere in between leaves a store whose key is found, and the same command goes on from there.

use daypass_proto::{encoding::Bytes, ledger::EventKind};
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    CommandError,
    key::ALL,
    output::{json as print_json, line},
};
use crate::{
    issuer::Issuer,
    keys::{KeyError, MasterKey, MasterKeys},
    store::{Change, Decision, KeyPurpose, KeyRecord},
};

pub(super) async fn rotate(issuer: &Issuer, json: bool) -> Result<(), CommandError> {
    // A person sees how far it came; a program wants it whole.
    let say = |text: String| if json { Ok(()) } else { line(text) };
    let masters = MasterKeys::at(&issuer.config.master_key);
    let keys = all(issuer).await?;
    let from = keys.first().map(|key| key.master.clone()).ok_or(KeyError::Missing(KeyPurpose::Token))?;
    let next = masters.next()?;
    if next.as_ref().is_some_and(|next| next.id() == from) {
        say(format!("an earlier rotation to `{from}` stopped after every key was wrapped anew; it ends now"))?;
        return finish(issuer, &masters, &from, json);
    }
    let to = match next {
        // What an earlier rotation left, or what the administrator provided.
        Some(next) => next,
        None if masters.are_credentials() => {
            return Err(KeyError::NextCredential(masters.next_place().to_owned()).into());
        }
        None => {
            masters.write_next(&Zeroizing::new(issuer.environment.random::<32>())[..])?;
            masters.next()?.ok_or_else(|| KeyError::Missing(KeyPurpose::Token))?
        }
    };
    rewrap(issuer, &masters.find(&from)?, &to, keys).await?;
    say(format!("every private key in the store is wrapped under `{}` now, and no longer under `{from}`", to.id()))?;
    finish(issuer, &masters, to.id(), json)
}

async fn all(issuer: &Issuer) -> Result<Vec<KeyRecord>, CommandError> {
    let mut keys = Vec::new();
    for purpose in ALL {
        keys.extend(issuer.store.keys(purpose).await?);
    }
    Ok(keys)
}

/// One decision: all keys or none.
async fn rewrap(issuer: &Issuer, from: &MasterKey, to: &MasterKey, keys: Vec<KeyRecord>) -> Result<(), CommandError> {
    let environment = &issuer.environment;
    let keys = keys
        .into_iter()
        .map(|key| {
            let private = from.unwrap(&key.kid, &key.wrapped.0)?;
            let wrapped = Bytes(to.wrap(environment, &key.kid, &private)?);
            Ok::<_, KeyError>(KeyRecord { wrapped, master: to.id().to_owned(), ..key })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let event = environment
        .event(EventKind::MasterKeyRotated)
        .text("former_master", from.id())
        .text("master", to.id())
        .number("keys", i64::try_from(keys.len()).unwrap_or(i64::MAX));
    let event = environment.personal(event, "by", super::operator());
    let (from, to) = (from.id().to_owned(), to.id().to_owned());
    issuer.store.decide(Decision::new(event).change(Change::RewrapKeys { from, to, keys })).await?;
    Ok(())
}

/// Brings the key files to where they belong. `id` is what the store names now.
fn finish(issuer: &Issuer, masters: &MasterKeys, id: &str, json: bool) -> Result<(), CommandError> {
    if masters.are_credentials() {
        if json {
            // Credentials are the administrator's to exchange.
            return print_json(&json!({"purpose": "master", "master": id, "file": null, "former_file": null}));
        }
        line(
            "now encrypt the same key as the credential `daypass-master-key`, and take `daypass-master-key-next` away;",
        )?;
        return line("keep the former credential apart for as long as there are backups from before");
    }
    // The key that is to be kept is whichever is in place, unless that is the new one already.
    let former = masters.current().ok().map(|key| key.id().to_owned()).filter(|former| former != id);
    let kept = former.map(|former| masters.keep_former(&former)).transpose()?;
    masters.promote_next()?;
    if json {
        let file = &issuer.config.master_key;
        return print_json(&json!({"purpose": "master", "master": id, "file": file, "former_file": kept}));
    }
    line(format!("  master key  {}", issuer.config.master_key.display()))?;
    match kept {
        Some(kept) => line(format!(
            "  former key  {}: backups from before need it; keep it apart from them, and delete it with the last of them",
            kept.display()
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixture::Made,
        keys::{Root, new_key, write_secret},
        store::{Condition, DecideError},
    };

    async fn opens(made: &Made) -> bool {
        made.issuer.reload_keys().await.is_ok()
    }

    #[tokio::test]
    async fn a_rotation_that_stops_anywhere_leaves_a_store_that_opens_and_ends_when_it_is_run_again() {
        for stopped_after in 0..4 {
            let made = Made::new().await;
            let masters = MasterKeys::at(&made.issuer.config.master_key);
            let old = masters.current().unwrap().id().to_owned();
            if stopped_after >= 1 {
                masters.write_next(&[9; 32]).unwrap();
                assert!(opens(&made).await);
            }
            let new = MasterKey::from_bytes(&[9; 32]).unwrap();
            if stopped_after >= 2 {
                let keys = all(&made.issuer).await.unwrap();
                rewrap(&made.issuer, &masters.find(&old).unwrap(), &new, keys).await.unwrap();
                assert!(opens(&made).await, "the new key is not in its place yet, and is found");
            }
            if stopped_after >= 3 {
                masters.keep_former(&old).unwrap();
                assert!(opens(&made).await);
            }
            rotate(&made.issuer, false).await.unwrap();
            assert!(opens(&made).await);
            assert!(masters.next().unwrap().is_none(), "{stopped_after}");
            let now = masters.current().unwrap().id().to_owned();
            assert_ne!(now, old);
            assert_eq!(stopped_after > 0, now == new.id());
            assert!(all(&made.issuer).await.unwrap().iter().all(|key| key.master == now));
            assert_eq!(masters.find(&old).unwrap().id(), old, "for copies from before");
        }
    }

    #[tokio::test]
    async fn no_key_is_left_or_added_under_another_master_key() {
        let made = Made::new().await;
        let (issuer, config) = (&made.issuer, &made.issuer.config);
        let masters = MasterKeys::at(&config.master_key);
        let (old, new) = (masters.current().unwrap(), MasterKey::from_bytes(&[9; 32]).unwrap());
        let mut few = all(issuer).await.unwrap();
        few.pop();
        let refused = rewrap(issuer, &old, &new, few).await;
        let left = Condition::MasterKey(old.id().to_owned());
        assert!(
            matches!(&refused, Err(CommandError::Decide(DecideError::Conflict(found))) if *found == left),
            "{refused:?}"
        );
        assert!(opens(&made).await, "none of it happened");
        rotate(issuer, false).await.unwrap();
        // Somebody who read the old master key before the rotation adds a key after it.
        let root = Root::load(&config.root_certificate, &config.root_key).unwrap();
        let late = new_key(&issuer.environment, &root, &old, KeyPurpose::Token, &[], made.now()).unwrap();
        let event = crate::fixture::event(&issuer.environment);
        let refused = issuer.store.decide(Decision::new(event).change(Change::AddKey(late))).await;
        assert!(matches!(&refused, Err(DecideError::Conflict(found)) if *found == left), "{refused:?}");
    }

    #[tokio::test]
    async fn the_wrong_master_key_opens_nothing_and_both_are_named() {
        let made = Made::new().await;
        let at = &made.issuer.config.master_key;
        let id = MasterKeys::at(at).current().unwrap().id().to_owned();
        std::fs::remove_file(at).unwrap();
        let refused = made.issuer.reload_keys().await.unwrap_err().to_string();
        assert!(refused.contains(&id) && refused.contains("is missing"), "{refused}");
        write_secret(at, &[7; 32]).unwrap();
        let wrong = MasterKey::from_bytes(&[7; 32]).unwrap();
        let refused = made.issuer.reload_keys().await.unwrap_err().to_string();
        assert!(refused.contains(&id) && refused.contains(wrong.id()), "{refused}");
    }
}
