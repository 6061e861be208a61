//! `daypass enroll`: one invitation, and then perhaps some patience.

use std::time::Duration;

use daypass_proto::{
    enrolment::{DeviceLife, GrantState},
    invitation::{Code, CodeError, CodeKind},
    local_api::{EnrolRequest, Enrolment, EnrolmentLife, Enrolments, ErrorCode, RefreshRequest, Status},
};
use zeroize::Zeroizing;

use super::{arguments::Enroll, failure::Failure, leave::issuer_named, status::tier_in_words, terminal::Terminal};
use crate::local_client::{ENROLMENT, LONG, LocalClient, SHORT};

/// How often a waiting `enroll` asks.
const PAUSE: Duration = Duration::from_secs(2);

pub(super) fn run(asked: &Enroll, agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let enrolled = match asked.invitation.as_deref() {
        None if asked.wait => standing(asked.issuer.as_deref(), agent)?,
        invitation => enrol(invitation.unwrap_or("-"), agent, terminal)?,
    };
    let enrolment = if asked.wait && waits(&enrolled) {
        if !terminal.json() {
            let words = if enrolled.added.is_empty() { pending(&enrolled) } else { accepted(&enrolled) };
            terminal.words(&words)?;
            terminal.note("waiting for approval; Ctrl-C stops waiting, and the enrolment stays");
        }
        wait(enrolled, agent, terminal)?
    } else {
        enrolled
    };
    if terminal.json() {
        terminal.document(&enrolment)?;
    } else {
        terminal.words(&describe(&enrolment, asked.wait))?;
    }
    match enrolment.state {
        EnrolmentLife::Interrupted | EnrolmentLife::Device(DeviceLife::Pending | DeviceLife::Approved) => Ok(()),
        EnrolmentLife::Device(DeviceLife::Suspended) => {
            Err(ended(ErrorCode::DeviceSuspended, "this device is suspended"))
        }
        EnrolmentLife::Device(DeviceLife::Revoked) => {
            Err(ended(ErrorCode::DeviceRevoked, "this device was not approved, or its access has ended"))
        }
    }
}

/// The enrolment that is meant where no invitation is given: the one that waits, or the only one there is.
fn standing(issuer: Option<&str>, agent: &LocalClient) -> Result<Enrolment, Failure> {
    let issuer = issuer.map(issuer_named).transpose()?;
    let status: Status = agent.get("/v1/status", SHORT)?;
    let of_issuer = |enrolment: &Enrolment| issuer.as_ref().is_none_or(|issuer| enrolment.issuer == *issuer);
    let all: Vec<_> = status
        .enrolments
        .into_iter()
        .filter(|enrolment| enrolment.state != EnrolmentLife::Interrupted && of_issuer(enrolment))
        .collect();
    let waiting: Vec<_> = all.iter().filter(|enrolment| waits(enrolment)).cloned().collect();
    match (<[Enrolment; 1]>::try_from(waiting), <[Enrolment; 1]>::try_from(all)) {
        (Ok([one]), _) => Ok(one),
        (Err(waiting), _) if !waiting.is_empty() => {
            let issuers: Vec<_> = waiting.iter().map(|enrolment| enrolment.issuer.as_str()).collect();
            Err(Failure::new(
                ErrorCode::Malformed,
                format!("several enrolments wait for approval: {}", issuers.join(", ")),
                "name one with `--issuer`",
            ))
        }
        (_, Ok([one])) => Ok(one),
        _ => Err(Failure::new(
            ErrorCode::NotEnrolled,
            "no enrolment waits for approval",
            "to enrol and wait, give the invitation: `daypass enroll --wait -` asks for it; `daypass status` shows what there is",
        )),
    }
}

