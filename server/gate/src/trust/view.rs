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
    heard: Option<Moment>,
}

/// A time of day, and where the clock stood that nobody sets.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The time of day.
    pub at: Timestamp,
    /// Seconds since the machine started.
    pub since_boot: i64,
}

impl Moment {
    /// The seconds that passed since `earlier`, by whichever clock says more: a clock that was put back makes nothing young again.
    fn since(self, earlier: Self) -> i64 {
        self.at.since(earlier.at).abs().max(self.since_boot.saturating_sub(earlier.since_boot))
    }
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
    pub fn learn_revocations(&self, answer: Revocations, now: Moment) {
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
    pub fn freshness(&self, now: Moment, max_age: i64) -> Freshness {
        let content = self.read();
        match content.heard {
            None => Freshness::Never,
            Some(_) if content.keys.is_empty() => Freshness::Never,
            Some(heard) if now.since(heard) > max_age => Freshness::Stale(heard.at),
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
        let clocks = |at, since_boot| Moment { at: Timestamp::from_seconds(at), since_boot };
        let at = |seconds| clocks(seconds, seconds);
        assert_eq!(view.freshness(at(0), 60), Freshness::Never);
        let answer = Revocations { as_of: at(5).at, resources: Vec::new(), tokens: Vec::new() };
        view.learn_revocations(answer, at(10));
        assert_eq!(view.freshness(at(10), 60), Freshness::Never, "no keys yet");
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let key = EcPublicKey::from_spki_der(&rcgen::PublicKeyData::subject_public_key_info(&pair)).unwrap();
        view.learn_keys(vec![("k".into(), key)]);
        assert_eq!(view.freshness(at(70), 60), Freshness::Fresh);
        assert_eq!(view.freshness(at(71), 60), Freshness::Stale(at(10).at));
        // Put back by years, or by a little to gain a little: the other clock went on.
        assert_eq!(view.freshness(clocks(-100_000_000, 11), 60), Freshness::Stale(at(10).at));
        assert_eq!(view.freshness(clocks(10, 71), 60), Freshness::Stale(at(10).at));
        assert_eq!(view.freshness(clocks(100_000_000, 11), 60), Freshness::Stale(at(10).at));
        assert!(view.key("k").is_some() && view.key("l").is_none());
    }
}
