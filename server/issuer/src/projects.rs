//! Projects and roles: the files of the policy folder, read whole and checked before anything uses them.
//!
//! A role is a named set of authorization details with limits. It is never a grant: those are records. What a grant gives is
//! decided anew from today's role each time.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use daypass_proto::{
    authorization::{AuthorizationDetails, MAX_DETAILS, substitute_user},
    encoding::sha256,
    names::{Collaborator, ProjectName, RoleName},
    resource::Resource,
    token::Protection,
};
use serde::Deserialize;
use thiserror::Error;

use daypass_service as service;

/// The longest life of a token, in seconds: minutes, not hours.
const MAX_TOKEN_LIFETIME: i64 = daypass_proto::delegation::LONGEST;
/// Somebody to put into templates, only to see that they parse.
const PROBE: &str = "probe";

/// Everything that is wrong with the policy folder.
#[derive(Debug, Error)]
#[error("the policy does not load:{}", .0.iter().map(|fault| format!("\n  {fault}")).collect::<String>())]
pub struct PolicyError(Vec<Fault>);

/// One thing that is wrong.
#[derive(Debug, Error)]
enum Fault {
    #[error("`{}` could not be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{}`: {message}", path.display())]
    Content { path: PathBuf, message: String },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProject {
    owners: Vec<String>,
    #[serde(default)]
    contact: Option<String>,
    roles: BTreeMap<RoleName, RawRole>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRole {
    token_lifetime: String,
    longest_grant: String,
    #[serde(default = "hardware")]
    protection: Protection,
    authorization_details: toml::Value,
}

const fn hardware() -> Protection {
    Protection::Hardware
}

/// A project.
#[derive(Debug)]
pub struct Project {
    /// Who answers for it and approves.
    pub owners: Vec<String>,
    /// How to reach them.
    pub contact: Option<String>,
    roles: BTreeMap<RoleName, Role>,
}

impl Project {
    /// The project in the file `path`, whose content is `text`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, PolicyError> {
        parse(path, text).map(|(_, project, _)| project).map_err(PolicyError)
    }

    /// A role of this project.
    pub fn role(&self, name: &RoleName) -> Option<&Role> {
        self.roles.get(name)
    }

    /// The roles' names.
    pub fn role_names(&self) -> impl Iterator<Item = &RoleName> {
        self.roles.keys()
    }
}

/// A role.
#[derive(Debug)]
pub struct Role {
    /// The longest life of a token, in seconds.
    pub token_lifetime: i64,
    /// The longest life of a grant, in seconds.
    pub longest_grant: i64,
    /// The least that must sign the proofs: [`Protection::Delegated`] opts in to delegated keys, and takes the proof key as well.
    pub protection: Protection,
    /// The authorization details as JSON text, with `{user}` in it.
    template: String,
}

impl Role {
    /// What the role gives to `collaborator`.
    pub fn details_for(&self, collaborator: &Collaborator) -> Result<AuthorizationDetails, String> {
        let text = substitute_user(&self.template, collaborator).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }
}

/// All projects.
#[derive(Debug, Default)]
pub struct Projects {
    projects: BTreeMap<ProjectName, Project>,
    hash: [u8; 32],
}

impl Projects {
    /// Reads every `*.toml` of `folder`; reports every fault at once. No policy means no access.
    pub fn load(folder: &Path) -> Result<Self, PolicyError> {
        let mut faults = Vec::new();
        let mut projects = BTreeMap::new();
        let mut hashed = Vec::new();
        for path in files(folder).map_err(|fault| PolicyError(vec![fault]))? {
            match read(&path) {
                Ok((name, project, hash)) => {
                    hashed.extend_from_slice(name.as_str().as_bytes());
                    hashed.extend_from_slice(&hash);
                    projects.insert(name, project);
                }
                Err(mut found) => faults.append(&mut found),
            }
        }
        if faults.is_empty() { Ok(Self { projects, hash: sha256(&[&hashed]) }) } else { Err(PolicyError(faults)) }
    }

