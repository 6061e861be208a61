//! `daypass-issuer check`: everything that would keep the issuer from starting, and every loosening.

use daypass_proto::{resource::Resource, time::Timestamp};

use serde_json::json;

use super::{
    CommandError, open,
    output::{json as print_json, line},
};
use crate::{
    admin::{acting, administrators},
    clock::Environment,
    issuer::Issuer,
    keys::certificate_validity,
    policy::{Files, Policy, PolicyError},
    store::GateLife,
};

/// The TLS certificate is named this long before its end.
const WARN: i64 = 30 * 24 * 3600;

pub(super) async fn run(path: &std::path::Path, environment: Environment, json: bool) -> Result<(), CommandError> {
    let issuer = open(path, environment).await?;
    issuer.store_is_whole().await?;
    let problems = problems(&issuer).await?;
    let administrators = administrators(&issuer).await?;
    let counted = (administrators.len(), acting(&administrators, issuer.environment.now()));
    tell(path, &issuer, counted, &problems, json)?;
    if problems.is_empty() { Ok(()) } else { Err(CommandError::Check(problems.len())) }
}

fn tell(
    path: &std::path::Path,
    issuer: &Issuer,
    administrators: (usize, usize),
    problems: &[String],
    json: bool,
) -> Result<(), CommandError> {
    let policy = issuer.policy();
    let (projects, version) = (policy.projects().count(), hex::encode(policy.hash()));
    let (there, administrators) = administrators;
    let (roots, loosenings) = (issuer.ek_roots.len(), issuer.config.loosenings());
    if json {
        return print_json(&json!({
            "ok": problems.is_empty(), "configuration": path, "projects": projects, "policy_version": version,
            "ek_roots": roots, "administrators": administrators, "administrators_invited": there - administrators, "loosenings": loosenings, "problems": problems,
        }));
    }
    line(format!("configuration   {} reads", path.display()))?;
    line(format!("policy          {projects} project(s), version {version}"))?;
    line(format!("EK roots        {roots} certificate(s)"))?;
    line(match administrators {
        0 => "administrators  none; `daypass-issuer admin bootstrap` makes the first, and until then policy is changed on this machine alone, by nobody's second word".to_owned(),
        1 => "administrators  1, so nobody can give a second word".to_owned(),
        several => format!("administrators  {several}"),
    })?;
    for loosening in loosenings {
        line(format!("loosening       `{loosening}` is on"))?;
    }
    for problem in problems {
        line(format!("problem         {problem}"))?;
    }
    if problems.is_empty() { line("all good") } else { Ok(()) }
}

/// What is in force, and whether it is what lies in the folder.
async fn of_policy(issuer: &Issuer, policy: &Policy) -> Result<Vec<String>, CommandError> {
    let mut problems = Vec::new();
    match issuer.store.newer_policy(0).await? {
        None => problems.push("no policy is in force, so there is no access; run `daypass-issuer policy load`".to_owned()),
        Some(version) if version.hash.0 != policy.hash() => problems.push(
            "the policy in force is not understood by this program, so there is no access; see `daypass-issuer policy check`, and load one that is"
                .to_owned(),
        ),
        Some(_) if policy.projects().next().is_none() => problems.push(
            "there is no project, so nobody can be invited; write `projects/<name>.toml` in the policy folder, and run `daypass-issuer policy load`"
                .to_owned(),
        ),
        Some(version) => match Files::read(&issuer.config.policy) {
            Ok(files) if files.hash() == version.hash.0 => {}
            Ok(_) => problems.push(format!(
                "what lies in `{}` is not the policy in force; run `daypass-issuer policy load` once it should be",
                issuer.config.policy.display()
            )),
            Err(partly) => problems.push(PolicyError::from(partly).to_string()),
        },
    }
    Ok(problems)
}

async fn problems(issuer: &Issuer) -> Result<Vec<String>, CommandError> {
    let mut problems = Vec::new();
    let policy = issuer.policy();
    problems.extend(of_policy(issuer, &policy).await?);
    if issuer.ek_roots.is_empty() && !issuer.config.accept_unknown_ek {
        problems.push(
            "there are no EK roots, so only machines with an EK hash in their invitation can enrol; fill `ek_roots/`"
                .to_owned(),
        );
    }
    for sink in issuer.store.waiting().await?.into_iter().filter(|sink| sink.dead > 0) {
        problems.push(format!(
            "{} notification(s) were not taken by the {} and are not tried any more; see `daypass-issuer notification list --dead`, and `retry` or `drop` them",
            sink.dead, sink.sink
        ));
    }
    let gates = issuer.store.gates().await?;
    // What is under `.invalid` is nowhere (RFC 6761): the starter policy's, until somebody makes it theirs.
    let nowhere = |resource: &Resource| resource.as_str().trim_end_matches('/').ends_with(".invalid");
    for resource in policy.resources().into_iter().filter(|resource| !nowhere(resource)) {
        if !gates.iter().any(|gate| gate.state != GateLife::Removed && gate.resources.contains(&resource)) {
            problems.push(format!("no gate guards `{resource}`, which a role names; run `daypass-issuer gate add`"));
        }
    }
    let needed = 2 * policy.longest_token();
    if issuer.config.key_overlap < needed {
        problems.push(format!(
            "`key_overlap` is shorter than twice the longest token life, so a rotation would end tokens early; set at least `{needed}s`"
        ));
    }
    let now: Timestamp = issuer.environment.now();
    let keyring = issuer.keyring();
    if keyring.checkpoint().is_none() {
        problems.push(
            "there is no key for the ledger's checkpoints, so nothing of it is signed; run `daypass-issuer key rotate checkpoint`".to_owned(),
        );
    }
    let end = keyring.tls().0.first().and_then(|der| certificate_validity(der)).map(|(_, end)| end);
    if let Some(end) = end.filter(|end| end.since(now) < WARN) {
        problems.push(format!(
            "the issuer's TLS certificate ends at {end}; run `daypass-issuer key rotate tls` and restart"
        ));
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Made;

    #[tokio::test]
    async fn an_overlap_that_would_end_tokens_early_is_a_problem() {
        let named = async |made: &Made| {
            problems(&made.issuer).await.unwrap().into_iter().filter(|problem| problem.contains("key_overlap")).count()
        };
        assert_eq!(named(&Made::new().await).await, 0);
        assert_eq!(named(&Made::with(&[("key_overlap = \"4h\"", "key_overlap = \"19m\"")]).await).await, 1);
    }

    #[tokio::test]
    async fn an_ending_tls_certificate_is_a_problem_in_time() {
        let made = Made::new().await;
        let named = async || problems(&made.issuer).await.unwrap().iter().any(|problem| problem.contains("rotate tls"));
        assert!(!named().await);
        made.pass(336 * 86_400);
        assert!(named().await);
    }

    #[tokio::test]
    async fn a_ledger_that_nobody_signs_is_a_problem() {
        let made = Made::new().await;
        let named =
            async || problems(&made.issuer).await.unwrap().iter().any(|problem| problem.contains("rotate checkpoint"));
        assert!(!named().await);
        // As in a store from before there was a ledger.
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&made.issuer.config.database);
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        sqlx::query("DELETE FROM keys WHERE purpose = 'checkpoint'").execute(&pool).await.unwrap();
        made.issuer.reload_keys().await.unwrap();
        assert!(named().await);
        crate::commands::rotate(&made.issuer, crate::store::KeyPurpose::Checkpoint).await.unwrap();
        made.issuer.reload_keys().await.unwrap();
        assert!(!named().await);
    }
}
