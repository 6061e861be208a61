//! Software clients, behind their loud settings, and the token endpoint under somebody who can sign whatever he likes.

use std::time::Duration;

use daypass_tests::{
    Act, Answer, Clock, Failure, Issuer, Place, Programs, Ran, Raw, Request, SoftwareClient, SoftwareKeys, Story, Who,
    ensure, new_key,
};

pub(crate) const GIT: &str = "https://git.example.com/";
/// One role on a repository that nothing here serves: for stories about the issuer alone.
pub(crate) const PROJECT: &str = r#"
owners = ["olga@example.com"]
[roles.developer]
token_lifetime = "5m"
longest_grant = "90d"
[[roles.developer.authorization_details]]
type = "git_repository"
locations = ["https://git.example.com/team/app"]
actions = ["push"]
refs = ["refs/heads/{user}/**"]
"#;

/// An issuer that takes software clients, on a clock that the story moves.
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) clock: Clock,
    pub(crate) issuer: Issuer,
}

pub(crate) fn scene() -> Result<Scene, Failure> {
    let place = Place::new()?;
    let clock = Clock::new(place.path(), "clock")?;
    let mut issuer = Issuer::init(&place, "issuer", &Programs::find()?, Some(&clock), &[])?;
    issuer.configure("allow_software_keys = false", "allow_software_keys = true")?;
    issuer.write_project("apollo", PROJECT)?;
    issuer.run(["gate", "add", "gate", "--resource", GIT])?;
    issuer.serve()?;
    Ok(Scene { place, clock, issuer })
}

impl Scene {
    pub(crate) fn client(&self, name: &str) -> Result<SoftwareClient, Failure> {
        SoftwareKeys::new(&self.place, name, Who::Server)?.register(&self.issuer, "apollo", "developer")
    }
}

fn refused(answer: Answer, status: u16, error: &str) -> Story {
    let answer = answer.status(status)?;
    let json = answer.json()?;
    for field in ["error", "error_description", "daypass_reason", "daypass_next_step"] {
        let text = json.get(field).and_then(|value| value.as_str()).unwrap_or_default();
        ensure(!text.is_empty(), format!("a `{field}`"), &answer.ran)?;
    }
    ensure(json.get("error").and_then(|value| value.as_str()) == Some(error), error, &answer.ran)
}

#[test]
fn software_keys_are_off_unless_somebody_says_so() -> Story {
    let place = Place::new()?;
    let issuer = Issuer::init(&place, "issuer", &Programs::find()?, None, &[])?;
    issuer.write_project("apollo", PROJECT)?;
    let keys = SoftwareKeys::new(&place, "client", Who::Server)?;
    issuer.act(keys.registration("apollo", "developer")?).run()?.refused(&["allow_software_keys"])?.code(3)?;
    Ok(())
}

#[test]
fn switching_them_off_revokes_what_they_hold() -> Story {
    let mut scene = scene()?;
    scene.issuer.run(["check"]).or_else(|_| scene.issuer.act(["check"]).run())?.says(&["allow_software_keys"])?;
    let client = scene.client("client")?;
    client.token(GIT, scene.clock.now())?;
    scene.issuer.stop()?;
    scene.issuer.configure("allow_software_keys = true", "allow_software_keys = false")?;
    scene.issuer.serve()?;
    let answer = client.ask(GIT, scene.clock.now(), &[])?;
    ensure(answer.status >= 400, "a refusal", &answer.ran)?;
    scene.issuer.run(["device", "show", &client.device])?.says(&["software"])?;
    Ok(())
}

#[test]
fn a_token_names_its_holder_and_what_it_allows() -> Story {
    let scene = scene()?;
    let client = scene.client("client")?;
    let answer =
        client.ask(GIT, scene.clock.now(), &[])?.status(200)?.says(&["cache-control: no-store", "\"DPoP\""])?;
    let json = answer.json()?;
    ensure(json.pointer("/expires_in").and_then(|value| value.as_i64()) == Some(300), "five minutes", &answer.ran)?;
    ensure(answer.body.contains("refs/heads/software-client/**"), "`{user}` as one component", &answer.ran)?;
    Ok(())
}