    /// A project.
    pub fn get(&self, name: &ProjectName) -> Option<&Project> {
        self.projects.get(name)
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &ProjectName> {
        self.projects.keys()
    }

    /// The longest life of a token that any role gives, in seconds.
    pub fn longest_token(&self) -> i64 {
        self.projects
            .values()
            .flat_map(|project| project.roles.values())
            .map(|role| role.token_lifetime)
            .max()
            .unwrap_or_default()
    }

    /// SHA-256 over all files: the version of the policy.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Every resource that a role names.
    pub fn resources(&self) -> std::collections::BTreeSet<Resource> {
        let Ok(probe) = PROBE.parse() else { return std::collections::BTreeSet::new() };
        self.projects
            .values()
            .flat_map(|project| project.roles.values())
            .filter_map(|role| role.details_for(&probe).ok())
            .flat_map(|details| details.resources())
            .collect()
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let failed = |source| Fault::Read { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<(ProjectName, Project, [u8; 32]), Vec<Fault>> {
    let text = service::read_text(path).map_err(|source| vec![Fault::Read { path: path.to_owned(), source }])?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<(ProjectName, Project, [u8; 32]), Vec<Fault>> {
    let content = |message: String| Fault::Content { path: path.to_owned(), message };
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let name: ProjectName = stem.parse().map_err(|error| vec![content(format!("the file name: {error}"))])?;
    let raw: RawProject = toml::from_str(text).map_err(|error| vec![content(error.to_string())])?;
    let mut faults = Vec::new();
    if raw.owners.is_empty() {
        faults.push(content("`owners` is empty: somebody must be able to approve".to_owned()));
    }
    if raw.roles.is_empty() {
        faults.push(content("there is no role".to_owned()));
    }
    let mut roles = BTreeMap::new();
    for (role_name, role) in raw.roles {
        match check_role(&role) {
            Ok(role) => {
                roles.insert(role_name, role);
            }
            Err(messages) => {
                faults.extend(messages.into_iter().map(|message| content(format!("role `{role_name}`: {message}"))));
            }
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok((name, Project { owners: raw.owners, contact: raw.contact, roles }, sha256(&[text.as_bytes()])))
}

fn check_role(raw: &RawRole) -> Result<Role, Vec<String>> {
    let mut faults = Vec::new();
    let mut seconds = |key: &str, text: &str| {
        service::seconds(text).unwrap_or_else(|error| {
            faults.push(format!("`{key}`: {error}"));
            1
        })
    };
    let token_lifetime = seconds("token_lifetime", &raw.token_lifetime);
    let longest_grant = seconds("longest_grant", &raw.longest_grant);
    if token_lifetime > MAX_TOKEN_LIFETIME {
        faults.push("`token_lifetime`: a token lives for an hour at most".to_owned());
    }
    if raw.protection == Protection::Software {
        faults.push(
            "`protection`: `hardware`, or `delegated` where policy opts in; `software` is no role's to give".to_owned(),
        );
    }
    let template = serde_json::to_string(&raw.authorization_details).unwrap_or_default();
    if template.len() > MAX_DETAILS {
        faults.push(format!("`authorization_details`: over {MAX_DETAILS} bytes, which no token holds; split the role"));
    }
    let role = Role { token_lifetime, longest_grant, protection: raw.protection, template };
    if let Ok(probe) = PROBE.parse()
        && let Err(message) = role.details_for(&probe)
    {
        faults.push(format!("`authorization_details`: {message}"));
    }
    if faults.is_empty() { Ok(role) } else { Err(faults) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
owners = ["olga@example.com"]
[roles.developer]
token_lifetime = "10m"
longest_grant = "90d"
[[roles.developer.authorization_details]]
type = "git_repository"
locations = ["https://h/team/app"]
actions = ["push", "create"]
refs = ["refs/heads/{user}/**"]
"#;

    fn load(text: &str) -> Result<Projects, PolicyError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("apollo.toml"), text).unwrap();
        Projects::load(folder.path())
    }

    #[test]
    fn a_role_gives_each_their_own() {
        let projects = load(GOOD).unwrap();
        let role = projects.get(&"apollo".parse().unwrap()).unwrap().role(&"developer".parse().unwrap()).unwrap();
        let details = role.details_for(&"alice".parse().unwrap()).unwrap();
        assert!(serde_json::to_string(&details).unwrap().contains("refs/heads/alice/**"));
        assert!(role.details_for(&"a/b".parse().unwrap()).is_err());
        assert_eq!(projects.resources().len(), 1);
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let text = GOOD
            .replace("10m", "2h")
            .replace("90d", "soon")
            .replace("https://", "http://")
            .replace("\"olga@example.com\"", "");
        let error = load(&text).unwrap_err().to_string();
        for part in ["owners", "token_lifetime", "longest_grant", "authorization_details"] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }

    #[test]
    fn a_role_that_no_token_holds_is_refused() {
        let many = (0..200).map(|n| format!("\"https://h/team/{n}{}\"", "x".repeat(60))).collect::<Vec<_>>().join(",");
        let error = load(&GOOD.replace("\"https://h/team/app\"", &many)).unwrap_err().to_string();
        assert!(error.contains("split the role"), "{error}");
    }

    #[test]
    fn a_policy_file_has_an_end_and_is_text() {
        let folder = tempfile::tempdir().unwrap();
        let write = |content: &[u8]| {
            fs::write(folder.path().join("apollo.toml"), content).unwrap();
            Projects::load(folder.path()).map_err(|error| error.to_string())
        };
        assert!(write(GOOD.as_bytes()).is_ok());
        let long = format!("{GOOD}#{}", "x".repeat(2 * 1024 * 1024));
        assert!(write(long.as_bytes()).unwrap_err().contains("larger than"));
        assert!(write(&[GOOD.as_bytes(), b"# \xff"].concat()).unwrap_err().contains("UTF-8"));
        assert!(write(format!("owners = [\"x\"]\n{GOOD}").as_bytes()).unwrap_err().contains("duplicate key"));
        assert!(write(GOOD.replace("\"10m\"", "10").as_bytes()).unwrap_err().contains("invalid type"));
        for cut in 1..GOOD.trim_end().len() {
            // What is cut may be a smaller policy, and is never a wider one.
            if let Ok(projects) = write(&GOOD.as_bytes()[..cut]) {
                assert!(projects.resources().len() <= 1);
            }
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(load(&GOOD.replace("longest_grant", "longest_grunt")).is_err());
        assert!(load(&format!("{GOOD}\n[grants]\n")).is_err());
        assert!(Projects::load(Path::new("/nonexistent")).is_err());
    }
}
