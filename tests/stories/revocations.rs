//! The list of what gates must refuse: nobody makes it longer than he may, and an honest one may be long.

use daypass_tests::{Answer, Failure, REPOSITORY, SoftwareClient, Story, World, ensure};

const REFS: &str = "team/app.git/info/refs?service=git-upload-pack";
/// More than eight megabytes of list.
const MANY: u32 = 150_000;

fn at_the_gate(world: &World, client: &SoftwareClient, token: &str) -> Result<u16, Failure> {
    let (nonce, now) = (world.nonce(REPOSITORY, "git-upload-pack", None)?, world.now());
    let made = SoftwareClient::forge_presentation(client.proof(), token, &world.repository(), &nonce, now, |_| {})?;
    Ok(world.request(REFS)?.header("Authorization", &format!("Daypass {made}")).send()?.status)
}

fn revokes(world: &World, client: &SoftwareClient, token: &str) -> Story {
    let request = client.request(&format!("{}/oauth/revoke", world.issuer.mtls_url()))?;
    request.with(["--data-urlencode".to_owned(), format!("token={token}")]).send()?.status(200).map(drop)
}

#[test]
fn a_device_has_so_many_tokens_and_revoking_them_makes_no_room() -> Story {
    let world = World::build(true, |issuer, gate| {
        issuer.configure("allow_software_keys = false", "allow_software_keys = true")?;
        issuer.configure("tokens_per_device = 1000", "tokens_per_device = 3")?;
        gate.configure("allow_software_keys = false", "allow_software_keys = true")
    })?;
    let (greedy, other) = (world.software_client("greedy", "developer")?, world.software_client("other", "developer")?);
    let resource = world.gate.resource();
    let ask = || greedy.ask(&resource, world.now(), &[]);
    let refused = |answer: Answer| answer.status(403)?.says(&["access_denied", "too_many_tokens"]).map(drop);
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(greedy.token(&resource, world.now())?);
    }
    refused(ask()?)?;
    other.token(&resource, world.now())?;
    for token in tokens.iter().chain(&tokens).take(5) {
        revokes(&world, &greedy, token)?;
    }
    refused(ask()?)?;
    // One event for each, however often it was asked for.
    let events = world.issuer.sql("SELECT COUNT(*) FROM events WHERE kind = 'token_revoked'")?;
    ensure(events == ["3"], "three events", events.join(" "))?;
    // The role's five minutes and the skew are over: what was revoked is still named to gates, and counts.
    world.advance(std::time::Duration::from_secs(7 * 60))?;
    refused(ask()?)?;
    world.advance(std::time::Duration::from_secs(12 * 3600))?;
    greedy.token(&resource, world.now()).map(drop)
}

#[test]
fn a_long_list_arrives_and_the_last_word_with_it() -> Story {
    let world = World::with_software_keys(false)?;
    let client = world.software_client("client", "developer")?;
    let token = client.token(&world.gate.resource(), world.now())?;
    world.issuer.fill(&format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY}) \
         INSERT INTO tokens (jti, device, grant_id, resource, expires_at, revoked) \
         SELECT printf('%022d', n.i), t.device, t.grant_id, t.resource, t.expires_at, 1 FROM n, tokens t",
    ))?;
    // The gate has heard of them once it has heard of this one, and then it lets others pass.
    let last = world.software_client("last", "developer")?;
    let ended = last.token(&world.gate.resource(), world.now())?;
    revokes(&world, &last, &ended)?;
    world.until_refused(|| at_the_gate(&world, &last, &ended))?;
    let status = at_the_gate(&world, &client, &token)?;
    ensure(status == 200, "access for whoever is not on the list", status)?;
    let check = world.gate.act(["check"]).run()?.succeeded()?;
    check.says(&["issuer          answers"]).map(drop)
}
