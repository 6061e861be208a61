use std::fmt::Write as _;

use crate::policy::{ExamplesError, Files, Policy};

const PROJECT: &str = include_str!("../../../project.toml.example");
const GUARDRAILS: &str =
    concat!(include_str!("../../../starter/guardrails.cedar"), include_str!("../../../guardrails.cedar.example"));
const EXAMPLES: &str = include_str!("../../../policy-tests.toml.example");

const ALLOW: &str = r#"[[allow]]
collaborator = "alice"
project = "sample"
role = "developer"
ask = [{ type = "git_repository", locations = ["https://git.example.com/team/app"], actions = ["push"], refs = ["refs/heads/alice/fix"] }]
"#;

fn read(examples: &str) -> Result<Policy, Vec<String>> {
    let files: Files =
        [("projects/sample.toml", PROJECT), ("guardrails/sample.cedar", GUARDRAILS), ("tests/all.toml", examples)]
            .into_iter()
            .collect();
    Policy::check(&files).map_err(|error| error.0.iter().map(ToString::to_string).collect())
}

/// What is told of the examples that fail.
fn failing(examples: &str) -> Vec<String> {
    let error = ExamplesError::of(&read(examples).unwrap()).err();
    error.map(|error| error.0.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

#[test]
fn what_init_leaves_holds() {
    let policy = read(EXAMPLES).unwrap();
    assert_eq!(policy.examples().len(), 6);
    assert_eq!(failing(EXAMPLES), [""; 0]);
}

/// One example each that does not hold: what is told of it.
#[test]
fn each_that_comes_out_otherwise_is_told_with_its_line() {
    let deny = ALLOW.replace("[[allow]]", "[[deny]]");
    for (example, told) in [
        (ALLOW.replace("alice/fix", "main"), "should be allowed, and is refused: more is asked for"),
        (format!("{ALLOW}device = {{ trust_tier = \"virtual\" }}"), "the guardrail `real-tpm` forbids it"),
        (format!("{ALLOW}monitored = [\"secure-boot\"]"), "`monitored` must be `secure-boot`, and is empty"),
        (format!("{ALLOW}monitored = []\ndevice = {{ secure_boot = false }}"), "must be empty, and is `secure-boot`"),
        (format!("{deny}because = \"exceeds_grant\""), "should be refused with `exceeds_grant`, and is allowed"),
        (format!("{deny}because = \"no_grant\"").replace("alice/fix", "main"), "and is refused with `exceeds_grant`"),
        (format!("{deny}guardrail = \"real-tpm\""), "by the guardrail `real-tpm`, and is allowed"),
        (format!("{deny}guardrail = \"real-tmp\""), "there is no such guardrail"),
        (
            format!("{deny}guardrail = \"secure-boot\"\ndevice = {{ secure_boot = false }}"),
            "the guardrail only watches",
        ),
        (format!("{deny}guardrail = \"real-tpm\"").replace("alice/fix", "main"), "is refused otherwise"),
        (format!("{deny}because = \"no_grant\"").replace("\"sample\"", "\"other\""), "with `policy_missing`"),
        (format!("{ALLOW}protection = \"delegated\""), "takes proofs of the TPM's proof key only"),
    ] {
        let failed = failing(&format!("# The first line\n\n{example}"));
        assert_eq!(failed.len(), 1, "{example}: {failed:?}");
        assert!(failed[0].starts_with("tests/all.toml:3: `alice` as `developer` of "), "{failed:?}");
        assert!(failed[0].contains(told), "{told}: {failed:?}");
    }
}

#[test]
fn what_an_example_says_is_what_is_asked() {
    let watched = |more: &str, rules: &str| failing(&format!("{ALLOW}monitored = {rules}\n{more}"));
    assert_eq!(watched("", "[]"), [""; 0]);
    assert_eq!(watched("device = { secure_boot = false }", "[\"secure-boot\"]"), [""; 0]);
    // Both forms of a moment, one of them with its zone.
    assert_eq!(watched("at = \"2027-01-06T22:00:00Z\"", "[\"working-hours\"]"), [""; 0]);
    assert_eq!(watched("at = 2027-01-06T23:00:00+01:00", "[\"working-hours\"]"), [""; 0]);
    assert_eq!(watched("protection = \"software\"", "[\"secure-boot\"]"), [""; 0]);
    let rule = r#"
@id("facts") @reason("r") forbid (principal, action, resource)
unless { context has address && context.address.isInRange(ip("192.0.2.0/24")) && principal has pcr7 && principal.pcr7 == "PCR"
    && principal.os == "plan9" && principal.agent_version == "7" && context has caller && context.caller.peer has unit };"#;
    let pcr = "ab".repeat(32);
    let examples = format!(
        "{ALLOW}address = \"192.0.2.7\"\ndevice = {{ pcr7 = \"{pcr}\", os = \"plan9\", agent_version = \"7\" }}\ncaller = CALLER\n"
    )
    .replace("CALLER", &caller());
    let files: Files = [
        ("projects/sample.toml", PROJECT.to_owned()),
        ("guardrails/facts.cedar", rule.replace("PCR", &pcr)),
        ("tests/all.toml", examples.clone()),
    ]
    .into_iter()
    .collect();
    ExamplesError::of(&Policy::check(&files).unwrap()).unwrap();
    for (from, to) in [("192.0.2.7", "192.0.3.7"), ("abab", "abac"), ("plan9", "plan8"), ("= \"7\"", "= \"8\"")] {
        let mut files: Vec<(String, String)> = vec![
            ("projects/sample.toml".into(), PROJECT.into()),
            ("guardrails/facts.cedar".into(), rule.replace("PCR", &pcr)),
        ];
        files.push(("tests/all.toml".into(), examples.replacen(from, to, 1)));
        let policy = Policy::check(&files.into_iter().collect()).unwrap();
        assert_eq!(ExamplesError::of(&policy).unwrap_err().0.len(), 1, "{to}");
    }
}

/// Whichever of both is named, a client without a TPM signs with software keys, and so a rule about either meets it.
#[test]
fn a_client_without_a_tpm_signs_with_software_keys() {
    const RULE: &str = "@id(\"no-software\") @reason(\"no\")\nforbid (principal, action == Action::\"issue\", resource) when { context.protection == \"software\" };";
    for how in ["protection = \"software\"", "device = { trust_tier = \"software\" }"] {
        let example = format!("{ALLOW}{how}").replace("[[allow]]", "[[deny]]\nguardrail = \"no-software\"");
        let files: Files =
            [("projects/sample.toml", PROJECT), ("guardrails/all.cedar", RULE), ("tests/all.toml", &example)]
                .into_iter()
                .collect();
        let result = ExamplesError::of(&Policy::check(&files).unwrap());
        assert!(result.is_ok(), "{how}: {result:?}");
    }
}

/// An example is about one decision, and a rule about another says nothing to it.
#[test]
fn an_example_is_about_one_decision() {
    const RULE: &str = "@id(\"never\") @reason(\"no\")\nforbid (principal, action == Action::\"renew\", resource);";
    for (decision, refused) in [("", false), ("issue", false), ("approve", false), ("renew", true)] {
        let decision = if decision.is_empty() { String::new() } else { format!("decision = \"{decision}\"\n") };
        let example = format!("{ALLOW}{decision}");
        let example = if refused { example.replace("[[allow]]", "[[deny]]\nguardrail = \"never\"") } else { example };
        let files: Files =
            [("projects/sample.toml", PROJECT), ("guardrails/all.cedar", RULE), ("tests/all.toml", &example)]
                .into_iter()
                .collect();
        let result = ExamplesError::of(&Policy::check(&files).unwrap());
        assert!(result.is_ok(), "{decision}: {result:?}");
    }
}

/// Evidence as it is on the wire, in TOML.
fn caller() -> String {
    let mut evidence = daypass_proto::caller::Evidence::unavailable();
    evidence.peer.unit = serde_json::from_str("\"git.service\"").unwrap();
    let json = serde_json::to_value(&evidence).unwrap();
    let toml = toml::Value::try_from(&json).unwrap();
    let mut text = String::new();
    let _ = write!(text, "{toml}");
    text
}

/// One thing made wrong each: the line that is named, and a word of what is said.
#[test]
fn every_fault_has_its_line() {
    for (from, to, line, word) in [
        ("[[allow]]", "[[allows]]", 1, "known are `allow`, `deny`"),
        ("[[allow]]", "[allow]", 1, "expected an array"),
        ("[[allow]]", "[[deny]]", 1, "say why it must be refused"),
        ("[[allow]]", "[[deny]]\nbecause = \"whim\"", 2, "unknown variant"),
        ("[[allow]]", "[[deny]]\nbecause = \"no_grant\"\nguardrail = \"real-tpm\"", 1, "say why"),
        ("[[allow]]", "[[allow]]\nbecause = \"no_grant\"", 2, "not known here"),
        ("[[allow]]", "[[allow]]\ndecision = \"sign\"", 2, "unknown variant"),
        ("[[allow]]", "[[allow]]\naddress = \"here\"", 2, "address"),
        ("[[allow]]", "[[allow]]\nat = 2027-01-06", 2, "no moment"),
        ("[[allow]]", "[[allow]]\nat = \"noon\"", 2, "no moment"),
        ("[[allow]]", "[[allow]]\nprotection = \"iron\"", 2, "unknown variant"),
        ("[[allow]]", "[[allow]]\ndevice = { tier = \"virtual\" }", 2, "`tier` is not known"),
        ("[[allow]]", "[[allow]]\ndevice = { trust_tier = \"good\" }", 2, "unknown variant"),
        ("[[allow]]", "[[allow]]\ndevice = { secure_boot = \"on\" }", 2, "`true`, `false` or"),
        ("[[allow]]", "[[allow]]\ndevice = { pcr7 = \"AB\" }", 2, "64 small hexadecimal"),
        ("[[allow]]", "[[allow]]\ndevice = { pcr24 = \"AB\" }", 2, "not known here"),
        ("[[allow]]", "[[allow]]\ncaller = { peer = 7 }", 2, "`caller`"),
        (
            "[[allow]]",
            "[[allow]]\nprotection = \"software\"\ndevice = { trust_tier = \"ek_chain\" }",
            1,
            "trust tier `software` alone",
        ),
        ("collaborator =", "collaborators =", 1, "`collaborator` is missing"),
        ("\"developer\"", "\"dev eloper\"", 4, "`role`"),
        ("ask =", "asks =", 1, "`ask` is missing"),
        ("\"push\"", "\"force\"", 5, "unknown variant"),
        ("refs/heads/alice", "refs/heads/{user}", 5, "stands for nobody"),
        ("team/app\"", "team/app\", \"https://other.example.com/a\"", 5, "one resource"),
        ("ask = [", "ask = []\n#", 5, "one resource"),
    ] {
        let text = ALLOW.replacen(from, to, 1);
        assert_ne!(text, ALLOW, "{from}");
        let faults = read(&text).unwrap_err();
        let named = format!("tests/all.toml:{line}: ");
        assert!(faults.iter().any(|fault| fault.starts_with(&named) && fault.contains(word)), "{to}: {faults:#?}");
    }
    assert!(read("# nothing\n").unwrap_err()[0].contains("has no example"));
}
