//! Enrolments, clocks, certificates and grants.

use daypass_proto::{
    enrolment::DeviceLife,
    local_api::{Enrolment, EnrolmentLife, ErrorCode},
    time::{Skew, Timestamp},
};

use super::Finding;

/// A difference of the clocks from which it is worth a word, in seconds.
const NOTABLE: u64 = 10;

/// How long a ledger may go unchecked without a word, in seconds: issuers are away for a while, and laptops are.
const UNCHECKED: i64 = 86_400;

pub(super) fn look(enrolments: &[Enrolment], now: Timestamp) -> Vec<Finding> {
    if enrolments.is_empty() {
        return vec![Finding::failed(
            "enrolment",
            ErrorCode::NotEnrolled,
            "this user has no enrolment",
            "ask an owner of the project for an invitation, then run `daypass enroll`",
        )];
    }
    enrolments
        .iter()
        .flat_map(|enrolment| {
            let mut findings = vec![state(enrolment, now)];
            findings.extend(clock(enrolment));
            findings.extend(ledger(enrolment, now));
            findings
        })
        .collect()
}

/// What is wrong with the issuer's ledger; that it could not be checked for a day as well.
fn ledger(enrolment: &Enrolment, now: Timestamp) -> Vec<Finding> {
    let (issuer, Some(ledger)) = (&enrolment.issuer, &enrolment.ledger) else { return Vec::new() };
    let open = ledger.findings.iter().filter(|finding| finding.accepted_at.is_none());
    let mut findings: Vec<Finding> = open
        .map(|found| {
            let message = format!("{issuer}: {}", found.message);
            Finding::failed("ledger", found.kind.error(), message, &found.next_step)
        })
        .collect();
    if let Some(problem) = &ledger.unsaved {
        findings.push(Finding::failed("ledger", problem.error, &problem.message, &problem.next_step));
    }
    if let Some(unchecked) = ledger.unchecked.as_ref().filter(|unchecked| now.since(unchecked.since) >= UNCHECKED) {
        let message =
            format!("{issuer}: its ledger cannot be checked since {}: {}", unchecked.since, unchecked.problem.message);
        let next_step =
            "ask the issuer's administrator; an issuer that answers and proves nothing may have something to hide";
        findings.push(Finding::warning("ledger", message, next_step));
    }
    if findings.is_empty() && ledger.size.is_some() {
        findings.push(Finding::good("ledger", format!("{issuer}: is what it was")));
    }
    findings
}

fn state(enrolment: &Enrolment, now: Timestamp) -> Finding {
    let issuer = &enrolment.issuer;
    let failed = |error, message: String, next_step: &str| Finding::failed("enrolment", error, message, next_step);
    let owner = "ask an owner of the project";
    match enrolment.state {
        EnrolmentLife::Interrupted => failed(
            ErrorCode::NotEnrolled,
            format!("{issuer}: begun and not complete"),
            "run `daypass enroll` with the same invitation again",
        ),
        EnrolmentLife::Device(DeviceLife::Suspended) => {
            failed(ErrorCode::DeviceSuspended, format!("{issuer}: this device is suspended"), owner)
        }
        EnrolmentLife::Device(DeviceLife::Revoked) => failed(
            ErrorCode::DeviceRevoked,
            format!("{issuer}: this device is revoked"),
            "ask an owner of the project for a new invitation; `daypass leave` clears this one away",
        ),
        EnrolmentLife::Device(DeviceLife::Pending | DeviceLife::Approved) => {
            if let Some(problem) = &enrolment.problem {
                return failed(problem.error, format!("{issuer}: {}", problem.message), &problem.next_step);
            }
            if let Some(end) = enrolment.certificate_not_after.filter(|end| *end <= now) {
                return failed(
                    ErrorCode::CertificateExpired,
                    format!("{issuer}: the device certificate ended at {end}"),
                    "run `daypass status --refresh`: the agent attests anew as soon as it reaches the issuer",
                );
            }
            approved_or_pending(enrolment)
        }
    }
}

fn approved_or_pending(enrolment: &Enrolment) -> Finding {
    let issuer = &enrolment.issuer;
    if enrolment.state == EnrolmentLife::Device(DeviceLife::Pending) {
        let code = enrolment.comparison_code.as_deref().unwrap_or("unknown");
        let who = if enrolment.waits_for.is_empty() { "an owner".to_owned() } else { enrolment.waits_for.join(" or ") };
        return Finding::warning(
            "enrolment",
            format!("{issuer}: waits for approval, comparison code {code}"),
            format!("ask {who} to compare the code and approve; `daypass status --refresh` shows when it is done"),
        );
    }
    if !enrolment.grants.iter().any(|grant| matches!(grant.state.as_str(), "active" | "grace")) {
        return Finding::warning(
            "enrolment",
            format!("{issuer}: approved, and nothing is granted now"),
            "run `daypass status --refresh`; if it stays so, ask an owner of the project",
        );
    }
    Finding::good("enrolment", format!("{issuer}: approved"))
}

fn clock(enrolment: &Enrolment) -> Option<Finding> {
    let offset = enrolment.clock_offset?;
    let issuer = &enrolment.issuer;
    let side = if offset > 0 { "ahead of" } else { "behind" };
    let message = format!("{issuer}: its clock is {} s {side} this machine's", offset.unsigned_abs());
    let next_step = "set this machine's clock, best by time synchronisation (`timedatectl set-ntp true`)";
    Some(match offset.unsigned_abs() {
        0..NOTABLE => Finding::good("clock", format!("{issuer}: agrees with this machine's")),
        apart if apart > Skew::MAX_SECONDS.unsigned_abs() => {
            Finding::failed("clock", ErrorCode::ClockSkew, message, next_step)
        }
        _ => Finding::warning("clock", message, next_step),
    })
}
