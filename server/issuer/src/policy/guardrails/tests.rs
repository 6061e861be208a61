use daypass_proto::{
    authorization::AuthorizationDetails,
    caller::Evidence,
    encoding::Fixed,
    enrolment::TrustTier,
    names::{ProjectName, RoleName},
    resource::Resource,
    time::Timestamp,
    token::Protection,
};

use super::*;

fn read(text: &str) -> Result<Guardrails, Vec<String>> {
    let files: Files = [("guardrails/all.cedar", text)].into_iter().collect();
    Guardrails::read(&files).map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

/// A request as it usually is; a test changes what it is about.
struct Request {
    action: Action,
    subject: Subject<'static>,
    project: ProjectName,
    role: RoleName,
    resource: Resource,
    details: AuthorizationDetails,
    protection: Protection,
    address: Option<std::net::IpAddr>,
    now: Timestamp,
    caller: Option<Evidence>,
}

/// A request borrows what it is about.
fn kept<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn request() -> Request {
    Request {
        action: Action::Issue,
        subject: Subject {
            device: kept("dev-aaaaaaaaaaaaaaaa".parse().unwrap()),
            collaborator: kept("alice".parse().unwrap()),
            trust_tier: TrustTier::EkChain,
            secure_boot: Some(true),
            pcrs: kept([(7, Fixed([0xaa; 32]))].into()),
            os: "Debian 12",
            agent_version: "1.0",
        },
        project: "apollo".parse().unwrap(),
        role: "developer".parse().unwrap(),
        resource: "https://h/".parse().unwrap(),
        details: serde_json::from_str(
            r#"[{"type":"git_repository","locations":["https://h/team/app"],"actions":["push"],"refs":["refs/heads/x"]}]"#,
        )
        .unwrap(),
        protection: Protection::Hardware,
        address: Some("192.0.2.7".parse().unwrap()),
        // A Wednesday, 10:00 in Berlin.
        now: "2026-11-25T09:00:00Z".parse::<jiff::Timestamp>().map(|time| Timestamp::from_seconds(time.as_second())).unwrap(),
        caller: None,
    }
}

/// Has the rules asked about a usual request.
pub(super) fn judged(guardrails: &Guardrails) {
    guardrails.judge(&request().facts());
}

impl Request {
    fn facts(&self) -> Facts<'_> {
        Facts {
            action: self.action,
            subject: &self.subject,
            project: &self.project,
            role: &self.role,
            role_protection: Protection::Delegated,
            resource: &self.resource,
            details: &self.details,
            protection: self.protection,
            address: self.address,
            now: self.now,
            caller: self.caller.as_ref(),
        }
    }
}

/// Whether a rule with this body refuses the request.
fn refuses(body: &str, request: &Request) -> bool {
    let rules = read(&format!("@id(\"rule\") @reason(\"because\")\nforbid {body};")).unwrap();
    let verdict = rules.judge(&request.facts());
    assert!(verdict.monitored.is_empty());
    match verdict.enforced[..] {
        [] => false,
        [rule] => {
            assert_eq!((rule.id.as_str(), rule.reason.as_str()), ("rule", "because"));
            true
        }
        _ => panic!("one rule, told once"),
    }
}

