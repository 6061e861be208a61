//! `daypass-issuer init`: a new issuer in an empty folder.

use std::{
    fs, io,
    net::IpAddr,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use daypass_proto::{
    arguments::{address, text},
    invitation::canonical_issuer,
    ledger::{EventKind, checkpoint::Origin},
};
use daypass_service::file_argument;
use serde_json::json;
use thiserror::Error;
use url::Url;

use super::{
    CommandError,
    output::{json as print_json, line},
};
use crate::{
    clock::Environment,
    config::{Config, ConfigError, REFERENCE},
    keys::{KeyError, MasterKeys, Root, new_key, write_secret},
    policy::Files,
    store::{Change, DecideError, Decision, SqliteStore, Store as _, StoreError},
};

/// What is in the policy folder from the start: what counts once it is loaded, and what is to be read.
const POLICY: [(&str, &str); 7] = [
    ("projects/starter.toml", include_str!("../../starter/project.toml")),
    ("guardrails/starter.cedar", include_str!("../../starter/guardrails.cedar")),
    ("tests/starter.toml", include_str!("../../starter/tests.toml")),
    ("projects/sample.toml.example", include_str!("../../project.toml.example")),
    ("projects/sample.briefing.md.example", include_str!("../../briefing.md.example")),
    ("guardrails/sample.cedar.example", include_str!("../../guardrails.cedar.example")),
    ("tests/sample.toml.example", include_str!("../../policy-tests.toml.example")),
];

/// Options of `init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The issuer's URL, where devices enrol: an https origin.
    #[arg(long, value_name = "URL", value_parser = text)]
    url: String,
    /// The URL of the mTLS listener; the issuer's host with the next port when left out.
    #[arg(long, value_name = "URL", value_parser = text)]
    mtls_url: Option<String>,
    /// Address to listen on; ports are taken from the URLs.
    #[arg(long, default_value = "0.0.0.0", value_name = "ADDRESS", value_parser = address)]
    listen: IpAddr,
    /// An existing folder for the store and the keys; the configuration's own when left out. Store and keys are made for whoever that
    /// folder belongs to, but for the root's private key.
    #[arg(long, value_name = "FOLDER", value_parser = file_argument())]
    state_dir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Why there is no new issuer.
#[derive(Debug, Error)]
pub enum InitError {
    /// One is there.
    #[error("`{}` exists already; an issuer is never made over another", .0.display())]
    Exists(PathBuf),
    /// Not an origin.
    #[error("`{0}` is not an https origin such as `https://issuer.example.com:8443`")]
    Url(String),
    /// What was asked for makes no issuer.
    #[error("nothing was made")]
    Config(#[from] ConfigError),
    /// A file or folder.
    #[error("could not make `{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A key.
    #[error("could not make the issuer's keys")]
    Key(#[from] KeyError),
    /// The store.
    #[error("could not make the store")]
    Store(#[from] StoreError),
    /// The first event.
    #[error("could not write the first event")]
    Decide(#[from] DecideError),
}

fn origin(text: &str) -> Result<Url, InitError> {
    canonical_issuer(text).and_then(|origin| Url::parse(&origin).ok()).ok_or_else(|| InitError::Url(text.to_owned()))
}

pub(super) async fn run(config_path: &Path, args: &Args, environment: &Environment) -> Result<(), CommandError> {
    let url = origin(&args.url)?;
    let mtls = match &args.mtls_url {
        Some(text) => origin(text)?,
        None => {
            let mut next = url.clone();
            let port = url.port_or_known_default().and_then(|port| port.checked_add(1));
            next.set_port(port).map_err(|()| InitError::Url(args.url.clone()))?;
            next
        }
    };
    make(config_path, args, &url, &mtls, environment).await?;
    let folder = config_path.parent().unwrap_or(Path::new("."));
    let state = args.state_dir.as_deref().unwrap_or(folder);
    if args.json {
        return print_json(&json!({
            "configuration": config_path, "policy": folder.join("policy"), "ek_roots": folder.join("ek_roots"),
            "root_key": state.join("root.key"),
        }));
    }
    line(format!("made a new issuer: {}", config_path.display()))?;
    line(format!(
        "  policy      {}: a starter with guardrails and tests, which gives nobody anything until you make it yours; then `daypass-issuer policy load`",
        folder.join("policy").display()
    ))?;
    line(format!(
        "  EK roots    {}: put the TPM makers' certificates here; without them no TPM is trusted",
        folder.join("ek_roots").display()
    ))?;
    line(format!("  root key    {}: keep it apart; only `key rotate` needs it", state.join("root.key").display()))?;
    line("next: `daypass-issuer check`, then `daypass-issuer serve`")
}

async fn make(path: &Path, args: &Args, url: &Url, mtls: &Url, environment: &Environment) -> Result<(), InitError> {
    if path.exists() {
        return Err(InitError::Exists(path.to_owned()));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| InitError::File { path, source }
    };
    let plain = |url: &Url| url.origin().ascii_serialization();
    let listen = |url: &Url| match args.listen {
        IpAddr::V4(address) => format!("{address}:{}", url.port_or_known_default().unwrap_or(443)),
        IpAddr::V6(address) => format!("[{address}]:{}", url.port_or_known_default().unwrap_or(443)),
    };
    let mut text = REFERENCE
        .replace("https://issuer.example.com:8443", &plain(url))
        .replace("https://issuer.example.com:8444", &plain(mtls))
        .replace("0.0.0.0:8443", &listen(url))
        .replace("0.0.0.0:8444", &listen(mtls));
    let state = match &args.state_dir {
        Some(state) => std::path::absolute(state).map_err(failed(state))?,
        None => folder.to_owned(),
    };
    if args.state_dir.is_some() {
        for name in ["issuer.db", "master.key", "root.pem", "root.key"] {
            let path = toml::Value::String(state.join(name).display().to_string());
            text = text.replace(&format!("\"{name}\""), &path.to_string());
        }
    }

    // Before anything is made: whatever is wrong with what was asked for, it can be asked for anew.
    Config::parse(&text, path)?;

    for name in ["", "policy", "policy/projects", "policy/guardrails", "policy/tests", "ek_roots"] {
        let made = folder.join(name);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&made).map_err(failed(&made))?;
    }
    let (root_certificate, root_key) = Root::generate(environment)?;
    let (certificate_at, key_at, master_at) =
        (state.join("root.pem"), state.join("root.key"), state.join("master.key"));
    if certificate_at.exists() {
        return Err(InitError::Exists(certificate_at));
    }
    write_secret(&key_at, root_key.as_bytes())?;
    fs::write(&certificate_at, root_certificate).map_err(failed(&certificate_at))?;
    write_secret(&master_at, &zeroize::Zeroizing::new(environment.random::<32>())[..])?;
    // Who has written a policy already needs no other one beside it.
    let written = !Files::read(&folder.join("policy")).is_ok_and(|files| files.is_empty());
    for (name, text) in POLICY.into_iter().filter(|(name, _)| !written || name.ends_with(".example")) {
        let made = folder.join("policy").join(name);
        fs::write(&made, text).map_err(failed(&made))?;
    }

    let root = Root::load(&certificate_at, &key_at)?;
    let master = MasterKeys::at(&master_at).current()?;
    let database = state.join("issuer.db");
    if args.state_dir.is_some() {
        // Root's SQLite gives the files that it keeps beside this one to the same owner.
        let owner = fs::metadata(&state).map_err(failed(&state))?;
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&database).map_err(failed(&database))?;
        chown(&database, Some(owner.uid()), Some(owner.gid())).map_err(failed(&database))?;
    }
    let store = SqliteStore::open(&database, true).await?;
    let hosts = hosts(url, mtls);
    let origin = Origin::of_issuer(&plain(url), environment.random()).map_err(|_| InitError::Url(args.url.clone()))?;
    let by = super::operator();
    let event = |event| environment.personal(event, "by", &by);
    let mut decision = Decision::new(event(environment.event(EventKind::IssuerInitialised).text("issuer", plain(url))))
        .event(event(environment.event(EventKind::LedgerBegun).text("origin", &origin)))
        .change(Change::BeginLedger(origin));
    for purpose in super::key::ALL {
        let key = new_key(environment, &root, &master, purpose, &hosts, environment.now())?;
        let created = environment.event(EventKind::KeyCreated).text("kid", &key.kid).text("purpose", purpose);
        decision =
            decision.event(event(created.number("active_from", key.active_from.seconds()))).change(Change::AddKey(key));
    }
    store.decide(decision).await?;
    if args.state_dir.is_some() {
        let owner = fs::metadata(&state).map_err(failed(&state))?;
        // The store's lock is a file of ours, which SQLite gives to nobody.
        for made in [&certificate_at, &master_at, &SqliteStore::lock_at(&database)] {
            chown(made, Some(owner.uid()), Some(owner.gid())).map_err(failed(made))?;
        }
        // Policy is read by the service and written by whoever ran this.
        for name in ["policy", "policy/projects", "policy/guardrails", "policy/tests", "ek_roots"] {
            let made = folder.join(name);
            chown(&made, None, Some(owner.gid())).map_err(failed(&made))?;
            fs::set_permissions(&made, fs::Permissions::from_mode(0o750)).map_err(failed(&made))?;
        }
    }
    // Last: whoever finds a configuration finds everything that it names.
    fs::write(path, text).map_err(failed(path))
}

/// A new issuer in `folder`, for tests; gives its configuration file.
#[cfg(test)]
pub(crate) async fn make_in(folder: &Path, environment: &Environment) -> PathBuf {
    let at = folder.join("issuer.toml");
    let listen = IpAddr::from([127, 0, 0, 1]);
    let (url, mtls) = (origin("https://localhost:8443").unwrap(), origin("https://localhost:8444").unwrap());
    let args = Args { url: url.to_string(), mtls_url: None, listen, state_dir: None, json: false };
    make(&at, &args, &url, &mtls, environment).await.unwrap();
    at
}

/// The hosts of the issuer's own certificate.
fn hosts(url: &Url, mtls: &Url) -> Vec<String> {
    let host = |url: &Url| url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let mut hosts = vec![host(url), host(mtls)];
    hosts.dedup();
    hosts
}

/// The hosts of a configured issuer's own certificate.
pub(super) fn configured_hosts(config: &Config) -> Vec<String> {
    match (Url::parse(&config.issuer_url), Url::parse(&config.mtls_url)) {
        (Ok(url), Ok(mtls)) => hosts(&url, &mtls),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use daypass_proto::token::Protection;

    use super::*;
    use crate::{
        fixture::Made,
        issuer::Issuer,
        policy::{ExamplesError, Policy, Renewal},
    };

    fn args(url: &str) -> Args {
        Args { url: url.to_owned(), mtls_url: None, listen: IpAddr::from([0, 0, 0, 0]), state_dir: None, json: false }
    }

    #[tokio::test]
    async fn an_issuer_is_never_made_over_another() {
        let made = Made::new().await;
        let folder = made.config.parent().unwrap();
        let key = || fs::read(folder.join("root.key")).unwrap();
        let before = key();
        let environment = Environment::system();
        let again = run(&made.config, &args("https://localhost"), &environment).await;
        assert!(matches!(again, Err(CommandError::Init(InitError::Exists(_)))));
        // Not even where somebody lost the configuration.
        fs::remove_file(&made.config).unwrap();
        let again = run(&made.config, &args("https://localhost"), &environment).await;
        assert!(matches!(again, Err(CommandError::Init(InitError::Exists(_)))));
        assert_eq!(key(), before);
    }

    #[tokio::test]
    async fn a_state_folder_takes_store_and_keys_for_its_owner() {
        let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = folder.path().join("issuer.toml");
        // Root alone gives things away; elsewhere the owner is oneself.
        let root = nix::unistd::geteuid().is_root();
        if root {
            chown(state.path(), Some(65521), Some(65521)).unwrap();
        }
        let args = Args { state_dir: Some(state.path().to_owned()), ..args("https://localhost:8443") };
        run(&at, &args, &Environment::system()).await.unwrap();
        let config = Config::load(&at).unwrap();
        let owner = fs::metadata(state.path()).unwrap().uid();
        for path in [&config.database, &config.master_key, &config.root_certificate] {
            assert_eq!(path.parent(), Some(state.path()));
            assert_eq!(fs::metadata(path).unwrap().uid(), owner, "{}", path.display());
        }
        let beside = |entry: io::Result<fs::DirEntry>| entry.unwrap().path();
        for path in fs::read_dir(state.path()).unwrap().map(beside).filter(|path| path.extension().unwrap() != "key") {
            assert_eq!(fs::metadata(&path).unwrap().uid(), owner, "{}", path.display());
        }
        let key = fs::metadata(&config.root_key).unwrap();
        assert_eq!((key.uid(), key.mode() & 0o777), (nix::unistd::geteuid().as_raw(), 0o600));
        assert_eq!(config.policy.parent(), Some(folder.path()));
        assert_eq!(fs::metadata(&config.policy).unwrap().mode() & 0o777, 0o750);
    }

    #[tokio::test]
    async fn the_starter_policy_is_good_and_gives_nobody_anything() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("issuer.toml");
        run(&at, &args("https://localhost:8443"), &Environment::system()).await.unwrap();
        let files = Files::read(&folder.path().join("policy")).unwrap();
        let policy = Policy::check(&files).unwrap();
        ExamplesError::of(&policy).unwrap();
        assert!(policy.examples().len() > 10 && policy.guardrails().rules().count() == 2);
        // Nobody approves, and nothing is there to be reached.
        for (name, project) in policy.projects() {
            assert!(project.owners.iter().all(|owner| owner.ends_with(".invalid")), "{name}");
            for (_, role) in project.roles() {
                assert!(
                    role.longest_grant <= 90 * 86_400
                        && role.token_lifetime <= 600
                        && role.longest_total.is_none_or(|total| total <= 365 * 86_400)
                );
                assert_eq!((role.renewal, role.protection), (Renewal::Ask, Protection::Hardware));
            }
        }
        assert!(!policy.resources().is_empty());
        assert!(
            policy.resources().iter().all(|resource| resource.as_str().ends_with(".invalid/")),
            "{:?}",
            policy.resources()
        );
        // It takes somebody's decision to put it in force.
        let issuer = Issuer::open(Config::load(&at).unwrap(), Environment::system()).await.unwrap();
        assert_eq!(issuer.policy().projects().count(), 0);
        crate::commands::put_in_force(&issuer, &issuer.config.policy).await.unwrap();
    }

    #[tokio::test]
    async fn a_policy_that_is_there_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let projects = folder.path().join("policy/projects");
        fs::create_dir_all(&projects).unwrap();
        fs::write(projects.join("starter.toml"), "owners = [\"olga\"]").unwrap();
        run(&folder.path().join("issuer.toml"), &args("https://localhost:8443"), &Environment::system()).await.unwrap();
        assert_eq!(fs::read_to_string(projects.join("starter.toml")).unwrap(), "owners = [\"olga\"]");
        assert!(!folder.path().join("policy/guardrails/starter.cedar").exists());
        assert!(folder.path().join("policy/guardrails/sample.cedar.example").exists());
    }

    #[tokio::test]
    async fn what_every_command_would_refuse_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("new/issuer.toml");
        let both = Args { mtls_url: Some("https://localhost".to_owned()), ..args("https://localhost:443") };
        let refused = run(&at, &both, &Environment::system()).await;
        assert!(matches!(refused, Err(CommandError::Init(InitError::Config(_)))), "{refused:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was written");
        // And so it can be run again.
        run(&at, &args("https://localhost:443"), &Environment::system()).await.unwrap();
        Config::load(&at).unwrap();
    }

    #[tokio::test]
    async fn only_an_https_origin_names_an_issuer() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("issuer.toml");
        for url in ["http://localhost", "https://localhost/path", "localhost", "https://user@localhost"] {
            let refused = run(&at, &args(url), &Environment::system()).await;
            assert!(matches!(refused, Err(CommandError::Init(InitError::Url(_)))), "{url}");
        }
        assert!(!at.exists());
    }
}
