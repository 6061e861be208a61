//! The issuers' ledgers, followed between requests and when somebody asks. Never on the path of a token or a git command.

use std::{sync::Arc, time::Duration};

use daypass_proto::{
    local_api::ledger::{AcceptRequest, LedgerOf, Ledgers},
    pin::Pin,
    token::Promise,
};

use super::{Agent, Member};
use crate::{
    error::AgentError,
    ledger::{Follower, Issuer},
    state::{Completed, Folder, Record},
};

/// How long one check may take.
const CHECK: Duration = Duration::from_secs(60);

impl Agent {
    /// Checks what is due.
    pub async fn follow_ledgers(&self) {
        for member in self.all_members() {
            member.ledger.tidy();
            if member.ledger.is_due(self.clock.moment()) {
                // What went wrong is in the log, and stands in the status.
                let _ = self.check_ledger(&member).await;
            }
        }
    }

    async fn check_ledger(&self, member: &Member) -> Result<(), AgentError> {
        let source = Issuer { client: member.client(), url: &member.issuer };
        let check = member.ledger.check(&source, || self.clock.moment());
        match tokio::time::timeout(CHECK, check).await {
            Ok(checked) => checked,
            Err(_) => member.ledger.failed(AgentError::LedgerSlow(CHECK.as_secs()), self.clock.moment()),
        }
    }

    /// Checks one ledger of this user's or all of them now. What could not be checked says so in its place.
    pub async fn check_ledgers(&self, uid: u32, issuer: Option<&str>) -> Result<Ledgers, AgentError> {
        let members = match issuer {
            Some(issuer) => vec![self.member(uid, issuer)?],
            None => self.members_of(uid),
        };
        for member in &members {
            let _ = self.check_ledger(member).await;
        }
        Ok(shown(&members))
    }

    /// What is kept of this user's ledgers.
    pub fn ledgers(&self, uid: u32) -> Ledgers {
        shown(&self.members_of(uid))
    }

    /// This user has seen to what was found.
    pub fn accept_findings(&self, uid: u32, request: &AcceptRequest) -> Result<Ledgers, AgentError> {
        let member = self.member(uid, &request.issuer)?;
        member.ledger.accept(&request.findings, self.clock.moment())?;
        Ok(shown(&[member]))
    }

    /// Remembers what a token promises before it is handed out.
    pub(super) fn remember_promise(&self, member: &Member, url: &str, token: &str) -> Result<(), AgentError> {
        // No issuer of ours makes a token without one, and no gate takes it.
        let none = || AgentError::IssuerAnswer { url: url.to_owned(), status: 200 };
        let promise = Promise::of_token(token).ok_or_else(none)?;
        member.ledger.promised(promise, self.clock.moment());
        Ok(())
    }

    /// Takes up what was kept of an enrolment's ledger, or begins to keep it, and writes down that it was begun.
    pub(super) fn follower(
        &self,
        folder: &Folder,
        record: &Record,
        completed: &mut Completed,
    ) -> Result<Follower, AgentError> {
        let unreadable =
            || AgentError::Internal { attempted: "read the issuer's root", why: "no certificate".to_owned() };
        let pin = Pin::of_certificate(&completed.root.0).ok_or_else(unreadable)?;
        let (device, begun, now) = (completed.device.device.to_string(), completed.follows_ledger, self.clock.moment());
        let follower = Follower::open(&record.issuer, &device, folder.clone(), pin, begun, now);
        if !begun && follower.save().is_ok() {
            completed.follows_ledger = true;
            folder.save_record(&Record { completed: Some(completed.clone()), ..record.clone() })?;
        }
        Ok(follower)
    }
}

fn shown(members: &[Arc<Member>]) -> Ledgers {
    let of = |member: &Arc<Member>| LedgerOf { issuer: member.issuer.clone(), ledger: member.ledger.view(true) };
    Ledgers { ledgers: members.iter().map(of).collect() }
}
