//! Delegated keys: in memory, vouched for by the TPM, where a role opts in; and what somebody tries who has such a key.

use daypass_proto::{delegation, encoding::from_base64url, jose::SoftwareKey};
use daypass_tests::{
    Answer, Failure, Machine, PROJECT, REPOSITORY, SoftwareClient, Story, Who, World, ensure, new_key,
};
use serde_json::Value;

const REFS: &str = "team/app.git/info/refs?service=git-upload-pack";

/// A world with two more roles: `robot` opts in to delegated keys, `frugal` does as well, with less life than the delegation.
fn world(require_hardware: bool) -> Result<World, Failure> {
    World::build(false, |issuer, gate| {
        issuer.configure("allow_software_keys = false", "allow_software_keys = true")?;
        gate.configure("allow_software_keys = false", "allow_software_keys = true")?;
        if require_hardware {
            gate.configure("require_hardware_proofs = false", "require_hardware_proofs = true")?;
        }
        let role = |name: &str, protection: &str| {
            format!(
                r#"
[roles.{name}]
token_lifetime = "5m"
longest_grant = "90d"
{protection}
[[roles.{name}.authorization_details]]
type = "git_repository"
locations = ["{}"]
actions = ["read"]
"#,
                gate.url(REPOSITORY)
            )
        };
        let project = format!(
            "owners = [\"olga@example.com\"]\n{}{}",
            role("robot", "protection = \"delegated\""),
            role("reader", "")
        );
        issuer.write_project(PROJECT, &project)
    })
}

fn claims(token: &str) -> Result<Value, Failure> {
    let payload = token.split('.').nth(1).and_then(from_base64url);
    let claims = payload.and_then(|payload| serde_json::from_slice(&payload).ok());
    claims.ok_or_else(|| Failure::unexpected("a JWT", token.len()))
}

