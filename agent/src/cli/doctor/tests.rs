use std::{fs, path::Path};

use tempfile::TempDir;

use super::*;
use crate::{
    cli::{status::tests::APPROVED, terminal::buffer::Buffer},
    mock_agent::MockAgent,
};

/// A home folder for git.
struct Home(TempDir);

impl Home {
    fn with(config: &str) -> Self {
        let home = TempDir::new().unwrap();
        fs::write(home.path().join(".gitconfig"), config).unwrap();
        Self(home)
    }

    fn git(&self) -> Git<'_> {
        self.git_with("GIT_SSL_CAINFO", "")
    }

    fn git_with<'a>(&'a self, name: &'a str, value: &'a str) -> Git<'a> {
        Git::default()
            .variable("HOME", self.0.path().as_os_str())
            .variable("XDG_CONFIG_HOME", self.0.path().as_os_str())
            .variable("GIT_CONFIG_NOSYSTEM", "1".as_ref())
            // Over that of whoever runs the tests.
            .variable(name, value.as_ref())
            .folder(self.0.path())
    }
}

const GOOD: &str = "[credential \"https://git.example.com/\"]\n helper =\n helper = daypass\n useHttpPath = yes\n";

fn status(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut status: serde_json::Value = serde_json::from_str(APPROVED).unwrap();
    change(&mut status);
    status.to_string()
}

fn look_at(status: &str, config: &str) -> Vec<Finding> {
    let home = Home::with(config);
    look(&MockAgent::start([(200, status)]).client(), &home.git(), Surroundings::default())
}

fn failures(findings: &[Finding]) -> Vec<(&'static str, ErrorCode)> {
    findings.iter().filter_map(|finding| Some((finding.check, finding.error?))).collect()
}

#[test]
fn where_all_is_well_nothing_is_said_to_do() {
    let findings = look_at(APPROVED, GOOD);
    assert!(findings.iter().all(|finding| finding.outcome == Outcome::Good), "{findings:?}");
    let checks: Vec<_> = findings.iter().map(|finding| finding.check).collect();
    assert_eq!(checks, ["agent", "TPM", "enrolment", "clock", "ledger", "git", "git"]);
}

#[test]
fn each_fault_of_an_enrolment_is_named() {
    let set =
        |path: &'static str, value: serde_json::Value| status(move |status| *status.pointer_mut(path).unwrap() = value);
    let cases = [
        (set("/enrolments", serde_json::json!([])), ErrorCode::NotEnrolled),
        (set("/enrolments/0/state", "interrupted".into()), ErrorCode::NotEnrolled),
        (set("/enrolments/0/state", "suspended".into()), ErrorCode::DeviceSuspended),
        (set("/enrolments/0/state", "revoked".into()), ErrorCode::DeviceRevoked),
        (set("/enrolments/0/certificate_not_after", 1.into()), ErrorCode::CertificateExpired),
        (set("/enrolments/0/clock_offset", (-61).into()), ErrorCode::ClockSkew),
        (
            set(
                "/enrolments/0/problem",
                serde_json::json!({"error":"issuer_unreachable","message":"no answer","next_step":"wait"}),
            ),
            ErrorCode::IssuerUnreachable,
        ),
        (
            set(
                "/tpm/problem",
                serde_json::json!({"error":"tpm_missing","message":"there is no TPM","next_step":"get one"}),
            ),
            ErrorCode::TpmMissing,
        ),
        (set("/tpm/available", false.into()), ErrorCode::TpmFault),
    ];
    for (status, error) in cases {
        let findings = look_at(&status, GOOD);
        let failures = failures(&findings);
        assert_eq!(failures.first().map(|(_, error)| *error), Some(error), "{findings:?}");
        assert!(findings.iter().all(|finding| finding.outcome == Outcome::Good || finding.next_step.is_some()));
    }
}

#[test]
fn waiting_and_small_differences_are_no_failures() {
    for (path, value) in [
        ("/enrolments/0/state", serde_json::json!("pending")),
        ("/enrolments/0/clock_offset", 30.into()),
        ("/enrolments/0/grants", serde_json::json!([])),
    ] {
        let findings = look_at(&status(|status| *status.pointer_mut(path).unwrap() = value), GOOD);
        assert!(failures(&findings).is_empty(), "{findings:?}");
        assert!(findings.iter().any(|finding| finding.outcome == Outcome::Warning), "{path}: {findings:?}");
    }
}

#[test]
fn each_fault_of_gits_configuration_is_named() {
    for (config, words) in [
        ("", "does not ask Daypass"),
        ("[credential]\n helper = store\n", "does not ask Daypass"),
        ("[credential \"https://git.example.com/\"]\n helper = daypass\n", "which repository"),
        ("[credential]\n helper = daypass\n useHttpPath = 0\n", "which repository"),
        ("[credential]\n helper = /nonexistent/git-credential-daypass\n useHttpPath = true\n", "is not there"),
        (&format!("{GOOD}[http]\n sslVerify = false\n"), "sslVerify"),
    ] {
        let findings = look_at(APPROVED, config);
        assert_eq!(failures(&findings), [("git", ErrorCode::Configuration)], "{config}");
        assert!(findings.last().unwrap().message.contains(words), "{config}: {findings:?}");
    }
}

