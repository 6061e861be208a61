//! `daypass status`, and how an enrolment looks in words.

use std::fmt::Write as _;

use daypass_proto::{
    authorization::{AuthorizationDetail, AuthorizationDetails, GitAction},
    briefing::Standing,
    enrolment::{DeviceLife, TrustTier},
    local_api::{Enrolment, EnrolmentLife, Enrolments, RefreshRequest, Status},
    time::Timestamp,
};

use super::{arguments::StatusArguments, failure::Failure, ledger::lines, terminal::Terminal};
use crate::local_client::{LONG, LocalClient, SHORT};

pub(super) fn run(asked: &StatusArguments, agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let refreshed = if asked.refresh {
        agent.post::<Enrolments>("/v1/enrolments/refresh", &RefreshRequest::default(), LONG).map(drop)
    } else {
        Ok(())
    };
    let status: Status = agent.get("/v1/status", SHORT)?;
    if terminal.json() {
        refreshed?;
        return terminal.document(&status);
    }
    terminal.words(describe(&status).trim_end())?;
    Ok(refreshed?)
}

fn describe(status: &Status) -> String {
    let mut text = String::new();
    let tpm = match (&status.tpm.description, &status.tpm.problem) {
        (_, Some(problem)) => {
            format!("cannot be used: {}\n           next step: {}", problem.message, problem.next_step)
        }
        (Some(description), None) => format!("{description}, at {}", status.tpm.tcti),
        (None, None) => format!("at {}", status.tpm.tcti),
    };
    let _ = writeln!(text, "agent      {}\nTPM        {tpm}", status.version);
    let live = status.enrolments.iter().any(|enrolment| !enrolment.tokens.is_empty());
    if status.tpm.problem.is_some() && live {
        let _ = writeln!(
            text,
            "           meanwhile: live tokens are handed out; new tokens, and proofs by the TPM, wait for it"
        );
    }
    if status.inspector == Some(false) {
        let _ = writeln!(
            text,
            "inspector  does not answer: executables of other users are reported as unavailable; check `daypass-inspector.socket`"
        );
    }
    if status.enrolments.is_empty() {
        let _ =
            writeln!(text, "enrolments none; ask an owner of the project for an invitation, then run `daypass enroll`");
    }
    for enrolment in &status.enrolments {
        let _ = write!(text, "\n{}", describe_enrolment(enrolment, status.now));
    }
    text
}

/// One enrolment, in lines.
pub(super) fn describe_enrolment(enrolment: &Enrolment, now: Timestamp) -> String {
    let mut text = format!("{}\n", enrolment.issuer);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<12} {value}");
    };
    line("state", life(enrolment.state));
    if let Some(collaborator) = &enrolment.collaborator {
        line("for", collaborator);
    }
    if let Some(device) = &enrolment.device {
        line("device", &device.to_string());
    }
    if let Some(tier) = enrolment.trust_tier {
        line("trust", tier_in_words(tier));
    }
    if enrolment.state == EnrolmentLife::Device(DeviceLife::Pending) {
        if let Some(code) = &enrolment.comparison_code {
            line("code", code);
        }
        if !enrolment.waits_for.is_empty() {
            line("waits for", &enrolment.waits_for.join(", "));
        }
    }
    if let Some(end) = enrolment.certificate_not_after {
        line("certificate", &format!("until {}", when(end, now)));
    }
    if let Some(offset) = enrolment.clock_offset.filter(|offset| *offset != 0) {
        line(
            "clock",
            &format!("the issuer's is {} s {}", offset.unsigned_abs(), if offset > 0 { "ahead" } else { "behind" }),
        );
    }
    for grant in &enrolment.grants {
        line(
            "grant",
            &format!(
                "{} {} as {}, {} until {}",
                grant.grant,
                grant.project,
                grant.role,
                grant.state,
                when(grant.until, now)
            ),
        );
        if let (Some(left), Some(uses)) = (grant.uses_left, grant.uses) {
            line("", &format!("  {left} of {uses} tokens left"));
        }
        for allowed in allowed(&grant.authorization_details) {
            line("", &format!("  {allowed}"));
        }
        if grant.briefing == Some(Standing::Required) {
            let command = format!("daypass briefing accept {}", grant.grant);
            line("", &format!("  waits for you: no token before its briefing was read and accepted; run `{command}`"));
        }
    }
    if enrolment.new_notices > 0 {
        line("notices", &format!("{} new: `daypass notices` shows them", enrolment.new_notices));
    }
    for warning in &enrolment.warnings {
        line("warning", &warning.message);
        line("", &format!("  {}", warning.next_step));
    }
    for token in &enrolment.tokens {
        line("token", &format!("{} until {}", token.resource, when(token.expires_at, now)));
    }
    for (name, value) in enrolment.ledger.iter().flat_map(|ledger| lines(ledger, Some(now))) {
        line(name, &value);
    }
    if let Some(problem) = &enrolment.problem {
        line("problem", &problem.message);
        line("next step", &problem.next_step);
        if problem.error.is_of_tpm() && !enrolment.tokens.is_empty() {
            line("meanwhile", "live tokens are handed out; new tokens, and proofs by the TPM, wait for it");
        }
    }
    text
}

