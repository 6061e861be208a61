//! The one thread that owns the chip. Everybody else sends it work and waits, with a deadline.
//!
//! A chip can hang, and tpm2-tss then waits for as long as it does. Whoever asked hears of it at their deadline. When the thread has been on
//! one request for longer than the longest deadline, the next one to ask gives that thread up and starts another, with a connection of its
//! own; the old one ends when its command does. Few are given up at a time: where that does not help, it is said at once.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

use super::{
    Answer, Challenge, ChallengeAnswer, DeviceKeys, EndorsementKey, KeyFile, Quote, Tpm, TpmConfig,
    chip::Chip,
    connection::Connection,
    error::TpmError,
    pace::{Deadlines, Pace},
};

/// How many threads that hang are left to themselves at a time.
const MOST_ABANDONED: usize = 3;

type Work = Box<dyn FnOnce(&mut Chip) + Send>;

/// One owner thread, seen from outside.
struct Seat {
    work: mpsc::Sender<Work>,
    /// Since when it is on the request that it is on.
    since: Arc<Mutex<Option<Duration>>>,
}

/// The owner; the last handle to go ends the thread.
pub struct TpmOwner {
    config: TpmConfig,
    deadlines: Deadlines,
    pace: Arc<dyn Pace>,
    seat: Mutex<Seat>,
    threads: Threads,
}

/// Threads that have not ended, the one in the seat included.
#[derive(Clone)]
struct Threads {
    count: Arc<AtomicUsize>,
    /// Nothing is ever sent: it closes when the last thread has ended.
    open: watch::Sender<()>,
}

/// Tells when the chip is left alone.
pub struct Rest(watch::Receiver<()>);

impl Rest {
    /// Resolves when the owner is gone and each of its threads has closed its connection. Whoever lets the process end before that takes the
    /// C libraries apart under a thread that is using them.
    pub async fn come(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TpmOwner {
    /// Starts the thread. Nothing is connected before the first request, so that an agent without a TPM can say so.
    pub fn start(config: TpmConfig, deadlines: Deadlines, pace: Arc<dyn Pace>) -> io::Result<(Arc<dyn Tpm>, Rest)> {
        let owner = Self::new(config, deadlines, pace)?;
        let rest = Rest(owner.threads.open.subscribe());
        Ok((Arc::new(owner), rest))
    }

    fn new(config: TpmConfig, deadlines: Deadlines, pace: Arc<dyn Pace>) -> io::Result<Self> {
        let threads = Threads { count: Arc::default(), open: watch::Sender::new(()) };
        let seat = Mutex::new(take_seat(&config, &pace, &threads)?);
        Ok(Self { config, deadlines, pace, seat, threads })
    }

    /// Hands work to the thread, after having given up one that hangs.
    fn send(&self, work: Work) -> Result<(), TpmError> {
        let mut seat = locked(&self.seat);
        let hangs = |since: Duration| self.pace.now().saturating_sub(since) > self.deadlines.slow;
        if locked(&seat.since).is_some_and(hangs) {
            if self.threads.count.load(Ordering::SeqCst) > MOST_ABANDONED {
                return Err(TpmError::Hangs);
            }
            tracing::warn!(tcti = %self.config.tcti, "the TPM hangs: giving up the connection to it");
            *seat = take_seat(&self.config, &self.pace, &self.threads).map_err(|_| TpmError::Stopped)?;
        }
        let Err(mpsc::SendError(work)) = seat.work.send(work) else { return Ok(()) };
        // The stack's binding met an answer that it had not thought of. That cost one request, and a thread.
        tracing::error!("the thread that owned the TPM ended: starting another");
        *seat = take_seat(&self.config, &self.pace, &self.threads).map_err(|_| TpmError::Stopped)?;
        seat.work.send(work).map_err(|_| TpmError::Stopped)
    }

    /// Work that answers through `give`, unless whoever holds the other end of `wanted` has gone.
    fn work<T: Send + 'static>(
        wanted: Weak<()>,
        act: impl Fn(&mut Connection) -> Result<T, TpmError> + Send + 'static,
        give: impl FnOnce(Result<T, TpmError>) + Send + 'static,
    ) -> Work {
        Box::new(move |chip| {
            let is_wanted = || wanted.strong_count() > 0;
            // Whoever asked has given up: do not wear the chip.
            if is_wanted() {
                give(chip.run(is_wanted, act));
            }
        })
    }

    async fn ask<T: Send + 'static>(
        &self,
        deadline: Duration,
        act: impl Fn(&mut Connection) -> Result<T, TpmError> + Send + 'static,
    ) -> Result<T, TpmError> {
        let wanted = Arc::new(());
        let (answer, done) = oneshot::channel();
        let give = move |result| {
            let _ = answer.send(result);
        };
        self.send(Self::work(Arc::downgrade(&wanted), act, give))?;
        match timeout(deadline, done).await {
            Ok(result) => result.map_err(|_| TpmError::Stopped)?,
            Err(_) => Err(TpmError::Deadline(deadline)),
        }
    }
}

