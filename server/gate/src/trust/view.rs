//! What the gate believes now: one writer, many readers. It fails closed before the first answer, and when the answers stop.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use daypass_proto::{
    gate_api::Revocations,
    jose::EcPublicKey,
    names::{DeviceId, GrantId},
    oauth_error::Reason,
    resource::Resource,
    time::Timestamp,
    token::AccessTokenClaims,
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
    dead_tokens: HashMap<String, Reason>,
    dead_devices: HashMap<DeviceId, Reason>,
    dead_grants: HashMap<GrantId, Reason>,
    resources: Vec<Resource>,
    heard: Option<Moment>,
    wrong_time: Option<String>,
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
    pub fn since(self, earlier: Self) -> i64 {
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

    /// Takes the issuer's word on what is dead, heard at `now`.
    pub fn learn_revocations(&self, answer: Revocations, now: Moment) {
        self.change(|content| {
            content.dead_tokens = answer.tokens.into_iter().map(|dead| (dead.jti, dead.reason)).collect();
            content.dead_devices = answer.devices.into_iter().map(|dead| (dead.device, dead.reason)).collect();
            content.dead_grants = answer.grants.into_iter().map(|dead| (dead.grant, dead.reason)).collect();
            content.resources = answer.resources;
            content.heard = Some(now);
            content.wrong_time = None;
        });
    }

    /// The issuer gave no word; `wrong_time` says what is wrong with the time, here or there, where that is why.
    pub fn learn_silence(&self, wrong_time: Option<String>) {
        self.change(|content| content.wrong_time = wrong_time);
    }

    /// What is wrong with the time, where that is why nothing is heard.
    pub fn wrong_time(&self) -> Option<String> {
        self.read().wrong_time.clone()
    }

    /// The key with this `kid`.
    pub fn key(&self, kid: &str) -> Option<EcPublicKey> {
        self.read().keys.get(kid).copied()
    }

    /// Why a token is dead, if it is: its device, it itself, or its grant.
    pub fn dead(&self, claims: &AccessTokenClaims) -> Option<Reason> {
        let content = self.read();
        let device = content.dead_devices.get(&claims.daypass.device);
        let token = || content.dead_tokens.get(&claims.jti);
        let grant = || content.dead_grants.get(&claims.daypass.grant);
        device.or_else(token).or_else(grant).copied()
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
    use daypass_proto::gate_api::{DeadDevice, DeadGrant, RevokedToken};

    use super::*;

    fn nothing_dead() -> Revocations {
        Revocations::none(Timestamp::from_seconds(5), Vec::new())
    }

    #[test]
    fn a_token_dies_with_its_device_and_with_its_grant() {
        let view = View::default();
        let claims = crate::flow::sample_claims(1000);
        let now = Moment { at: Timestamp::from_seconds(10), since_boot: 10 };
        let told = |change: &dyn Fn(&mut Revocations)| {
            let mut answer = nothing_dead();
            change(&mut answer);
            view.learn_revocations(answer, now);
            view.dead(&claims)
        };
        let (device, grant) = (claims.daypass.device.clone(), claims.daypass.grant.clone());
        let device = |answer: &mut Revocations| {
            answer.devices.push(DeadDevice { device: device.clone(), reason: Reason::DeviceSuspended });
        };
        let token = |answer: &mut Revocations| {
            answer.tokens.push(RevokedToken { jti: claims.jti.clone(), reason: Reason::TokenRevoked });
        };
        let grant = |answer: &mut Revocations| {
            answer.grants.push(DeadGrant { grant: grant.clone(), reason: Reason::GrantEnded });
        };
        let others = |answer: &mut Revocations| {
            let (device, grant) = (DeviceId::from_random([7; 10]), GrantId::from_random([7; 10]));
            answer.devices.push(DeadDevice { device, reason: Reason::DeviceRevoked });
            answer.grants.push(DeadGrant { grant, reason: Reason::GrantEnded });
            answer.tokens.push(RevokedToken { jti: "other".to_owned(), reason: Reason::TokenRevoked });
        };
        assert_eq!(told(&others), None);
        assert_eq!(told(&grant), Some(Reason::GrantEnded));
        assert_eq!(told(&token), Some(Reason::TokenRevoked));
        assert_eq!(told(&device), Some(Reason::DeviceSuspended));
        assert_eq!(told(&|_| {}), None, "what the issuer names no more is good again");
    }

    #[test]
    fn it_fails_closed_before_and_after() {
        let view = View::default();
        let clocks = |at, since_boot| Moment { at: Timestamp::from_seconds(at), since_boot };
        let at = |seconds| clocks(seconds, seconds);
        assert_eq!(view.freshness(at(0), 60), Freshness::Never);
        view.learn_revocations(nothing_dead(), at(10));
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