fn allowed(details: &AuthorizationDetails) -> Vec<String> {
    let list = |words: Vec<String>| words.join(", ");
    details
        .iter()
        .flat_map(|detail| match detail {
            AuthorizationDetail::GitRepository(git) => {
                // Whatever writes implies reading.
                let read = (!git.actions().contains(&GitAction::Read)).then_some(GitAction::Read);
                let actions = list(read.iter().chain(git.actions()).map(ToString::to_string).collect());
                let refs = list(git.refs().iter().map(ToString::to_string).collect());
                let on = if refs.is_empty() { String::new() } else { format!(" on {refs}") };
                git.locations().iter().map(|location| format!("{location}: {actions}{on}")).collect::<Vec<_>>()
            }
            AuthorizationDetail::HttpApi(api) => {
                let actions = list(api.actions().iter().map(ToString::to_string).collect());
                let paths = list(api.paths().iter().map(ToString::to_string).collect());
                api.locations().iter().map(|location| format!("{location}: {actions} of {paths}")).collect()
            }
        })
        .collect()
}

fn life(life: EnrolmentLife) -> &'static str {
    match life {
        EnrolmentLife::Interrupted => "interrupted; run `daypass enroll` with the same invitation again",
        EnrolmentLife::Device(DeviceLife::Pending) => "pending: waits for approval",
        EnrolmentLife::Device(DeviceLife::Approved) => "approved",
        EnrolmentLife::Device(DeviceLife::Suspended) => "suspended",
        EnrolmentLife::Device(DeviceLife::Revoked) => "revoked",
    }
}

/// A trust tier, as the issuer's own listing words it.
pub(super) fn tier_in_words(tier: TrustTier) -> &'static str {
    match tier {
        TrustTier::EkChain => "EK chains to a root",
        TrustTier::EkRegistered => "EK registered beforehand",
        TrustTier::EkUnknown => "EK unknown",
        TrustTier::Virtual => "virtual TPM",
        TrustTier::Software => "software keys",
    }
}

