//! The gate under somebody who can sign whatever he likes: each check is refused by a request that fails it and nothing else.

use std::time::Duration;

use daypass_tests::{
    Answer, Failure, OTHER_REPOSITORY, REPOSITORY, Request, SoftwareClient, Story, World, ensure, new_key,
};

fn world(clock: bool) -> Result<World, Failure> {
    World::with_software_keys(clock)
}

/// A world on a clock, with a gate that trusts what it heard for a minute only.
fn impatient() -> Result<World, Failure> {
    World::build(true, |issuer, gate| {
        issuer.configure("allow_software_keys = false", "allow_software_keys = true")?;
        gate.configure("feed_max_age = \"1h\"", "feed_max_age = \"60s\"")?;
        gate.configure("allow_software_keys = false", "allow_software_keys = true")
    })
}

const REFS: &str = "team/app.git/info/refs?service=git-upload-pack";

/// Asks for the refs with this presentation.
fn ask(world: &World, presentation: &str) -> Result<Answer, Failure> {
    world.request(REFS)?.header("Authorization", &format!("Daypass {presentation}")).send()
}

#[test]
fn without_a_credential_there_is_a_challenge_and_a_nonce() -> Story {
    let world = world(false)?;
    let answer = world.request(REFS)?.send()?.status(401)?.says(&[
        "daypass realm=",
        "nonce=",
        "dpop algs=\"es256\"",
        "basic realm=",
    ])?;
    ensure(answer.header("DPoP-Nonce").is_some(), "a nonce for DPoP", &answer.ran)?;
    world.upstream.heard_nothing()
}

#[test]
fn a_presentation_opens_by_its_own_scheme_and_by_basic() -> Story {
    let world = world(false)?;
    let client = world.software_client("client", "developer")?;
    let presentation = world.presentation(&client, REPOSITORY, "git-upload-pack")?;
    ask(&world, &presentation)?.status(200)?.says(&["refs/heads/main"])?;
    let presentation = world.presentation(&client, REPOSITORY, "git-upload-pack")?;
    world.request(REFS)?.with(["--user", &format!("daypass:{presentation}")]).send()?.status(200)?;
    let seen = world.upstream.requests()?;
    ensure(seen.len() == 2, "two requests at the server", format!("{seen:?}"))?;
    for line in seen {
        ensure(
            line.contains("\"software-client\"") && line.contains(&client.device),
            "who it is, for the server",
            &line,
        )?;
        ensure(!line.contains("Daypass ") && !line.contains("Basic "), "no credential at the server", &line)?;
    }
    Ok(())
}

#[test]
fn identity_headers_of_a_client_do_not_reach_the_server() -> Story {
    let world = world(false)?;
    let client = world.software_client("client", "developer")?;
    let presentation = world.presentation(&client, REPOSITORY, "git-upload-pack")?;
    world
        .request(REFS)?
        .header("Authorization", &format!("Daypass {presentation}"))
        .header("Daypass-Collaborator", "olga@example.com")
        .header("Daypass-Project", "everything")
        .send()?
        .status(200)?;
    let seen = world.upstream.requests()?.join("\n");
    ensure(
        seen.contains("software-client") && !seen.contains("olga") && !seen.contains("everything"),
        "the gate's words alone",
        seen,
    )
}

#[test]
fn each_fault_of_a_presentation_is_refused() -> Story {
    let world = world(false)?;
    let (client, other) = (world.software_client("client", "developer")?, world.software_client("other", "developer")?);
    let now = world.now();
    let token = client.token(&world.gate.resource(), now)?;
    let forge = |change: &dyn Fn(&mut daypass_proto::presentation::KeyBindingClaims)| {
        let nonce = world.nonce(REPOSITORY, "git-upload-pack", None)?;
        SoftwareClient::forge_presentation(client.proof(), &token, &world.repository(), &nonce, now, |claims| {
            change(claims)
        })
    };
    ask(&world, &forge(&|_| {})?)?.status(200)?;
    ask(&world, &forge(&|claims| claims.aud = world.gate.url(OTHER_REPOSITORY))?)?.status(401)?;
    ask(&world, &forge(&|claims| claims.nonce = "bm9uc2Vuc2U".to_owned())?)?.status(401)?;
    ask(&world, &forge(&|claims| claims.sd_hash = "bm9uc2Vuc2U".to_owned())?)?.status(401)?;
    for wrong in [-3600, 3600] {
        let nonce = world.nonce(REPOSITORY, "git-upload-pack", None)?;
        let late = SoftwareClient::forge_presentation(
            client.proof(),
            &token,
            &world.repository(),
            &nonce,
            now + wrong,
            |_| {},
        )?;
        ask(&world, &late)?.status(401)?;
    }
    // Signed by another key: by one that nobody knows, and by another client's.
    let (stranger, _) = new_key()?;
    for key in [&stranger, other.proof()] {
        let nonce = world.nonce(REPOSITORY, "git-upload-pack", None)?;
        let foreign = SoftwareClient::forge_presentation(key, &token, &world.repository(), &nonce, now, |_| {})?;
        ask(&world, &foreign)?.status(401)?;
    }
    // A token that somebody changed, and one of another issuer's making.
    let changed = forge(&|_| {})?.replacen('.', ".e30", 1);
    ask(&world, &changed)?.status(401)?;
    // The token alone, as a bearer token (RFC 9449 section 7.2).
    let bearer = world.request(REFS)?.header("Authorization", &format!("Bearer {token}")).send()?.status(401)?;
    ensure(!bearer.body.contains("refs/heads"), "nothing", &bearer.ran)?;
    ask(&world, &token)?.status(401)?;
    ask(&world, &format!("{token}~"))?.status(401)?;
    let reached = world.upstream.requests()?.len();
    ensure(reached == 1, "one request at the server: the good one", reached)
}

