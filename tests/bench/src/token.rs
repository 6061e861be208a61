//! `bench token`: what one token costs the running issuer, beside a bare handler that verifies one proof and signs one token.
//!
//! Both are processes of their own, get the very same requests from the same clients over connections that are kept, and are asked in turns.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use daypass_issuer::{
    clock::Environment,
    store::{LedgerStore as _, SqliteStore},
};
use daypass_tests::{
    Act, Failure, Issuer, Loopback, Place, Process, Programs, Raw, Ready, Service, SoftwareClient, SoftwareKeys, Who,
    now, say,
};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use tokio::{runtime::Runtime, time::sleep};

use crate::{
    figures::{Report, Series},
    rounds::{Sample, Stopwatch},
    scale::Scale,
    store::{Population, RESOURCE, seed},
};

/// How often it is looked whether the integrator has caught up.
const LOOK: Duration = Duration::from_millis(20);
const PROJECT: &str = r#"
owners = ["olga@example.com"]
[roles.developer]
token_lifetime = "5m"
longest_grant = "90d"
[[roles.developer.authorization_details]]
type = "git_repository"
locations = ["https://git.example.com/team/app"]
actions = ["push"]
refs = ["refs/heads/{user}/**"]
"#;

/// Measures tokens.
pub(crate) fn bench(place: &Place, programs: &Programs, scale: &Scale) -> Result<Report, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::machine("start the runtime"))?;
    let mut issuer = Issuer::init(place, "issuer", programs, None, &[])?;
    issuer.configure("allow_software_keys = false", "allow_software_keys = true")?;
    issuer.configure("tokens_per_device = 1000", "tokens_per_device = 100000")?;
    issuer.write_project("apollo", PROJECT)?;
    let [grants, events] = [scale.grants, scale.events].map(|[small, _]| small);
    say(&format!("seeding an issuer with {grants} grants and {events} events"));
    runtime.block_on(seed(&issuer.store(), Population { grants, events }, &Environment::system()))?;
    issuer.run(["gate", "add", "gate", "--resource", RESOURCE])?;
    let most = scale.connections.iter().copied().max().unwrap_or(1);
    let clients = (0..most)
        .map(|number| {
            SoftwareKeys::new(place, &format!("client-{number}"), Who::Server)?.register(&issuer, "apollo", "developer")
        })
        .collect::<Result<Vec<_>, _>>()?;
    issuer.serve()?;
    let client = clients.first().ok_or_else(|| Failure::unexpected("a client", "none"))?;
    let (bare, durable) = (Bare::start(place, "bare", client, false)?, Bare::start(place, "durable", client, true)?);
    let store = runtime.block_on(SqliteStore::open_to_read(&issuer.store()));
    let store = store.map_err(|error| Failure::unexpected("the issuer's store", error))?;
    let stage = Stage { issuer, bare, durable, clients, store, runtime };

    let mut series: Vec<[Series; 3]> = scale
        .connections
        .iter()
        .map(|connections| {
            let kept = if *connections == 1 { "1 connection".to_owned() } else { format!("{connections} connections") };
            ["bare handler", "bare handler, each token on the disk", "issuer"]
                .map(|what| Series::new(format!("{what}, {kept}")))
        })
        .collect();
    // The first round warms everything up, and is not counted.
    for round in 0..=scale.rounds {
        say(&format!("tokens: round {round} of {}{}", scale.rounds, if round == 0 { ", to warm up" } else { "" }));
        for (connections, series) in scale.connections.iter().zip(&mut series) {
            let tokens = if *connections == 1 { scale.tokens } else { 4 * scale.tokens };
            let seen = stage.round(*connections, tokens.div_ceil(*connections))?;
            if round > 0 {
                series.iter_mut().zip(seen).for_each(|(series, sample)| series.push(sample));
            }
        }
    }
    let lines = series
        .iter()
        .flat_map(|[bare, durable, issuer]| [bare.line(&[]), durable.line(&[bare]), issuer.line(&[bare, durable])]);
    let lines = lines.collect();
    Ok(Report { bench: "token", rounds: scale.rounds, lines, figures: Vec::new() })
}

struct Stage {
    issuer: Issuer,
    bare: Bare,
    durable: Bare,
    clients: Vec<SoftwareClient>,
    store: SqliteStore,
    runtime: Runtime,
}

/// The requests of one connection.
type Requests = Vec<Vec<u8>>;

