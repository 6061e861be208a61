//! What every request shares.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use daypass_proto::{presentation::token_of, time::Timestamp};
use daypass_service::{Clock, random};
use tokio::sync::RwLock;

use crate::{
    config::{Config, Guarded},
    nonce::{Nonces, RANDOM},
    replay::Replay,
    route::Route,
    trust::{IssuerClient, Moment, View},
    usage::Usage,
};

/// Unknown keys are asked for at most this often, in seconds: a stranger must not make the gate ask all the time.
const ASK_FOR_KEYS: i64 = 2;

/// A running gate.
pub struct Gate {
    config: Config,
    issuer: String,
    clock: Arc<dyn Clock>,
    nonces: Nonces,
    replay: Replay,
    usage: Usage,
    view: View,
    client: RwLock<Arc<IssuerClient>>,
    asked_for_keys: Mutex<Option<Timestamp>>,
}

impl Gate {
    /// From its parts.
    pub fn new(config: Config, issuer: String, clock: Arc<dyn Clock>, nonces: Nonces, client: IssuerClient) -> Self {
        let mut run = [0; 16];
        random(&mut run);
        Self {
            config,
            issuer,
            clock,
            nonces,
            replay: Replay::default(),
            usage: Usage::new(run),
            view: View::default(),
            client: RwLock::new(Arc::new(client)),
            asked_for_keys: Mutex::new(None),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The issuer's identifier.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Both clocks, for what must not grow young again when one of them is set.
    pub fn moment(&self) -> Moment {
        Moment { at: self.clock.now(), since_boot: self.clock.since_boot() }
    }

    /// The nonces.
    pub fn nonces(&self) -> &Nonces {
        &self.nonces
    }

    /// The replay memory.
    pub fn replay(&self) -> &Replay {
        &self.replay
    }

    /// What was let through.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// What the gate believes.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The issuer.
    pub async fn client(&self) -> Arc<IssuerClient> {
        Arc::clone(&*self.client.read().await)
    }

    /// Talks to the issuer with new certificates from now on.
    pub async fn replace_client(&self, client: IssuerClient) {
        *self.client.write().await = Arc::new(client);
    }

    /// The guarded resource of a route.
    pub fn guarded(&self, route: &Route) -> Option<&Guarded> {
        self.config.resources.iter().find(|guarded| guarded.resource == route.resource)
    }

    /// A fresh nonce for whoever was refused.
    pub fn fresh_nonce(&self, scope: crate::nonce::Scope<'_>, client: IpAddr) -> String {
        let mut fresh = [0; RANDOM];
        random(&mut fresh);
        self.nonces.issue(scope, client, self.moment(), fresh)
    }

    /// Asks for the issuer's keys where the token names one that is not known: it may be new.
    pub async fn know_key_of(&self, credential: &str) {
        let token = token_of(credential).unwrap_or(credential);
        let kid = daypass_proto::jose::UnverifiedJws::parse(token, daypass_proto::token::TYP)
            .ok()
            .and_then(|jws| jws.kid().map(str::to_owned));
        let Some(kid) = kid.filter(|kid| self.view.key(kid).is_none()) else { return };
        let now = self.now();
        {
            let mut asked = self.asked_for_keys.lock().unwrap_or_else(PoisonError::into_inner);
            if asked.is_some_and(|asked| now.since(asked).abs() < ASK_FOR_KEYS) {
                return;
            }
            *asked = Some(now);
        }
        match self.client().await.keys().await {
            Ok(keys) => self.view.learn_keys(keys),
            Err(error) => tracing::warn!(%error, kid, "could not ask for the issuer's keys"),
        }
    }
}
