//! `daypass doctor`: everything that access needs, looked at one by one, each with its way out.

mod enrolments;
mod git;

use daypass_proto::local_api::{ErrorCode, Status};
use serde::Serialize;

use super::{failure::Failure, terminal::Terminal};
use crate::{
    git_config::Git,
    local_client::{LocalClient, SHORT},
    tpm::{Surroundings, explain_missing},
};

/// What came of looking at one thing.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    outcome: Outcome,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_step: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Good,
    Warning,
    Failed,
}

impl Finding {
    fn good(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Good, message: message.into(), error: None, next_step: None }
    }

    fn warning(check: &'static str, message: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self {
            check,
            outcome: Outcome::Warning,
            message: message.into(),
            error: None,
            next_step: Some(next_step.into()),
        }
    }

    fn failed(check: &'static str, error: ErrorCode, message: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self {
            check,
            outcome: Outcome::Failed,
            message: message.into(),
            error: Some(error),
            next_step: Some(next_step.into()),
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    findings: &'a [Finding],
}

pub(super) fn run(agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let findings = look(agent, &Git::default(), Surroundings::probe());
    if terminal.json() {
        terminal.document(&Report { findings: &findings })?;
    } else {
        for finding in &findings {
            terminal.words(&describe(finding))?;
        }
    }
    let failed: Vec<&Finding> = findings.iter().filter(|finding| finding.outcome == Outcome::Failed).collect();
    let Some(first) = failed.first() else { return Ok(()) };
    Err(Failure::Found {
        error: first.error.unwrap_or(ErrorCode::Internal),
        message: format!("{} of {} checks failed", failed.len(), findings.len()),
    })
}

fn describe(finding: &Finding) -> String {
    let outcome = match finding.outcome {
        Outcome::Good => "ok",
        Outcome::Warning => "warning",
        Outcome::Failed => "FAILED",
    };
    let next_step = finding.next_step.as_ref().map_or(String::new(), |step| format!("\n{:20}next step: {step}", ""));
    format!("{outcome:<8} {:<10} {}{next_step}", finding.check, finding.message)
}

fn look(agent: &LocalClient, git: &Git<'_>, around: Surroundings) -> Vec<Finding> {
    let status: Status = match agent.get("/v1/status", SHORT) {
        Ok(status) => status,
        Err(error) => {
            let mut findings = vec![Finding::failed("agent", error.code(), error.to_string(), error.next_step())];
            // The agent cannot say it, so what this process sees has to do.
            if !around.kernel_has_tpm {
                findings.push(Finding::warning(
                    "TPM",
                    explain_missing(around),
                    "see to the TPM, unless the agent is configured to reach it elsewhere",
                ));
            }
            findings.push(git::version(git));
            return findings;
        }
    };
    let mut findings = vec![
        Finding::good("agent", format!("version {} answers at {}", status.version, agent.socket().display())),
        tpm(&status),
    ];
    let live = status.enrolments.iter().flat_map(|enrolment| &enrolment.tokens).count();
    if status.tpm.problem.is_some() && live > 0 {
        findings
            .push(Finding::good("tokens", "live ones are handed out; new ones, and proofs by the TPM, wait for it"));
    }
    findings.extend(enrolments::look(&status.enrolments, status.now));
    findings.extend(git::look(git, &status.enrolments));
    findings
}

fn tpm(status: &Status) -> Finding {
    let tpm = &status.tpm;
    match (&tpm.problem, tpm.available) {
        (Some(problem), _) => Finding::failed("TPM", problem.error, &problem.message, &problem.next_step),
        (None, true) => {
            Finding::good("TPM", format!("{}, at {}", tpm.description.as_deref().unwrap_or("answers"), tpm.tcti))
        }
        (None, false) => Finding::failed(
            "TPM",
            ErrorCode::TpmFault,
            format!("the TPM at {} does not answer", tpm.tcti),
            "look into the agent's log",
        ),
    }
}

#[cfg(test)]
mod tests;
