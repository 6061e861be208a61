//! Options that several commands have.

use std::{fmt::Display, io::Write as _};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use daypass_proto::{
    admin_api::Sort,
    arguments::{number, text},
    names::{Collaborator, ProjectName, RoleName},
    time::Timestamp,
    words::words,
};
use jiff::tz::TimeZone;

use super::{CommandError, operator};
use crate::{actor::Actor, store::Find, until};

/// Which grants or invitations are listed, and how.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Only those of this collaborator.
    #[arg(long, value_name = "NAME")]
    collaborator: Option<Collaborator>,
    /// Only those in this project.
    #[arg(long)]
    project: Option<ProjectName>,
    /// Only those in this role.
    #[arg(long)]
    role: Option<RoleName>,
    /// In this order; `until` is the end, of an invitation that of its code.
    #[arg(long, default_value_t = Sort::Id, value_parser = sort())]
    sort: Sort,
    /// No more than so many; standard error says where there are more.
    #[arg(long, default_value_t = 1000, value_name = "NUMBER", value_parser = |given: &str| number::<u32>(given, 1..=100_000))]
    limit: u32,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

fn sort() -> impl TypedValueParser<Value = Sort> {
    PossibleValuesParser::new(Sort::ALL.map(Sort::as_str)).try_map(|word| word.parse::<Sort>())
}

impl Which {
    /// What is looked for in the store: one more than is shown, so that it is known whether there are more.
    pub(super) fn find(&self, states: Vec<&'static str>) -> Find {
        Find {
            collaborator: self.collaborator.clone(),
            project: self.project.clone(),
            role: self.role.clone(),
            states,
            sort: self.sort,
            ..Find::up_to(self.limit.saturating_add(1))
        }
    }

    /// As many as were asked for; says where there are more.
    pub(super) fn cut<T>(&self, mut found: Vec<T>) -> Result<Vec<T>, CommandError> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        if found.len() > limit {
            writeln!(std::io::stderr(), "there are more than these {limit}; narrow the list, or raise `--limit`")
                .map_err(CommandError::Output)?;
            found.truncate(limit);
        }
        Ok(found)
    }
}

/// For whom an account on this machine decides.
#[derive(Debug, clap::Args)]
pub struct Behalf {
    /// Decide for this owner of the project, who has no enrolled device. Needs `approve_on_behalf = true` in the configuration, and a role that asks
    /// for one approver.
    #[arg(long, value_name = "OWNER", requires = "reason")]
    pub(super) on_behalf_of: Option<Collaborator>,
    /// Why, for the ledger.
    #[arg(long, value_parser = reason)]
    pub(super) reason: Option<String>,
}

/// What ends something shows it, and asks.
#[derive(Debug, clap::Args)]
pub struct Yes {
    /// Do not ask.
    #[arg(long)]
    pub(super) yes: bool,
}

impl Behalf {
    /// Who decides.
    pub(super) fn actor(&self) -> Actor {
        Actor::Machine { account: operator(), on_behalf_of: self.on_behalf_of.clone() }
    }
}

/// A reason, as it goes to the ledger: words, and not more than somebody reads.
pub(super) fn reason(text: &str) -> Result<String, String> {
    words(text).map(str::to_owned).map_err(|error| format!("a reason {error}"))
}

/// An end; which one it is shows where its zone and the time are known.
pub(super) fn end(given: &str) -> Result<String, String> {
    formed(given, |text| until::until(text, Timestamp::from_seconds(0), &TimeZone::UTC))
}

/// A begin, likewise.
pub(super) fn begin(given: &str) -> Result<String, String> {
    formed(given, |text| until::begin(text, Timestamp::from_seconds(0), &TimeZone::UTC))
}

/// A moment that is looked back to, likewise.
pub(super) fn moment(given: &str) -> Result<String, String> {
    formed(given, |text| until::past(text, Timestamp::from_seconds(0), &TimeZone::UTC, until::Edge::Begin))
}

/// How long something takes.
pub(super) fn duration(given: &str) -> Result<String, String> {
    formed(given, daypass_proto::duration::seconds)
}

fn formed<T, E: Display>(given: &str, read: impl FnOnce(&str) -> Result<T, E>) -> Result<String, String> {
    let given = text(given).map_err(|error| error.to_string())?;
    read(&given).map_err(|error| error.to_string())?;
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_words() {
        assert_eq!(reason(" lost on a train "), Ok("lost on a train".to_owned()));
        for bad in ["", "  ", &"x".repeat(1001), "a\nb", "a\u{202e}b"] {
            assert!(reason(bad).is_err(), "{bad:?}");
        }
    }
}