/// A time, and how far away it is.
pub(super) fn when(time: Timestamp, now: Timestamp) -> String {
    let away = time.since(now);
    let size = match away.unsigned_abs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    };
    if away < 0 { format!("{time} ({size} ago)") } else { format!("{time} (in {size})") }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{cli::terminal::buffer::Buffer, mock_agent::MockAgent};

    pub(crate) const APPROVED: &str = r#"{"version":"0.1.0","now":1790000000,
      "tpm":{"tcti":"device:/dev/tpmrm0","available":true,"description":"NTC NPCT75x 7.2","problem":null},
      "enrolments":[{"issuer":"https://issuer.example","state":"approved","device":"dev-3k7q0x9a1b2c3d4e",
        "collaborator":"alice@example.com","comparison_code":"ABCD-2345","trust_tier":"ek_chain","waits_for":[],
        "certificate_not_after":1790604800,"clock_offset":-3,"last_contact":1789999990,
        "grants":[{"grant":"gr-3k7q0x9a1b2c3d4e","project":"apollo","role":"developer","state":"active","until":1797776000,
          "protection":"hardware","authorization_details":[{"type":"git_repository","locations":["https://git.example.com/team/app"],"actions":["push"],"refs":["refs/heads/alice/**"]}]}],
        "resources":[{"resource":"https://git.example.com/","ca_file":null}],
        "tokens":[{"resource":"https://git.example.com/","expires_at":1790000090}],
        "ledger":{"origin":"issuer.example/ledger/a","size":1234,"checked_at":1789999970,"outstanding":2,"outstanding_since":1789999995,"unchecked":null,"findings":[]},
        "problem":null}]}"#;

    #[test]
    fn an_approved_device_in_words() {
        let agent = MockAgent::start([(200, APPROVED)]);
        let mut terminal = Buffer::default();
        run(&StatusArguments { refresh: false }, &agent.client(), &mut terminal).unwrap();
        assert_eq!(
            terminal.said(),
            "agent      0.1.0
TPM        NTC NPCT75x 7.2, at device:/dev/tpmrm0

https://issuer.example
  state        approved
  for          alice@example.com
  device       dev-3k7q0x9a1b2c3d4e
  trust        EK chains to a root
  certificate  until 2026-09-28T14:13:20Z (in 7 days)
  clock        the issuer's is 3 s behind
  grant        gr-3k7q0x9a1b2c3d4e apollo as developer, active until 2026-12-20T14:13:20Z (in 90 days)
                 https://git.example.com/team/app: read, push on refs/heads/alice/**
  token        https://git.example.com/ until 2026-09-21T14:14:50Z (in 90 s)
  ledger       1234 events, checked 2026-09-21T14:12:50Z (30 s ago)
               2 tokens' events not shown in it yet, the oldest issued 2026-09-21T14:13:15Z (5 s ago)
"
        );
    }

    #[test]
    fn a_briefing_that_waits_is_said_with_the_command_that_ends_it() {
        let said = |standing: &str| {
            let with = format!(r#""state":"active","briefing":"{standing}","#);
            let agent = MockAgent::start([(200, &*APPROVED.replace(r#""state":"active","#, &with))]);
            let mut terminal = Buffer::default();
            run(&StatusArguments { refresh: false }, &agent.client(), &mut terminal).unwrap();
            terminal.said()
        };
        assert!(said("required").contains("run `daypass briefing accept gr-3k7q0x9a1b2c3d4e`"));
        assert!(!said("accepted").contains("briefing") && !said("offered").contains("briefing"));
    }

    #[test]
    fn nothing_yet_and_no_tpm() {
        let agent = MockAgent::start([(
            200,
            r#"{"version":"0.1.0","now":1790000000,"tpm":{"tcti":"device:/dev/tpmrm0","available":false,"description":null,
               "problem":{"error":"tpm_permission","message":"this process may not use `/dev/tpmrm0`","next_step":"add it to `tss`"}},"enrolments":[]}"#,
        )]);
        let mut terminal = Buffer::default();
        run(&StatusArguments { refresh: false }, &agent.client(), &mut terminal).unwrap();
        let said = terminal.said();
        assert!(said.contains("cannot be used: this process may not use `/dev/tpmrm0`"), "{said}");
        assert!(said.contains("next step: add it to `tss`") && said.contains("enrolments none"), "{said}");
    }

    #[test]
    fn while_the_tpm_is_faulty_it_says_what_still_works() {
        let faulty = |at: &str| {
            let mut status: serde_json::Value = serde_json::from_str(APPROVED).unwrap();
            *status.pointer_mut(at).unwrap() =
                serde_json::json!({"error":"tpm_fault","message":"the TPM hangs","next_step":"look"});
            let agent = MockAgent::start([(200, &status.to_string())]);
            let mut terminal = Buffer::default();
            run(&StatusArguments { refresh: false }, &agent.client(), &mut terminal).unwrap();
            terminal.said()
        };
        for at in ["/tpm/problem", "/enrolments/0/problem"] {
            let said = faulty(at);
            assert!(said.contains("the TPM hangs"), "{said}");
            assert_eq!(
                said.matches("live tokens are handed out; new tokens, and proofs by the TPM, wait for it").count(),
                1,
                "{said}"
            );
        }
    }

    #[test]
    fn what_is_known_is_shown_even_where_the_issuer_is_silent() {
        let down = r#"{"error":"issuer_unreachable","message":"no answer","next_step":"wait"}"#;
        let agent = MockAgent::start([(503, down), (200, APPROVED)]);
        let mut terminal = Buffer::default();
        let failure = run(&StatusArguments { refresh: true }, &agent.client(), &mut terminal).unwrap_err();
        assert_eq!(failure.exit_code(), 10);
        assert!(terminal.said().contains("approved"));
    }
}
