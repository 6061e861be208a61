//! What a grant is bound to beside role and end: as options, and as people read it.

use daypass_proto::{
    arguments::{number, word as known},
    enrolment::TrustTier,
    names::PhaseName,
    time::Timestamp,
};
use jiff::tz::TimeZone;

use super::{CommandError, arguments::begin};
use crate::{network::Network, policy::word, store::Terms, until};

/// What narrows a grant.
#[derive(Debug, clap::Args)]
pub struct Narrower {
    /// It gives nothing before: a date (the begin of that day), a time, or how long it takes until then.
    #[arg(long, value_name = "WHEN", value_parser = begin)]
    not_before: Option<String>,
    /// It is for this phase of the project, and ends with it at the latest.
    #[arg(long)]
    pub(super) phase: Option<PhaseName>,
    /// It gives so many tokens at most; the role's number where it has one.
    #[arg(long, value_name = "NUMBER", value_parser = |given: &str| number::<u32>(given, 1..=u32::MAX.into()))]
    uses: Option<u32>,
    /// It is used from this network only (`192.0.2.0/24`, or one address); can be given again.
    #[arg(long = "from-network", value_name = "NETWORK")]
    networks: Vec<Network>,
    /// It is used by devices of this trust tier only; can be given again.
    #[arg(long = "trust-tier", value_name = "TIER", value_parser = known::<TrustTier>)]
    trust_tiers: Vec<TrustTier>,
    /// It is used by devices only that boot with Secure Boot.
    #[arg(long)]
    secure_boot: bool,
}

impl Narrower {
    /// The terms that were asked for.
    pub(super) fn terms(&self, now: Timestamp, zone: &TimeZone) -> Result<Terms, CommandError> {
        let not_before = self.not_before.as_deref().map(|text| until::begin(text, now, zone)).transpose()?;
        Ok(Terms {
            not_before,
            phase: self.phase.clone(),
            uses: self.uses,
            grace: 0,
            networks: self.networks.clone(),
            trust_tiers: self.trust_tiers.clone(),
            secure_boot: self.secure_boot,
        })
    }
}

/// The terms of a grant with this hard end: each with its name.
pub(super) fn told(terms: &Terms, until: Timestamp, used: u32) -> Vec<(&'static str, String)> {
    let mut told = Vec::new();
    told.extend(terms.not_before.map(|begins| ("not before", begins.to_string())));
    told.extend(terms.phase.as_ref().map(|phase| ("phase", format!("{phase}, and ends with it"))));
    told.extend(terms.uses.map(|uses| ("tokens", format!("{uses} at most, {used} given"))));
    if terms.grace > 0 {
        told.push(("grace", format!("less than that until {}", until.plus(terms.grace))));
    }
    told.extend(terms.networks.iter().map(|network| ("from", network.to_string())));
    told.extend(terms.trust_tiers.iter().map(|tier| ("trust tier", word(tier))));
    if terms.secure_boot {
        told.push(("device", "boots with Secure Boot".to_owned()));
    }
    told
}