#[test]
fn each_fault_of_a_token_request_has_its_own_error() -> Story {
    let scene = scene()?;
    let client = scene.client("client")?;
    let now = scene.clock.now();
    let endpoint = client.token_endpoint().to_owned();
    let proof = |change: &dyn Fn(&mut daypass_proto::dpop::Claims)| {
        SoftwareClient::forge_proof(client.proof(), "POST", &endpoint, now, |claims| change(claims))
    };
    let with = |proof: &str, more: &[(&str, &str)]| client.token_request(proof, GIT, more)?.send();

    // The proof.
    let (other, _) = new_key()?;
    let foreign = SoftwareClient::forge_proof(&other, "POST", &endpoint, now, |_| {})?;
    refused(with(&foreign, &[])?, 400, "invalid_dpop_proof")?;
    refused(with(&proof(&|claims| claims.htm = "GET".to_owned())?, &[])?, 400, "invalid_dpop_proof")?;
    refused(
        with(&proof(&|claims| claims.htu = "https://elsewhere.example.com/oauth/token".to_owned())?, &[])?,
        400,
        "invalid_dpop_proof",
    )?;
    for wrong in [-600, 600] {
        let late = SoftwareClient::forge_proof(client.proof(), "POST", &endpoint, now + wrong, |_| {})?;
        refused(with(&late, &[])?, 400, "invalid_dpop_proof")?;
    }
    refused(with("not.a.proof", &[])?, 400, "invalid_dpop_proof")?;
    let twice = proof(&|_| {})?;
    with(&twice, &[])?.status(200)?;
    refused(with(&twice, &[])?, 400, "invalid_dpop_proof")?;

    // The request.
    let fresh = || proof(&|_| {});
    refused(with(&fresh()?, &[("grant_type", "password")])?, 400, "unsupported_grant_type")?;
    refused(with(&fresh()?, &[("resource", "https://other.example.com/")])?, 400, "invalid_target")?;
    refused(with(&fresh()?, &[("client_id", "urn:daypass:device:dev-0000000000000000")])?, 401, "invalid_client")?;
    for details in [
        "nonsense",
        r#"[{"type":"unknown"}]"#,
        r#"[{"type":"git_repository","locations":["https://git.example.com/team/app"],"actions":["read"],"more":1}]"#,
        r#"[{"type":"git_repository","locations":["https://git.example.com/team/other"],"actions":["read"]}]"#,
        r#"[{"type":"git_repository","locations":["https://git.example.com/team/app"],"actions":["push"],"refs":["refs/heads/**"]}]"#,
    ] {
        refused(with(&fresh()?, &[("authorization_details", details)])?, 400, "invalid_authorization_details")?;
    }
    // And nothing is wrong with the client itself.
    client.token(GIT, now)?;
    Ok(())
}

#[test]
fn another_s_certificate_gives_no_token_for_my_key() -> Story {
    let scene = scene()?;
    let (mine, other) = (scene.client("mine")?, scene.client("other")?);
    let proof = SoftwareClient::forge_proof(mine.proof(), "POST", mine.token_endpoint(), scene.clock.now(), |_| {})?;
    refused(other.token_request(&proof, GIT, &[])?.send()?, 400, "invalid_dpop_proof")
}

