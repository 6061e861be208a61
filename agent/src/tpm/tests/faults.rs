//! What a software TPM cannot be brought to do, by a proxy before it that can.

use std::{
    net::SocketAddr,
    sync::{Mutex, atomic::AtomicU64},
    time::Duration,
};

use daypass_tests::{Fault, FaultyTpm, tpm_command as command, tpm_response as response};

use super::*;
use crate::tpm::{chip::BACK_OFF, connection::Connection};

/// Time that passes only when it is told to, and remembers what was waited for.
#[derive(Default)]
pub(super) struct ToldTime {
    now: AtomicU64,
    pauses: Mutex<Vec<Duration>>,
}

impl ToldTime {
    pub(super) fn advance(&self, seconds: u64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
    }

    fn pauses(&self) -> Vec<u64> {
        let pauses = std::mem::take(&mut *self.pauses.lock().unwrap());
        pauses.into_iter().map(|pause| u64::try_from(pause.as_millis()).unwrap()).collect()
    }
}

impl Pace for ToldTime {
    fn now(&self) -> Duration {
        Duration::from_secs(self.now.load(Ordering::SeqCst))
    }

    fn pause(&self, length: Duration) {
        self.pauses.lock().unwrap().push(length);
    }
}

/// A software TPM with the proxy before it, and an owner of both.
pub(super) struct Faulty {
    pub(super) tpm: Arc<dyn Tpm>,
    pub(super) proxy: FaultyTpm,
    pub(super) time: Arc<ToldTime>,
    pub(super) swtpm: Swtpm,
}

impl Faulty {
    pub(super) fn new() -> Self {
        Self::with(Deadlines::default())
    }

    fn with(deadlines: Deadlines) -> Self {
        let swtpm = Swtpm::new();
        let address = SocketAddr::new(swtpm.address.parse().unwrap(), swtpm.port);
        let proxy = FaultyTpm::before_address(address).unwrap();
        let time = Arc::new(ToldTime::default());
        let tpm = Self::owner(&proxy, &time, deadlines);
        Self { tpm, proxy, time, swtpm }
    }

    fn config(proxy: &FaultyTpm) -> TpmConfig {
        TpmConfig { tcti: proxy.tcti().parse().unwrap(), provision_srk: true }
    }

    fn owner(proxy: &FaultyTpm, time: &Arc<ToldTime>, deadlines: Deadlines) -> Arc<dyn Tpm> {
        TpmOwner::start(Self::config(proxy), deadlines, Arc::clone(time) as Arc<dyn Pace>).unwrap().0
    }

    /// An agent that starts anew: what it had loaded is gone.
    pub(super) fn restart(&mut self) {
        self.tpm = Self::owner(&self.proxy, &self.time, Deadlines::default());
    }

    /// A program of tpm2-tools beside the agent, on the same bare TPM.
    pub(super) fn tool(&self, line: &str) -> bool {
        let mut words = line.split_whitespace();
        let ran = Command::new(words.next().unwrap())
            .args(words)
            .env("TPM2TOOLS_TCTI", self.proxy.tcti())
            .current_dir(self.swtpm.folder.path())
            .output()
            .unwrap();
        ran.status.success()
    }

    pub(super) fn must(&self, line: &str) {
        assert!(self.tool(line), "{line}");
    }

    /// Signs, and has it verified.
    pub(super) async fn signs(&self, keys: &DeviceKeys) -> Result<(), TpmError> {
        let digest = daypass_proto::encoding::sha256(&[b"message"]);
        for key in [&keys.identity, &keys.proof] {
            assert!(verifies(key, b"message", &self.tpm.sign(key, digest).await?));
        }
        Ok(())
    }

    /// Answers an issuer's challenge: everything that enrolment takes.
    pub(super) async fn answers(&self, keys: &DeviceKeys) -> Result<(), TpmError> {
        let ek = self.tpm.endorsement_keys().await?.into_iter().next().unwrap();
        let set = DeviceKeySet::parse(keys.attestation.public(), keys.identity.public(), keys.proof.public()).unwrap();
        let challenge = self.swtpm.challenge(&ek, &set, |_| [0; 32], &[0]);
        let answer = self.tpm.answer(keys, &challenge).await?;
        assert_eq!(answer.secret.as_slice(), [9; 32]);
        Ok(())
    }
}

