//! The issuer alone: made, checked, asked what it is.

use daypass_proto::time::Timestamp;
use daypass_tests::{Failure, Issuer, Maker, Place, Programs, Request, Story, Who, ensure, eventually, now};

const PROJECT: &str = r#"
owners = ["olga@example.com"]
[roles.developer]
token_lifetime = "5m"
longest_grant = "90d"
[[roles.developer.authorization_details]]
type = "git_repository"
locations = ["https://git.example.com/team/app"]
actions = ["push", "create", "delete"]
refs = ["refs/heads/{user}/**"]
"#;

fn made(place: &Place) -> Result<Issuer, Failure> {
    Issuer::init(place, "issuer", &Programs::find()?, None, &[])
}

#[test]
fn init_makes_all_that_serve_needs_and_nothing_that_others_can_read() -> Story {
    let place = Place::new()?;
    let mut issuer = made(&place)?;
    for secret in ["root.key", "master.key"] {
        use std::os::unix::fs::PermissionsExt as _;
        let path = issuer.folder().join(secret);
        let mode =
            std::fs::metadata(&path).map_err(Failure::machine(format!("look at {secret}")))?.permissions().mode();
        ensure(mode & 0o077 == 0, format!("{secret} closed to others"), format!("mode {mode:o}"))?;
    }
    issuer.act(["init", "--url", "https://127.0.0.1:1"]).run()?.refused(&["exists already"])?.code(4)?;
    issuer.serve()?;
    issuer.stop()
}

#[test]
fn check_names_everything_that_is_missing() -> Story {
    let place = Place::new()?;
    let issuer = made(&place)?;
    issuer
        .act(["check"])
        .run()?
        .refused(&["no policy is in force", "policy load", "no EK roots", "2 problem(s)"])?
        .code(4)?;
    issuer.write_project("apollo", PROJECT)?;
    issuer.trust(&{
        let maker = Maker::new(&place, "maker")?;
        let machine = place.folder("machine", Who::Agent, 0o700)?;
        maker.make(&machine)?;
        maker
    })?;
    issuer.act(["check"]).run()?.refused(&["no gate guards", "git.example.com", "1 problem(s)"])?;
    issuer.run(["gate", "add", "gate", "--resource", "https://git.example.com/"])?;
    issuer.run(["check"])?.says(&["all good"])?;
    issuer.configure("clock_skew = \"30s\"", "clock_skew = \"2m\"")?;
    issuer.configure("pcrs = [0, 1,", "pcrs = [1, 1,")?;
    issuer.act(["check"]).run()?.refused(&["clock_skew", "pcrs", "2 bad value(s)"])?.code(4)?;
    Ok(())
}

#[test]
fn an_invitation_is_shown_before_it_is_made_and_ends_with_a_day_of_its_project() -> Story {
    let place = Place::new()?;
    let mut issuer = made(&place)?;
    issuer.write_project("apollo", &format!("time_zone = \"Asia/Kolkata\"\n{PROJECT}"))?;
    let today = now();
    let in_a_month = Timestamp::from_seconds(today).plus(30 * 86_400).to_string();
    let (date, _) = in_a_month.split_at(10);
    let asked = ["invite", "alice", "--project", "apollo", "--role", "developer", "--until", date, "--reason", "audit"];
    issuer.run(asked.into_iter().chain(["--dry-run"]))?.says(&[
        "would invite alice",
        &format!("{date} 23:59:59 Asia/Kolkata"),
        "refs/heads/alice/**",
        "approval by olga@example.com",
        "nothing was made",
    ])?;
    ensure(issuer.sql("SELECT id FROM invitations")?.is_empty(), "no invitation", "one")?;
    issuer
        .act(["invite", "alice", "--project", "apollo", "--role", "developer", "--until", "91d", "--dry-run"])
        .run()?
        .refused(&["at most"])?;
    let made = issuer.run(asked.into_iter().chain(["--json"]))?.json()?;
    let until = made["until"].as_i64().unwrap_or_default();
    ensure((until + 1 + 19_800) % 86_400 == 0, "the last second of a day in India", until)?;
    ensure(made["approved_by"][0] == "olga@example.com" && made["code"].is_string(), "who approves", &made)?;
    issuer.serve()?;
    eventually("the event with the reason", || {
        Ok(issuer.run(["ledger", "list", "--kind", "invited", "--json"])?.says(&["\"audit\""]).ok())
    })?;
    // A zone that nobody knows is a fault of the policy, and of a command.
    let nowhere = format!("time_zone = \"Europe/Atlantis\"\n{PROJECT}");
    std::fs::write(issuer.project("apollo"), nowhere).map_err(Failure::machine("write a project"))?;
    issuer.act(["policy", "load"]).run()?.refused(&["projects/apollo.toml:1", "Europe/Atlantis", "IANA"])?.code(4)?;
    issuer
        .act(["invite", "alice", "--project", "apollo", "--role", "developer", "--until", "2999-01-31[Mars/Base]"])
        .run()?
        .refused(&["Mars/Base", "IANA"])?
        .code(2)?;
    Ok(())
}

