//! `daypass-issuer init`: a new issuer in an empty folder.

use std::{
    fs, io,
    net::IpAddr,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use daypass_proto::{
    invitation::canonical_issuer,
    ledger::{EventKind, checkpoint::Origin},
};
use thiserror::Error;
use url::Url;

use super::{CommandError, output::line};
use crate::{
    clock::Environment,
    config::{Config, REFERENCE},
    keys::{KeyError, MasterKeys, Root, new_key, write_secret},
    store::{Change, DecideError, Decision, SqliteStore, Store as _, StoreError},
};

const SAMPLE_PROJECT: &str = include_str!("../../project.toml.example");

/// Options of `init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The issuer's URL, where devices enrol: an https origin.
    #[arg(long, value_name = "URL")]
    url: String,
    /// The URL of the mTLS listener; the issuer's host with the next port when left out.
    #[arg(long, value_name = "URL")]
    mtls_url: Option<String>,
    /// Address to listen on; ports are taken from the URLs.
    #[arg(long, default_value = "0.0.0.0", value_name = "ADDRESS")]
    listen: IpAddr,
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
    line(format!("made a new issuer: {}", config_path.display()))?;
    let folder = config_path.parent().unwrap_or(Path::new("."));
    line(format!("  policy      {}: a sample project; write your own", folder.join("projects").display()))?;
    line(format!(
        "  EK roots    {}: put the TPM makers' certificates here; without them no TPM is trusted",
        folder.join("ek_roots").display()
    ))?;
    line(format!("  root key    {}: keep it apart; only `key rotate` needs it", folder.join("root.key").display()))?;
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
    for name in ["", "projects", "ek_roots"] {
        let made = folder.join(name);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&made).map_err(failed(&made))?;
    }
    let plain = |url: &Url| url.origin().ascii_serialization();
    let listen = |url: &Url| match args.listen {
        IpAddr::V4(address) => format!("{address}:{}", url.port_or_known_default().unwrap_or(443)),
        IpAddr::V6(address) => format!("[{address}]:{}", url.port_or_known_default().unwrap_or(443)),
    };
    let text = REFERENCE
        .replace("https://issuer.example.com:8443", &plain(url))
        .replace("https://issuer.example.com:8444", &plain(mtls))
        .replace("0.0.0.0:8443", &listen(url))
        .replace("0.0.0.0:8444", &listen(mtls));

    let (root_certificate, root_key) = Root::generate(environment)?;
    let (certificate_at, key_at, master_at) =
        (folder.join("root.pem"), folder.join("root.key"), folder.join("master.key"));
    if certificate_at.exists() {
        return Err(InitError::Exists(certificate_at));
    }
    write_secret(&key_at, root_key.as_bytes())?;
    fs::write(&certificate_at, root_certificate).map_err(failed(&certificate_at))?;
    write_secret(&master_at, &zeroize::Zeroizing::new(environment.random::<32>())[..])?;
    let sample = folder.join("projects/sample.toml.example");
    fs::write(&sample, SAMPLE_PROJECT).map_err(failed(&sample))?;

    let root = Root::load(&certificate_at, &key_at)?;
    let master = MasterKeys::at(&master_at).current()?;
    let store = SqliteStore::open(&folder.join("issuer.db"), true).await?;
    let hosts = hosts(url, mtls);
    let origin = Origin::of_issuer(&plain(url), environment.random()).map_err(|_| InitError::Url(args.url.clone()))?;
    let mut decision = Decision::new(environment.event(EventKind::IssuerInitialised).text("issuer", plain(url)))
        .event(environment.event(EventKind::LedgerBegun).text("origin", &origin))
        .change(Change::BeginLedger(origin));
    for purpose in super::key::ALL {
        let key = new_key(environment, &root, &master, purpose, &hosts, environment.now())?;
        decision = decision
            .event(environment.event(EventKind::KeyCreated).text("kid", &key.kid).text("purpose", purpose))
            .change(Change::AddKey(key));
    }
    store.decide(decision).await?;
    // Last: whoever finds a configuration finds everything that it names.
    fs::write(path, text).map_err(failed(path))
}

/// A new issuer in `folder`, for tests; gives its configuration file.
#[cfg(test)]
pub(crate) async fn make_in(folder: &Path, environment: &Environment) -> PathBuf {
    let at = folder.join("issuer.toml");
    let listen = IpAddr::from([127, 0, 0, 1]);
    let (url, mtls) = (origin("https://localhost:8443").unwrap(), origin("https://localhost:8444").unwrap());
    let args = Args { url: url.to_string(), mtls_url: None, listen };
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
    use super::*;
    use crate::fixture::Made;

    fn args(url: &str) -> Args {
        Args { url: url.to_owned(), mtls_url: None, listen: IpAddr::from([0, 0, 0, 0]) }
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
