//! `daypass ledger`: whether the issuers' ledgers are what they were, and what to show to others.

use daypass_proto::{
    local_api::{
        ErrorCode, RefreshRequest,
        ledger::{AcceptRequest, Finding, Ledger, LedgerOf, Ledgers},
    },
    time::Timestamp,
};

use super::{
    arguments::{LedgerCommand, OneLedger},
    failure::{Failure, code_name},
    leave::issuer_named,
    status::when,
    terminal::Terminal,
};
use crate::local_client::{LONG, LocalClient, SHORT};

pub(super) fn run(asked: &LedgerCommand, agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    match asked {
        LedgerCommand::Check(of) => check(of, agent, terminal),
        LedgerCommand::Show(of) => show(of, agent, terminal),
        LedgerCommand::Accept { of, yes } => accept(of, *yes, agent, terminal),
    }
}

/// The ledgers that are meant: one, or all of this user's.
fn meant(of: &OneLedger, agent: &LocalClient) -> Result<Vec<LedgerOf>, Failure> {
    let mut ledgers = agent.get::<Ledgers>("/v1/ledgers", SHORT)?.ledgers;
    if let Some(issuer) = &of.issuer {
        let issuer = issuer_named(issuer)?;
        ledgers.retain(|ledger| ledger.issuer == issuer);
    }
    if ledgers.is_empty() {
        return Err(Failure::new(
            ErrorCode::NotEnrolled,
            "there is no such enrolment, so there is no ledger to look at",
            "`daypass status` shows what there is",
        ));
    }
    Ok(ledgers)
}

/// The one that is meant.
fn only(of: &OneLedger, agent: &LocalClient) -> Result<LedgerOf, Failure> {
    let mut ledgers = meant(of, agent)?;
    match (ledgers.pop(), ledgers.is_empty()) {
        (Some(ledger), true) => Ok(ledger),
        _ => Err(Failure::new(
            ErrorCode::Malformed,
            "there are several issuers, and so several ledgers",
            "name one with `--issuer`, as `daypass status` shows it",
        )),
    }
}

