//! Tokens: in memory only, shared by those who ask for the same, renewed ahead while somebody uses them.
//!
//! Whether a token is fit to be handed out, and whether it is renewed ahead, are pure functions of times, so that an idle laptop
//! asks for nothing, and a suspended one wakes up to the right answer.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use daypass_proto::{
    authorization::AuthorizationDetails,
    caller::Evidence,
    jose::SoftwareKey,
    local_api::{DEFAULT_MIN_TTL, ProofProtection},
    resource::Resource,
    time::Timestamp,
};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::clock::Moment;

/// Who asks, as it is reported to the issuer; as JSON. Tokens are kept apart by it: what policy gives to one caller, another is not handed.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct CallerEvidence(Arc<str>);

impl CallerEvidence {
    /// From a report.
    pub fn new(report: &Evidence) -> Self {
        Self(serde_json::to_string(report).unwrap_or_default().into())
    }

    /// For the issuer.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a token is for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TokenKey {
    /// Whose.
    pub uid: u32,
    /// Which issuer's.
    pub issuer: String,
    /// Which resource.
    pub resource: Resource,
    /// The authorization details that were asked for, as JSON; empty for all.
    pub details: String,
    /// Who signs its proofs.
    pub protection: ProofProtection,
    /// Who asked.
    pub caller: CallerEvidence,
}

/// The life that a token is to have left when it is handed out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Life {
    /// So many seconds.
    AtLeast(i64),
    /// Two thirds of its life: for git, which may pack for minutes between two requests, says nothing of how long, and does not try again
    /// after a 401. Where the issuer is silent, what is left has to do; where tokens are counted as well, so that none is spent on a margin.
    Most,
}

impl Life {
    /// What has to do where no other token can be had.
    pub fn least(self) -> Self {
        match self {
            Self::Most => Self::AtLeast(DEFAULT_MIN_TTL),
            Self::AtLeast(_) => self,
        }
    }
}

/// A token, and what is needed to hand it out again. Prints nothing of itself.
#[derive(Clone)]
pub struct HeldToken {
    /// The token.
    pub token: Arc<Zeroizing<String>>,
    /// What it allows.
    pub details: AuthorizationDetails,
    /// The key that it is bound to, where that is a delegated one. It lives and dies with the token.
    pub delegated: Option<Arc<SoftwareKey>>,
    /// How many more its grant gave when it was issued, where they are counted.
    pub uses_left: Option<u32>,
    /// When it was asked for.
    asked: Moment,
    /// Its life from then on, in seconds.
    lifetime: i64,
    /// When somebody last asked for it.
    last_used: Moment,
}

/// The token endpoint's answer.
#[derive(Deserialize)]
pub struct TokenResponse {
    /// The token.
    pub access_token: Zeroizing<String>,
    /// Its life, in seconds.
    pub expires_in: i64,
    /// What it allows.
    pub authorization_details: AuthorizationDetails,
    /// How many more its grant gives, where they are counted.
    #[serde(default)]
    pub daypass_uses_left: Option<u32>,
}

impl HeldToken {
    /// From an answer to a request that was sent at `asked`: the life counts from then, so it is never thought longer than it is.
    pub fn new(response: TokenResponse, delegated: Option<Arc<SoftwareKey>>, asked: Moment) -> Self {
        Self {
            token: Arc::new(response.access_token),
            details: response.authorization_details,
            delegated,
            uses_left: response.daypass_uses_left,
            asked,
            lifetime: response.expires_in,
            last_used: asked,
        }
    }

    /// The life that is left, in seconds.
    pub fn left(&self, now: Moment) -> i64 {
        self.lifetime.saturating_sub(now.since(self.asked))
    }

    /// Its end, on this machine's clock as it stands.
    pub fn expires_at(&self, now: Moment) -> Timestamp {
        now.now.plus(self.left(now))
    }

    /// Whether it has this life left.
    pub fn is_fit(&self, now: Moment, life: Life) -> bool {
        let left = self.left(now);
        let life = if self.uses_left.is_some() { life.least() } else { life };
        left >= 1
            && match life {
                Life::AtLeast(seconds) => left >= seconds,
                Life::Most => left.saturating_mul(3) >= self.lifetime.saturating_mul(2),
            }
    }

    /// Whether to renew it ahead: two thirds of its life are over, and somebody used it within one lifetime. Where tokens are counted, none is
    /// spent on what nobody may ask for.
    pub fn is_due(&self, now: Moment) -> bool {
        self.uses_left.is_none()
            && now.since(self.asked).saturating_mul(3) >= self.lifetime.saturating_mul(2)
            && now.since(self.last_used) <= self.lifetime
    }
}