#[tokio::test]
async fn a_chip_that_puts_off_is_met_with_patience() {
    let it = Faulty::new();
    let keys = it.tpm.create_keys().await.unwrap();
    it.signs(&keys).await.unwrap();
    let signs = async |faults: usize, code| {
        let before = it.proxy.seen(command::SIGN);
        it.proxy.fail_times(faults, command::SIGN, Fault::Code(code));
        it.tpm.sign(&keys.proof, [1; 32]).await.unwrap();
        (it.proxy.seen(command::SIGN) - before, it.time.pauses())
    };
    for code in [response::RETRY, response::YIELDED, response::TESTING] {
        // tpm2-tss sends these five times by itself, at once.
        assert_eq!(signs(4, code).await, (5, vec![]), "{code:#x}");
        assert_eq!(signs(5, code).await, (6, vec![20]), "{code:#x}");
        assert_eq!(signs(12, code).await, (13, vec![20, 40]), "{code:#x}");
    }
    assert_eq!(signs(3, response::NV_RATE).await, (4, vec![20, 40, 80]), "this one it leaves to us");
}

#[tokio::test]
async fn patience_has_an_end_and_then_the_chips_reason_is_told() {
    let it = Faulty::new();
    let keys = it.tpm.create_keys().await.unwrap();
    it.signs(&keys).await.unwrap();
    for (code, words) in [
        (response::RETRY, "not able to start the command"),
        (response::YIELDED, "suspended operation"),
        (response::TESTING, "self-tests"),
        (response::NV_RATE, "wearout"),
    ] {
        it.proxy.fail(command::SIGN, Fault::Code(code));
        let error = it.tpm.sign(&keys.proof, [1; 32]).await.unwrap_err();
        assert!(matches!(error, TpmError::PutOff { .. }) && error.to_string().contains(words), "{error}");
        assert_eq!(it.time.pauses(), BACK_OFF);
        it.proxy.lift();
        it.signs(&keys).await.unwrap();
    }
    assert!(
        BACK_OFF.iter().sum::<u64>() < u64::try_from(Deadlines::default().look.as_millis()).unwrap(),
        "whoever waits hears the reason, and not that it took too long"
    );
}

#[tokio::test]
async fn nobody_is_patient_for_somebody_who_left() {
    let it = Faulty::with(Deadlines { sign: Duration::from_millis(300), ..Deadlines::default() });
    let keys = it.tpm.create_keys().await.unwrap();
    it.proxy.fail_times(1, command::LOAD, Fault::Stall);
    it.proxy.fail(command::SIGN, Fault::Code(response::RETRY));
    while it.proxy.stalled() == 0 {
        let error = it.tpm.sign(&keys.proof, [1; 32]).await.unwrap_err();
        assert!(matches!(error, TpmError::Deadline(_)), "{error}");
    }
    it.proxy.release();
    // Whatever was before this one is over when it is answered.
    it.tpm.endorsement_keys().await.unwrap();
    assert_eq!((it.proxy.seen(command::SIGN), it.time.pauses()), (5, vec![]));
}

#[tokio::test]
async fn every_command_may_be_put_off_and_nothing_stays_behind() {
    use command::{ACTIVATE_CREDENTIAL, CREATE_PRIMARY, FLUSH_CONTEXT, LOAD, START_AUTH_SESSION};
    let mut it = Faulty::new();
    for (times, code) in [(6, response::RETRY), (2, response::NV_RATE), (1, response::SESSION_MEMORY)] {
        for faulty in [CREATE_PRIMARY, LOAD, START_AUTH_SESSION, FLUSH_CONTEXT, ACTIVATE_CREDENTIAL] {
            it.proxy.fail_times(times, faulty, Fault::Code(code));
            let keys = it.tpm.create_keys().await.unwrap();
            it.answers(&keys).await.unwrap();
            it.signs(&keys).await.unwrap();
            it.proxy.lift();
        }
    }
    it.restart();
    it.tpm.describe().await.unwrap();
    assert_eq!(Swtpm::handles_at(&it.proxy.tcti()).trim(), "");
}

