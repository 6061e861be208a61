//! Which events: the filters that `list`, `tail` and `export` share.

use daypass_proto::{
    ledger::EventKind,
    names::{Collaborator, DeviceId, ProjectName},
    time::Timestamp,
};
use jiff::tz::TimeZone;

use crate::{
    commands::{CommandError, arguments::moment},
    store::Filter,
    until::{Edge, past},
};

/// Filters; an event must fit all that are given.
#[derive(Clone, Debug, Default, clap::Args)]
pub(in crate::commands) struct Which {
    /// Only what is about this person.
    #[arg(long, value_name = "NAME")]
    collaborator: Option<Collaborator>,
    /// Only what is about this project.
    #[arg(long, value_name = "NAME")]
    project: Option<ProjectName>,
    /// Only what is about this device.
    #[arg(long)]
    device: Option<DeviceId>,
    /// Only events of this kind; docs/ledger.md has them all.
    #[arg(long)]
    kind: Option<EventKind>,
    /// Not before: a time (`2026-11-24T18:00:00Z`), a date (its begin here), or how long ago (`2h`, `3d`).
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<String>,
    /// Not after: a time, a date (its end here), or how long ago.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<String>,
}

impl Which {
    pub(super) fn filter(&self, now: Timestamp) -> Result<Filter, CommandError> {
        let moment = |text: &Option<String>, edge| {
            text.as_deref().map(|text| past(text, now, &TimeZone::system(), edge)).transpose()
        };
        Ok(Filter {
            collaborator: self.collaborator.clone(),
            project: self.project.clone(),
            device: self.device.clone(),
            kind: self.kind,
            kinds: Vec::new(),
            since: moment(&self.since, Edge::Begin)?,
            until: moment(&self.until, Edge::End)?,
        })
    }

    /// Whether it leaves nothing out.
    pub(super) fn is_everything(&self) -> bool {
        let Self { collaborator, project, device, kind, since, until } = self;
        collaborator.is_none()
            && project.is_none()
            && device.is_none()
            && kind.is_none()
            && since.is_none()
            && until.is_none()
    }
}