/// How many tokens of one user are kept; beyond it the one that was longest unused is forgotten. Whoever runs many different programs has many.
const KEPT: usize = 256;

/// Every live token of this agent, and a lock for each kind, so that concurrent askers share one request.
#[derive(Default)]
pub struct TokenCache {
    held: Mutex<HashMap<TokenKey, HeldToken>>,
    flights: Mutex<HashMap<TokenKey, Arc<tokio::sync::Mutex<()>>>>,
}

impl TokenCache {
    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<TokenKey, HeldToken>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token with this life left; remembers that it was asked for.
    pub fn get(&self, key: &TokenKey, now: Moment, life: Life) -> Option<HeldToken> {
        let mut held = self.held();
        let token = held.get_mut(key).filter(|token| token.is_fit(now, life))?;
        token.last_used = now;
        Some(token.clone())
    }

    /// Keeps a token; a renewal ahead (`keep_use`) is not a use.
    pub fn put(&self, key: TokenKey, mut token: HeldToken, keep_use: bool) {
        let mut held = self.held();
        if let (true, Some(old)) = (keep_use, held.get(&key)) {
            token.last_used = old.last_used;
        }
        if held.keys().filter(|other| other.uid == key.uid).count() >= KEPT {
            let own = held.iter().filter(|(other, _)| other.uid == key.uid);
            let oldest = own.min_by_key(|(_, token)| token.last_used.since_boot).map(|(other, _)| other.clone());
            oldest.map(|oldest| held.remove(&oldest));
        }
        held.insert(key, token);
    }