#[tokio::test]
async fn a_broken_line_is_mended_and_a_wrong_answer_is_none() {
    let it = Faulty::new();
    let keys = it.tpm.create_keys().await.unwrap();
    it.signs(&keys).await.unwrap();
    for fault in [Fault::Cut, Fault::Truncate, Fault::Oversize, Fault::Garble] {
        it.proxy.fail_times(1, command::SIGN, fault);
        it.signs(&keys).await.unwrap();
        it.proxy.fail(command::SIGN, fault);
        let error = it.tpm.sign(&keys.proof, [1; 32]).await.unwrap_err();
        assert!(matches!(error, TpmError::Lost { .. }), "{fault:?}: {error}");
        assert!(error.to_string().contains(&it.proxy.tcti()), "{error}");
        it.proxy.lift();
        it.signs(&keys).await.unwrap();
    }
    // While it connects as well.
    it.proxy.fail_all(Fault::Cut);
    it.proxy.break_connections();
    let error = it.tpm.sign(&keys.proof, [1; 32]).await.unwrap_err();
    assert!(matches!(error, TpmError::Lost { .. }), "{error}");
    it.proxy.lift();
    it.signs(&keys).await.unwrap();
}

#[tokio::test]
async fn failure_mode_is_told_from_a_lost_connection() {
    let it = Faulty::new();
    let keys = it.tpm.create_keys().await.unwrap();
    it.proxy.fail_all(Fault::Code(response::FAILURE));
    let error = it.tpm.sign(&keys.proof, [1; 32]).await.unwrap_err();
    assert!(matches!(error, TpmError::Failed { .. }), "{error}");
    it.proxy.lift();
    it.signs(&keys).await.unwrap();
}

#[tokio::test]
async fn deadlines_hold_while_the_chip_stalls_and_the_next_request_works_when_it_goes_on() {
    let soon = Duration::from_millis(300);
    let it = Faulty::with(Deadlines { look: soon, sign: soon, ..Deadlines::default() });
    let keys = it.tpm.create_keys().await.unwrap();
    it.proxy.fail_all(Fault::Stall);
    let error = it.tpm.sign(&keys.proof, [1; 32]).await.unwrap_err();
    assert!(matches!(error, TpmError::Deadline(_)), "{error}");
    // It still stalls in that one; whoever comes behind it has a deadline, too.
    assert!(matches!(it.tpm.describe().await, Err(TpmError::Deadline(_))));
    for _ in 0..3 {
        assert!(matches!(it.tpm.sign_blocking(&keys.proof, [1; 32]), Err(TpmError::Deadline(_))));
    }
    it.proxy.lift();
    it.tpm.create_keys().await.unwrap();
    assert!(it.proxy.seen(command::SIGN) <= 1, "what nobody waits for any more is not begun");
    while it.signs(&keys).await.is_err() {}
}

#[tokio::test]
async fn an_answer_that_never_comes_costs_one_connection() {
    let deadlines =
        Deadlines { sign: Duration::from_millis(300), look: Duration::from_secs(60), ..Deadlines::default() };
    let it = Faulty::with(deadlines);
    let keys = it.tpm.create_keys().await.unwrap();
    it.proxy.fail_times(1, command::SIGN, Fault::Swallow);
    while it.proxy.seen(command::SIGN) == 0 {
        let error = it.tpm.sign(&keys.proof, [1; 32]).await.unwrap_err();
        assert!(matches!(error, TpmError::Deadline(_)), "{error}");
    }
    // Slow is not dead: the thread is given up when it took longer than anything may.
    it.time.advance(91);
    it.tpm.check(Some(&keys)).await.unwrap();
}