/// One thread that has not ended.
struct Counted(Threads);

impl Counted {
    fn new(threads: &Threads) -> Self {
        threads.count.fetch_add(1, Ordering::SeqCst);
        Self(threads.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Starts a thread that owns the chip from now on.
fn take_seat(config: &TpmConfig, pace: &Arc<dyn Pace>, threads: &Threads) -> io::Result<Seat> {
    let (sender, receiver) = mpsc::channel::<Work>();
    let since = Arc::new(Mutex::new(None));
    let (busy, clock, counted) = (Arc::clone(&since), Arc::clone(pace), Counted::new(threads));
    let chip = Chip::new(config.clone(), Arc::clone(pace));
    thread::Builder::new().name("tpm-owner".to_owned()).spawn(move || {
        // Counted until the chip's connection is closed.
        let _counted = counted;
        let mut chip = chip;
        while let Ok(work) = receiver.recv() {
            *locked(&busy) = Some(clock.now());
            work(&mut chip);
            *locked(&busy) = None;
        }
    })?;
    Ok(Seat { work: sender, since })
}

impl Tpm for TpmOwner {
    fn describe(&self) -> Answer<'_, String> {
        Box::pin(self.ask(self.deadlines.look, Connection::describe))
    }

    fn check<'a>(&'a self, keys: Option<&'a DeviceKeys>) -> Answer<'a, ()> {
        let keys = keys.cloned();
        Box::pin(self.ask(self.deadlines.look, move |connection| connection.check(keys.as_ref())))
    }

    fn endorsement_keys(&self) -> Answer<'_, Vec<EndorsementKey>> {
        Box::pin(self.ask(self.deadlines.slow, Connection::endorsement_keys))
    }

    fn create_keys(&self) -> Answer<'_, DeviceKeys> {
        Box::pin(self.ask(self.deadlines.slow, Connection::create_keys))
    }

    fn answer<'a>(&'a self, keys: &'a DeviceKeys, challenge: &'a Challenge) -> Answer<'a, ChallengeAnswer> {
        let (keys, challenge) = (keys.clone(), challenge.clone());
        Box::pin(self.ask(self.deadlines.slow, move |connection| {
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
        Box::pin(self.ask(self.deadlines.slow, move |connection| connection.quote(&attestation, &pcrs, extra)))
    }

    fn sign<'a>(&'a self, key: &'a KeyFile, digest: [u8; 32]) -> Answer<'a, [u8; 64]> {
        let key = key.clone();
        Box::pin(self.ask(self.deadlines.sign, move |connection| connection.sign(&key, digest)))
    }

    fn sign_blocking(&self, key: &KeyFile, digest: [u8; 32]) -> Result<[u8; 64], TpmError> {
        let key = key.clone();
        let wanted = Arc::new(());
        let (answer, done) = mpsc::channel();
        let give = move |result| {
            let _ = answer.send(result);
        };
        self.send(Self::work(Arc::downgrade(&wanted), move |connection| connection.sign(&key, digest), give))?;
        match done.recv_timeout(self.deadlines.sign) {
            Ok(result) => result,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(TpmError::Deadline(self.deadlines.sign)),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(TpmError::Stopped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rest_comes_when_the_last_thread_has_let_go_of_the_chip() {
        let config = TpmConfig { tcti: "device:/dev/does-not-exist".parse().unwrap(), provision_srk: false };
        let owner = TpmOwner::new(config, Deadlines::default(), super::super::real_pace()).unwrap();
        let mut rest = Box::pin(Rest(owner.threads.open.subscribe()).come());
        let (go, waits) = mpsc::channel::<()>();
        owner.send(Box::new(move |_: &mut Chip| waits.recv().unwrap_or_default())).unwrap();
        drop(owner);
        assert!(timeout(Duration::ZERO, &mut rest).await.is_err(), "it is at work still");
        drop(go);
        rest.await;
    }

    #[tokio::test]
    async fn a_thread_that_panics_costs_one_request() {
        let config = TpmConfig { tcti: "device:/dev/does-not-exist".parse().unwrap(), provision_srk: false };
        let owner = TpmOwner::new(config, Deadlines::default(), super::super::real_pace()).unwrap();
        let (gone, waits) = mpsc::channel::<()>();
        let panics = Box::new(move |_: &mut Chip| {
            let _gone = gone;
            panic!("as if an answer had been too strange");
        });
        owner.send(panics).unwrap();
        assert!(waits.recv().is_err());
        assert!(matches!(owner.describe().await, Err(TpmError::NoDevice { .. } | TpmError::Stopped)));
        while !matches!(owner.describe().await, Err(TpmError::NoDevice { .. })) {}
    }
}