#[test]
fn every_token_of_theirs_says_so() -> Story {
    let scene = scene()?;
    let client = scene.client("client")?;
    let token = client.token(GIT, scene.clock.now())?;
    let claims = token.split('.').nth(1).and_then(daypass_proto::encoding::from_base64url).unwrap_or_default();
    let claims = String::from_utf8_lossy(&claims).into_owned();
    ensure(claims.contains(r#""protection":"software""#), "a token stamped `software`", &claims)?;
    scene.issuer.run(["device", "list"])?.says(&["software", &client.device])?;
    Ok(())
}

/// Speaks to the mTLS listener with OpenSSL, keeping or taking up a TLS session.
fn state_over_tls(scene: &Scene, client: &SoftwareClient, session: &[&str]) -> Result<Ran, Failure> {
    let host = scene.issuer.mtls_url().replace("https://", "");
    let request = format!("GET /device/v1/state HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    Act::new(Programs::system("openssl")?, Who::Server)
        .args(["s_client", "-connect", &host, "-tls1_3", "-ign_eof", "-CAfile"])
        .arg(client.ca())
        .arg("-cert")
        .arg(&client.certificate)
        .arg("-key")
        .arg(&client.key)
        .args(session)
        .input(request)
        .run()
}

#[test]
fn a_resumed_session_of_a_suspended_device_is_refused_on_its_next_request() -> Story {
    let scene = scene()?;
    let client = scene.client("client")?;
    let session = scene.issuer.folder().join("session").display().to_string();
    state_over_tls(&scene, &client, &["-sess_out", &session])?.says(&["new, tlsv1.3", "200 ok", "\"approved\""])?;
    state_over_tls(&scene, &client, &["-sess_in", &session, "-sess_out", &session])?
        .says(&["reused, tlsv1.3", "200 ok"])?;
    scene.issuer.run(["device", "suspend", &client.device])?;
    let refused = state_over_tls(&scene, &client, &["-sess_in", &session])?;
    refused.says(&["reused, tlsv1.3", "device_suspended"])?.says_nothing_of(&["200 OK"])?;
    Ok(())
}

#[test]
fn whoever_had_a_token_a_moment_ago_gets_none_from_the_moment_on_at_which_somebody_else_says_so() -> Story {
    let scene = scene()?;
    let client = scene.client("client")?;
    let address = scene.issuer.mtls_address();
    let mut kept = Raw::open(address, scene.issuer.root(), Some((&client.certificate, &client.key)))?;
    let mut ask = || {
        let request = client.raw_token_request(GIT, scene.clock.now())?;
        kept.ask(&request).ok_or_else(|| Failure::unexpected("an answer", "none"))
    };
    let mut expect = |status: u16, words: &str| {
        let (found, body) = ask()?;
        ensure(found == status && body.contains(words), format!("{status} with `{words}`"), format!("{found} {body}"))
    };
    expect(200, "access_token")?;
    expect(200, "access_token")?;
    // By a command, which is another process than the issuer that has just looked the device up.
    scene.issuer.run(["device", "suspend", &client.device])?;
    expect(403, "device_suspended")?;
    expect(403, "device_suspended")?;
    scene.issuer.run(["device", "resume", &client.device])?;
    expect(200, "access_token")?;
    scene.issuer.run(["device", "revoke", &client.device, "--yes"])?;
    expect(403, "device_revoked")
}

#[test]
fn introspection_and_revocations_are_for_gates() -> Story {
    let scene = scene()?;
    let client = scene.client("client")?;
    let token = client.token(GIT, scene.clock.now())?;
    let url = |path: &str| format!("{}{path}", scene.issuer.mtls_url());
    let answer =
        client.request(&url("/oauth/introspect"))?.with(["--data-urlencode", &format!("token={token}")]).send()?;
    ensure((400..500).contains(&answer.status) && !answer.body.contains("active"), "a refusal", &answer.ran)?;
    let answer = client.request(&url("/gate/v1/revocations"))?.send()?;
    ensure((400..500).contains(&answer.status), "a refusal", &answer.ran)?;
    // It is enrolled, and need not be once more.
    ensure(!answer.body.contains("enrol this machine"), "no advice to enrol", &answer.ran)?;
    answer.says(&["serves gates only"]).map(drop)
}

#[test]
fn a_new_token_key_takes_over_while_the_old_one_is_still_known() -> Story {
    let scene = scene()?;
    let client = scene.client("client")?;
    let kid = |token: &str| {
        let header = token.split('.').next().and_then(daypass_proto::encoding::from_base64url).unwrap_or_default();
        let header: serde_json::Value = serde_json::from_slice(&header).unwrap_or_default();
        header.get("kid").and_then(|kid| kid.as_str()).unwrap_or_default().to_owned()
    };
    let keys = || Request::new(Who::Alice, &format!("{}/jwks", scene.issuer.url()), scene.issuer.root())?.send();
    let old = kid(&client.token(GIT, scene.clock.now())?);
    scene.issuer.run(["key", "rotate", "token"])?;
    scene.issuer.run(["key", "list"])?.says(&["token"])?;
    // First it is only published, until everybody has read it.
    ensure(kid(&client.token(GIT, scene.clock.now())?) == old, "the old key still signing", "the new one")?;
    scene.clock.advance(Duration::from_secs(2 * 3600))?;
    let new = || Ok(kid(&client.token(GIT, scene.clock.now())?));
    let new = daypass_tests::eventually("a token signed by the new key", || {
        let kid = new()?;
        Ok::<_, Failure>((kid != old).then_some(kid))
    })?;
    // Published together: a gate that holds tokens of the old key can still check them.
    keys()?.status(200)?.says(&[&old, &new])?;
    Ok(())
}
