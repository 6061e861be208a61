//! `daypass device …`: one's other devices, and the loss of one.

use daypass_proto::{
    local_api::{AllDevices, DevicesAt, ErrorCode, ReportLost},
    own_devices::{Lost, OwnDevice},
    redaction::redacted,
    words::is_shown,
};

use super::{
    arguments::{DeviceCommand, LostDevice},
    failure::Failure,
    leave::issuer_named,
    status::tier_in_words,
    terminal::Terminal,
};
use crate::local_client::{LONG, LocalClient};

pub(super) fn run(asked: &DeviceCommand, agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let all: AllDevices = agent.get("/v1/devices", LONG)?;
    match asked {
        DeviceCommand::List => list(&all, terminal),
        DeviceCommand::Lost(lost) => report(lost, &all, agent, terminal),
    }
}

fn list(all: &AllDevices, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    if terminal.json() {
        return terminal.document(all);
    }
    if all.issuers.is_empty() {
        return terminal.words("this machine is enrolled nowhere; `daypass enroll` enrols it");
    }
    for at in &all.issuers {
        terminal.words(&at.issuer)?;
        for device in &at.devices {
            terminal.words(&describe(device))?;
        }
        if let Some(problem) = &at.problem {
            terminal.words(&format!("  does not say: {}\n    next step: {}", problem.message, problem.next_step))?;
        }
    }
    Ok(())
}

/// What a device called itself, on one line.
fn hostname(device: &OwnDevice) -> String {
    let name: String = device.hostname.chars().filter(|c| is_shown(*c)).take(64).collect();
    if name.is_empty() { "without a name".to_owned() } else { redacted(&name).into_owned() }
}

fn describe(device: &OwnDevice) -> String {
    let this = if device.this { ", this machine" } else { "" };
    let mut text = format!(
        "  {}  {}, {}, {}, enrolled {}{this}",
        device.device,
        hostname(device),
        device.state.as_str(),
        tier_in_words(device.trust_tier),
        device.enrolled_at
    );
    for grant in &device.grants {
        text += &format!(
            "\n    {} {} as {}, {} until {}",
            grant.grant, grant.project, grant.role, grant.state, grant.until
        );
    }
    text
}

fn report(
    asked: &LostDevice,
    all: &AllDevices,
    agent: &LocalClient,
    terminal: &mut dyn Terminal,
) -> Result<(), Failure> {
    let (at, device) = meant(asked, all)?;
    if device.this {
        return Err(Failure::new(
            ErrorCode::Malformed,
            format!("{} is this machine, and is not lost", device.device),
            "`daypass leave` ends this machine's own enrolment",
        ));
    }
    if !asked.yes {
        terminal.note(&format!("this ends, for good, at {}:\n{}", at.issuer, describe(device)));
        match terminal.confirm("report it as lost? only a new invitation brings it back") {
            Some(true) => {}
            Some(false) => return Err(Failure::Declined),
            None => return Err(Failure::Unconfirmed("reporting a loss asks first")),
        }
    }
    let lost = Lost { device: device.device.clone(), reason: asked.reason.clone() };
    let ended: OwnDevice = agent.post("/v1/devices/lost", &ReportLost { issuer: at.issuer.clone(), lost }, LONG)?;
    if terminal.json() {
        return terminal.document(&ended);
    }
    terminal.words(&format!("ended\n{}", describe(&ended)))?;
    terminal.words("tell an owner of the project, too: what the machine had fetched is still on its disk")
}