fn protection(token: &str) -> Result<String, Failure> {
    let claims = claims(token)?;
    Ok(claims.pointer("/daypass/protection").and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// Uses what `daypass proof` prints, with the nonce that the gate asks for.
fn use_proof(world: &World, laptop: &Machine, more: &[&str]) -> Result<Answer, Failure> {
    let url = world.gate.url(REFS);
    let headers = |nonce: Option<&str>| -> Result<Answer, Failure> {
        let mut arguments = vec!["proof", "GET", &url];
        arguments.extend(more);
        if let Some(nonce) = nonce {
            arguments.extend(["--nonce", nonce]);
        }
        let printed = laptop.daypass(&arguments).run()?.succeeded()?.text();
        let mut request = world.request(REFS)?;
        for line in printed.lines() {
            request = request.with(["-H", line]);
        }
        request.send()
    };
    let challenge = headers(None)?;
    match challenge.header("DPoP-Nonce") {
        Some(nonce) => headers(Some(nonce)),
        None => Ok(challenge),
    }
}

#[test]
fn a_role_that_opts_in_spares_the_tpm_and_says_so_in_the_token() -> Story {
    let world = world(false)?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    laptop.join(&world, "alice", "robot")?;
    let resource = world.gate.resource();
    let token = |more: &[&str]| -> Result<String, Failure> {
        let ran = laptop.daypass(["token", &resource]).args(more).run()?.succeeded()?;
        Ok(ran.text().trim().to_owned())
    };
    let delegated = token(&[])?;
    ensure(protection(&delegated)? == "delegated", "what the role says", protection(&delegated)?)?;
    let hardware = token(&["--protection", "hardware"])?;
    ensure(protection(&hardware)? == "hardware", "what was asked for", protection(&hardware)?)?;
    let key = |token: &str| Ok::<_, Failure>(claims(token)?.pointer("/cnf/jkt").cloned());
    ensure(key(&delegated)? != key(&hardware)?, "keys of their own", "one key")?;
    use_proof(&world, &laptop, &[])?.status(200)?.says(&["refs/heads/main"])?;
    use_proof(&world, &laptop, &["--protection", "hardware"])?.status(200)?;
    // git goes the TPM's way, whatever the role says.
    laptop.person.clones(&world.clone_url(), "app", &[]).run()?.succeeded()?;
    Ok(())
}

#[test]
fn a_gate_can_insist_on_the_tpm() -> Story {
    let world = world(true)?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    laptop.join(&world, "alice", "robot")?;
    // In DPoP's own words, since that is what was used.
    use_proof(&world, &laptop, &[])?.status(401)?.says(&["delegated", "hardware", "invalid_token"])?;
    use_proof(&world, &laptop, &["--protection", "hardware"])?.status(200)?;
    Ok(())
}

#[test]
fn a_role_that_does_not_opt_in_gives_none() -> Story {
    let world = world(false)?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    laptop.join(&world, "alice", "reader")?;
    let resource = world.gate.resource();
    let ran = laptop.daypass(["token", &resource]).run()?.succeeded()?;
    ensure(protection(ran.text().trim())? == "hardware", "the TPM's key", &ran)?;
    let refused = laptop.daypass(["token", &resource, "--protection", "delegated"]).run()?;
    refused.refused(&["reader", "proof key", "protection = \"delegated\""])?.code(8)?;
    Ok(())
}

struct Attack {
    world: World,
    client: SoftwareClient,
    other: SoftwareClient,
    delegated: SoftwareKey,
}

impl Attack {
    fn new() -> Result<Self, Failure> {
        let world = world(false)?;
        let client = world.software_client("client", "robot")?;
        let other = world.software_client("other", "robot")?;
        let (delegated, _) = new_key()?;
        Ok(Self { world, client, other, delegated })
    }

    fn delegation(
        &self,
        signer: &SoftwareKey,
        change: impl FnOnce(&mut delegation::Claims),
    ) -> Result<String, Failure> {
        let (issuer, resource) = (self.world.issuer.url(), self.world.gate.resource());
        SoftwareClient::forge_delegation(signer, &issuer, &resource, &self.delegated, self.world.now(), change)
    }

    /// Asks for a token with a proof of `signer` and this delegation.
    fn ask(&self, client: &SoftwareClient, signer: &SoftwareKey, delegation: &str) -> Result<Answer, Failure> {
        let endpoint = client.token_endpoint();
        let proof = SoftwareClient::forge_proof(signer, "POST", endpoint, self.world.now(), |_| {})?;
        let resource = self.world.gate.resource();
        client.token_request(&proof, &resource, &[("daypass_delegation", delegation)])?.send()
    }

    fn refused(&self, answer: Answer, reason: &str) -> Story {
        let answer = answer.status(400)?.says(&["invalid_dpop_proof", reason])?;
        ensure(!answer.body.contains("access_token"), "no token", &answer.ran)
    }
}

#[test]
fn a_delegated_key_gets_a_token_bound_to_it_that_ends_with_the_delegation() -> Story {
    let attack = Attack::new()?;
    let now = attack.world.now();
    let short = attack.delegation(attack.client.proof(), |claims| {
        claims.exp = daypass_proto::time::Timestamp::from_seconds(now + 100);
    })?;
    let answer = attack.ask(&attack.client, &attack.delegated, &short)?.status(200)?;
    let json = answer.json()?;
    let life = json.pointer("/expires_in").and_then(Value::as_i64).unwrap_or_default();
    ensure((1..=100).contains(&life), "no life beyond the delegation's", life)?;
    let token = json.pointer("/access_token").and_then(Value::as_str).unwrap_or_default();
    let bound = claims(token)?.pointer("/cnf/jkt").cloned();
    ensure(bound == Some(attack.delegated.public().thumbprint().into()), "the delegated key", &answer.ran)?;
    // Gates do plain RFC 9449: the delegated key opens, the key that delegated does not.
    let url = attack.world.gate.url(REFS);
    let send = |key: &SoftwareKey| -> Result<Answer, Failure> {
        let challenge = attack.world.request(REFS)?.send()?.status(401)?;
        let nonce = challenge.header("DPoP-Nonce").unwrap_or_default().to_owned();
        let proof = SoftwareClient::forge_proof(key, "GET", &url, attack.world.now(), |claims| {
            claims.ath = Some(daypass_proto::dpop::token_hash(token));
            claims.nonce = Some(nonce);
        })?;
        attack.world.request(REFS)?.header("Authorization", &format!("DPoP {token}")).header("DPoP", &proof).send()
    };
    send(&attack.delegated)?.status(200)?;
    send(attack.client.proof())?.status(401)?;
    Ok(())
}

#[test]
fn a_foreign_delegation_is_refused() -> Story {
    let attack = Attack::new()?;
    // Of another device, shown by this one; and of this one, shown by another.
    let theirs = attack.delegation(attack.other.proof(), |_| {})?;
    attack.refused(attack.ask(&attack.client, &attack.delegated, &theirs)?, "delegation_invalid")?;
    let ours = attack.delegation(attack.client.proof(), |_| {})?;
    attack.refused(attack.ask(&attack.other, &attack.delegated, &ours)?, "delegation_invalid")?;
    // Of a key that was itself delegated, and of nobody.
    let (third, _) = new_key()?;
    let chained = attack.delegation(&attack.delegated, |claims| claims.cnf.jwk = *third.public())?;
    attack.refused(attack.ask(&attack.client, &third, &chained)?, "delegation_invalid")?;
    attack.refused(attack.ask(&attack.client, &attack.delegated, "not.a.jwt")?, "delegation_invalid")?;
    // A good one, under a proof of a third key.
    attack.refused(attack.ask(&attack.client, &third, &ours)?, "delegation_invalid")
}

#[test]
fn an_expired_or_overlong_delegation_is_refused() -> Story {
    let attack = Attack::new()?;
    for wrong in [-1, 0, delegation::LONGEST + 120] {
        let exp = daypass_proto::time::Timestamp::from_seconds(attack.world.now() + wrong);
        let text = attack.delegation(attack.client.proof(), |claims| claims.exp = exp)?;
        attack.refused(attack.ask(&attack.client, &attack.delegated, &text)?, "proof_time")?;
    }
    Ok(())
}

#[test]
fn a_delegation_for_another_resource_or_issuer_is_refused() -> Story {
    let attack = Attack::new()?;
    let elsewhere =
        "https://elsewhere.example.com/".parse().map_err(|error| Failure::unexpected("a resource", error))?;
    let text = attack.delegation(attack.client.proof(), |claims| claims.resource = elsewhere)?;
    attack.refused(attack.ask(&attack.client, &attack.delegated, &text)?, "delegation_invalid")?;
    let text =
        attack.delegation(attack.client.proof(), |claims| claims.aud = "https://issuer.example.com".to_owned())?;
    attack.refused(attack.ask(&attack.client, &attack.delegated, &text)?, "delegation_invalid")
}

#[test]
fn a_delegation_is_judged_once() -> Story {
    let attack = Attack::new()?;
    let text = attack.delegation(attack.client.proof(), |_| {})?;
    attack.ask(&attack.client, &attack.delegated, &text)?.status(200)?;
    attack.refused(attack.ask(&attack.client, &attack.delegated, &text)?, "proof_replayed")
}

#[test]
fn a_delegation_of_a_suspended_or_revoked_device_is_worth_nothing() -> Story {
    let attack = Attack::new()?;
    let before = attack.delegation(attack.client.proof(), |_| {})?;
    attack.world.issuer.run(["device", "suspend", &attack.client.device, "--reason", "a test"])?;
    let answer = attack.ask(&attack.client, &attack.delegated, &before)?.status(403)?;
    answer.says(&["device_suspended"])?;
    attack.world.issuer.run(["device", "revoke", &attack.client.device, "--reason", "a test", "--yes"])?;
    attack.ask(&attack.client, &attack.delegated, &before)?.status(403)?.says(&["device_revoked"])?;
    Ok(())
}

#[test]
fn a_delegated_key_without_its_delegation_is_any_key() -> Story {
    let attack = Attack::new()?;
    let endpoint = attack.client.token_endpoint();
    let proof = SoftwareClient::forge_proof(&attack.delegated, "POST", endpoint, attack.world.now(), |_| {})?;
    let answer = attack.client.token_request(&proof, &attack.world.gate.resource(), &[])?.send()?;
    attack.refused(answer, "proof_key_unknown")
}