#[test]
fn another_helper_is_named() {
    let findings = look_at(APPROVED, &format!("{GOOD}[credential]\n helper = store\n"));
    let last = findings.last().unwrap();
    assert!(last.outcome != Outcome::Good && last.message.contains("`store`"), "{last:?}");
}

#[test]
fn a_resource_with_a_ca_of_its_own_needs_it_in_git() {
    let folder = TempDir::new().unwrap();
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, "").unwrap();
    let with_ca = |path: &Path| {
        let path = path.to_str().unwrap().to_owned();
        status(move |status| *status.pointer_mut("/enrolments/0/resources/0/ca_file").unwrap() = path.into())
    };
    let configured =
        |path: &Path| format!("{GOOD}[http \"https://git.example.com/\"]\n sslCAInfo = {}\n", path.display());
    assert!(failures(&look_at(&with_ca(&ca), &configured(&ca))).is_empty());
    let unset = look_at(&with_ca(&ca), GOOD);
    assert!(unset.last().unwrap().message.contains("does not know the CA"));
    let gone = folder.path().join("gone.pem");
    let unreadable = look_at(&with_ca(&gone), &configured(&gone));
    assert!(unreadable.last().unwrap().message.contains("cannot be read"));
}

#[test]
fn a_ca_in_the_environment_outranks_the_configured_one_and_is_named() {
    let folder = TempDir::new().unwrap();
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, "").unwrap();
    let wanted = ca.to_str().unwrap().to_owned();
    let status =
        status(move |status| *status.pointer_mut("/enrolments/0/resources/0/ca_file").unwrap() = wanted.into());
    let home = Home::with(&format!("{GOOD}[http \"https://git.example.com/\"]\n sslCAInfo = {}\n", ca.display()));
    let with = |value: &'static str| home.git_with("GIT_SSL_CAINFO", value);
    let found =
        look(&MockAgent::start([(200, &status)]).client(), &with("/etc/ssl/other.pem"), Surroundings::default());
    assert!(found.last().unwrap().message.contains("GIT_SSL_CAINFO"), "{found:?}");
    let trusting = home.git_with("GIT_SSL_NO_VERIFY", "1");
    let found = look(&MockAgent::start([(200, &status)]).client(), &trusting, Surroundings::default());
    assert!(found.last().unwrap().message.contains("GIT_SSL_NO_VERIFY"), "{found:?}");
}

#[test]
fn without_an_agent_the_surroundings_are_looked_at() {
    let gone = MockAgent::start([]);
    let client = gone.client();
    drop(gone);
    let home = Home::with(GOOD);
    let wsl = Surroundings { wsl: true, ..Surroundings::default() };
    let findings = look(&client, &home.git(), wsl);
    assert_eq!(failures(&findings), [("agent", ErrorCode::AgentUnreachable)]);
    assert!(findings.iter().any(|finding| finding.check == "TPM" && finding.message.contains("WSL2")), "{findings:?}");
}

#[test]
fn the_exit_code_is_that_of_the_first_failure() {
    let agent = MockAgent::start([(200, &status(|status| status["enrolments"] = serde_json::json!([])))]);
    let mut terminal = Buffer::default();
    let failure = run(&agent.client(), &mut terminal).unwrap_err();
    assert_eq!(failure.exit_code(), 4);
    let said = terminal.said();
    assert!(
        said.contains("FAILED   enrolment  this user has no enrolment\n                    next step: ask"),
        "{said}"
    );
}

#[test]
fn versions_are_compared_as_numbers() {
    for (version, takes) in [("2.39.5", false), ("2.46.0", true), ("2.100.1", true), ("3.0", true), ("", false)] {
        assert_eq!(git::takes_authtype(version), takes, "{version}");
    }
    assert_eq!(git::version(&Git::default().program("/nonexistent".as_ref())).outcome, Outcome::Warning);
}

#[test]
fn a_ledger_that_is_not_what_it_was_or_cannot_be_looked_at_is_said() {
    let found =
        r#"{"number":1,"kind":"fork","found_at":1,"accepted_at":null,"message":"two ledgers","next_step":"tell"}"#;
    let forked = status(|status| {
        status["enrolments"][0]["ledger"]["findings"] = serde_json::from_str(&format!("[{found}]")).unwrap()
    });
    assert_eq!(failures(&look_at(&forked, GOOD)), [("ledger", ErrorCode::LedgerForked)]);
    for (since, outcome) in [(1_790_000_000 - 86_400, Outcome::Warning), (1_790_000_000 - 86_399, Outcome::Good)] {
        let away = status(|status| {
            status["enrolments"][0]["ledger"]["unchecked"] = serde_json::json!({"since": since,
                "problem": {"error": "issuer_unreachable", "message": "no answer", "next_step": "wait"}});
        });
        let findings = look_at(&away, GOOD);
        let ledger: Vec<_> = findings.iter().filter(|finding| finding.check == "ledger").collect();
        assert_eq!(ledger.iter().map(|finding| finding.outcome).collect::<Vec<_>>(), [outcome], "{findings:?}");
    }
}
