//! The one thread that owns the chip. Everybody else sends it work and waits, with a deadline.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::{
    Answer, Challenge, ChallengeAnswer, DeviceKeys, EndorsementKey, KeyFile, Quote, Tpm, TpmConfig,
    connection::Connection, error::TpmError, storage::Storage,
};

/// For one signature: real chips take up to 600 ms, and others may be waiting.
const SIGN: Duration = Duration::from_secs(15);
/// For making keys and answering challenges: `CreatePrimary` alone takes seconds on real chips.
const SLOW: Duration = Duration::from_secs(90);

type Work = Box<dyn FnOnce(&mut Chip) + Send>;

/// The owner's side: the connection, and how to get another.
struct Chip {
    config: TpmConfig,
    connection: Option<Connection>,
}

impl Chip {
    /// Does something; where the connection turns out to be lost, does it once more over a new one.
    fn run<T>(&mut self, act: impl Fn(&mut Connection) -> Result<T, TpmError>) -> Result<T, TpmError> {
        for last in [false, true] {
            let connection = match &mut self.connection {
                Some(connection) => connection,
                empty => empty.insert(Connection::open(&self.config)?),
            };
            match act(connection) {
                Err(error) if error.is_lost() => {
                    tracing::warn!(%error, tcti = %connection.tcti(), "connecting to the TPM again");
                    self.connection = None;
                    if last {
                        return Err(self.named(error));
                    }
                }
                other => return other,
            }
        }
        Err(TpmError::Stopped)
    }

    fn named(&self, error: TpmError) -> TpmError {
        match error {
            TpmError::Lost { attempted, source, .. } => {
                TpmError::Lost { tcti: self.config.tcti.to_string(), attempted, source }
            }
            other => other,
        }
    }
}

/// A handle to the owner; cheap to clone, and the last one to go ends the thread.
#[derive(Clone)]
pub struct TpmOwner(mpsc::Sender<Work>);

impl TpmOwner {
    /// Starts the thread. Nothing is connected before the first request, so that an agent without a TPM can say so.
    pub fn start(config: TpmConfig) -> std::io::Result<Arc<dyn Tpm>> {
        let (sender, receiver) = mpsc::channel::<Work>();
        thread::Builder::new().name("tpm-owner".to_owned()).spawn(move || {
            let mut chip = Chip { config, connection: None };
            while let Ok(work) = receiver.recv() {
                work(&mut chip);
            }
        })?;
        Ok(Arc::new(Self(sender)))
    }

    async fn ask<T: Send + 'static>(
        &self,
        deadline: Duration,
        act: impl Fn(&mut Connection) -> Result<T, TpmError> + Send + 'static,
    ) -> Result<T, TpmError> {
        let (answer, done) = oneshot::channel();
        let work: Work = Box::new(move |chip| {
            // Whoever asked has given up: do not wear the chip.
            if !answer.is_closed() {
                let _ = answer.send(chip.run(act));
            }
        });
        self.0.send(work).map_err(|_| TpmError::Stopped)?;
        match timeout(deadline, done).await {
            Ok(result) => result.map_err(|_| TpmError::Stopped)?,
            Err(_) => Err(TpmError::Deadline(deadline)),
        }
    }
}

impl Tpm for TpmOwner {
    fn describe(&self) -> Answer<'_, String> {
        Box::pin(self.ask(SIGN, Connection::describe))
    }

    fn endorsement_keys(&self) -> Answer<'_, Vec<EndorsementKey>> {
        Box::pin(self.ask(SLOW, Connection::endorsement_keys))
    }

    fn create_keys(&self) -> Answer<'_, DeviceKeys> {
        Box::pin(self.ask(SLOW, |connection| {
            let parent = connection.storage.for_new_keys(&mut connection.context)?;
            let mut create = |restricted| {
                connection.with_room("make a key", &[], |context| Storage::create_key(context, &parent, restricted))
            };
            let keys = (create(true), create(false), create(false));
            parent.release(&mut connection.context)?;
            Ok(DeviceKeys { attestation: keys.0?, identity: keys.1?, proof: keys.2? })
        }))
    }

    fn answer<'a>(&'a self, keys: &'a DeviceKeys, challenge: &'a Challenge) -> Answer<'a, ChallengeAnswer> {
        let (keys, challenge) = (keys.clone(), challenge.clone());
        Box::pin(self.ask(SLOW, move |connection| {
            Ok(ChallengeAnswer {
                secret: connection.activate(&keys.attestation, &challenge)?,
                identity: connection.certify(&keys.attestation, &keys.identity, challenge.identity_extra)?,
                proof: connection.certify(&keys.attestation, &keys.proof, challenge.proof_extra)?,
                quote: connection.quote(&keys.attestation, &challenge.pcrs, challenge.quote_extra)?,
            })
        }))
    }

    fn quote<'a>(&'a self, attestation: &'a KeyFile, pcrs: &'a [u8], extra: [u8; 32]) -> Answer<'a, Quote> {
        let (attestation, pcrs) = (attestation.clone(), pcrs.to_vec());
        Box::pin(self.ask(SLOW, move |connection| connection.quote(&attestation, &pcrs, extra)))
    }

    fn sign<'a>(&'a self, key: &'a KeyFile, digest: [u8; 32]) -> Answer<'a, [u8; 64]> {
        let key = key.clone();
        Box::pin(self.ask(SIGN, move |connection| connection.sign(&key, digest)))
    }

    fn sign_blocking(&self, key: &KeyFile, digest: [u8; 32]) -> Result<[u8; 64], TpmError> {
        let key = key.clone();
        let (answer, done) = mpsc::channel();
        let work: Work = Box::new(move |chip| {
            let _ = answer.send(chip.run(|connection| connection.sign(&key, digest)));
        });
        self.0.send(work).map_err(|_| TpmError::Stopped)?;
        match done.recv_timeout(SIGN) {
            Ok(result) => result,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(TpmError::Deadline(SIGN)),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(TpmError::Stopped),
        }
    }
}