/// Each fact: a rule about it, and a change of the request that turns what the rule says.
#[test]
fn every_fact_can_be_asked_about() {
    type Turn = fn(&mut Request);
    let cases: [(&str, Turn); 16] = [
        (r#"(principal in Collaborator::"alice", action, resource)"#, |r| {
            r.subject.collaborator = kept("bob".parse().unwrap())
        }),
        (r#"(principal == Device::"dev-aaaaaaaaaaaaaaaa", action, resource)"#, |r| {
            r.subject.device = kept("dev-bbbbbbbbbbbbbbbb".parse().unwrap())
        }),
        (r#"(principal, action == Action::"issue", resource in Project::"apollo")"#, |r| {
            r.project = "zeus".parse().unwrap()
        }),
        (r#"(principal, action, resource == Role::"apollo/developer")"#, |r| r.role = "reader".parse().unwrap()),
        (r#"(principal, action, resource) when { principal.trust_tier == "ek_chain" }"#, |r| {
            r.subject.trust_tier = TrustTier::Virtual
        }),
        (r#"(principal, action, resource) when { principal has secure_boot && principal.secure_boot }"#, |r| {
            r.subject.secure_boot = None
        }),
        (
            r#"(principal, action, resource) when { principal has pcr7 && ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"].contains(principal.pcr7) }"#,
            |r| r.subject.pcrs = kept([(7, Fixed([0xbb; 32]))].into()),
        ),
        (r#"(principal, action, resource) when { principal.os like "Debian *" }"#, |r| r.subject.os = "Other"),
        (
            r#"(principal, action, resource) when { context has address && context.address.isInRange(ip("192.0.2.0/24")) }"#,
            |r| r.address = Some("::ffff:198.51.100.1".parse().unwrap()),
        ),
        (r#"(principal, action, resource) when { context.local["Europe/Berlin"].hour == 10 }"#, |r| {
            r.now = r.now.plus(3600)
        }),
        (r#"(principal, action, resource) when { context.local["Europe/Berlin"].weekday == 3 }"#, |r| {
            r.now = r.now.plus(86_400)
        }),
        (r#"(principal, action, resource) when { context.local["America/New_York"].date == "2026-11-25" }"#, |r| {
            r.now = r.now.plus(-5 * 3600)
        }),
        (r#"(principal, action, resource) when { context.now < datetime("2026-11-25T09:00:01Z") }"#, |r| {
            r.now = r.now.plus(1)
        }),
        (
            r#"(principal, action, resource) when { context.actions.contains("push") && context.locations.contains("https://h/team/app") }"#,
            |r| {
                r.details = serde_json::from_str(
                    r#"[{"type":"http_api","locations":["https://h/"],"actions":["GET"],"paths":["/v1"]}]"#,
                )
                .unwrap()
            },
        ),
        (
            r#"(principal, action, resource) when { context.protection == "hardware" && resource.protection == "delegated" }"#,
            |r| r.protection = Protection::Delegated,
        ),
        (
            r#"(principal, action, resource) unless { context has caller && context.caller.peer has executable && context.caller.peer.executable == "/usr/bin/git" }"#,
            |r| {
                r.caller = serde_json::from_str(
                    r#"{"identified_by":"peer_pidfd","peer":{"executable":"/usr/bin/git","sha256":"unavailable","unit":"unavailable"},"via":[]}"#,
                )
                .ok();
            },
        ),
    ];
    for (rule, turn) in cases {
        let mut request = request();
        assert!(refuses(rule, &request), "{rule}");
        turn(&mut request);
        assert!(!refuses(rule, &request), "{rule}");
    }
}

