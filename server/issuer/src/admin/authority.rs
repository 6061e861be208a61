//! Who may do what through the admin API. This is the one table.
//!
//! ```text
//!                                   administrator          owner
//! devices: see                      all                    those with grants in their projects
//! devices: approve, resume,         all                    those whose grants are all in their projects
//!   suspend, revoke
//! devices: replace                  no                     those whose grants are all in their projects
//! grants: see, suspend, revoke      all                    in their projects
//! grants: approve, resume           no                     in their projects
//! requests: see                     all                    in their projects
//! requests: approve, narrow, refuse no                     in their projects
//! invite                            no                     to their projects
//! invitations: see, withdraw        all                    of their projects
//! end a project or a phase of it    all                    theirs
//! phases: see                       all                    of their projects
//! offboard somebody                 yes                    no
//! policy, administrators            yes                    no
//! gates, notifications              yes                    no
//! ledger                            all                    what is about their projects
//! ```
//!
//! An administrator can take away anywhere, and gives nothing in a project that is not theirs: a device's approval leaves its grants waiting for
//! their owners. Nobody decides a request, or approves, or lets on again, what is their own. Who somebody is, is asked at every request: an administrator has an active
//! grant in `administration` on the very device that asks, and an owner stands in the policy that is in force.

use std::collections::BTreeSet;

use daypass_proto::names::{Collaborator, ProjectName};
use thiserror::Error;

use super::Operation;

/// Why it is not theirs to decide.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Forbidden {
    /// Neither.
    #[error("`{0}` is neither an administrator nor an owner of any project in the policy in force")]
    Nobody(Collaborator),
    /// Not an administrator.
    #[error("only an administrator may do this, and `{0}` is none on this device")]
    NotAdministrator(Collaborator),
    /// Not an owner there.
    #[error("`{who}` is no owner of project `{project}`")]
    NotOwner {
        /// Who.
        who: Collaborator,
        /// Where.
        project: ProjectName,
    },
    /// No owner of anything, where an owner decides.
    #[error("this is for the owners of a project, and `{0}` is none")]
    NoProject(Collaborator),
    /// Of all that a device has.
    #[error(
        "there are grants in a project that is not theirs, too; suspend or revoke their own instead, or ask an administrator"
    )]
    Elsewhere,
    /// Of all that a device has, where an administrator cannot either.
    #[error(
        "the device has grants in a project that is not theirs, too, and whoever replaces it owns all of them; invite to their own projects, or ask whoever runs the issuer to replace it there"
    )]
    NotAll,
    /// Of what there is at all.
    #[error("nothing of it is in a project of theirs")]
    NothingTheirs,
    /// One's own.
    #[error("`{0}` cannot decide about what is their own; somebody else must")]
    Own(Collaborator),
}

/// Who may.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Right {
    administrator: bool,
    owner: bool,
    /// Whether it gives something, so that nobody does it for themselves.
    gives: bool,
}

const fn right(operation: Operation) -> Right {
    use Operation as O;
    let (administrator, owner, gives) = match operation {
        O::Describe
        | O::DeviceList
        | O::DeviceShow
        | O::DeviceSuspend
        | O::DeviceRevoke
        | O::GrantList
        | O::GrantShow
        | O::GrantSuspend
        | O::GrantRevoke
        | O::RequestList
        | O::RequestShow
        | O::InvitationList
        | O::InvitationWithdraw
        | O::ProjectEnd
        | O::PhaseList
        | O::PhaseEnd
        | O::LedgerList => (true, true, false),
        O::DeviceApprove | O::DeviceResume => (true, true, true),
        O::GrantApprove | O::GrantResume | O::RequestApprove | O::RequestNarrow => (false, true, true),
        O::Invite | O::DeviceReplace | O::RequestRefuse => (false, true, false),
        O::Offboard
        | O::PolicyList
        | O::PolicyLoad
        | O::ProposalList
        | O::ProposalConfirm
        | O::ProposalWithdraw
        | O::AdministratorList
        | O::GateList
        | O::GateRemove
        | O::NotificationList
        | O::NotificationRetry
        | O::NotificationDrop => (true, false, false),
    };
    Right { administrator, owner, gives }
}