#[tokio::test]
async fn a_chip_that_goes_on_hanging_is_called_hanging_at_once() {
    let soon = Duration::from_millis(300);
    let it = Faulty::with(Deadlines { look: soon, ..Deadlines::default() });
    it.proxy.fail_all(Fault::Stall);
    for given_up in 0..4 {
        while it.proxy.stalled() <= given_up {
            let error = it.tpm.describe().await.unwrap_err();
            assert!(matches!(error, TpmError::Deadline(_)), "{given_up}: {error}");
        }
        it.time.advance(91);
    }
    let error = it.tpm.describe().await.unwrap_err();
    assert!(matches!(error, TpmError::Hangs), "{error}");
    it.proxy.lift();
    while it.tpm.describe().await.is_err() {}
}

#[tokio::test]
async fn a_key_that_somebody_puts_behind_our_handle_signs_nothing_for_us() {
    let it = Faulty::new();
    let keys = it.tpm.create_keys().await.unwrap();
    let pace: Arc<dyn Pace> = Arc::clone(&it.time) as Arc<dyn Pace>;
    let mut connection = Connection::open(&Faulty::config(&it.proxy), &pace).unwrap();
    let handle = connection.load(&keys.proof, &[]).unwrap();
    // As if our handle now were another key's.
    connection.loaded.clear();
    connection.loaded.push((keys.identity.public().to_vec(), handle));
    let error = connection.sign(&keys.identity, [1; 32]).unwrap_err();
    assert!(matches!(error, TpmError::Lost { .. }), "{error}");
    connection.loaded.clear();
    connection.sign(&keys.identity, [1; 32]).unwrap();
}

fn number(message: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(message[at..at + 4].try_into().unwrap())
}

/// The handle and the attributes of each session of a command with two handles (Part 1, section 18.6).
fn sessions(command: &[u8]) -> Vec<(u32, u8)> {
    let end = 22 + usize::try_from(number(command, 18)).unwrap();
    let (mut at, mut found) = (22, Vec::new());
    let sized = |at: usize| 2 + usize::from(u16::from_be_bytes([command[at], command[at + 1]]));
    while at < end {
        let attributes = at + 4 + sized(at + 4);
        found.push((number(command, at), command[attributes]));
        at = attributes + 1;
        at += sized(at);
    }
    found
}

#[tokio::test]
async fn the_secret_of_a_credential_crosses_the_line_encrypted_under_a_salted_session() {
    const ENCRYPT: u8 = 1 << 6;
    const RH_NULL: u32 = 0x4000_0007;
    let it = Faulty::new();
    let keys = it.tpm.create_keys().await.unwrap();
    it.proxy.record();
    it.answers(&keys).await.unwrap();
    let line = it.proxy.recorded();
    let crossed = |bytes: &[u8]| {
        line.iter().any(|(command, answer)| {
            [command, answer].iter().any(|message| message.windows(bytes.len()).any(|part| part == bytes))
        })
    };
    // What is no secret is there to be read; so would the secret be.
    let blob = std::fs::read(it.swtpm.folder.path().join("blob")).unwrap();
    assert!(crossed(&blob[10..42]), "the credential, as the issuer sent it");
    assert!(!crossed(&[9; 16]), "the secret in it");

    let succeeded =
        |code: u32| line.iter().filter(move |(command, answer)| number(command, 6) == code && number(answer, 6) == 0);
    let (activation, _) = succeeded(command::ACTIVATE_CREDENTIAL).next().unwrap();
    let encrypting: Vec<_> =
        sessions(activation).into_iter().filter(|(_, attributes)| attributes & ENCRYPT != 0).collect();
    assert_eq!(encrypting.len(), 1, "{:x?}", sessions(activation));
    // The session's handle stands first in the answer that began it; the key that its salt is for, first in the command.
    let (begun, _) =
        succeeded(command::START_AUTH_SESSION).rfind(|(_, answer)| number(answer, 10) == encrypting[0].0).unwrap();
    assert_ne!(number(begun, 10), RH_NULL, "salted");
}