#[test]
fn a_rule_is_asked_about_the_decisions_that_it_names() {
    for (named, actions) in [
        (r#"action == Action::"issue""#, &[Action::Issue][..]),
        (r#"action == Action::"approve""#, &[Action::Approve]),
        (r#"action == Action::"renew""#, &[Action::Renew]),
        (r#"action in [Action::"approve", Action::"renew"]"#, &[Action::Approve, Action::Renew]),
        ("action", &Action::ALL),
    ] {
        let rule = format!("(principal, {named}, resource) when {{ context.actions.contains(\"push\") }}");
        for action in Action::ALL {
            let request = Request { action, address: None, ..request() };
            assert_eq!(refuses(&rule, &request), actions.contains(&action), "{named} {action:?}");
        }
    }
    assert!(read("@id(\"x\") @reason(\"y\") forbid (principal, action == Action::\"push\", resource);").is_err());
}

#[test]
fn a_rule_is_watched_before_it_counts() {
    let text = |mode: &str| format!("@id(\"nobody\") @reason(\"no\") {mode}\nforbid (principal, action, resource);");
    let watched = read(&text("@mode(\"monitor\")")).unwrap();
    let request = request();
    let verdict = watched.judge(&request.facts());
    assert!(verdict.enforced.is_empty());
    assert_eq!(verdict.monitored.iter().map(|rule| rule.id.as_str()).collect::<Vec<_>>(), ["nobody"]);
    for mode in ["", "@mode(\"enforce\")"] {
        assert_eq!(read(&text(mode)).unwrap().judge(&request.facts()).enforced.len(), 1);
    }
    assert!(read("").unwrap().judge(&request.facts()).enforced.is_empty());
}

#[test]
fn a_rule_that_cannot_be_decided_refuses() {
    // The sum is beyond what a Long holds.
    let body = "(principal, action, resource) when { context.risk + 9223372036854775807 + 1 < 0 }";
    assert!(refuses(body, &request()));
}

#[test]
fn every_fault_has_its_place() {
    let good = "@id(\"one\")\n@reason(\"because\")\nforbid (principal, action, resource)\nwhen { context.risk > 5 };\n";
    assert!(read(good).is_ok());
    for (from, to, line, word) in [
        ("forbid", "permit", 1, "only narrows"),
        ("@id(\"one\")", "", 2, "`@id(\"…\")`"),
        ("\"one\"", "\"One\"", 1, "small letters"),
        ("@reason(\"because\")", "", 1, "`@reason(\"…\")`"),
        ("@reason", "@mode(\"maybe\") @reason", 1, "`monitor` or `enforce`"),
        ("@reason", "@because", 1, "`@because` is not known"),
        ("context.risk", "context.risc", 4, "risc"),
        ("context.risk > 5", "principal.secure_boot", 4, "secure_boot"),
        ("context.risk > 5", "context.local[\"Europe/Atlantis\"].hour > 5", 4, "no time zone"),
        ("principal, action", "principal == ?principal, action", 1, "template"),
        ("when", "whn", 4, "whn"),
        ("> 5", "> \"5\"", 4, "Long"),
        ("> 5", ">", 4, "unexpected"),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good);
        let faults = read(&text).unwrap_err();
        let told = |fault: &String| {
            fault.contains(word) && (fault.starts_with(&format!("guardrails/all.cedar:{line}: ")) || word == "template")
        };
        assert!(faults.iter().any(told), "{to}: {faults:#?}");
    }
    let twice = read(&format!("{good}\n{good}")).unwrap_err();
    assert!(twice[0].starts_with("guardrails/all.cedar:6: ") && twice[0].contains("another rule"), "{twice:?}");
}

/// What comes with `init` is good, and does what it says.
#[test]
fn the_samples_are_good() {
    let rules = read(concat!(
        include_str!("../../../starter/guardrails.cedar"),
        include_str!("../../../guardrails.cedar.example")
    ))
    .unwrap();
    let judged = |request: &Request| {
        let verdict = rules.judge(&request.facts());
        let names = |rules: &[&Rule]| rules.iter().map(|rule| rule.id.clone()).collect::<Vec<_>>().join(" ");
        (names(&verdict.enforced), names(&verdict.monitored))
    };
    let none = || (String::new(), String::new());
    assert_eq!(judged(&request()), none());
    let mut virtual_tpm = request();
    virtual_tpm.subject.trust_tier = TrustTier::Virtual;
    assert_eq!(judged(&virtual_tpm), ("real-tpm".to_owned(), String::new()));
    let mut at_night = request();
    at_night.now = at_night.now.plus(12 * 3600);
    at_night.subject.secure_boot = None;
    assert_eq!(judged(&at_night), (String::new(), "secure-boot working-hours".to_owned()));
}

#[test]
fn the_schema_has_the_zones_that_are_asked_for() {
    let text = schema::text(["Europe/Berlin"].into_iter());
    assert!(text.contains("\"Europe/Berlin\": Local"));
    assert!(schema::schema(std::iter::empty()).is_ok());
}
