//! What the gate believes now: one writer, many readers. It fails closed before the first answer, and when the answers stop.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use daypass_proto::{
    gate_api::Revocations, jose::EcPublicKey, oauth_error::Reason, resource::Resource, time::Timestamp,
};

/// Whether the view can be relied on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Freshness {
    /// Heard within the allowed time.
    Fresh,
    /// Not heard yet.
    Never,
    /// Last heard at this time, too long ago.
    Stale(Timestamp),
}

#[derive(Clone, Default)]
struct Content {
    keys: HashMap<String, EcPublicKey>,
    dead: HashMap<String, Reason>,
    resources: Vec<Resource>,
    heard: Option<Timestamp>,
}

/// The view.
#[derive(Default)]
pub struct View(RwLock<Arc<Content>>);

impl View {
    fn read(&self) -> Arc<Content> {
        // A writer that panicked left the old content, which is whole.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Content)) {
        let mut guard = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut content = Content::clone(&guard);
        change(&mut content);
        *guard = Arc::new(content);
    }

    /// Takes the issuer's published keys.
    pub fn learn_keys(&self, keys: Vec<(String, EcPublicKey)>) {
        self.change(|content| content.keys = keys.into_iter().collect());
    }

    /// Takes the issuer's word on dead tokens, heard at `now`.
    pub fn learn_revocations(&self, answer: Revocations, now: Timestamp) {
        self.change(|content| {
            content.dead = answer.tokens.into_iter().map(|token| (token.jti, token.reason)).collect();
            content.resources = answer.resources;
            content.heard = Some(now);
        });
    }

    /// The key with this `kid`.
    pub fn key(&self, kid: &str) -> Option<EcPublicKey> {
        self.read().keys.get(kid).copied()
    }

    /// Why a token is dead, if it is.
    pub fn dead(&self, jti: &str) -> Option<Reason> {
        self.read().dead.get(jti).copied()
    }

    /// Whether the issuer lets this gate guard `resource`.
    pub fn guards(&self, resource: &Resource) -> bool {
        self.read().resources.contains(resource)
    }

    /// Whether what is known is new enough.
    pub fn freshness(&self, now: Timestamp, max_age: i64) -> Freshness {
        let content = self.read();
        match content.heard {
            None => Freshness::Never,
            Some(_) if content.keys.is_empty() => Freshness::Never,
            Some(heard) if now.since(heard) > max_age => Freshness::Stale(heard),
            Some(_) => Freshness::Fresh,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fails_closed_before_and_after() {
        let view = View::default();
        let at = Timestamp::from_seconds;
        assert_eq!(view.freshness(at(0), 60), Freshness::Never);
        view.learn_revocations(Revocations { as_of: at(5), resources: Vec::new(), tokens: Vec::new() }, at(10));
        assert_eq!(view.freshness(at(10), 60), Freshness::Never, "no keys yet");
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let key = EcPublicKey::from_spki_der(&rcgen::PublicKeyData::subject_public_key_info(&pair)).unwrap();
        view.learn_keys(vec![("k".into(), key)]);
        assert_eq!(view.freshness(at(70), 60), Freshness::Fresh);
        assert_eq!(view.freshness(at(71), 60), Freshness::Stale(at(10)));
        assert!(view.key("k").is_some() && view.key("l").is_none());
    }
}