/// The one that is meant, by its name, or by what it calls itself where no other one does.
fn meant<'a>(asked: &LostDevice, all: &'a AllDevices) -> Result<(&'a DevicesAt, &'a OwnDevice), Failure> {
    let issuer = asked.issuer.as_deref().map(issuer_named).transpose()?;
    let issuers: Vec<_> =
        all.issuers.iter().filter(|at| issuer.as_ref().is_none_or(|issuer| at.issuer == *issuer)).collect();
    let named = |device: &OwnDevice| device.device.as_str() == asked.device || hostname(device) == asked.device;
    let found: Vec<_> = issuers
        .iter()
        .flat_map(|at| at.devices.iter().filter(|device| named(device)).map(move |device| (*at, device)))
        .collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => match issuers.iter().find_map(|at| at.problem.as_ref()) {
            Some(problem) => Err(Failure::new(problem.error, problem.message.clone(), problem.next_step.clone())),
            None => Err(Failure::new(
                ErrorCode::Malformed,
                format!("you have no device `{}`", asked.device),
                "`daypass device list` shows yours",
            )),
        },
        several => {
            let names: Vec<&str> = several.iter().map(|(_, device)| device.device.as_str()).collect();
            Err(Failure::new(
                ErrorCode::Malformed,
                format!("several of your devices are called `{}`: {}", asked.device, names.join(", ")),
                "name one by the name that begins with `dev-`",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::terminal::buffer::Buffer, mock_agent::MockAgent};

    fn device(id: u8, hostname: &str, this: bool) -> String {
        format!(
            r#"{{"device":"dev-000000000000000{id}","this":{this},"state":"approved","hostname":"{hostname}","trust_tier":"ek_chain","enrolled_at":1790000000,
               "grants":[{{"grant":"gr-000000000000000{id}","project":"apollo","role":"developer","state":"active","until":1797776000}}]}}"#
        )
    }

    fn all(devices: &[String]) -> String {
        format!(
            r#"{{"issuers":[{{"issuer":"https://issuer.example","devices":[{}],"problem":null}}]}}"#,
            devices.join(",")
        )
    }

    fn asked(device: &str, yes: bool) -> DeviceCommand {
        DeviceCommand::Lost(LostDevice {
            device: device.to_owned(),
            reason: "on the train".to_owned(),
            issuer: None,
            yes,
        })
    }

    #[test]
    fn what_ends_is_shown_and_a_person_confirms() {
        let mine = all(&[device(1, "desk", true), device(2, "laptop", false)]);
        let ended = device(2, "laptop", false).replace("approved", "revoked");
        for name in ["laptop", "dev-0000000000000002"] {
            let agent = MockAgent::start([(200, mine.as_str()), (200, ended.as_str())]);
            let mut terminal = Buffer { answer: Some(true), ..Buffer::default() };
            run(&asked(name, false), &agent.client(), &mut terminal).unwrap();
            assert!(
                terminal.noted().contains("gr-0000000000000002 apollo as developer, active"),
                "{}",
                terminal.noted()
            );
            assert!(!terminal.noted().contains("gr-0000000000000001"), "{}", terminal.noted());
            assert!(agent.requests()[1].ends_with(
                r#"{"issuer":"https://issuer.example","lost":{"device":"dev-0000000000000002","reason":"on the train"}}"#
            ));
            assert!(
                terminal.said().starts_with("ended\n  dev-0000000000000002  laptop, revoked"),
                "{}",
                terminal.said()
            );
        }
        for answer in [Some(false), None] {
            let agent = MockAgent::start([(200, mine.as_str())]);
            let mut terminal = Buffer { answer, ..Buffer::default() };
            let failure = run(&asked("laptop", false), &agent.client(), &mut terminal).unwrap_err();
            assert_eq!((failure.exit_code(), agent.requests().len()), (2, 1));
        }
    }

    #[test]
    fn only_one_that_is_meant_is_reported_and_never_this_machine() {
        let mine = all(&[device(1, "desk", true), device(2, "laptop", false), device(3, "laptop", false)]);
        for (name, words) in [
            ("laptop", "several of your devices are called `laptop`: dev-0000000000000002, dev-0000000000000003"),
            ("desk", "is this machine, and is not lost"),
            ("phone", "you have no device `phone`"),
        ] {
            let agent = MockAgent::start([(200, mine.as_str())]);
            let failure = run(&asked(name, true), &agent.client(), &mut Buffer::default()).unwrap_err();
            assert!(failure.to_string().contains(words), "{failure}");
            assert_eq!(failure.exit_code(), 3);
        }
        let away = r#"{"issuers":[{"issuer":"https://away.example","devices":[],
            "problem":{"error":"issuer_unreachable","message":"no answer","next_step":"wait"}}]}"#;
        let agent = MockAgent::start([(200, away)]);
        let failure = run(&asked("phone", true), &agent.client(), &mut Buffer::default()).unwrap_err();
        assert_eq!(failure.exit_code(), 10, "whether there is one, is not known: {failure}");
    }

    #[test]
    fn a_list_says_which_is_this_one_and_prints_no_control_characters() {
        let agent = MockAgent::start([(200, &all(&[device(1, "de\\u001bsk", true)]))]);
        let mut terminal = Buffer::default();
        run(&DeviceCommand::List, &agent.client(), &mut terminal).unwrap();
        assert_eq!(
            terminal.said(),
            "https://issuer.example
  dev-0000000000000001  desk, approved, EK chains to a root, enrolled 2026-09-21T14:13:20Z, this machine
    gr-0000000000000001 apollo as developer, active until 2026-12-20T14:13:20Z
"
        );
    }
}