fn check(of: &OneLedger, agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let mut ledgers = Vec::new();
    // One by one: each may take as long as its issuer does.
    for LedgerOf { issuer, .. } in meant(of, agent)? {
        let answer: Ledgers = agent.post("/v1/ledgers/check", &RefreshRequest { issuer: Some(issuer) }, LONG)?;
        ledgers.extend(answer.ledgers);
    }
    let worst =
        ledgers.iter().filter_map(|of| Some((of.ledger.error()?, &of.issuer))).max_by_key(|(code, _)| rank(*code));
    let failure = worst.map(|(error, issuer)| Failure::Found {
        message: format!("the ledger of {issuer} is not all right: {}", code_name(error).replace('_', " ")),
        error,
    });
    if terminal.json() {
        terminal.document(&Ledgers { ledgers })?;
    } else {
        for LedgerOf { issuer, ledger } in &ledgers {
            terminal.words(issuer)?;
            for (name, value) in lines(ledger, None) {
                terminal.words(&format!("  {name:<12} {value}"))?;
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Which of several ledgers decides how the command ends.
fn rank(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::LedgerForked => 4,
        ErrorCode::LedgerLeafMissing => 3,
        ErrorCode::LedgerRestored => 2,
        ErrorCode::LedgerMemoryLost => 1,
        _ => 0,
    }
}

fn show(of: &OneLedger, agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let shown = only(of, agent)?;
    if terminal.json() {
        return terminal.document(&shown);
    }
    let Some(note) = &shown.ledger.checkpoint else {
        return Err(Failure::new(
            ErrorCode::NotFound,
            format!("no checkpoint of the ledger of {} was kept yet", shown.issuer),
            "run `daypass ledger check`",
        ));
    };
    // The note alone on stdout: it is compared byte by byte.
    terminal.words(note.trim_end())?;
    for finding in &shown.ledger.findings {
        terminal.note(&in_words(finding));
    }
    if !shown.ledger.findings.is_empty() {
        terminal.note("the evidence is in `daypass ledger show --json`");
    }
    Ok(())
}

fn in_words(finding: &Finding) -> String {
    let accepted = finding.accepted_at.map_or(String::new(), |at| format!(", accepted at {at}"));
    format!("finding {}, found at {}{accepted}: {}", finding.number, finding.found_at, finding.message)
}

fn accept(of: &OneLedger, yes: bool, agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let LedgerOf { issuer, ledger } = only(of, agent)?;
    let open: Vec<&Finding> = ledger.findings.iter().filter(|finding| finding.accepted_at.is_none()).collect();
    if open.is_empty() {
        if terminal.json() {
            return terminal.document(&Ledgers { ledgers: vec![LedgerOf { issuer, ledger }] });
        }
        return terminal.words(&format!("nothing was found wrong with the ledger of {issuer}"));
    }
    for finding in &open {
        terminal.note(&in_words(finding));
        terminal.note(&format!("  next step: {}", finding.next_step));
    }
    if !yes {
        match terminal.confirm("has somebody seen to this, and is the issuer's ledger to be followed as it is now?") {
            Some(true) => {}
            Some(false) => return Err(Failure::Declined),
            None => return Err(Failure::Unconfirmed("accepting asks first")),
        }
    }
    let findings = open.iter().map(|finding| finding.number).collect();
    let answer: Ledgers =
        agent.post("/v1/ledgers/accept", &AcceptRequest { issuer: issuer.clone(), findings }, SHORT)?;
    if terminal.json() {
        return terminal.document(&answer);
    }
    terminal.words(&format!("accepted for the ledger of {issuer}; the evidence is kept"))
}

/// A ledger in lines: a word, and what there is to say. Times are given as distances too where it is known what the time is.
pub(super) fn lines(ledger: &Ledger, now: Option<Timestamp>) -> Vec<(&'static str, String)> {
    let at = |time: Timestamp| now.map_or_else(|| time.to_string(), |now| when(time, now));
    let mut lines = Vec::new();
    let events = ledger.size.map_or("nothing kept yet".to_owned(), |size| format!("{size} events"));
    let checked = ledger.checked_at.map_or("not checked yet".to_owned(), |time| format!("checked {}", at(time)));
    lines.push(("ledger", format!("{events}, {checked}")));
    if let Some(since) = ledger.outstanding_since {
        let tokens = if ledger.outstanding == 1 {
            "one token's event".to_owned()
        } else {
            format!("{} tokens' events", ledger.outstanding)
        };
        lines.push(("", format!("{tokens} not shown in it yet, the oldest issued {}", at(since))));
    }
    if ledger.unkept > 0 {
        lines.push(("", format!("{} tokens more than can be kept: nobody checks their events", ledger.unkept)));
    }
    if let Some(unchecked) = &ledger.unchecked {
        lines.push(("", format!("cannot be checked since {}: {}", at(unchecked.since), unchecked.problem.message)));
    }
    if let Some(problem) = &ledger.unsaved {
        lines.push(("problem", problem.message.clone()));
        lines.push(("next step", problem.next_step.clone()));
    }
    let open = || ledger.findings.iter().filter(|finding| finding.accepted_at.is_none());
    for finding in open() {
        lines.push(("FOUND", format!("{} (finding {}, {})", finding.message, finding.number, at(finding.found_at))));
    }
    if ledger.more_findings > 0 {
        lines.push(("FOUND", format!("{} times more than can be kept", ledger.more_findings)));
    }
    let mut steps: Vec<&str> = open().map(|finding| finding.next_step.as_str()).collect();
    steps.dedup();
    lines.extend(steps.into_iter().map(|step| ("next step", step.to_owned())));
    lines
}

#[cfg(test)]
mod tests;
