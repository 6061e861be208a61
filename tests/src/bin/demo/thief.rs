//! What a thief meets, and what a collaborator meets who goes too far.

use std::time::Duration;

use daypass_tests::{Failure, Request, SoftwareClient, ensure, new_key};

use crate::{
    stage::Stage,
    way::{ALICE, MALLORY, Scene, invite_and_enrol},
};

const REFS: &str = "team/app.git/info/refs?service=git-upload-pack";
/// Where the thief comes from.
const ELSEWHERE: &str = "127.66.66.66";

/// Everything that a thief tries.
pub(crate) fn tries(stage: &mut Stage, scene: &mut Scene) -> Result<(), Failure> {
    copied_token(stage, scene)?;
    captured_credential(stage, scene)?;
    copied_state(stage, scene)?;
    unapproved(stage, scene)?;
    outside_the_grant(stage, scene)?;
    suspended(stage, scene)
}

fn request(scene: &Scene) -> Result<Request, Failure> {
    let who = scene.other.person.who();
    Ok(Request::new(who, &scene.world.gate.url(REFS), scene.world.issuer.root())?.clock(scene.world.clock.as_ref()))
}

fn copied_token(stage: &mut Stage, scene: &Scene) -> Result<(), Failure> {
    stage.title("A thief has copied Alice's access token to the second machine");
    let world = &scene.world;
    let taken = stage.does(ALICE, &scene.laptop.daypass(["token", &world.gate.resource()]))?;
    let token = taken.text().trim().to_owned();
    stage.say("Sent as it is, it is a bound token without a proof:");
    stage.is_turned_away(MALLORY, &request(scene)?.header("Authorization", &format!("Bearer {token}")), 401)?;
    stage.say("With a proof, signed by a key of the thief's own over a fresh nonce of the gate's:");
    let (key, _) = new_key()?;
    let url = world.gate.url(REFS);
    let nonce = request(scene)?.send()?.status(401)?;
    let nonce = nonce.header("DPoP-Nonce").unwrap_or_default().to_owned();
    let proof = SoftwareClient::forge_proof(&key, "GET", &url, world.now(), |claims| {
        claims.ath = Some(daypass_proto::dpop::token_hash(&token));
        claims.nonce = Some(nonce);
    })?;
    let request = request(scene)?.header("Authorization", &format!("DPoP {token}")).header("DPoP", &proof);
    stage.is_turned_away(MALLORY, &request, 401)
}

fn captured_credential(stage: &mut Stage, scene: &Scene) -> Result<(), Failure> {
    stage.title("A thief has read a whole git credential, token and proof, in a debug log");
    let trace = scene.laptop.person.home().join("trace");
    let fetch = scene
        .laptop
        .person
        .git("app", ["fetch", "origin"])
        .env("GIT_TRACE_CURL", &trace)
        .env("GIT_TRACE_REDACT", "0")
        .env("GIT_TRACE_CURL_NO_DATA", "1");
    stage.does(ALICE, &fetch)?;
    let log = scene.laptop.person.reads("trace")?;
    let authorization = log.lines().find_map(|line| {
        let (_, value) = line.split_once("uthorization: ")?;
        Some(value.trim().to_owned())
    });
    let Some(authorization) = authorization else {
        return Err(Failure::unexpected("a credential in git's trace", log));
    };
    stage.say("Replayed at once, from another address:");
    stage.is_turned_away(
        MALLORY,
        &request(scene)?.header("Authorization", &authorization).from_address(ELSEWHERE),
        401,
    )?;
    stage.say("Replayed ten minutes later (the clock of all programs is put ahead), from Alice's own address:");
    scene.world.advance(Duration::from_secs(600))?;
    stage.is_turned_away(MALLORY, &request(scene)?.header("Authorization", &authorization), 401)?;
    stage.say(
        "What is left, and said in docs/threat-model.md: from Alice's own address, within the token's few minutes.",
    );
    Ok(())
}

fn copied_state(stage: &mut Stage, scene: &mut Scene) -> Result<(), Failure> {
    stage.title("A thief has copied the agent's whole state folder to the second machine");
    scene.other.stop_agent()?;
    scene.other.take_state_of(&scene.laptop)?;
    scene.other.start_agent()?;
    stage.say("The keys in it can be loaded by the TPM that made them, and by no other:");
    let token = scene.other.daypass(["token", &scene.world.gate.resource()]);
    stage.is_refused(MALLORY, &token, &["TPM"])?;
    scene.other.stop_agent()?;
    scene.other.forget_state()?;
    scene.other.start_agent()
}

fn unapproved(stage: &mut Stage, scene: &Scene) -> Result<(), Failure> {
    stage.title("A machine that is enrolled, and that nobody has approved");
    invite_and_enrol(stage, &scene.world, &scene.other, MALLORY)?;
    stage.is_refused(MALLORY, &scene.other.daypass(["token", &scene.world.gate.resource()]), &["approv"])?;
    stage.say("`daypass setup git` waits for the approval as well. With git pointed at Daypass by hand:");
    let (resource, url) = (scene.world.gate.resource(), scene.world.clone_url());
    let clone = scene.other.person.clones_with_helper(&resource, scene.world.issuer.root(), &url, "app");
    stage.is_refused(MALLORY, &clone, &["waits for approval"])?;
    Ok(())
}

fn outside_the_grant(stage: &mut Stage, scene: &Scene) -> Result<(), Failure> {
    stage.title("Alice pushes where she may not");
    stage.say("Her role allows refs/heads/alice/**, and nothing else to write:");
    let before = scene.world.upstream.refs(daypass_tests::REPOSITORY)?;
    stage.is_refused(ALICE, &scene.laptop.person.git("app", ["push", "origin", "HEAD:main"]), &["rejected", "main"])?;
    let after = scene.world.upstream.refs(daypass_tests::REPOSITORY)?;
    ensure(before == after, "the server's refs as they were", after)
}

fn suspended(stage: &mut Stage, scene: &Scene) -> Result<(), Failure> {
    stage.title("Alice has lost her laptop, and Olga suspends it");
    let device = scene.world.issuer.device_of(ALICE)?;
    stage.does("olga", &scene.world.issuer.act(["device", "suspend", &device, "--reason", "lost on a train"]))?;
    let fetch = scene.laptop.person.git("app", ["fetch", "origin"]);
    // A live token dies at the gate, a moment after it does at the issuer.
    scene.world.until_refused(|| Ok(if fetch.run()?.code == Some(0) { 200 } else { 403 }))?;
    stage.is_refused(ALICE, &fetch, &["suspended"])?;
    stage.is_refused(ALICE, &scene.laptop.daypass(["token", &scene.world.gate.resource()]), &["suspended"])?;
    Ok(())
}