/// Who somebody is today.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Who.
    pub who: Collaborator,
    /// Whether the device that asks has an active grant in `administration`.
    pub administrator: bool,
    /// The projects that the policy in force has them own.
    pub projects: BTreeSet<ProjectName>,
}

impl Standing {
    /// Whether there is anything about which they may do this.
    pub fn may(&self, operation: Operation) -> Result<(), Forbidden> {
        let right = right(operation);
        let (who, owns) = (|| self.who.clone(), !self.projects.is_empty());
        match (right.administrator && self.administrator, right.owner && owns) {
            (true, _) | (_, true) => Ok(()),
            _ if !self.administrator && !owns => Err(Forbidden::Nobody(who())),
            _ if right.owner => Err(Forbidden::NoProject(who())),
            _ => Err(Forbidden::NotAdministrator(who())),
        }
    }

    /// Whether they reach every project with it.
    pub const fn everywhere(&self, operation: Operation) -> bool {
        self.administrator && right(operation).administrator
    }

    /// Whether they may do this in a project.
    pub fn may_in(&self, operation: Operation, project: &ProjectName) -> Result<(), Forbidden> {
        let theirs = right(operation).owner && self.projects.contains(project);
        if theirs || self.everywhere(operation) {
            return Ok(());
        }
        Err(Forbidden::NotOwner { who: self.who.clone(), project: project.clone() })
    }

    /// Whether they may do this about what is this person's.
    pub fn may_for(&self, operation: Operation, whose: &Collaborator) -> Result<(), Forbidden> {
        if right(operation).gives && whose.as_str().eq_ignore_ascii_case(self.who.as_str()) {
            return Err(Forbidden::Own(self.who.clone()));
        }
        Ok(())
    }

