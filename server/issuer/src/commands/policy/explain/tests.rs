use clap::Parser as _;

use super::*;
use crate::policy::Files;

const PROJECT: &str = include_str!("../../../../project.toml.example");
const GUARDRAILS: &str =
    concat!(include_str!("../../../../starter/guardrails.cedar"), include_str!("../../../../guardrails.cedar.example"));

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn policy() -> Policy {
    let files: Files =
        [("projects/apollo.toml", PROJECT), ("guardrails/sample.cedar", GUARDRAILS)].into_iter().collect();
    Policy::check(&files).unwrap()
}

/// What is explained of this command line, under the sample policy, at noon.
fn explained(line: &str) -> Explained {
    let given = format!("explain --collaborator alice --project apollo --at 2027-01-06T12:00:00Z {line}");
    let args = Line::try_parse_from(given.split(' ')).unwrap_or_else(|error| panic!("{error}")).args;
    let now = args.circumstances.at().unwrap();
    let (collaborator, project, role) = (args.collaborator.unwrap(), args.project.unwrap(), args.role.unwrap());
    let grants = [Trial::granted(collaborator, project, role, now)];
    let (resource, asked) = args.request.read("https://git.example.com/".parse().ok()).unwrap();
    let mut trial = Trial::under(grants[0].clone(), resource, now);
    trial.asked = asked;
    explain(&policy(), &args.circumstances.over(trial), &grants, Ok(()))
}

fn says(told: &Explained) -> Vec<(&str, bool)> {
    told.guardrails.iter().flatten().map(|rule| (rule.guardrail.as_str(), rule.forbids)).collect()
}

const APP: &str = "--role developer --location https://git.example.com/team/app --action push --ref";

#[test]
fn what_is_allowed_is_told_with_every_rule_that_was_asked() {
    let told = explained(&format!("{APP} refs/heads/alice/fix"));
    assert!(told.allowed && told.reason.is_none() && told.grants[0].gives, "{told:?}");
    assert_eq!(told.lifetime, Some(600));
    assert!(told.lines().join("\n").contains("tokens live for 10m at most; grants last for 90d at most"), "{told:?}");
    assert_eq!(says(&told), [("real-tpm", false), ("secure-boot", false), ("working-hours", false)]);
    // Everything that the role gives.
    assert!(explained("--role developer").allowed);
}

#[test]
fn each_circumstance_counts() {
    for (more, rule, allowed) in [
        ("--secure-boot false", "secure-boot", true),
        ("--secure-boot unknown", "secure-boot", true),
        ("--protection software", "secure-boot", true),
        ("--trust-tier software --secure-boot unknown", "secure-boot", true),
        ("--trust-tier virtual", "real-tpm", false),
        ("--trust-tier virtual --decision issue", "real-tpm", false),
    ] {
        let told = explained(&format!("{APP} refs/heads/alice/fix {more}"));
        assert_eq!(told.allowed, allowed, "{more}");
        let forbidding: Vec<_> = says(&told).into_iter().filter(|(_, forbids)| *forbids).collect();
        assert_eq!(forbidding, [(rule, true)], "{more}");
        let lines = told.lines().join("\n");
        let word = if allowed { "would refuse it, and only watches" } else { "refused (`guardrail`)" };
        assert!(lines.contains(word), "{lines}");
    }
}

#[test]
fn what_grant_and_role_refuse_no_guardrail_is_asked() {
    for (line, reason, word) in [
        (format!("{APP} refs/heads/main"), "exceeds_grant", "`push` of `refs/heads/main`"),
        (
            format!("{APP} refs/heads/alice/fix --protection delegated"),
            "delegation_not_allowed",
            "takes proofs of the TPM",
        ),
        ("--role nobody --location https://git.example.com/team/app".to_owned(), "policy_missing", "do not stand"),
        ("--role reader --location https://api.example.com/ --path /v1/x".to_owned(), "no_grant", "nothing is granted"),
        ("--role reader --resource https://other.example.com/".to_owned(), "no_grant", "nothing is granted"),
    ] {
        let told = explained(&line);
        assert!(!told.allowed && told.guardrails.is_none() && !told.grants[0].gives, "{line}: {told:?}");
        assert_eq!(told.reason.as_deref(), Some(reason), "{line}");
        let lines = told.lines().join("\n");
        assert!(lines.contains(word) && lines.contains("not asked"), "{lines}");
    }
}

