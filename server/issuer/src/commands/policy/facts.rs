//! What a question about a policy takes for granted: a request and its circumstances, from the command line.

use std::net::IpAddr;

use daypass_proto::{
    arguments::{address, text, word},
    authorization::AuthorizationDetails,
    encoding::Fixed,
    enrolment::TrustTier,
    resource::Resource,
    time::Timestamp,
    token::Protection,
};
use serde_json::json;

use super::CommandError;
use crate::{policy::Action, token::trial::Trial};

/// What would be asked for, and how.
#[derive(Debug, clap::Args)]
pub struct Request {
    /// What is asked for: a repository, or a whole API. May be given more than once; where it is left out, everything that the role gives at one resource.
    #[arg(long, value_name = "URL", value_parser = text)]
    location: Vec<String>,
    /// What would be done there [default: `read`, or `GET` with `--path`]. May be given more than once.
    #[arg(long, value_name = "ACTION", requires = "location", value_parser = text)]
    action: Vec<String>,
    /// On which ref, or pattern of refs. May be given more than once.
    #[arg(long = "ref", value_name = "REF", requires = "location", conflicts_with = "path", value_parser = text)]
    reference: Vec<String>,
    /// On which path of an API, or pattern of paths. May be given more than once.
    #[arg(long, value_name = "PATH", requires = "location", value_parser = text)]
    path: Vec<String>,
    /// What the token would be for, where no location says it.
    #[arg(long, value_name = "URL", conflicts_with = "location")]
    resource: Option<Resource>,
}

/// In which circumstances; what is not given is as it stands in the store, or as it usually is.
#[derive(Debug, clap::Args)]
pub struct Circumstances {
    /// What would be decided: `issue` (a token), `approve` (the grant comes into force), `renew` (it gets a later end).
    #[arg(long, value_name = "WHAT", value_parser = word::<Action>, default_value = "issue")]
    decision: Action,
    /// Who signs the proofs: `hardware`, `delegated`, `software`.
    #[arg(long, value_name = "WHO", value_parser = word::<Protection>)]
    protection: Option<Protection>,
    /// How well the device's TPM is known: `ek_chain`, `ek_registered`, `ek_unknown`, `virtual`, `software`.
    #[arg(long, value_name = "TIER", value_parser = word::<TrustTier>)]
    trust_tier: Option<TrustTier>,
    /// Secure Boot: `true`, `false`, or `unknown`.
    #[arg(long, value_name = "STATE", value_parser = secure_boot)]
    secure_boot: Option<SecureBoot>,
    /// A PCR that the device quoted. May be given more than once.
    #[arg(long, value_name = "NUMBER=HEX", value_parser = pcr)]
    pcr: Vec<(u8, Fixed<32>)>,
    /// The device's operating system, as it says itself.
    #[arg(long, value_name = "TEXT", value_parser = text)]
    os: Option<String>,
    /// The agent's version, as it says itself.
    #[arg(long, value_name = "TEXT", value_parser = text)]
    agent_version: Option<String>,
    /// Where the request comes from.
    #[arg(long, value_name = "IP", value_parser = address)]
    address: Option<IpAddr>,
    /// When it is asked: a moment such as `2027-01-31T18:00:00Z` [default: now]
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    at: Option<Timestamp>,
}

/// What is known of Secure Boot.
#[derive(Clone, Copy, Debug)]
struct SecureBoot(Option<bool>);

impl Request {
    /// What is asked for, and where; `only` is the one resource that there is, if there is but one.
    pub(super) fn read(
        &self,
        only: Option<Resource>,
    ) -> Result<(Resource, Option<AuthorizationDetails>), CommandError> {
        if self.location.is_empty() {
            let resource = self.resource.clone().or(only);
            let missing =
                "say for what: `--location` with what would be done there, or `--resource` for all that there is";
            return Ok((resource.ok_or_else(|| CommandError::Ask(missing.to_owned()))?, None));
        }
        let or = |given: &[String], usually: &str| {
            if given.is_empty() { vec![usually.to_owned()] } else { given.to_vec() }
        };
        let detail = if !self.path.is_empty() {
            json!({"type": "http_api", "locations": self.location, "actions": or(&self.action, "GET"), "paths": self.path})
        } else if self.reference.is_empty() {
            json!({"type": "git_repository", "locations": self.location, "actions": or(&self.action, "read")})
        } else {
            json!({"type": "git_repository", "locations": self.location, "actions": or(&self.action, "read"), "refs": self.reference})
        };
        let asked: AuthorizationDetails =
            serde_json::from_value(json!([detail])).map_err(|error| CommandError::Ask(error.to_string()))?;
        let resource = asked.resources().into_iter().next();
        let resource = resource.ok_or_else(|| CommandError::Ask("nothing is asked for".to_owned()))?;
        Ok((resource, Some(asked)))
    }
}

impl Circumstances {
    /// The moment, where one is given.
    pub(super) fn at(&self) -> Option<Timestamp> {
        self.at
    }

    /// As they are given, over what is known.
    pub(super) fn over(self, mut trial: Trial) -> Trial {
        if let Some(protection) = self.protection {
            trial = trial.with_protection(protection);
        }
        let asker = &mut trial.asker;
        asker.trust_tier = self.trust_tier.unwrap_or(asker.trust_tier);
        if let Some(SecureBoot(state)) = self.secure_boot {
            asker.secure_boot = state;
        }
        asker.pcrs.extend(self.pcr);
        if let Some(os) = self.os {
            asker.os = os;
        }
        if let Some(version) = self.agent_version {
            asker.agent_version = version;
        }
        trial.address = self.address;
        trial.action = self.decision;
        trial
    }
}

fn secure_boot(text: &str) -> Result<SecureBoot, String> {
    match text {
        "true" => Ok(SecureBoot(Some(true))),
        "false" => Ok(SecureBoot(Some(false))),
        "unknown" => Ok(SecureBoot(None)),
        _ => Err("expected `true`, `false` or `unknown`".to_owned()),
    }
}

fn pcr(text: &str) -> Result<(u8, Fixed<32>), String> {
    let wrong = || "expected a number from 0 to 23, `=`, and a SHA-256 in 64 hexadecimal digits".to_owned();
    let (number, value) = text.split_once('=').ok_or_else(wrong)?;
    let number = number.parse().ok().filter(|number| *number < 24).ok_or_else(wrong)?;
    let value: [u8; 32] = hex::decode(value).ok().and_then(|value| value.try_into().ok()).ok_or_else(wrong)?;
    Ok((number, Fixed(value)))
}

fn moment(text: &str) -> Result<Timestamp, String> {
    let time: jiff::Timestamp =
        text.parse().map_err(|_| "expected a moment such as `2027-01-31T18:00:00Z`".to_owned())?;
    Ok(Timestamp::from_seconds(time.as_second()))
}
