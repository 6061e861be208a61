//! The agent itself: enrolments by (uid, issuer), and everything that can be asked of them. The local API and the timers call here.

mod admin;
mod briefing;
mod devices;
mod enrol;
mod git;
mod ledger;
mod member;
mod notices;
mod requests;
mod tokens;
mod upkeep;
mod warnings;

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use daypass_proto::{
    caller::Evidence,
    encoding::sha256,
    local_api::{Enrolment, EnrolmentLife, LeaveAnswer, LiveToken, LocalResource, Status, Told, TpmStatus},
};
use rustls_pki_types::CertificateDer;
use tokio::sync::Mutex;

pub use self::git::nonce_in;
use self::member::{IssuerTime, Member};
use crate::{
    caller::{Caller, evidence::Witness},
    clock::Clock,
    config::Config,
    error::AgentError,
    issuer,
    notices::Notices,
    state::{Completed, Folder, Record, StateError, prepare},
    tokens::{CallerEvidence, TokenCache},
    tpm::{DeviceKeys, Surroundings, Tcti, Tpm, TpmError, explain_missing},
};

/// How long looking at the TPM for all of a user's enrolments may take.
const CHECKS: Duration = Duration::from_secs(8);

type Members = HashMap<(u32, String), Arc<Member>>;
type Locks = HashMap<(u32, String), Arc<Mutex<()>>>;

/// A running agent.
pub struct Agent {
    config: Config,
    clock: Arc<dyn Clock>,
    tpm: Arc<dyn Tpm>,
    members: RwLock<Members>,
    tokens: TokenCache,
    witness: Arc<Witness>,
    /// One enrolment at a time for each (uid, issuer).
    enrolling: std::sync::Mutex<Locks>,
}

impl Agent {
    /// Reads what is on disk. A record that does not read keeps the agent from starting: guessing would lose somebody's enrolment.
    pub fn open(config: Config, clock: Arc<dyn Clock>, tpm: Arc<dyn Tpm>) -> Result<Self, AgentError> {
        prepare(&config.state_dir)?;
        let agent = Self {
            witness: Arc::new(Witness::new(config.inspector.clone())),
            config,
            clock,
            tpm,
            members: RwLock::default(),
            tokens: TokenCache::default(),
            enrolling: std::sync::Mutex::default(),
        };
        for (uid, folder) in Folder::all(&agent.config.state_dir)? {
            if let (Some(record), Some(keys)) = (folder.record()?, folder.keys()?) {
                agent.admit(uid, folder, record, keys)?;
            }
        }
        Ok(agent)
    }

    fn admit(&self, uid: u32, folder: Folder, record: Record, keys: DeviceKeys) -> Result<(), AgentError> {
        let Some(mut completed) = record.completed.clone() else { return Ok(()) };
        let member = Member {
            ledger: self.follower(&folder, &record, &mut completed)?,
            notices: Notices::open(folder.clone()),
            client: RwLock::new(issuer::mutual(&completed, &keys.identity, &self.tpm)?),
            uid,
            issuer: record.issuer.clone(),
            folder,
            keys,
            completed: RwLock::new(completed),
            problem: RwLock::default(),
            time: IssuerTime::default(),
            writing: Mutex::default(),
            renewing: Mutex::default(),
            failed: std::sync::Mutex::default(),
        };
        self.members.write().unwrap_or_else(PoisonError::into_inner).insert((uid, record.issuer), Arc::new(member));
        Ok(())
    }

