//! Clients and libraries of other makers, in other languages, against the built issuer and gate. What each does stands in
//! `tests/interop/`; here stands what must come of it.

use daypass_tests::{Failure, ForeignClient, Language, REPOSITORY, SoftwareClient, Story, Who, World, ensure};
use serde_json::{Value, json};

/// What a client told, step by step.
struct Told(Vec<Value>);

impl Told {
    /// One thing that a step found.
    fn of(&self, step: &str, found: &str) -> Result<&Value, Failure> {
        let step = self.0.iter().find(|line| line.get("step").and_then(Value::as_str) == Some(step));
        step.and_then(|line| line.pointer(found))
            .ok_or_else(|| Failure::unexpected(format!("`{found}` of a step"), format!("{:?}", self.0)))
    }

    /// Goes on only if that is what it found.
    fn is(&self, step: &str, found: &str, expected: impl Into<Value>) -> Story {
        let (told, expected) = (self.of(step, found)?, expected.into());
        ensure(*told == expected, format!("{step}: {found} {expected}"), told)
    }
}

fn told(client: &ForeignClient, world: &World, own: &SoftwareClient) -> Result<Told, Failure> {
    let ran = client
        .act(Who::Server)?
        .env("ISSUER_URL", world.issuer.url())
        .env("ISSUER_CA", world.issuer.root())
        .env("CLIENT_ID", &own.client_id)
        .env("CLIENT_CERT", &own.certificate)
        .env("CLIENT_KEY", &own.key)
        .env("CLIENT_PROOF_KEY", &own.proof_key)
        .env("GATE_URL", world.gate.resource())
        .env("GIT_URL", world.clone_url())
        .run()?
        .succeeded()?;
    let lines = ran.text().lines().map(serde_json::from_str).collect::<Result<_, _>>();
    lines.map(Told).map_err(|_| ran.surprise("a line of JSON for each step"))
}

fn read(world: &World) -> Value {
    json!([{"type": "git_repository", "locations": [world.gate.url(REPOSITORY)], "actions": ["read"]}])
}

#[test]
fn openid_client_gets_uses_and_revokes_a_bound_token_and_jose_verifies_it() -> Story {
    let world = World::with_software_keys(false)?;
    let Some(client) = ForeignClient::install(&world.place, Language::JavaScript)? else { return Ok(()) };
    let own = world.software_client("client", "developer")?;
    let told = told(&client, &world, &own)?;

    told.is("discovered", "/issuer", world.issuer.url())?;
    told.is("discovered", "/alias", own.token_endpoint())?;
    told.is("token", "/type", "dpop")?;
    told.is("token", "/details", read(&world))?;
    told.is("token", "/exchanges/0/url", own.token_endpoint())?;
    told.is("verified", "/client_id", own.client_id.as_str())?;
    told.is("verified", "/bound", true)?;
    told.is("forged", "/code", "ERR_JWS_SIGNATURE_VERIFICATION_FAILED")?;
    // Asked for a nonce, and answered: two exchanges.
    told.is("used", "/status", 200)?;
    told.is("used", "/exchanges/0/status", 401)?;
    told.is("used", "/exchanges/1/status", 200)?;
    told.is("used", "/type", "application/x-git-upload-pack-advertisement")?;
    told.is("other resource", "/error", "invalid_target")?;
    told.is("too much", "/error", "invalid_authorization_details")?;
    told.is("unknown details", "/error", "invalid_authorization_details")?;
    told.is("introspection", "/error", "access_denied")?;
    told.is("revoked", "/exchanges/0/status", 200)?;
    // RFC 6750 section 3.1, where the library finds it: one challenge, and what is wrong with the token.
    told.is("after revocation", "/challenges", json!([{"scheme": "dpop", "error": "invalid_token"}]))?;
    told.is("after revocation", "/status", 401)
}

#[test]
fn requests_oauth2client_gets_and_uses_a_bound_token_and_pyjwt_verifies_it() -> Story {
    let world = World::with_software_keys(false)?;
    let Some(client) = ForeignClient::install(&world.place, Language::Python)? else { return Ok(()) };
    let own = world.software_client("client", "developer")?;
    let told = told(&client, &world, &own)?;

    told.is("metadata", "/type", "application/json")?;
    told.is("token", "/type", "DPoP")?;
    told.is("token", "/details", read(&world))?;
    told.is("verified", "/typ", "at+jwt")?;
    told.is("verified", "/client_id", own.client_id.as_str())?;
    told.is("verified", "/bound", true)?;
    told.is("other audience", "/error", "InvalidAudienceError")?;
    told.is("used", "/status", 200)?;
    told.is("used", "/nonce", true)?;
    told.is("used", "/type", "application/x-git-upload-pack-advertisement")?;
    for step in ["other resource", "two resources", "no resource"] {
        told.is(step, "/error", "invalid_target")?;
    }
    told.is("unknown details", "/error", "invalid_authorization_details")
}