#[test]
fn what_the_token_does_not_cover_is_refused_with_words() -> Story {
    let world = world(false)?;
    let reader = world.software_client("reader", "reader")?;
    // Another repository on the same server.
    let token = reader.token(&world.gate.resource(), world.now())?;
    let nonce = world.nonce(OTHER_REPOSITORY, "git-upload-pack", None)?;
    let other = world.gate.url(OTHER_REPOSITORY);
    let presentation = SoftwareClient::forge_presentation(reader.proof(), &token, &other, &nonce, world.now(), |_| {})?;
    let path = format!("{OTHER_REPOSITORY}.git/info/refs?service=git-upload-pack");
    world
        .request(&path)?
        .header("Authorization", &format!("Daypass {presentation}"))
        .send()?
        .status(403)?
        .says(&["team/secret"])?;
    world.upstream.heard_nothing()
}

#[test]
fn a_nonce_is_for_one_address_one_repository_and_two_minutes() -> Story {
    let world = world(true)?;
    let client = world.software_client("client", "developer")?;
    let token = client.token(&world.gate.resource(), world.now())?;
    let present = |nonce: &str| {
        SoftwareClient::forge_presentation(client.proof(), &token, &world.repository(), nonce, world.now(), |_| {})
    };
    // Made for another address.
    let nonce = world.nonce(REPOSITORY, "git-upload-pack", Some("127.0.0.2"))?;
    ask(&world, &present(&nonce)?)?.status(401)?;
    // For another repository.
    let nonce = world.nonce(OTHER_REPOSITORY, "git-upload-pack", None)?;
    ask(&world, &present(&nonce)?)?.status(401)?;
    // Used for the first time too late.
    let nonce = world.nonce(REPOSITORY, "git-upload-pack", None)?;
    world.advance(Duration::from_secs(151))?;
    ask(&world, &present(&nonce)?)?.status(401)?;
    // In time, and then again within one git command, minutes later: bound to address, repository and service, until the token ends.
    let nonce = world.nonce(REPOSITORY, "git-upload-pack", None)?;
    let presentation = present(&nonce)?;
    ask(&world, &presentation)?.status(200)?;
    world.advance(Duration::from_secs(60))?;
    ask(&world, &presentation)?.status(200)?;
    let header = format!("Daypass {presentation}");
    world.request(REFS)?.header("Authorization", &header).from_address("127.0.0.2").send()?.status(401)?;
    let push = "team/app.git/info/refs?service=git-receive-pack";
    world.request(push)?.header("Authorization", &header).send()?.status(401)?;
    // And when the token is over.
    world.advance(Duration::from_secs(300))?;
    ask(&world, &presentation)?.status(401)?;
    Ok(())
}

#[test]
fn dpop_opens_once_for_http_clients() -> Story {
    let world = world(false)?;
    let client = world.software_client("client", "developer")?;
    let token = client.token(&world.gate.resource(), world.now())?;
    let url = world.gate.url(REFS);
    let send = |proof: &str| -> Result<Answer, Failure> {
        world.request(REFS)?.header("Authorization", &format!("DPoP {token}")).header("DPoP", proof).send()
    };
    let forge = |change: &dyn Fn(&mut daypass_proto::dpop::Claims)| {
        SoftwareClient::forge_proof(client.proof(), "GET", &url, world.now(), |claims| {
            claims.ath = Some(daypass_proto::dpop::token_hash(&token));
            change(claims);
        })
    };
    let challenge = send(&forge(&|_| {})?)?.status(401)?.says(&["use_dpop_nonce"])?;
    let nonce = challenge.header("DPoP-Nonce").unwrap_or_default().to_owned();
    let good = forge(&|claims| claims.nonce = Some(nonce.clone()))?;
    send(&good)?.status(200)?;
    send(&good)?.status(401)?;
    let faults: [&dyn Fn(&mut daypass_proto::dpop::Claims); 4] = [
        &|claims| claims.ath = None,
        &|claims| claims.htm = "POST".to_owned(),
        &|claims| claims.htu = "https://elsewhere.example.com/".to_owned(),
        &|claims| claims.nonce = Some("bm9uc2Vuc2U".to_owned()),
    ];
    for fault in faults {
        send(&forge(&|claims| {
            claims.nonce = Some(nonce.clone());
            fault(claims);
        })?)?
        .status(401)?;
    }
    // The token without any proof.
    world.request(REFS)?.header("Authorization", &format!("DPoP {token}")).send()?.status(401)?;
    Ok(())
}