#[test]
fn broken_policy_refuses_and_names_the_file() -> Story {
    let place = Place::new()?;
    let issuer = made(&place)?;
    issuer.write_project("apollo", PROJECT)?;
    let version = |issuer: &Issuer| -> Result<serde_json::Value, Failure> {
        Ok(issuer.run(["policy", "list", "--json"])?.json()?[0]["version"].clone())
    };
    let good = version(&issuer)?;
    let broken = PROJECT.replace("\"push\"", "\"psuh\"").replace("\"5m\"", "\"10h\"");
    std::fs::write(issuer.project("apollo"), broken).map_err(Failure::machine("write a project"))?;
    let told = ["2 fault(s)", "projects/apollo.toml:", "psuh", "token_lifetime = \"10h\"", "an hour at most"];
    for command in [["policy", "check"], ["policy", "load"]] {
        issuer.act(command).run()?.refused(&told)?.code(4)?;
    }
    let faults = issuer.act(["policy", "check", "--json"]).run()?.code(4)?.json()?["faults"].clone();
    ensure(faults[0]["file"] == "projects/apollo.toml" && faults[0]["line"].is_u64(), "where the fault is", &faults)?;
    // What is in force stays so, and what lies in the folder is told to be something else.
    issuer.act(["check"]).run()?.refused(&["is not the policy in force"])?;
    ensure(version(&issuer)? == good, "the good policy", good)?;
    // A file that nobody reads is a rule that somebody believes in.
    std::fs::write(issuer.project("apollo"), PROJECT).map_err(Failure::machine("write a project"))?;
    let stray = issuer.folder().join("policy/guardrail.cedar");
    std::fs::write(stray, "forbid (principal, action, resource);").map_err(Failure::machine("write a stray file"))?;
    issuer.act(["policy", "load"]).run()?.refused(&["guardrail.cedar", "is not read from here"])?.code(4)?;
    Ok(())
}

#[test]
fn the_public_listener_says_what_the_issuer_is() -> Story {
    let place = Place::new()?;
    let mut issuer = made(&place)?;
    issuer.serve()?;
    let get = |path: &str| Request::new(Who::Alice, &format!("{}{path}", issuer.url()), issuer.root())?.send();
    let metadata = get("/.well-known/oauth-authorization-server")?.status(200)?;
    let json = metadata.json()?;
    let field = |pointer: &str| json.pointer(pointer).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    ensure(field("/issuer") == issuer.url(), "the issuer's own URL", field("/issuer"))?;
    let endpoint = format!("{}/oauth/token", issuer.mtls_url());
    ensure(field("/token_endpoint") == endpoint, &endpoint, field("/token_endpoint"))?;
    ensure(field("/mtls_endpoint_aliases/token_endpoint") == endpoint, &endpoint, metadata.body.clone())?;
    metadata.says(&["tls_client_auth", "client_credentials", "ES256", "git_repository"])?;
    let keys = get("/jwks")?.status(200)?.says(&["cache-control: max-age", "x5c", "\"ES256\""])?;
    ensure(!keys.body.contains("\"d\""), "no private key", &keys.body)?;
    get("/healthz")?.status(200)?;
    get("/oauth/token")?.status(404)?;
    // The other listener does not even talk to somebody without a certificate.
    let stranger = Request::new(Who::Alice, &format!("{}/oauth/token", issuer.mtls_url()), issuer.root())?;
    stranger.act().run()?.refused(&["certificate required"])?;
    // TLS 1.3 only.
    let old = Request::new(Who::Alice, &format!("{}/healthz", issuer.url()), issuer.root())?.with(["--tls-max", "1.2"]);
    old.act().run()?.refused(&["protocol version"])?;
    Ok(())
}
