//! `daypass-issuer gate …`.

use std::path::PathBuf;

use daypass_proto::{invitation::Code, names::GateName, resource::Resource, time::Timestamp};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::json;

use super::{
    CommandError,
    arguments::{Yes, reason},
    operator,
    output::{ending, json as print_json, line, table},
};
use crate::{
    actor::Actor,
    gates::{Registration, RegistryError, add, remove},
    issuer::Issuer,
    store::GateLife,
};
use daypass_service::file_argument;

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Register a gate; prints the one-time code with which it enrols.
    Add {
        /// Its name.
        name: GateName,
        /// What it guards, such as `https://git.example.com/`; can be given again.
        #[arg(long = "resource", required = true, value_name = "URL")]
        resources: Vec<Resource>,
        /// PEM file with the CA of the gate's own certificate; left out, the gate gets one under the issuer's root.
        #[arg(long, value_name = "FILE", value_parser = file_argument())]
        ca: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List gates.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take a gate out: says what it guards, and asks.
    Remove {
        /// Which.
        name: GateName,
        /// Why, for the ledger.
        #[arg(long, value_parser = reason)]
        reason: Option<String>,
        #[command(flatten)]
        yes: Yes,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(issuer: &Issuer, command: Command) -> Result<(), CommandError> {
    let by = Actor::account(operator());
    match command {
        Command::Add { name, resources, ca, json } => {
            let ca = ca.map(read_ca).transpose()?;
            let code_expires_at = issuer.environment.now().plus(issuer.config.code_lifetime);
            let registration = Registration { name: name.clone(), resources, ca, code_expires_at, by };
            let code = add(issuer, registration).await?;
            added(&name, &code, code_expires_at, json).map_err(|error| match error {
                CommandError::Output(source) => CommandError::CodeLost {
                    what: format!("gate {name}"),
                    next: format!("`daypass-issuer gate remove {name}` takes it out, and then it can be added anew"),
                    source,
                },
                other => other,
            })
        }
        Command::List { json } => {
            let gates = issuer.store.gates().await?;
            if json {
                let all: Vec<_> = gates
                    .iter()
                    .map(|gate| json!({"gate": gate.name, "state": gate.state, "resources": gate.resources}))
                    .collect();
                return print_json(&all);
            }
            let rows: Vec<Vec<String>> = gates
                .iter()
                .map(|gate| {
                    let resources: Vec<&str> = gate.resources.iter().map(Resource::as_str).collect();
                    vec![gate.name.to_string(), gate.state.to_string(), resources.join(" ")]
                })
                .collect();
            table(&["GATE", "STATE", "RESOURCES"], &rows)
        }
        Command::Remove { name, reason, yes, json } => {
            if !yes.yes {
                let found = issuer.store.gate(&name).await?.ok_or_else(|| RegistryError::Unknown(name.clone()))?;
                let guards: Vec<&str> = found.resources.iter().map(Resource::as_str).collect();
                if !json {
                    line(format!("gate {name}, {}, guards {}, and will serve nobody", found.state, guards.join(" ")))?;
                }
                ending("take this gate out? [y/N] ", json)?;
            }
            remove(issuer, &name, &by, reason.as_deref()).await?;
            if json {
                return print_json(&json!({"gate": name, "state": GateLife::Removed}));
            }
            line(format!("removed gate {name}"))
        }
    }
}

fn added(name: &GateName, code: &Code, expires_at: Timestamp, json: bool) -> Result<(), CommandError> {
    if json {
        return print_json(&json!({"gate": name, "code": code.expose().as_str(), "expires_at": expires_at}));
    }
    line(format!("registered gate {name}; its code works once, until {expires_at}"))?;
    line("  on the gate: `daypass-gate enrol`, which asks for the code; as an argument every user there would see it")?;
    line("")?;
    line(code.expose().as_str())
}

fn read_ca(path: PathBuf) -> Result<String, CommandError> {
    let text = daypass_service::read_text(&path).map_err(|source| CommandError::File { path: path.clone(), source })?;
    match CertificateDer::from_pem_slice(text.as_bytes()) {
        Ok(_) => Ok(text),
        Err(_) => Err(CommandError::FileForm { path, expected: "a certificate in PEM" }),
    }
}