#[test]
fn only_gits_three_endpoints_are_there() -> Story {
    let world = world(false)?;
    let client = world.software_client("client", "developer")?;
    let presentation = world.presentation(&client, REPOSITORY, "git-upload-pack")?;
    let header = format!("Daypass {presentation}");
    for path in [
        "team/app.git/HEAD",
        "team/app.git/objects/info/packs",
        "team/app.git/info/refs",
        "team/app.git/info/refs?service=git-upload-archive",
        "team/app.git/info/lfs/objects/batch",
        "team/%2e%2e/team/app.git/info/refs?service=git-upload-pack",
        "team//app.git/info/refs?service=git-upload-pack",
        "team/app.git/../secret.git/info/refs?service=git-upload-pack",
        "",
    ] {
        let answer = world.request(path)?.header("Authorization", &header).with(["--path-as-is"]).send()?;
        ensure(matches!(answer.status, 400 | 404 | 405), "no such endpoint", &answer.ran)?;
    }
    let host: Request = world.request(REFS)?.header("Authorization", &header).header("Host", "git.example.com");
    let answer = host.send()?;
    ensure((400..500).contains(&answer.status) && answer.status != 401, "no such host", &answer.ran)?;
    world.upstream.heard_nothing()
}

#[test]
fn a_suspended_device_is_refused_within_five_seconds() -> Story {
    let world = world(false)?;
    let client = world.software_client("client", "developer")?;
    let presentation = world.presentation(&client, REPOSITORY, "git-upload-pack")?;
    ask(&world, &presentation)?.status(200)?;
    world.issuer.run(["device", "suspend", &client.device, "--reason", "lost"])?;
    let took = world.until_refused(|| Ok(ask(&world, &presentation)?.status))?;
    ensure(took <= Duration::from_secs(5), "a refusal within five seconds", format!("{took:?}"))?;
    ask(&world, &presentation)?.says(&["suspended"])?;
    let answer = client.ask(&world.gate.resource(), world.now(), &[])?.says(&["device_suspended"])?;
    ensure(answer.status >= 400, "no new token", &answer.ran)?;
    world.issuer.run(["device", "resume", &client.device])?;
    client.token(&world.gate.resource(), world.now())?;
    Ok(())
}

#[test]
fn a_gate_that_hears_nothing_of_its_issuer_says_so_and_serves_nobody() -> Story {
    let mut world = impatient()?;
    let client = world.software_client("client", "developer")?;
    let presentation = world.presentation(&client, REPOSITORY, "git-upload-pack")?;
    ask(&world, &presentation)?.status(200)?;
    world.issuer.kill();
    ask(&world, &presentation)?.status(200)?;
    world.advance(Duration::from_secs(70))?;
    ask(&world, &presentation)?.status(503)?;
    world.issuer.serve()?;
    world.gate.stop()?;
    world.gate.serve()?;
    let fresh = world.presentation(&client, REPOSITORY, "git-upload-pack")?;
    ask(&world, &fresh)?.status(200)?;
    Ok(())
}

#[test]
fn a_gate_takes_software_tokens_only_where_it_is_told_to() -> Story {
    let world =
        World::build(false, |issuer, _| issuer.configure("allow_software_keys = false", "allow_software_keys = true"))?;
    let client = world.software_client("client", "developer")?;
    let presentation = world.presentation(&client, REPOSITORY, "git-upload-pack")?;
    let answer = ask(&world, &presentation)?.says(&["software"])?;
    ensure(answer.status == 401 || answer.status == 403, "a refusal", &answer.ran)
}

#[test]
fn a_removed_gate_serves_nobody() -> Story {
    let world = impatient()?;
    world.issuer.run(["gate", "list"])?.says(&["gate"])?;
    world.gate.act(["check"]).run()?.succeeded()?.says(&["allow_software_keys", "all good"])?;
    let client = world.software_client("client", "developer")?;
    let presentation = world.presentation(&client, REPOSITORY, "git-upload-pack")?;
    ask(&world, &presentation)?.status(200)?;
    world.issuer.run(["gate", "remove", "gate", "--yes"])?;
    world.gate.act(["check"]).run()?.refused(&[])?;
    world.advance(Duration::from_secs(70))?;
    ask(&world, &presentation)?.status(503)?;
    Ok(())
}