fn enrol(invitation: &str, agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<Enrolment, Failure> {
    let text = Zeroizing::new(if invitation == "-" {
        if !terminal.json() {
            terminal.note("reading the invitation from stdin: paste it and press Enter");
        }
        terminal.line().map_err(|error| {
            Failure::new(
                ErrorCode::Malformed,
                format!("could not read stdin: {error}"),
                "give the invitation as an argument",
            )
        })?
    } else {
        invitation.to_owned()
    });
    let code = Code::parse(CodeKind::Invitation, &text).map_err(bad_invitation)?;
    if !terminal.json() {
        terminal.note(&format!(
            "enrolling with {}: where it does not know this machine yet, the TPM makes keys, which may take a while",
            code.issuer()
        ));
    }
    let request = EnrolRequest { invitation: code.expose().to_string() };
    Ok(agent.post("/v1/enrolments", &request, ENROLMENT)?)
}

fn ended(error: ErrorCode, message: &str) -> Failure {
    Failure::Found { error, message: message.to_owned() }
}

fn bad_invitation(error: CodeError) -> Failure {
    let next_step = match error {
        CodeError::Prefix(_) | CodeError::OtherKind(_) => {
            "give the string that begins with `dpinv1_`, as you received it"
        }
        CodeError::Checksum => "copy the whole invitation again, without spaces or line breaks",
        CodeError::Issuer => "ask for a new invitation",
    };
    Failure::new(ErrorCode::BadInvitation, error.to_string(), next_step)
}

/// Whether somebody still has to say yes before it can do anything: to the device, or to what it is to get.
fn waits(enrolment: &Enrolment) -> bool {
    match enrolment.state {
        EnrolmentLife::Device(DeviceLife::Pending) => true,
        EnrolmentLife::Device(DeviceLife::Approved) if !enrolment.added.is_empty() => {
            added(enrolment).any(|grant| grant.state == "requested")
        }
        EnrolmentLife::Device(DeviceLife::Approved) => {
            let active = |grant: &GrantState| grant.state == "active";
            !enrolment.waits_for.is_empty() && !enrolment.grants.iter().any(active)
        }
        EnrolmentLife::Interrupted | EnrolmentLife::Device(DeviceLife::Suspended | DeviceLife::Revoked) => false,
    }
}

/// The grants that the invitation added to an enrolment that was there.
fn added(enrolment: &Enrolment) -> impl Iterator<Item = &GrantState> {
    enrolment.grants.iter().filter(|grant| enrolment.added.contains(&grant.grant))
}

/// Asks until nobody is waited for. An issuer that is away for a while is waited for, too.
fn wait(enrolled: Enrolment, agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<Enrolment, Failure> {
    let request = RefreshRequest { issuer: Some(enrolled.issuer.clone()) };
    let mut silent = false;
    loop {
        terminal.pause(PAUSE);
        match agent.post::<Enrolments>("/v1/enrolments/refresh", &request, LONG) {
            Ok(answer) => {
                silent = false;
                let found = answer.enrolments.into_iter().find(|enrolment| enrolment.issuer == enrolled.issuer);
                let Some(mut enrolment) = found else {
                    return Err(Failure::new(
                        ErrorCode::NotEnrolled,
                        format!("the enrolment with `{}` was given up while it waited", enrolled.issuer),
                        "run `daypass enroll` again",
                    ));
                };
                enrolment.added.clone_from(&enrolled.added);
                if !waits(&enrolment) {
                    return Ok(enrolment);
                }
            }
            Err(error) if error.code() == ErrorCode::IssuerUnreachable => {
                if !silent && !terminal.json() {
                    terminal.note(&format!("{error}; still waiting"));
                }
                silent = true;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn pending(enrolment: &Enrolment) -> String {
    let mut text = format!("enrolled {}", named(enrolment));
    if let Some(tier) = enrolment.trust_tier {
        text += &format!("\n  trust      {}", tier_in_words(tier));
    }
    if let Some(code) = &enrolment.comparison_code {
        text += &format!("\n  code       {code}   whoever approves must see the same");
    }
    let waits_for = if enrolment.waits_for.is_empty() {
        "an owner of the project or an administrator".to_owned()
    } else {
        enrolment.waits_for.join(", ")
    };
    text + &format!("\n  waits for  {waits_for}")
}

/// What was added to an enrolment that was there.
fn accepted(enrolment: &Enrolment) -> String {
    let mut text = format!(
        "this machine is enrolled with {} already, and the invitation is added to it: {}",
        enrolment.issuer,
        named(enrolment)
    );
    for grant in added(enrolment) {
        text += &format!("\n  {}  {} as {}, {}", grant.grant, grant.project, grant.role, in_words(grant));
    }
    if waits(enrolment) {
        text += &format!("\n  waits for  {}", enrolment.waits_for.join(", "));
    }
    text
}

fn in_words(grant: &GrantState) -> String {
    match grant.state.as_str() {
        "requested" => format!("waits for approval, until {}", grant.until),
        state => format!("{state} until {}", grant.until),
    }
}

fn named(enrolment: &Enrolment) -> String {
    let device = enrolment.device.as_ref().map_or_else(|| "this device".to_owned(), ToString::to_string);
    match &enrolment.collaborator {
        Some(collaborator) => format!("{device} for {collaborator}"),
        None => device,
    }
}

fn describe(enrolment: &Enrolment, waited: bool) -> String {
    match enrolment.state {
        EnrolmentLife::Interrupted => {
            "the enrolment was begun and is not complete; run the same command again".to_owned()
        }
        EnrolmentLife::Device(DeviceLife::Pending) if waited => "still pending".to_owned(),
        EnrolmentLife::Device(DeviceLife::Pending) => {
            format!(
                "{}\nask them to compare the code and approve; `daypass enroll --wait` waits for it",
                pending(enrolment)
            )
        }
        EnrolmentLife::Device(DeviceLife::Approved) if !enrolment.added.is_empty() => {
            let next = if !waits(enrolment) {
                "run `daypass setup git` once more, so that git knows where it is used"
            } else if waited {
                "it waits still"
            } else {
                "`daypass enroll --wait` with the same invitation waits for it"
            };
            format!("{}\n{next}", accepted(enrolment))
        }
        EnrolmentLife::Device(DeviceLife::Approved) if waits(enrolment) => format!(
            "the device is approved, and its access waits: {}\n  waits for  {}\n`daypass enroll --wait` waits for it",
            named(enrolment),
            enrolment.waits_for.join(", ")
        ),
        EnrolmentLife::Device(DeviceLife::Approved) => {
            format!("approved: {}\nrun `daypass setup git` to use it with git", named(enrolment))
        }
        EnrolmentLife::Device(DeviceLife::Suspended) => format!("suspended: {}", named(enrolment)),
        EnrolmentLife::Device(DeviceLife::Revoked) => format!("revoked: {}", named(enrolment)),
    }
}

#[cfg(test)]
mod tests {
    use daypass_proto::{invitation::CodeSecret, pin::Pin};

    use super::*;
    use crate::{cli::terminal::buffer::Buffer, mock_agent::MockAgent};

    fn invitation(kind: CodeKind) -> String {
        let secret = CodeSecret::from_random([7; 16]);
        Code::try_new(kind, Pin([1; 32]), secret, "https://issuer.example").unwrap().expose().to_string()
    }

    fn enrolment(state: &str) -> String {
        let waits_for = if state == "pending" { r#""olga@example.com""# } else { "" };
        format!(
            r#"{{"issuer":"https://issuer.example","state":"{state}","device":"dev-3k7q0x9a1b2c3d4e","collaborator":"alice@example.com",
               "comparison_code":"ABCD-2345","trust_tier":"ek_chain","waits_for":[{waits_for}],"certificate_not_after":null,
               "clock_offset":0,"last_contact":null,"grants":[],"resources":[],"tokens":[],"problem":null}}"#
        )
    }

    /// Approved, and its one grant in this state.
    fn granted(state: &str, waits_for: &str) -> String {
        let grant = format!(
            r#"[{{"grant":"gr-3k7q0x9a1b2c3d4e","project":"apollo","role":"developer","state":"{state}","until":1790000000,"protection":"hardware","authorization_details":[]}}]"#
        );
        let approved = enrolment("approved").replace(r#""grants":[]"#, &format!(r#""grants":{grant}"#));
        approved.replace(r#""waits_for":[]"#, &format!(r#""waits_for":[{waits_for}]"#))
    }

    fn enroll(agent: &MockAgent, invitation: &str, wait: bool, terminal: &mut Buffer) -> Result<(), Failure> {
        let asked = Enroll { invitation: Some(invitation.to_owned()), wait, issuer: None };
        run(&asked, &agent.client(), terminal)
    }

    #[test]
    fn a_pending_device_says_what_to_compare_and_who_approves() {
        let agent = MockAgent::start([(200, &enrolment("pending"))]);
        let mut terminal = Buffer::default();
        enroll(&agent, &invitation(CodeKind::Invitation), false, &mut terminal).unwrap();
        assert_eq!(
            terminal.said(),
            "enrolled dev-3k7q0x9a1b2c3d4e for alice@example.com
  trust      EK chains to a root
  code       ABCD-2345   whoever approves must see the same
  waits for  olga@example.com
ask them to compare the code and approve; `daypass enroll --wait` waits for it
"
        );
    }

    #[test]
    fn an_invitation_can_come_on_stdin() {
        let agent = MockAgent::start([(200, &enrolment("approved"))]);
        let text = invitation(CodeKind::Invitation);
        let mut terminal = Buffer { lines: [format!("  {text}\n")].into(), ..Buffer::default() };
        enroll(&agent, "-", false, &mut terminal).unwrap();
        assert!(agent.requests()[0].ends_with(&format!(r#"{{"invitation":"{text}"}}"#)));
        assert!(!terminal.said().contains(&text) && !terminal.noted().contains(&text));
    }

    #[test]
    fn what_is_no_invitation_is_told_apart_before_anybody_is_asked() {
        let whole = invitation(CodeKind::Invitation);
        for (text, words) in [
            ("hello", "not an invitation"),
            (invitation(CodeKind::Gate).as_str(), "a gate's code"),
            (whole.get(..40).unwrap(), "truncated or mistyped"),
        ] {
            let agent = MockAgent::start([]);
            let failure = enroll(&agent, text, false, &mut Buffer::default()).unwrap_err();
            assert!(failure.to_string().contains(words), "{failure}");
            assert_eq!(failure.exit_code(), 5);
        }
    }

    #[test]
    fn waiting_survives_a_silent_issuer_and_ends_with_the_approval() {
        let pending = enrolment("pending");
        let still = format!(r#"{{"enrolments":[{pending}]}}"#);
        let down = r#"{"error":"issuer_unreachable","message":"the issuer is away","next_step":"wait"}"#;
        let done = format!(r#"{{"enrolments":[{}]}}"#, enrolment("approved"));
        let agent = MockAgent::start([(200, &pending), (200, &still), (503, down), (503, down), (200, &done)]);
        let mut terminal = Buffer::default();
        enroll(&agent, &invitation(CodeKind::Invitation), true, &mut terminal).unwrap();
        assert_eq!(terminal.pauses, 4);
        assert!(terminal.said().ends_with(
            "approved: dev-3k7q0x9a1b2c3d4e for alice@example.com\nrun `daypass setup git` to use it with git\n"
        ));
        assert_eq!(terminal.noted().matches("the issuer is away; still waiting").count(), 1);
    }

    #[test]
    fn an_approved_device_whose_access_waits_says_for_whom_and_is_waited_for() {
        let waits = granted("requested", r#""olga@example.com""#);
        let agent = MockAgent::start([(200, &waits)]);
        let mut terminal = Buffer::default();
        enroll(&agent, &invitation(CodeKind::Invitation), false, &mut terminal).unwrap();
        assert!(terminal.said().contains("waits for  olga@example.com"), "{}", terminal.said());
        assert!(!terminal.said().contains("setup git"), "{}", terminal.said());
        let [still, done] = [&waits, &granted("active", "")].map(|one| format!(r#"{{"enrolments":[{one}]}}"#));
        let agent = MockAgent::start([(200, &waits), (200, &still), (200, &done)]);
        let mut terminal = Buffer::default();
        enroll(&agent, &invitation(CodeKind::Invitation), true, &mut terminal).unwrap();
        assert_eq!(terminal.pauses, 2);
        assert!(terminal.said().contains("approved: dev-"), "{}", terminal.said());
    }

    #[test]
    fn waiting_ends_when_the_device_is_refused() {
        let refused = format!(r#"{{"enrolments":[{}]}}"#, enrolment("revoked"));
        let agent = MockAgent::start([(200, &enrolment("pending")), (200, &refused)]);
        let mut terminal = Buffer { json: true, ..Buffer::default() };
        let failure = enroll(&agent, &invitation(CodeKind::Invitation), true, &mut terminal).unwrap_err();
        assert_eq!(failure.exit_code(), 7);
        failure.show(&mut terminal);
        assert_eq!(terminal.parsed()["state"], "revoked");
    }

    fn wait_alone(
        enrolments: &[String],
        refreshed: Option<&str>,
        issuer: Option<&str>,
    ) -> (Result<(), Failure>, Buffer) {
        let status = format!(
            r#"{{"version":"0","now":1,"tpm":{{"tcti":"x","available":true,"description":null,"problem":null}},"enrolments":[{}]}}"#,
            enrolments.join(",")
        );
        let agent = match refreshed {
            Some(refreshed) => MockAgent::start([(200, status.as_str()), (200, refreshed)]),
            None => MockAgent::start([(200, status.as_str())]),
        };
        let mut terminal = Buffer::default();
        let asked = Enroll { invitation: None, wait: true, issuer: issuer.map(str::to_owned) };
        (run(&asked, &agent.client(), &mut terminal), terminal)
    }

    #[test]
    fn without_an_invitation_the_enrolment_that_waits_is_waited_for() {
        let done = format!(r#"{{"enrolments":[{}]}}"#, enrolment("approved"));
        let elsewhere = enrolment("approved").replace("issuer.example", "other.example");
        let (result, terminal) = wait_alone(&[elsewhere, enrolment("pending")], Some(&done), None);
        result.unwrap();
        assert!(
            terminal.said().contains("ABCD-2345") && terminal.said().contains("approved: dev-"),
            "{}",
            terminal.said()
        );
        // Approved meanwhile.
        let (result, terminal) = wait_alone(&[enrolment("approved")], None, None);
        result.unwrap();
        assert!(terminal.said().starts_with("approved: dev-"), "{}", terminal.said());
    }

    #[test]
    fn which_enrolment_is_waited_for_has_to_be_clear() {
        let two = [enrolment("pending"), enrolment("pending").replace("issuer.example", "other.example")];
        let (result, _) = wait_alone(&two, None, None);
        assert!(result.unwrap_err().to_string().contains("https://other.example"));
        let done = format!(r#"{{"enrolments":[{}]}}"#, enrolment("approved"));
        wait_alone(&two, Some(&done), Some("https://issuer.example/")).0.unwrap();
        for none in [vec![], vec![enrolment("interrupted")]] {
            let failure = wait_alone(&none, None, None).0.unwrap_err();
            assert_eq!(failure.exit_code(), 4);
            assert!(failure.to_string().contains("no enrolment waits"), "{failure}");
        }
    }

    #[test]
    fn an_invitation_that_is_added_says_what_waits_though_something_else_is_in_force() {
        let with = |state: &str, waits_for: &str| {
            let first = granted("active", waits_for);
            let second = r#"{"grant":"gr-4m8r1y0b2c3d4e5f","project":"gemini","role":"reader","state":"STATE","until":1790000000,"protection":"hardware","authorization_details":[]}"#;
            first.replace(
                r#""authorization_details":[]}]"#,
                &format!(r#""authorization_details":[]}},{}]"#, second.replace("STATE", state)),
            )
        };
        let answered = |text: String| text.replacen('{', r#"{"added":["gr-4m8r1y0b2c3d4e5f"],"#, 1);
        let waiting = answered(with("requested", r#""otto@example.com""#));
        let agent = MockAgent::start([(200, &waiting)]);
        let mut terminal = Buffer::default();
        enroll(&agent, &invitation(CodeKind::Invitation), false, &mut terminal).unwrap();
        assert_eq!(
            terminal.said(),
            "this machine is enrolled with https://issuer.example already, and the invitation is added to it: dev-3k7q0x9a1b2c3d4e for alice@example.com
  gr-4m8r1y0b2c3d4e5f  gemini as reader, waits for approval, until 2026-09-21T14:13:20Z
  waits for  otto@example.com
`daypass enroll --wait` with the same invitation waits for it
"
        );
        // The answers that come while it waits know nothing of the invitation.
        let [still, done] = [with("requested", r#""otto@example.com""#), with("active", "")]
            .map(|one| format!(r#"{{"enrolments":[{one}]}}"#));
        let agent = MockAgent::start([(200, &waiting), (200, &still), (200, &done)]);
        let mut terminal = Buffer::default();
        enroll(&agent, &invitation(CodeKind::Invitation), true, &mut terminal).unwrap();
        assert_eq!(terminal.pauses, 2);
        let said = terminal.said();
        let ending = "gemini as reader, active until 2026-09-21T14:13:20Z\nrun `daypass setup git` once more, so that git knows where it is used\n";
        assert!(said.ends_with(ending), "{said}");
        // In force at once, where its owners had approved it.
        let agent = MockAgent::start([(200, &answered(with("active", "")))]);
        let mut terminal = Buffer::default();
        enroll(&agent, &invitation(CodeKind::Invitation), true, &mut terminal).unwrap();
        assert!(terminal.pauses == 0 && terminal.said().ends_with(ending), "{}", terminal.said());
    }
}
