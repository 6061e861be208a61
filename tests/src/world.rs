//! Everything on the other side of a collaborator's machine: a maker of TPMs, a git server, an issuer and a gate, running.

use std::time::Duration;

use crate::{
    Clock, Failure, Gate, Issuer, Maker, Place, Programs, Raw, Request, SoftwareClient, SoftwareKeys, Upstream, Who,
    wait,
};

/// The project of every world.
pub const PROJECT: &str = "apollo";
/// The repository that its roles are about.
pub const REPOSITORY: &str = "team/app";
/// Another one on the same server, about which no role says anything.
pub const OTHER_REPOSITORY: &str = "team/secret";

/// Issuer, gate and git server, and what they stand on.
#[derive(Debug)]
pub struct World {
    // Dropped in this order: the gate before what it talks to, the folder last.
    /// The gate.
    pub gate: Gate,
    /// The issuer.
    pub issuer: Issuer,
    /// The git server behind the gate.
    pub upstream: Upstream,
    /// The maker whose TPMs the issuer trusts.
    pub maker: Maker,
    /// The clock of all programs, where the story moves it.
    pub clock: Option<Clock>,
    /// The built programs.
    pub programs: Programs,
    /// The folder of it all.
    pub place: Place,
}

impl World {
    /// A world on the machine's own clock.
    pub fn start() -> Result<Self, Failure> {
        Self::build(false, |_, _| Ok(()))
    }

    /// A world whose clock the story moves.
    pub fn with_clock() -> Result<Self, Failure> {
        Self::build(true, |_, _| Ok(()))
    }

    /// A world that takes software clients, on a clock of its own or not.
    pub fn with_software_keys(clock: bool) -> Result<Self, Failure> {
        Self::build(clock, |issuer, gate| {
            issuer.configure("allow_software_keys = false", "allow_software_keys = true")?;
            gate.configure("allow_software_keys = false", "allow_software_keys = true")
        })
    }

    /// A world that is changed before it starts to serve.
    pub fn build(clock: bool, change: impl FnOnce(&Issuer, &Gate) -> Result<(), Failure>) -> Result<Self, Failure> {
        let place = Place::new()?;
        let programs = Programs::find()?;
        let clock = clock.then(|| Clock::new(place.path(), "clock")).transpose()?;
        let maker = Maker::new(&place, "maker")?;
        let upstream = Upstream::start(&place)?;
        upstream.add_repository(REPOSITORY)?;
        upstream.add_repository(OTHER_REPOSITORY)?;
        let mut issuer = Issuer::init(&place, "issuer", &programs, clock.as_ref(), &[])?;
        let mut gate = Gate::new(&place, "gate", &programs, clock.as_ref(), &upstream)?;
        issuer.write_project(PROJECT, &project(&gate))?;
        // The maker's CA comes with its first TPM.
        let nobody = place.folder("first-chip", Who::Agent, 0o700)?;
        maker.make(&nobody)?;
        issuer.trust(&maker)?;
        if clock.is_some() {
            // Minutes that pass in a moment would make the gate think that it has not heard from its issuer for as long.
            gate.configure("feed_max_age = \"60s\"", "feed_max_age = \"1h\"")?;
        }
        change(&issuer, &gate)?;
        issuer.serve()?;
        gate.enrol(&issuer)?;
        gate.serve()?;
        Ok(Self { gate, issuer, upstream, maker, clock, programs, place })
    }

    /// Seconds since the epoch, as the programs see it.
    pub fn now(&self) -> i64 {
        self.clock.as_ref().map_or_else(wait::now, Clock::now)
    }

    /// Lets time pass for all programs.
    pub fn advance(&self, time: Duration) -> Result<(), Failure> {
        match &self.clock {
            Some(clock) => clock.advance(time),
            None => Err(Failure::unexpected("a world with a clock", "one on the machine's own")),
        }
    }

    /// The repository's clone URL.
    pub fn clone_url(&self) -> String {
        self.gate.url(&format!("{REPOSITORY}.git"))
    }

    /// The repository in its canonical form.
    pub fn repository(&self) -> String {
        self.gate.url(REPOSITORY)
    }

    /// Registers a software client; the world must allow it.
    pub fn software_client(&self, name: &str, role: &str) -> Result<SoftwareClient, Failure> {
        SoftwareKeys::new(&self.place, name, Who::Server)?.register(&self.issuer, PROJECT, role)
    }

    /// A request to the gate.
    pub fn request(&self, path: &str) -> Result<Request, Failure> {
        Request::new(Who::Bob, &self.gate.url(path), self.issuer.root())
    }

    /// A connection to the gate, for bytes that no client would send.
    pub fn raw(&self) -> Result<Raw, Failure> {
        Raw::open(self.gate.address(), self.issuer.root(), None)
    }

    /// A nonce for `git-upload-pack` or `git-receive-pack` on a repository, for whoever comes from `address`.
    pub fn nonce(&self, repository: &str, service: &str, address: Option<&str>) -> Result<String, Failure> {
        let mut request = self.request(&format!("{repository}.git/info/refs?service={service}"))?;
        if let Some(address) = address {
            request = request.from_address(address);
        }
        let answer = request.send()?.status(401)?;
        let challenge =
            answer.headers.iter().find_map(|line| line.split_once("nonce=\"")?.1.split('"').next().map(str::to_owned));
        challenge.ok_or_else(|| answer.ran.surprise("a nonce"))
    }

    /// A presentation of a software client, with a fresh nonce.
    pub fn presentation(&self, client: &SoftwareClient, repository: &str, service: &str) -> Result<String, Failure> {
        let token = client.token(&self.gate.resource(), self.now())?;
        let nonce = self.nonce(repository, service, None)?;
        let canonical = self.gate.url(repository);
        SoftwareClient::forge_presentation(client.proof(), &token, &canonical, &nonce, self.now(), |_| {})
    }

    /// Asks until the answer is a refusal, and says how long that took. An answer that is cut off while it is under way counts: that is what
    /// the gate does to what is in flight.
    pub fn until_refused(&self, mut ask: impl FnMut() -> Result<u16, Failure>) -> Result<Duration, Failure> {
        let (refused, took) = wait::timed(|| wait::until(|| (!matches!(ask(), Ok(..400))).then_some(())));
        match refused {
            Some(()) => Ok(took),
            None => Err(Failure::unexpected("a refusal", "none")),
        }
    }
}

/// Roles for everything that the stories do.
fn project(gate: &Gate) -> String {
    let repository = gate.url(REPOSITORY);
    format!(
        r#"owners = ["olga@example.com"]
contact = "the chat channel apollo"

[roles.developer]
token_lifetime = "5m"
longest_grant = "90d"
[[roles.developer.authorization_details]]
type = "git_repository"
locations = ["{repository}"]
actions = ["push", "create", "delete"]
refs = ["refs/heads/{{user}}/**"]

[roles.reader]
token_lifetime = "5m"
longest_grant = "90d"
[[roles.reader.authorization_details]]
type = "git_repository"
locations = ["{repository}"]
actions = ["read"]
"#
    )
}