impl Stage {
    /// The same requests to the bare handler, to the one that writes each token down, and to the issuer.
    fn round(&self, connections: usize, tokens: usize) -> Result<[Sample; 3], Failure> {
        // One more each, which opens the connection. Signed beforehand: no server waits for its client's signature.
        let requests = self.clients.iter().take(connections).map(|client| {
            (0..=tokens).map(|_| client.raw_token_request(RESOURCE, now())).collect::<Result<Requests, _>>()
        });
        let requests = requests.collect::<Result<Vec<_>, _>>()?;
        let beside = |bare: &Bare| self.ask(bare.address, &bare.root, &requests, &|| bare.busy(), &|| Ok(()));
        let (bare, durable) = (beside(&self.bare)?, beside(&self.durable)?);
        let root = self.issuer.root().to_owned();
        let issuer =
            self.ask(self.issuer.mtls_address(), &root, &requests, &|| busy(self.issuer.busy()), &|| self.caught_up())?;
        Ok([bare, durable, issuer])
    }

    fn ask(
        &self,
        address: SocketAddr,
        root: &Path,
        requests: &[Requests],
        busy: &dyn Fn() -> Result<Duration, Failure>,
        settled: &dyn Fn() -> Result<(), Failure>,
    ) -> Result<Sample, Failure> {
        let mut open = Vec::with_capacity(requests.len());
        for (client, requests) in self.clients.iter().zip(requests) {
            let mut connection = Raw::open(address, root, Some((&client.certificate, &client.key)))?;
            let (first, rest) = requests.split_first().ok_or_else(|| Failure::unexpected("a request", "none"))?;
            token(&mut connection, first)?;
            open.push((connection, rest));
        }
        settled()?;
        let watch = Stopwatch::start(busy()?);
        let done = thread::scope(|scope| {
            let asking: Vec<_> = open
                .iter_mut()
                .map(|(connection, requests)| {
                    scope.spawn(move || requests.iter().try_for_each(|request| token(connection, request)))
                })
                .collect();
            asking.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|_| Err(Failure::unexpected("a client to end", "a panic")))
            })
        });
        done?;
        let took = watch.elapsed();
        settled()?;
        Ok(watch.sample(requests.iter().map(|requests| requests.len() - 1).sum(), took, busy()?))
    }

    /// Waits until the integrator has done its part for every token: it is the issuer's work as well.
    fn caught_up(&self) -> Result<(), Failure> {
        self.runtime.block_on(async {
            loop {
                let backlog = self.store.backlog().await;
                if backlog.map_err(|error| Failure::unexpected("the ledger's backlog", error))?.events == 0 {
                    return Ok(());
                }
                sleep(LOOK).await;
            }
        })
    }
}

fn busy(process: Option<Duration>) -> Result<Duration, Failure> {
    process.ok_or_else(|| Failure::unexpected("a running program", "none"))
}

fn token(connection: &mut Raw, request: &[u8]) -> Result<(), Failure> {
    match connection.ask(request) {
        Some((200, _)) => Ok(()),
        Some((status, body)) => Err(Failure::unexpected("a token", format!("{status} {body}"))),
        None => Err(Failure::unexpected("a token", "a connection that was closed")),
    }
}

/// The bare handler, running.
struct Bare {
    process: Process,
    address: SocketAddr,
    root: PathBuf,
}

impl Bare {
    /// Starts it for clients of the CA of this one; whether it writes its tokens down.
    fn start(place: &Place, name: &str, client: &SoftwareClient, durable: bool) -> Result<Self, Failure> {
        let loopback = Loopback::next();
        let address = SocketAddr::new(loopback.ip(), loopback.port()?);
        let wrong = |error: rcgen::Error| Failure::unexpected("a certificate", error);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(wrong)?;
        let mut params = CertificateParams::default();
        params.subject_alt_names.push(SanType::IpAddress(loopback.ip()));
        let certificate = params.self_signed(&key).map_err(wrong)?;
        let folder = place.folder(name, Who::Myself, 0o755)?;
        let (root, private) = (folder.join("certificate.pem"), folder.join("key.pem"));
        for (path, text) in [(&root, certificate.pem()), (&private, key.serialize_pem())] {
            std::fs::write(path, text).map_err(Failure::machine(format!("write `{}`", path.display())))?;
        }
        let own = std::env::current_exe().map_err(Failure::machine("find this program"))?;
        let act = Act::new(own.with_file_name("bare-handler"), Who::Myself)
            .arg(address.to_string())
            .arg(&root)
            .arg(&private)
            .arg(&client.certificate)
            .arg(client.token_endpoint());
        let act = if durable { act.arg("--log").arg(folder.join("tokens")) } else { act };
        let process = Service::new(name, act, Ready::Port(address), &folder).start()?;
        Ok(Self { process, address, root })
    }

    fn busy(&self) -> Result<Duration, Failure> {
        busy(self.process.busy())
    }
}