    fn members_of(&self, uid: u32) -> Vec<Arc<Member>> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        let mut own: Vec<_> = members.values().filter(|member| member.uid == uid).cloned().collect();
        own.sort_by(|one, other| one.issuer.cmp(&other.issuer));
        own
    }

    fn all_members(&self) -> Vec<Arc<Member>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn member(&self, uid: u32, issuer: &str) -> Result<Arc<Member>, AgentError> {
        let issuer = daypass_proto::invitation::canonical_issuer(issuer).unwrap_or_else(|| issuer.to_owned());
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.get(&(uid, issuer.clone())).cloned().ok_or(AgentError::NotEnrolled(issuer))
    }

    /// What can be reported of whoever asks, as it stands in requests to the issuer.
    pub async fn evidence(&self, caller: &Caller) -> CallerEvidence {
        let (witness, peer) = (Arc::clone(&self.witness), caller.peer.clone());
        let report = tokio::task::spawn_blocking(move || witness.report(peer.as_deref())).await;
        CallerEvidence::new(&report.unwrap_or_else(|_| Evidence::unavailable()))
    }

    /// A missing TPM, with what was found around it.
    fn explained(&self, error: AgentError) -> AgentError {
        match error {
            // What the kernel has explains a device, and nothing else.
            AgentError::Tpm(TpmError::NoDevice { tcti, why }) if matches!(self.config.tpm.tcti, Tcti::Device(_)) => {
                let found = explain_missing(Surroundings::probe());
                AgentError::Tpm(TpmError::NoDevice { tcti, why: format!("{why}; {found}") })
            }
            other => other,
        }
    }

    /// Asks the issuer, or all of this user's issuers, for the state now.
    pub async fn refresh(&self, uid: u32, issuer: Option<&str>) -> Result<Vec<Enrolment>, AgentError> {
        let members = match issuer {
            Some(issuer) => vec![self.member(uid, issuer)?],
            None => self.members_of(uid),
        };
        for member in &members {
            // What went wrong stands in the answer, beside what was known before.
            if let Err(error) = self.ask_state(member).await {
                tracing::info!(issuer = member.issuer, %error, "could not ask for the state");
            }
        }
        Ok(members.iter().map(|member| self.describe(member)).collect())
    }

    async fn change(&self, member: &Member, change: impl FnOnce(&mut Completed)) -> Result<(), AgentError> {
        let _one_at_a_time = member.writing.lock().await;
        let mut completed = member.completed();
        change(&mut completed);
        if let Some(record) = member.folder.record()? {
            member.folder.save_record(&Record { completed: Some(completed.clone()), ..record })?;
        }
        *member.completed.write().unwrap_or_else(PoisonError::into_inner) = completed;
        Ok(())
    }

    /// Leaves an issuer: tells it, and erases the keys either way.
    pub async fn leave(&self, uid: u32, issuer: &str) -> Result<LeaveAnswer, AgentError> {
        let issuer = daypass_proto::invitation::canonical_issuer(issuer).unwrap_or_else(|| issuer.to_owned());
        let (told, problem) = match self.member(uid, &issuer) {
            Ok(member) => {
                let url = format!("{}/device/v1/leave", member.device().mtls_url);
                match issuer::bytes(&url, member.client().post(&url)).await {
                    Ok(_) => (Told::Told, None),
                    Err(error) => (Told::CouldNotTell, Some(error.problem())),
                }
            }
            // An interrupted enrolment: no certificate to tell it with.
            Err(error) => {
                if Folder::new(&self.config.state_dir, uid, &issuer).record()?.is_none() {
                    return Err(error);
                }
                (Told::NothingToTell, None)
            }
        };
        self.members.write().unwrap_or_else(PoisonError::into_inner).remove(&(uid, issuer.clone()));
        self.tokens.drop_all(uid, &issuer);
        Folder::new(&self.config.state_dir, uid, &issuer).erase()?;
        tracing::info!(uid, issuer, ?told, "left");
        Ok(LeaveAnswer { issuer, told, problem })
    }

    /// Everything that this user may know.
    pub async fn status(&self, uid: u32) -> Result<Status, AgentError> {
        let members = self.members_of(uid);
        let mut enrolments: Vec<_> = members.iter().map(|member| self.describe(member)).collect();
        let described = self.tpm.describe().await.map_err(|error| self.explained(error.into()));
        let problem = match &described {
            Ok(_) => {
                self.check_tpm(&members, &mut enrolments).await.err().map(|error| AgentError::from(error).problem())
            }
            Err(error) => Some(error.problem()),
        };
        enrolments.extend(self.interrupted(uid)?);
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now: self.clock.now(),
            tpm: TpmStatus {
                tcti: self.config.tpm.tcti.to_string(),
                available: problem.is_none(),
                problem,
                description: described.ok(),
            },
            inspector: {
                let witness = Arc::clone(&self.witness);
                tokio::task::spawn_blocking(move || witness.inspector_answers()).await.unwrap_or_default()
            },
            enrolments,
        })
    }

    /// Whether the TPM does now what these enrolments need of it. What is wrong with one's keys stands there; what is wrong with the chip is
    /// the answer. Looking costs each enrolment a signature; memory of an earlier fault would say less, and for too long.
    async fn check_tpm(&self, members: &[Arc<Member>], described: &mut [Enrolment]) -> Result<(), TpmError> {
        if members.is_empty() {
            return self.tpm.check(None).await;
        }
        let all = async {
            for (member, described) in members.iter().zip(described) {
                match self.tpm.check(Some(&member.keys)).await {
                    Err(error) if error.is_of_keys() => described.problem = Some(AgentError::from(error).problem()),
                    Err(error) => return Err(error),
                    Ok(()) if described.problem.as_ref().is_some_and(|problem| problem.error.is_of_tpm()) => {
                        // Over by now.
                        described.problem = None;
                    }
                    Ok(()) => {}
                }
            }
            Ok(())
        };
        // Whoever asks for a status does not wait for every enrolment's deadline.
        tokio::time::timeout(CHECKS, all).await.unwrap_or(Err(TpmError::Deadline(CHECKS)))
    }

    fn interrupted(&self, uid: u32) -> Result<Vec<Enrolment>, StateError> {
        let mut found = Vec::new();
        for (owner, folder) in Folder::all(&self.config.state_dir)? {
            if let Some(record) = folder.record()?.filter(|record| owner == uid && record.completed.is_none()) {
                found.push(Enrolment {
                    issuer: record.issuer,
                    state: EnrolmentLife::Interrupted,
                    device: None,
                    collaborator: None,
                    comparison_code: None,
                    trust_tier: None,
                    waits_for: Vec::new(),
                    certificate_not_after: None,
                    clock_offset: None,
                    last_contact: None,
                    grants: Vec::new(),
                    resources: Vec::new(),
                    added: Vec::new(),
                    warnings: Vec::new(),
                    new_notices: 0,
                    tokens: Vec::new(),
                    ledger: None,
                    problem: None,
                });
            }
        }
        Ok(found)
    }

    fn describe(&self, member: &Member) -> Enrolment {
        let completed = member.completed();
        let device = completed.device;
        let live = self.tokens.live(member.uid, &member.issuer, self.clock.moment());
        let root = pem(&completed.root.0);
        Enrolment {
            issuer: member.issuer.clone(),
            state: EnrolmentLife::Device(device.state),
            device: Some(device.device),
            collaborator: Some(device.collaborator.to_string()),
            comparison_code: device.comparison_code,
            trust_tier: Some(device.trust_tier),
            waits_for: device.waits_for,
            certificate_not_after: Some(device.certificate_not_after),
            clock_offset: completed.clock_offset.map(|_| self.issuer_time(member).since(self.clock.now())),
            last_contact: Some(completed.last_contact),
            warnings: self.warnings(member, &device.grants),
            new_notices: member.notices.unread(),
            added: Vec::new(),
            grants: device.grants,
            resources: device
                .resources
                .into_iter()
                .map(|trust| LocalResource {
                    ca_file: self.ca_file(trust.ca.as_deref().unwrap_or(&root)),
                    resource: trust.resource,
                })
                .collect(),
            tokens: live.into_iter().map(|(resource, expires_at)| LiveToken { resource, expires_at }).collect(),
            ledger: Some(member.ledger.view(false)),
            problem: member.problem.read().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// A file with this CA that git can be pointed at: beside the socket, since everybody who reaches the one reaches the other, and named
    /// by its content, so that it never changes under anybody.
    fn ca_file(&self, pem: &str) -> Option<String> {
        let name = hex::encode(sha256(&[pem.as_bytes()]).get(..8)?);
        let folder = self.config.socket.parent()?;
        let path = folder.join(format!("ca-{name}.pem"));
        if !path.exists() {
            let write = || {
                let file = tempfile::NamedTempFile::new_in(folder)?;
                fs::write(file.path(), pem)?;
                fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644))?;
                file.persist(&path).map(|_| ()).map_err(|error| error.error)
            };
            if let Err(error) = write() {
                tracing::warn!(path = %path.display(), %error, "could not write a CA for git");
                return None;
            }
        }
        path.to_str().map(str::to_owned)
    }

    /// Writes the CA of every resource beside the socket: git looks for it there before anybody asks the agent anything.
    pub fn publish_authorities(&self) {
        for member in self.all_members() {
            self.describe(&member);
        }
    }

    /// The socket of the local API.
    pub fn socket(&self) -> &PathBuf {
        &self.config.socket
    }
}

/// A certificate in PEM (RFC 7468).
fn pem(der: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(CertificateDer::from(der));
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
