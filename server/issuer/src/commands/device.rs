//! `daypass-issuer device …`.

use std::path::{Path, PathBuf};

use daypass_proto::{
    arguments::{path, text, word},
    enrolment::DeviceLife,
    jose::EcPublicKey,
    names::{Collaborator, DeviceId, ProjectName, RoleName},
};
use daypass_service::file_argument;
use serde_json::{Value, json};

use super::{
    CommandError,
    arguments::{Behalf, Yes, end, reason},
    grant, on_this_machine, operator,
    output::{confirm, ending, json as print_json, line, table, untrusted},
};
use crate::{
    device::{ComparisonError, LifeError, Registration, Verb, compare, decide_life, register_software},
    issuer::Issuer,
    store::Device,
    until,
};

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List devices.
    List {
        /// Only those in this state.
        #[arg(long, value_parser = word::<DeviceLife>)]
        state: Option<DeviceLife>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show everything that is known of a device.
    Show {
        /// Which.
        device: DeviceId,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Approve a device, after comparing its code with what the collaborator reads out. Its grants are approved by the project's owners.
    Approve {
        /// Which.
        device: DeviceId,
        /// The code that the collaborator read out; a wrong one refuses.
        #[arg(long, value_name = "XXXX-XXXX", value_parser = text)]
        code: Option<String>,
        /// Approve without comparing.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        behalf: Behalf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Hold a device back: it gets nothing more, and what it has is refused.
    Suspend(Decision),
    /// Let a suspended device on again.
    Resume(Decision),
    /// End a device and its grants for good: shows them, and asks.
    Revoke {
        #[command(flatten)]
        decision: Decision,
        #[command(flatten)]
        yes: Yes,
    },
    /// Register a software client (keys in files), and print its certificate. Needs `allow_software_keys`.
    Register(Register),
}

/// A decision with its reason.
#[derive(Debug, clap::Args)]
pub struct Decision {
    /// Which.
    device: DeviceId,
    /// Why, for the ledger.
    #[arg(long, value_parser = reason)]
    reason: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A software client.
#[derive(Debug, clap::Args)]
pub struct Register {
    /// Says that you know what this is.
    #[arg(long, required = true)]
    software: bool,
    /// The project.
    #[arg(long)]
    project: ProjectName,
    /// The role in it.
    #[arg(long)]
    role: RoleName,
    /// For whom.
    #[arg(long, default_value = "software-client")]
    collaborator: Collaborator,
    /// Until when; the role's longest grant at most.
    #[arg(long, default_value = "1d", value_name = "WHEN", value_parser = end)]
    until: String,
    /// PKCS#10 request for the client certificate, PEM or DER.
    #[arg(long, value_name = "FILE", value_parser = file_argument())]
    csr: PathBuf,
    /// The public proof key: a JWK, or a file with one.
    #[arg(long, value_name = "JWK", value_parser = proof_key)]
    proof_key: ProofKey,
    /// Print JSON: the device, and the certificate and those above it in PEM.
    #[arg(long)]
    json: bool,
}

/// A public proof key, or where it is.
#[derive(Clone, Debug)]
enum ProofKey {
    Jwk(EcPublicKey),
    File(PathBuf),
}

fn proof_key(given: &str) -> Result<ProofKey, String> {
    if given.trim_start().starts_with('{') {
        let expected =
            "expected a public P-256 key as a JWK, such as `{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":…,\"y\":…}`";
        return serde_json::from_str(given).map(ProofKey::Jwk).map_err(|_| expected.to_owned());
    }
    path(given.into()).map(ProofKey::File).map_err(|error| error.to_string())
}

pub(super) async fn run(issuer: &Issuer, command: Command) -> Result<(), CommandError> {
    match command {
        Command::List { state, json } => list(issuer, state, json).await,
        Command::Show { device, json } => show(issuer, &device, json).await,
        Command::Approve { device, code, yes, behalf, json } => {
            let device = approve(issuer, &device, code.as_deref(), yes, &behalf).await?;
            if json {
                return print_json(&describe(issuer, &device).await?);
            }
            line(format!("approved {} for {}", device.id, device.collaborator))?;
            for grant in issuer.store.grants_of(&device.id).await? {
                line(grant::standing(issuer, &grant).await?)?;
            }
            Ok(())
        }
        Command::Suspend(decision) => decide(issuer, Verb::Suspend, &decision).await,
        Command::Resume(decision) => decide(issuer, Verb::Resume, &decision).await,
        Command::Revoke { decision, yes } => {
            if !yes.yes {
                show(issuer, &decision.device, decision.json).await?;
                ending("end this device, its grants and its tokens, for good? [y/N] ", decision.json)?;
            }
            decide(issuer, Verb::Revoke, &decision).await
        }
        Command::Register(register) => software(issuer, register).await,
    }
}

async fn find(issuer: &Issuer, id: &DeviceId) -> Result<Device, CommandError> {
    Ok(issuer.store.device(id).await?.ok_or_else(|| LifeError::Unknown(id.clone()))?)
}

async fn list(issuer: &Issuer, state: Option<DeviceLife>, json: bool) -> Result<(), CommandError> {
    let devices = issuer.store.devices(state).await?;
    if json {
        let mut all = Vec::new();
        for device in &devices {
            all.push(describe(issuer, device).await?);
        }
        return print_json(&all);
    }
    let rows: Vec<Vec<String>> = devices
        .iter()
        .map(|device| {
            vec![
                device.id.to_string(),
                device.state.as_str().to_owned(),
                device.collaborator.to_string(),
                tier(device),
                device.comparison_code.clone().unwrap_or_else(|| "-".to_owned()),
                untrusted(&device.facts.hostname),
                device.enrolled_at.to_string(),
            ]
        })
        .collect();
    table(&["DEVICE", "STATE", "COLLABORATOR", "TRUST", "CODE", "HOST", "ENROLLED"], &rows)
}

fn tier(device: &Device) -> String {
    serde_json::to_value(device.tier).ok().and_then(|tier| tier.as_str().map(str::to_owned)).unwrap_or_default()
}

async fn describe(issuer: &Issuer, device: &Device) -> Result<Value, CommandError> {
    let grants = issuer.store.grants_of(&device.id).await?;
    let grants: Vec<Value> = grants
        .iter()
        .map(|grant| {
            json!({"grant": grant.id, "project": grant.project, "role": grant.role, "state": grant::shown(issuer, grant), "until": grant.until})
        })
        .collect();
    Ok(json!({
        "device": device.id, "state": device.state.as_str(), "reason": device.reason, "collaborator": device.collaborator,
        "trust_tier": device.tier, "software": device.is_software(), "comparison_code": device.comparison_code,
        "posture": device.posture, "facts": device.facts, "enrolled_at": device.enrolled_at,
        "ek_hash": device.keys.as_ref().map(|keys| hex::encode(keys.ek_hash.0)),
        "proof_key": device.proof.thumbprint(), "grants": grants,
    }))
}

async fn show(issuer: &Issuer, id: &DeviceId, json: bool) -> Result<(), CommandError> {
    let device = find(issuer, id).await?;
    if json {
        return print_json(&describe(issuer, &device).await?);
    }
    let code = device.comparison_code.as_deref().unwrap_or("none (software keys)");
    line(format!("device          {}", device.id))?;
    line(format!("state           {}", device.state.as_str()))?;
    line(format!("collaborator    {}", device.collaborator))?;
    line(format!("trust tier      {}", tier(&device)))?;
    line(format!("compare code    {code}"))?;
    line(format!("host            {} ({})", untrusted(&device.facts.hostname), untrusted(&device.facts.os)))?;
    line(format!("posture         {}", serde_json::to_string(&device.posture).unwrap_or_default()))?;
    line(format!("enrolled        {}", device.enrolled_at))?;
    for grant in issuer.store.grants_of(id).await? {
        line(format!(
            "grant           {} {} as {}, {} until {}",
            grant.id,
            grant.project,
            grant.role,
            grant::shown(issuer, &grant),
            grant.until
        ))?;
    }
    Ok(())
}

async fn approve(
    issuer: &Issuer,
    id: &DeviceId,
    code: Option<&str>,
    yes: bool,
    behalf: &Behalf,
) -> Result<Device, CommandError> {
    let device = find(issuer, id).await?;
    // Whoever decides for an owner says so by that, and shows it by the grants' lines.
    let verb = Verb::Approve { with_grants: behalf.on_behalf_of.is_some() };
    // Nobody is asked to compare where nothing can be approved; the decision itself looks again.
    if device.state != DeviceLife::Pending {
        return Err(LifeError::Transition { device: id.clone(), from: device.state, verb }.into());
    }
    let expected = device.comparison_code.clone().unwrap_or_default();
    let source = behalf.actor().into();
    let rule = match code {
        Some(given) => {
            compare(issuer, &device, given, &source).await.map_err(|error| match error {
                ComparisonError::Differs => CommandError::Code { given: untrusted(given) },
                ComparisonError::Decide(error) => error.into(),
            })?;
            "code_compared"
        }
        None if yes => "not_compared",
        None => {
            show(issuer, id, false).await?;
            if !confirm(&format!("does {} see the code {expected}? [y/N] ", device.collaborator))? {
                return Err(CommandError::NotConfirmed);
            }
            "code_confirmed"
        }
    };
    Ok(decide_life(issuer, id, verb, &source, Some(rule), behalf.reason.as_deref()).await?)
}

async fn decide(issuer: &Issuer, verb: Verb, decision: &Decision) -> Result<(), CommandError> {
    let source = on_this_machine();
    let device = decide_life(issuer, &decision.device, verb, &source, None, decision.reason.as_deref()).await?;
    if decision.json {
        return print_json(&describe(issuer, &device).await?);
    }
    line(format!("{} is now {}", device.id, device.state.as_str()))
}

fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    daypass_service::read_file(path, daypass_service::MAX_TEXT)
        .map_err(|source| CommandError::File { path: path.to_owned(), source })
}

async fn software(issuer: &Issuer, register: Register) -> Result<(), CommandError> {
    use rustls_pki_types::{CertificateSigningRequestDer, pem::PemObject as _};
    let until = until::until(&register.until, issuer.environment.now(), &issuer.policy().zone(&register.project))?;
    let bytes = read(&register.csr)?;
    let csr = CertificateSigningRequestDer::from_pem_slice(&bytes).map(|csr| csr.to_vec()).unwrap_or(bytes);
    let proof = match register.proof_key {
        ProofKey::Jwk(key) => key,
        ProofKey::File(path) => serde_json::from_slice(&read(&path)?)
            .map_err(|_| CommandError::FileForm { path, expected: "a public P-256 key as a JWK" })?,
    };
    let (device, chain) = register_software(
        issuer,
        Registration {
            collaborator: register.collaborator,
            project: register.project,
            role: register.role,
            until,
            csr: &csr,
            proof,
            by: operator(),
        },
    )
    .await?;
    tracing::debug!(device = %device.id, "registered a software client");
    if register.json {
        let chain: Vec<String> = chain.iter().map(|der| pem(der)).collect();
        return print_json(&json!({"device": device.id, "certificate_chain": chain}));
    }
    chain.iter().try_for_each(|der| line(pem(der)))
}

/// A certificate in PEM (RFC 7468).
fn pem(der: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|chunk| std::str::from_utf8(chunk).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixture::Made,
        store::{self, Change},
    };

    fn nobody() -> Behalf {
        Behalf { on_behalf_of: None, reason: None }
    }

    #[tokio::test]
    async fn a_wrong_code_approves_nothing_and_is_an_event() {
        let made = Made::with_software().await;
        let issuer = &made.issuer;
        let device = made.client().await;
        // As it would be after enrolment with a TPM.
        let pending =
            Device { state: DeviceLife::Pending, comparison_code: Some("AB12-CD34".to_owned()), ..device.clone() };
        let event = crate::fixture::event(&issuer.environment);
        let change = Change::Device { to: Box::new(pending), from: device.state };
        issuer.store.decide(store::Decision::new(event).change(change)).await.unwrap();
        let refused = approve(issuer, &device.id, Some("AB12-CD35"), false, &nobody()).await;
        assert!(matches!(refused, Err(CommandError::Code { .. })));
        assert_eq!(issuer.store.device(&device.id).await.unwrap().unwrap().state, DeviceLife::Pending);
        let events = made.events("approval_refused").await;
        assert!(matches!(&events[..], [leaf] if leaf.contains(&device.id.to_string())), "{events:?}");
        approve(issuer, &device.id, Some("ab12-cd34"), false, &nobody()).await.unwrap();
        assert_eq!(made.events("approval_refused").await.len(), 1);
    }
}
