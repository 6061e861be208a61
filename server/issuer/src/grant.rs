//! What is left of a grant at a moment, by its record and by today's policy.
//!
//! ```text
//! not before ──► all that the role gives ──► hard end ──► what its grace leaves ──► over
//! ```
//!
//! The hard end is that of the grant or of its phase, whichever comes first, and nothing is left of a grant whose phase is over. Its state says what
//! people decided; this says what time did, whether somebody has marked it yet or not.

mod listing;

use std::net::IpAddr;

use daypass_proto::time::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) use self::listing::{Among, Pages};
use crate::{
    policy::{Policy, Project, Role, Subject, word},
    store::{Grant, GrantLife, Terms},
};

/// The times of a grant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Span {
    /// It gives nothing before, where there is a begin.
    pub begins: Option<Timestamp>,
    /// The hard end.
    pub ends: Timestamp,
    /// The end of its grace; the hard end where there is none.
    pub over: Timestamp,
}

/// For how many seconds after its hard end something is left: whichever is less, what was granted or what the role leaves today.
pub(crate) fn grace(role: &Role, grant: &Grant) -> i64 {
    role.grace.as_ref().map_or(0, |grace| grace.seconds).min(grant.terms.grace)
}

/// Where a moment is among them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Before its begin.
    NotYet(Timestamp),
    /// It gives what its role gives.
    Full,
    /// After its hard end: it gives what is left in grace.
    Grace,
    /// Over.
    Over,
}

impl Span {
    /// The times of this grant; `None` where today's policy does not have its phase.
    pub fn of(grant: &Grant, project: &Project, role: &Role) -> Option<Self> {
        let phase = match &grant.terms.phase {
            Some(name) => Some(project.phase(name)?),
            None => None,
        };
        let bounded = |time: Timestamp| phase.map_or(time, |phase| time.min(phase.ends));
        let grace = grace(role, grant);
        Some(Self {
            begins: grant.terms.not_before.max(phase.and_then(|phase| phase.begins)),
            ends: bounded(grant.until),
            over: bounded(grant.until.plus(grace)),
        })
    }

    /// The times of this grant by its record alone.
    pub fn recorded(grant: &Grant) -> Self {
        Self { begins: grant.terms.not_before, ends: grant.until, over: grant.until.plus(grant.terms.grace) }
    }

    /// Where `now` is.
    pub fn at(&self, now: Timestamp) -> Standing {
        match self.begins {
            _ if now >= self.over => Standing::Over,
            _ if now >= self.ends => Standing::Grace,
            Some(begins) if now < begins => Standing::NotYet(begins),
            _ => Standing::Full,
        }
    }
}

impl Standing {
    /// The state of a grant that is in force there.
    pub const fn life(self) -> GrantLife {
        match self {
            Self::NotYet(_) | Self::Full => GrantLife::Active,
            Self::Grace => GrantLife::Grace,
            Self::Over => GrantLife::Ended,
        }
    }
}

impl Grant {
    /// How many tokens it gives in all, where they are counted: by its own number or by its role's, whichever is less.
    pub fn uses(&self, role: &Role) -> Option<u32> {
        [self.terms.uses, role.uses].into_iter().flatten().min()
    }

    /// How many more tokens it gives, where they are counted.
    pub fn uses_left(&self, role: &Role) -> Option<u32> {
        self.uses(role).map(|most| most.saturating_sub(self.used))
    }
}

/// Where a grant is, as people read it: what was decided about it, and what time and use have made of that.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shown {
    /// In this state, whether somebody has marked it yet or not.
    Life(GrantLife),
    /// It gives no more tokens. Those that it gave live on, so that nothing has ended.
    UsedUp,
}

impl Shown {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Life(life) => life.as_str(),
            Self::UsedUp => "used_up",
        }
    }

    /// Those that time and use make of a grant that was approved; the store has what people decided.
    pub(crate) const OF_TIME: [Self; 4] =
        [Self::Life(GrantLife::Active), Self::Life(GrantLife::Grace), Self::Life(GrantLife::Ended), Self::UsedUp];

    /// The state in the store that is shown so, whatever the time.
    pub(crate) const fn decided(self) -> Option<GrantLife> {
        match self {
            Self::UsedUp | Self::Life(GrantLife::Active | GrantLife::Grace) => None,
            Self::Life(other) => Some(other),
        }
    }
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Shown {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == Self::UsedUp.as_str() {
            return Ok(Self::UsedUp);
        }
        serde_json::from_value(text.into())
            .map(Self::Life)
            .map_err(|_| "expected requested, active, grace, used_up, suspended, revoked or ended".to_owned())
    }
}

impl<'de> Deserialize<'de> for Shown {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Shown {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Grant {
    /// Where it is now, as people read it, by today's policy.
    pub fn shown(&self, policy: &Policy, now: Timestamp) -> Shown {
        if !matches!(self.state, GrantLife::Active | GrantLife::Grace) {
            return Shown::Life(self.state);
        }
        let project = policy.project(&self.project);
        let role = project.and_then(|project| project.role(&self.role));
        let span = project.zip(role).and_then(|(project, role)| Span::of(self, project, role));
        let standing = span.unwrap_or_else(|| Span::recorded(self)).at(now);
        match role.and_then(|role| self.uses_left(role)) {
            Some(0) if standing != Standing::Over => Shown::UsedUp,
            Some(_) | None => Shown::Life(standing.life()),
        }
    }
}

impl Terms {
    /// What speaks against this device, asking from there: in people's words.
    pub fn against(&self, subject: &Subject<'_>, address: Option<IpAddr>) -> Option<String> {
        let from = |address: IpAddr| self.networks.iter().any(|network| network.contains(address));
        if !self.networks.is_empty() && !address.is_some_and(from) {
            let networks = listed(self.networks.iter().map(ToString::to_string));
            let address = address
                .map_or_else(|| "an unknown address".to_owned(), |address| format!("`{}`", address.to_canonical()));
            return Some(format!("requests from {networks}, and this one comes from {address}"));
        }
        if !self.trust_tiers.is_empty() && !self.trust_tiers.contains(&subject.trust_tier) {
            let tiers = listed(self.trust_tiers.iter().map(word));
            return Some(format!("devices of trust tier {tiers}, and this one is `{}`", word(&subject.trust_tier)));
        }
        if self.secure_boot && subject.secure_boot != Some(true) {
            let is = if subject.secure_boot.is_some() { "boots without" } else { "does not say whether it does" };
            return Some(format!("devices that boot with Secure Boot, and this one {is}"));
        }
        None
    }
}

fn listed(names: impl Iterator<Item = String>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests;