    /// Whether they may do this about a device with grants that live in these projects.
    pub fn may_about<'p>(
        &self,
        operation: Operation,
        projects: impl Iterator<Item = &'p ProjectName>,
    ) -> Result<(), Forbidden> {
        if self.everywhere(operation) {
            return Ok(());
        }
        // What the others are is not theirs to know.
        let (theirs, others): (Vec<_>, Vec<_>) = projects.partition(|project| self.projects.contains(*project));
        // Whoever decides about a device decides about all that it has.
        let whole = !matches!(operation, Operation::DeviceList | Operation::DeviceShow);
        match (theirs.is_empty(), !others.is_empty()) {
            (true, _) => Err(Forbidden::NothingTheirs),
            (_, true) if operation == Operation::DeviceReplace => Err(Forbidden::NotAll),
            (_, true) if whole => Err(Forbidden::Elsewhere),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(administrator: bool, projects: &[&str]) -> Standing {
        let projects = projects.iter().map(|name| name.parse().unwrap()).collect();
        Standing { who: "olga".parse().unwrap(), administrator, projects }
    }

    #[test]
    fn the_table_says_what_each_may_do() {
        let (administrator, owner, nobody) = (standing(true, &[]), standing(false, &["apollo"]), standing(false, &[]));
        let (apollo, gemini) = (&"apollo".parse().unwrap(), &"gemini".parse().unwrap());
        // Each with: the administrator anywhere, the owner at all.
        for (operation, everywhere, owners) in [
            (Operation::Describe, true, true),
            (Operation::DeviceList, true, true),
            (Operation::DeviceShow, true, true),
            (Operation::DeviceApprove, true, true),
            (Operation::DeviceSuspend, true, true),
            (Operation::DeviceResume, true, true),
            (Operation::DeviceRevoke, true, true),
            (Operation::DeviceReplace, false, true),
            (Operation::GrantList, true, true),
            (Operation::GrantShow, true, true),
            (Operation::GrantApprove, false, true),
            (Operation::GrantSuspend, true, true),
            (Operation::GrantResume, false, true),
            (Operation::GrantRevoke, true, true),
            (Operation::RequestList, true, true),
            (Operation::RequestShow, true, true),
            (Operation::RequestApprove, false, true),
            (Operation::RequestNarrow, false, true),
            (Operation::RequestRefuse, false, true),
            (Operation::Invite, false, true),
            (Operation::InvitationList, true, true),
            (Operation::InvitationWithdraw, true, true),
            (Operation::Offboard, true, false),
            (Operation::ProjectEnd, true, true),
            (Operation::PolicyList, true, false),
            (Operation::PolicyLoad, true, false),
            (Operation::ProposalList, true, false),
            (Operation::ProposalConfirm, true, false),
            (Operation::ProposalWithdraw, true, false),
            (Operation::AdministratorList, true, false),
            (Operation::PhaseList, true, true),
            (Operation::PhaseEnd, true, true),
            (Operation::GateList, true, false),
            (Operation::GateRemove, true, false),
            (Operation::NotificationList, true, false),
            (Operation::NotificationRetry, true, false),
            (Operation::NotificationDrop, true, false),
            (Operation::LedgerList, true, true),
        ] {
            let name = operation.name();
            assert_eq!(administrator.may(operation).is_ok(), everywhere, "{name}");
            assert_eq!(administrator.may_in(operation, apollo).is_ok(), everywhere, "{name}");
            assert_eq!(owner.may(operation).is_ok(), owners, "{name}");
            assert_eq!(owner.may_in(operation, apollo).is_ok(), owners, "{name}");
            assert!(owner.may_in(operation, gemini).is_err(), "{name}: an owner reaches their own project only");
            assert!(matches!(nobody.may(operation), Err(Forbidden::Nobody(_))), "{name}");
        }
    }

    #[test]
    fn nobody_gives_themselves_anything() {
        let both = standing(true, &["apollo"]);
        for operation in Operation::ALL {
            let gives = matches!(
                operation,
                Operation::DeviceApprove
                    | Operation::DeviceResume
                    | Operation::GrantApprove
                    | Operation::GrantResume
                    | Operation::RequestApprove
                    | Operation::RequestNarrow
            );
            assert_eq!(both.may_for(operation, &"Olga".parse().unwrap()).is_err(), gives, "{}", operation.name());
            assert!(both.may_for(operation, &"alice".parse().unwrap()).is_ok());
        }
    }

    #[test]
    fn an_owner_ends_no_device_that_others_count_on() {
        let owner = standing(false, &["apollo"]);
        let (apollo, gemini) = ("apollo".parse().unwrap(), "gemini".parse().unwrap());
        let both = || [&apollo, &gemini].into_iter();
        for operation in
            [Operation::DeviceApprove, Operation::DeviceSuspend, Operation::DeviceResume, Operation::DeviceRevoke]
        {
            assert_eq!(owner.may_about(operation, both()), Err(Forbidden::Elsewhere));
            assert_eq!(owner.may_about(operation, [&apollo].into_iter()), Ok(()));
            assert_eq!(owner.may_about(operation, [&gemini].into_iter()), Err(Forbidden::NothingTheirs));
            assert_eq!(standing(true, &[]).may_about(operation, both()), Ok(()));
        }
        let replace = Operation::DeviceReplace;
        assert_eq!(owner.may_about(replace, both()), Err(Forbidden::NotAll));
        assert_eq!(owner.may_about(replace, [&apollo].into_iter()), Ok(()));
        assert_eq!(standing(true, &["apollo"]).may_about(replace, both()), Err(Forbidden::NotAll));
        assert_eq!(standing(true, &[]).may_about(replace, both()), Err(Forbidden::NothingTheirs));
        assert_eq!(owner.may_about(Operation::DeviceShow, both()), Ok(()));
        assert_eq!(owner.may_about(Operation::DeviceShow, std::iter::empty()), Err(Forbidden::NothingTheirs));
    }
}
