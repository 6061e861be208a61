//! What was used once, at a gate that has forgotten it: after a restart, and at a sister gate with the same nonce key.

use std::net::SocketAddr;

use daypass_proto::dpop::token_hash;
use daypass_tests::{Answer, Failure, Gate, REPOSITORY, SoftwareClient, Story, World, ensure};

const REFS: &str = "team/app.git/info/refs?service=git-upload-pack";
const PUSH_REFS: &str = "team/app.git/info/refs?service=git-receive-pack";

struct Scene {
    world: World,
    client: SoftwareClient,
    token: String,
}

fn scene() -> Result<Scene, Failure> {
    let world = World::with_software_keys(false)?;
    let client = world.software_client("client", "developer")?;
    let token = client.token(&world.gate.resource(), world.now())?;
    Ok(Scene { world, client, token })
}

impl Scene {
    fn proof(&self, nonce: Option<&str>) -> Result<String, Failure> {
        let url = self.world.gate.url(REFS);
        SoftwareClient::forge_proof(self.client.proof(), "GET", &url, self.world.now(), |claims| {
            claims.ath = Some(token_hash(&self.token));
            claims.nonce = nonce.map(str::to_owned);
        })
    }

    fn prove(&self, proof: &str, at: SocketAddr) -> Result<Answer, Failure> {
        let authorization = format!("DPoP {}", self.token);
        self.world.request(REFS)?.header("Authorization", &authorization).header("DPoP", proof).at(at).send()
    }

    /// What an OAuth client does: it asks, and asks again with the nonce that it was given. Gives the proof that was taken.
    fn gets_through(&self, at: SocketAddr) -> Result<String, Failure> {
        let nonce = wants_another_nonce(self.prove(&self.proof(None)?, at)?)?;
        let proof = self.proof(Some(&nonce))?;
        self.prove(&proof, at)?.status(200)?;
        Ok(proof)
    }

    fn present(&self, presentation: &str, path: &str, at: SocketAddr) -> Result<Answer, Failure> {
        self.world.request(path)?.header("Authorization", &format!("Daypass {presentation}")).at(at).send()
    }
}

/// Goes on only with the answer on which a client tries again.
fn wants_another_nonce(answer: Answer) -> Result<String, Failure> {
    let answer = answer.status(401)?;
    let asks = answer.header("WWW-Authenticate").is_some_and(|challenge| challenge.contains("use_dpop_nonce"));
    match answer.header("DPoP-Nonce") {
        Some(nonce) if asks => Ok(nonce.to_owned()),
        _ => Err(answer.ran.surprise("`use_dpop_nonce` and a nonce")),
    }
}

#[test]
fn a_used_proof_is_worth_nothing_at_a_gate_that_was_started_again() -> Story {
    let mut scene = scene()?;
    let gate = scene.world.gate.address();
    let proof = scene.gets_through(gate)?;
    scene.prove(&proof, gate)?.status(401)?.says(&["was used before"])?;
    // One that was made and not used yet tells the nonce from the memory.
    let nonce = wants_another_nonce(scene.prove(&scene.proof(None)?, gate)?)?;
    let unused = scene.proof(Some(&nonce))?;
    scene.world.gate.kill();
    scene.world.gate.serve()?;
    let heard = scene.world.upstream.requests()?.len();
    for old in [&proof, &unused] {
        wants_another_nonce(scene.prove(old, gate)?)?;
    }
    ensure(scene.world.upstream.requests()?.len() == heard, "nothing more at the server", heard)?;
    // Whoever has the key goes on by himself.
    scene.gets_through(gate).map(drop)
}

#[test]
fn a_used_proof_is_worth_nothing_at_a_sister_gate() -> Story {
    let scene = scene()?;
    let World { place, programs, upstream, issuer, gate, .. } = &scene.world;
    let mut sister = Gate::new(place, "sister", programs, None, upstream)?;
    sister.configure("allow_software_keys = false", "allow_software_keys = true")?;
    sister.sister_of(gate, issuer)?;
    sister.serve()?;
    let proof = scene.gets_through(gate.address())?;
    wants_another_nonce(scene.prove(&proof, sister.address())?)?;
    scene.gets_through(sister.address())?;
    // A git command may find another gate with each of its requests.
    let presentation = scene.world.presentation(&scene.client, REPOSITORY, "git-upload-pack")?;
    for at in [gate.address(), sister.address(), gate.address()] {
        scene.present(&presentation, REFS, at)?.status(200)?;
    }
    Ok(())
}

#[test]
fn a_git_command_goes_on_across_a_restart_of_the_gate() -> Story {
    let mut scene = scene()?;
    let gate = scene.world.gate.address();
    let presentation = scene.world.presentation(&scene.client, REPOSITORY, "git-receive-pack")?;
    scene.present(&presentation, PUSH_REFS, gate)?.status(200)?;
    scene.world.gate.stop()?;
    scene.world.gate.serve()?;
    scene.present(&presentation, PUSH_REFS, gate)?.status(200)?;
    // Bound anew, to one service as before.
    scene.present(&presentation, REFS, gate)?.status(401)?.says(&["the other git service"]).map(drop)
}