#[test]
fn a_device_that_is_not_served_is_refused_whatever_it_is_granted() {
    let now = "2027-01-06T12:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second();
    let now = daypass_proto::time::Timestamp::from_seconds(now);
    let parse = |text: &str| text.parse().unwrap();
    let mut grant = Trial::granted("alice".parse().unwrap(), parse("apollo"), "reader".parse().unwrap(), now);
    let trial = Trial::under(grant.clone(), "https://git.example.com/".parse().unwrap(), now);
    let told = explain(&policy(), &trial, &[grant.clone()], Err(CallerError::Suspended("x".to_owned())));
    assert_eq!((told.allowed, told.lifetime, told.reason.as_deref()), (false, None, Some("device_suspended")));
    assert!(told.lines().join("\n").contains("result      refused (`device_suspended`): device `x` is suspended"));
    // Nobody looks at its grants then.
    let told = explain(&policy(), &trial, &[], Err(CallerError::Pending("x".to_owned())));
    assert_eq!((told.allowed, told.reason.as_deref()), (false, Some("device_pending")));
    // A grant whose time is over, beside one that gives it.
    let stands = grant.clone();
    grant.until = now;
    let told = explain(&policy(), &trial, &[grant, stands], Ok(()));
    assert_eq!(told.grants.iter().map(|says| says.gives).collect::<Vec<_>>(), [false, true]);
    assert!(told.allowed && told.grants[0].why.as_ref().unwrap().contains("ended at"), "{told:?}");
}

#[test]
fn what_makes_no_question_is_refused() {
    for line in [
        "explain",
        "explain --collaborator alice",
        "explain --collaborator alice --project apollo",
        "explain --project apollo --role reader",
        "explain --collaborator a --project p --role r --ref refs/heads/x",
        "explain --collaborator a --project p --role r --location l --ref refs/heads/x --path /x",
        "explain --collaborator a --project p --role r --location l --resource https://h/",
        "explain --collaborator a --project p --role r --trust-tier good",
        "explain --collaborator a --project p --role r --secure-boot on",
        "explain --collaborator a --project p --role r --pcr 24=00",
        "explain --collaborator a --project p --role r --pcr 7=00",
        "explain --collaborator a --project p --role r --at noon",
        "explain --collaborator a --project p --role r --decision sign",
        "explain --collaborator a --project p --role r --address here",
    ] {
        assert!(Line::try_parse_from(line.split(' ')).is_err(), "{line}");
    }
    for line in ["--location team/app", "--location https://h/a --action force", "--location https://h/a --action push"]
    {
        let given = format!("explain --collaborator a --project p --role r {line}");
        let args = Line::try_parse_from(given.split(' ')).unwrap_or_else(|error| panic!("{error}")).args;
        assert!(matches!(args.request.read(None), Err(CommandError::Ask(_))), "{line}");
    }
    let args = Line::try_parse_from("explain --collaborator a --project p --role r".split(' '));
    let args = args.unwrap_or_else(|error| panic!("{error}")).args;
    assert!(matches!(args.request.read(None), Err(CommandError::Ask(_))));
}

#[tokio::test]
async fn a_grant_is_explained_with_all_that_its_device_has() {
    use crate::{
        fixture::Made,
        store::{Change, Decision, GrantLife},
    };
    let made = Made::with_software().await;
    let device = made.client().await;
    let first = made.issuer.store.grants_of(&device.id).await.unwrap().remove(0);
    let role = "reader".parse().unwrap();
    let second = Grant { id: GrantId::from_random([7; 10]), role, state: GrantLife::Suspended, ..first.clone() };
    let event = crate::fixture::event(&made.issuer.environment);
    made.issuer.store.decide(Decision::new(event).change(Change::AddGrant(second.clone()))).await.unwrap();
    let subjects = stored(&made.issuer, None, Some(&second.id)).await.unwrap();
    assert_eq!((subjects.grants.len(), subjects.meant.as_ref()), (2, Some(&second.id)));
    let device = subjects.device.unwrap();
    let trial = Trial::under(second, "https://git.example.com/".parse().unwrap(), made.now()).by(&device);
    // The endpoint takes whichever grant gives it.
    let told = explain(&made.issuer.policy(), &trial, &subjects.grants, Ok(()));
    assert!(told.allowed, "{told:?}");
    let of = |gives: bool| told.grants.iter().find(|says| says.gives == gives).unwrap();
    assert_eq!(of(true).role, "developer");
    assert_eq!(of(false).why.as_deref(), Some("the grant for `https://git.example.com/` is suspended"));
    let waiting = made.invited("bob").await;
    let subjects = stored(&made.issuer, None, Some(&waiting.grant)).await.unwrap();
    assert!(subjects.device.is_none() && subjects.grants.len() == 1);
    let nobody = stored(&made.issuer, None, Some(&GrantId::from_random([9; 10]))).await;
    assert!(matches!(nobody, Err(CommandError::NoSuch(_))));
}