    /// The lock under which tokens of this kind are asked for.
    pub fn flight(&self, key: &TokenKey) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(flights.entry(key.clone()).or_default())
    }

    /// Forgets what is over; gives what is due for renewal.
    pub fn due(&self, now: Moment) -> Vec<TokenKey> {
        let mut held = self.held();
        held.retain(|_, token| token.left(now) > 0);
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|key, flight| held.contains_key(key) || Arc::strong_count(flight) > 1);
        held.iter().filter(|(_, token)| token.is_due(now)).map(|(key, _)| key.clone()).collect()
    }

    /// Forgets a user's token with exactly this text.
    pub fn drop_token(&self, uid: u32, text: &str) {
        self.held().retain(|key, token| key.uid != uid || token.token.as_str() != text);
    }

    /// Forgets everything of one enrolment.
    pub fn drop_all(&self, uid: u32, issuer: &str) {
        self.held().retain(|key, _| key.uid != uid || key.issuer != issuer);
    }

    /// Where one enrolment has live tokens, and until when the last of them lives.
    pub fn live(&self, uid: u32, issuer: &str, now: Moment) -> Vec<(Resource, Timestamp)> {
        let held = self.held();
        let own = held.iter().filter(|(key, token)| key.uid == uid && key.issuer == issuer && token.left(now) > 0);
        let mut ends = BTreeMap::new();
        for (key, token) in own {
            let end = ends.entry(key.resource.clone()).or_insert(token.expires_at(now));
            *end = token.expires_at(now).max(*end);
        }
        ends.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that started 900 seconds after the epoch, and whose clock nobody sets.
    fn at(seconds: i64) -> Moment {
        clocks(seconds, seconds - 900)
    }

    fn clocks(now: i64, since_boot: i64) -> Moment {
        Moment { now: Timestamp::from_seconds(now), since_boot }
    }

    fn token(text: &str) -> HeldToken {
        let response = TokenResponse {
            daypass_uses_left: None,
            access_token: Zeroizing::new(text.to_owned()),
            expires_in: 600,
            authorization_details: AuthorizationDetails::default(),
        };
        HeldToken::new(response, None, at(1000))
    }

    fn key(uid: u32) -> TokenKey {
        TokenKey {
            uid,
            issuer: "https://i".into(),
            resource: "https://h/".parse().unwrap(),
            details: String::new(),
            protection: ProofProtection::Hardware,
            caller: CallerEvidence::new(&Evidence::unavailable()),
        }
    }

    #[test]
    fn a_token_is_handed_out_with_the_life_that_was_asked_for() {
        let token = token("t");
        for (now, min_ttl, fit) in
            [(1000, 600, true), (1001, 600, false), (1570, 30, true), (1571, 30, false), (1600, 0, false)]
        {
            assert_eq!(token.is_fit(at(now), Life::AtLeast(min_ttl)), fit, "at {now} for {min_ttl}");
        }
    }

    #[test]
    fn git_is_given_most_of_a_tokens_life() {
        let token = token("t");
        for (now, fit) in [(1000, true), (1200, true), (1201, false), (1599, false), (1600, false)] {
            assert_eq!(token.is_fit(at(now), Life::Most), fit, "at {now}");
        }
        // What has to do while the issuer is silent.
        assert!(token.is_fit(at(1570), Life::Most.least()) && !token.is_fit(at(1571), Life::Most.least()));
        assert_eq!(Life::AtLeast(400).least(), Life::AtLeast(400));
        let counted = HeldToken { uses_left: Some(3), ..token };
        assert!(counted.is_fit(at(1570), Life::Most) && !counted.is_fit(at(1571), Life::Most), "none for a margin");
    }

    #[test]
    fn a_clock_that_is_set_lengthens_no_life() {
        let token = token("t");
        // A minute later, whatever the time of day says: put back by years, by a minute, and ahead by seconds.
        for (now, left) in [(1060, 540), (-100_000_000, 540), (1000, 540), (1070, 530)] {
            assert_eq!(token.left(clocks(now, 160)), left, "at {now}");
        }
        assert_eq!(token.expires_at(clocks(500, 160)).seconds(), 1040, "as the clock stands now");
        assert!(!token.is_fit(clocks(100_000_000, 160), Life::AtLeast(1)), "ahead by years");
        assert!(!token.is_fit(clocks(1010, 700), Life::AtLeast(1)), "the machine slept, and its clock was put back");
    }

    #[test]
    fn a_machine_that_slept_wakes_up_to_what_is_due() {
        let mut token = token("t");
        // Asleep for half the life: the clock of the machine's running time would have stood still.
        assert!(!token.is_due(at(1100)));
        assert!(token.is_due(at(1400)));
        token.last_used = at(1390);
        assert!(!token.is_fit(at(5000), Life::AtLeast(1)));
    }

    #[test]
    fn what_was_armed_before_a_sleep_fires_after_it() {
        // The machine sleeps for 400 s, whatever its time of day says afterwards: put back by years, to where it was, or right.
        for now in [-100_000_000, 1000, 1400] {
            let (cache, woken) = (TokenCache::default(), clocks(now, 500));
            cache.put(key(1), token("t"), false);
            assert!(cache.due(at(1000)).is_empty());
            assert_eq!(cache.due(woken), [key(1)], "at {now}");
            assert!(cache.get(&key(1), woken, Life::AtLeast(201)).is_none(), "at {now}");
            assert!(cache.due(clocks(now + 200, 700)).is_empty(), "over, at {now}");
            assert!(cache.get(&key(1), clocks(now + 200, 700), Life::AtLeast(1)).is_none(), "over, at {now}");
        }
    }

    #[test]
    fn only_what_is_used_is_renewed() {
        let mut token = token("t");
        assert!(!token.is_due(at(1399)));
        assert!(token.is_due(at(1400)));
        token.last_used = clocks(700, -200);
        assert!(!token.is_due(at(1400)), "an idle laptop asks for nothing");
        let counted = HeldToken { uses_left: Some(3), last_used: at(1400), ..token };
        assert!(!counted.is_due(at(1400)), "a token that is counted is not spent on nobody");
    }

    #[test]
    fn users_have_their_own() {
        let cache = TokenCache::default();
        cache.put(key(1), token("a"), false);
        cache.put(key(2), token("b"), false);
        assert!(cache.get(&key(1), at(1001), Life::AtLeast(30)).is_some());
        cache.drop_token(2, "a");
        assert!(cache.get(&key(1), at(1001), Life::AtLeast(30)).is_some(), "another user's erase drops nothing");
        cache.drop_token(1, "a");
        assert!(cache.get(&key(1), at(1001), Life::AtLeast(30)).is_none());
        assert_eq!(cache.live(2, "https://i", at(1001)).len(), 1);
        cache.drop_all(2, "https://i");
        assert!(cache.live(2, "https://i", at(1001)).is_empty());
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let cache = TokenCache::default();
        cache.put(key(1), token("a"), false);
        assert!(cache.due(at(1300)).is_empty());
        cache.get(&key(1), at(1300), Life::AtLeast(1));
        assert_eq!(cache.due(at(1400)).len(), 1);
        assert!(cache.due(at(1600)).is_empty());
        assert!(cache.live(1, "https://i", at(1599)).is_empty());
    }
}
