//! `daypass admin policy`: bringing a policy, and confirming what somebody else brought.

use std::{collections::BTreeMap, fs, io, path::Path};

use daypass_proto::{
    admin_api::{self as api, MAX_POLICY},
    local_api::ErrorCode,
    names::ProposalId,
};

use super::{Api, Failure, Terminal, arguments::PolicyCommand, confirmed, decide, done, list, shown::plain};

/// What is read of a folder: the issuer judges it.
const READ: [(&str, &str); 4] =
    [("projects", ".toml"), ("projects", ".briefing.md"), ("guardrails", ".cedar"), ("tests", ".toml")];

pub(super) fn run(command: &PolicyCommand, api: &Api<'_>, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    match command {
        PolicyCommand::List => list::<api::PolicyVersion>("policy/versions", api, terminal),
        PolicyCommand::Load { folder } => load(folder, api, terminal),
        PolicyCommand::Proposals => {
            let all: api::List<api::Proposal> = api.get("policy/proposals")?;
            if terminal.json() {
                return terminal.document(&all);
            }
            all.items.iter().try_for_each(|found| shown(found, terminal))
        }
        PolicyCommand::Confirm { proposal, why, yes } => {
            if !yes.yes {
                let found = find(proposal, api)?;
                if !terminal.json() {
                    shown(&found, terminal)?;
                }
                confirmed("put this policy in force", false, terminal)?;
            }
            let found: api::Proposal = api.post(format!("policy/proposals/{proposal}/confirm"), &decide(why))?;
            done(&found, format!("in force now: version {}", plain(&found.version)), terminal)
        }
        PolicyCommand::Withdraw { proposal, why } => {
            let found: api::Proposal = api.post(format!("policy/proposals/{proposal}/withdraw"), &decide(why))?;
            done(&found, format!("{proposal} is withdrawn; the policy in force stays"), terminal)
        }
    }
}

fn find(id: &ProposalId, api: &Api<'_>) -> Result<api::Proposal, Failure> {
    let all: api::List<api::Proposal> = api.get("policy/proposals")?;
    all.items.into_iter().find(|found| found.proposal == *id).ok_or_else(|| {
        let message = format!("there is no proposal `{id}`");
        Failure::new(ErrorCode::Malformed, message, "`daypass admin policy proposals` shows those that there are")
    })
}

fn shown(found: &api::Proposal, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let by = found.by.as_ref().map_or("the issuer's machine", |by| by.as_str());
    let (id, state, version, at) = (&found.proposal, plain(&found.state), plain(&found.version), found.at);
    terminal.words(&format!("{id}  {state}, brought by {by} at {at}: version {version}"))?;
    for guarded in &found.guarded {
        terminal.words(&format!("  guards others: {}", plain(guarded)))?;
    }
    found
        .changes
        .iter()
        .flat_map(|change| change.lines())
        .try_for_each(|line| terminal.words(&format!("  {}", plain(line))))
}

fn load(folder: &Path, api: &Api<'_>, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let files = read(folder).map_err(|error| {
        let message = format!("could not read the policy in `{}`: {error}", folder.display());
        Failure::new(ErrorCode::Malformed, message, "name a folder with `projects/`, `guardrails/` and `tests/`")
    })?;
    let request = api::LoadPolicy { files };
    let size = serde_json::to_vec(&request).map_or(usize::MAX, |body| body.len());
    if size > MAX_POLICY {
        return Err(Failure::new(
            ErrorCode::Malformed,
            format!("the policy has {size} bytes, and {MAX_POLICY} can be sent"),
            "load it on the issuer's machine: `daypass-issuer policy load`",
        ));
    }
    let loaded: api::LoadedPolicy = api.post("policy", &request)?;
    if terminal.json() {
        return terminal.document(&loaded);
    }
    let version = plain(&loaded.version);
    match loaded.waiting {
        Some(waiting) => {
            shown(&waiting, terminal)?;
            let id = &waiting.proposal;
            terminal.words(&format!(
                "the policy in force stays until another administrator runs `daypass admin policy confirm {id}`"
            ))
        }
        None if loaded.changed => terminal.words(&format!("in force now: version {version}")),
        None => terminal.words(&format!("nothing to change: version {version} is in force already")),
    }
}

/// The files of the three folders. A folder without any of them is no policy: it would take everything away.
fn read(folder: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for (name, ending) in READ {
        let entries = match fs::read_dir(folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        for entry in entries {
            let path = entry?.path();
            let file = path.file_name().and_then(|file| file.to_str()).filter(|file| !file.starts_with('.'));
            if let Some(file) = file
                && file.ends_with(ending)
            {
                files.insert(format!("{name}/{file}"), crate::file_kind::read_text(&path)?);
            }
        }
    }
    if files.is_empty() {
        Err(io::Error::new(io::ErrorKind::NotFound, "there is nothing of a policy in it"))
    } else {
        Ok(files)
    }
}
