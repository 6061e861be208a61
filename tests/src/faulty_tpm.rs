//! A fault-injecting proxy in front of a software TPM: what a chip does that `swtpm` cannot be brought to do.
//!
//! It speaks the TPM command stream of `swtpm`: commands and responses as they are, each with its length in its header (TPM 2.0 Part 1,
//! section 18). What no fault is set for goes through unchanged. It has one line to the chip and gives it to one command at a time, so
//! that several programs share a bare TPM as they do behind a device node without a resource manager.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::{Chip, Failure, Loopback};

/// A response code (TPM 2.0 Part 2, section 6.6.3) that a fault answers with.
pub mod response {
    /// `TPM_RC_FAILURE`: failure mode, until the next reset.
    pub const FAILURE: u32 = 0x101;
    /// `TPM_RC_OBJECT_MEMORY`: no room for another object.
    pub const OBJECT_MEMORY: u32 = 0x902;
    /// `TPM_RC_SESSION_MEMORY`: no room for another session.
    pub const SESSION_MEMORY: u32 = 0x903;
    /// `TPM_RC_YIELDED`: suspended, to be sent again.
    pub const YIELDED: u32 = 0x908;
    /// `TPM_RC_TESTING`: in a self test.
    pub const TESTING: u32 = 0x90a;
    /// `TPM_RC_NV_RATE`: protects its memory from wear.
    pub const NV_RATE: u32 = 0x920;
    /// `TPM_RC_LOCKOUT`.
    pub const LOCKOUT: u32 = 0x921;
    /// `TPM_RC_RETRY`: could not begin.
    pub const RETRY: u32 = 0x922;
}

/// A command (TPM 2.0 Part 2, section 6.5.2) that a fault is about.
pub mod command {
    /// `TPM2_CreatePrimary`.
    pub const CREATE_PRIMARY: u32 = 0x131;
    /// `TPM2_ActivateCredential`.
    pub const ACTIVATE_CREDENTIAL: u32 = 0x147;
    /// `TPM2_Load`.
    pub const LOAD: u32 = 0x157;
    /// `TPM2_Sign`.
    pub const SIGN: u32 = 0x15d;
    /// `TPM2_FlushContext`.
    pub const FLUSH_CONTEXT: u32 = 0x165;
    /// `TPM2_StartAuthSession`.
    pub const START_AUTH_SESSION: u32 = 0x176;
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The command is not carried out, and answered with this code.
    Code(u32),
    /// The command waits, unseen by the chip, until it is released.
    Stall,
    /// The command is carried out and never answered. The connection stays.
    Swallow,
    /// The command is carried out, and the connection breaks before the answer.
    Cut,
    /// The connection breaks in the middle of the answer.
    Truncate,
    /// The answer announces more bytes than any TPM sends.
    Oversize,
    /// One bit of the answer's last byte is wrong.
    Garble,
}

/// A command as it crossed the line, and the chip's answer.
pub type Exchanged = (Vec<u8>, Vec<u8>);

/// A fault, for which command (all, where none is named), and how often it still happens (for as long as it is set, where that is not said).
#[derive(Clone, Copy, Debug)]
struct Rule {
    fault: Fault,
    command: Option<u32>,
    left: Option<usize>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    seen: BTreeMap<u32, usize>,
    /// Commands and their answers, where somebody wants to see them.
    recorded: Option<Vec<Exchanged>>,
    /// How many commands wait in [`Fault::Stall`].
    stalled: usize,
    /// Counts the times that what waited was let go on.
    released: usize,
    /// A second handle to each open connection, by its number.
    open: BTreeMap<usize, TcpStream>,
    /// How many connections were taken so far.
    taken: usize,
    ended: bool,
}

#[derive(Debug)]
struct Shared {
    chip: SocketAddr,
    line: Mutex<Option<TcpStream>>,
    state: Mutex<State>,
    changed: Condvar,
}

/// A running proxy. Dropped, it ends with its connections.
#[derive(Debug)]
pub struct FaultyTpm {
    data: SocketAddr,
    shared: Arc<Shared>,
}

const HEADER: usize = 10;
/// No command or response of a TPM is longer, in bytes.
const LONGEST: usize = 4096;

impl FaultyTpm {
    /// Puts a proxy in front of `chip`.
    pub fn before(chip: &Chip) -> Result<Self, Failure> {
        Self::before_address(chip.address())
    }

    /// Puts a proxy in front of the software TPM at this address, whose control channel is on the next port.
    pub fn before_address(chip: SocketAddr) -> Result<Self, Failure> {
        let address = Loopback::next();
        let binding = || Failure::machine(format!("open a TPM proxy on {}", address.ip()));
        let port = address.port()?.min(u16::MAX - 1);
        let data = TcpListener::bind((address.ip(), port)).map_err(binding())?;
        let control = TcpListener::bind((address.ip(), port + 1)).map_err(binding())?;
        let shared =
            Arc::new(Shared { chip, line: Mutex::default(), state: Mutex::default(), changed: Condvar::new() });
        let serving = Arc::clone(&shared);
        accept(data, Arc::clone(&shared), move |client| serving.serve(client));
        let to = SocketAddr::new(chip.ip(), chip.port() + 1);
        accept(control, Arc::clone(&shared), move |client| relay(client, to));
        Ok(Self { data: SocketAddr::new(address.ip(), port), shared })
    }

    /// How tpm2-tss reaches it.
    pub fn tcti(&self) -> String {
        format!("swtpm:host={},port={}", self.data.ip(), self.data.port())
    }

    /// From now on, `command` fails.
    pub fn fail(&self, command: u32, fault: Fault) {
        self.add(Rule { fault, command: Some(command), left: None });
    }

    /// The next so many times, `command` fails.
    pub fn fail_times(&self, times: usize, command: u32, fault: Fault) {
        self.add(Rule { fault, command: Some(command), left: Some(times) });
    }

    /// From now on, everything fails.
    pub fn fail_all(&self, fault: Fault) {
        self.add(Rule { fault, command: None, left: None });
    }

    fn add(&self, rule: Rule) {
        self.shared.state().rules.push(rule);
    }

    /// All is well again, and what waited goes on.
    pub fn lift(&self) {
        self.shared.state().rules.clear();
        self.release();
    }

    /// What waits goes on. The faults that are set stay.
    pub fn release(&self) {
        self.shared.state().released += 1;
        self.shared.changed.notify_all();
    }

    /// How often `command` was sent so far, whatever became of it.
    pub fn seen(&self, command: u32) -> usize {
        self.shared.state().seen.get(&command).copied().unwrap_or_default()
    }

    /// Keeps what crosses the line from now on.
    pub fn record(&self) {
        self.shared.state().recorded = Some(Vec::new());
    }

    /// What crossed the line since [`Self::record`].
    pub fn recorded(&self) -> Vec<Exchanged> {
        self.shared.state().recorded.take().unwrap_or_default()
    }

    /// How many commands wait now.
    pub fn stalled(&self) -> usize {
        self.shared.state().stalled
    }

    /// Breaks every connection there is now: what a chip does that is reset.
    pub fn break_connections(&self) {
        for stream in std::mem::take(&mut self.shared.state().open).into_values() {
            // Gone already is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for FaultyTpm {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.lift();
        self.break_connections();
        // Wakes whoever waits for connections.
        for port in [self.data.port(), self.data.port() + 1] {
            let _ = TcpStream::connect((self.data.ip(), port));
        }
    }
}

/// Takes connections, each in a thread of its own, until the proxy ends.
fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    serve: impl Fn(&TcpStream) -> io::Result<()> + Send + Sync + 'static,
) {
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut state = shared.state();
            if state.ended {
                return;
            }
            // Whoever left before being taken, or came while the process had no descriptor to give, may try again.
            let Ok(client) = client else { continue };
            state.taken += 1;
            let number = state.taken;
            state.open.extend(client.try_clone().map(|second| (number, second)));
            drop(state);
            let (serve, shared) = (Arc::clone(&serve), Arc::clone(&shared));
            thread::spawn(move || {
                // Why it ended is no concern of ours; the other side is to hear that it did, whoever else holds a handle to it.
                let _ = serve(&client);
                let _ = client.shutdown(Shutdown::Both);
                shared.state().open.remove(&number);
            });
        }
    });
}

/// The control channel: whatever is said on it.
pub(crate) fn relay(client: &TcpStream, to: SocketAddr) -> io::Result<()> {
    let chip = TcpStream::connect(to)?;
    let (mut from, mut into) = (client.try_clone()?, chip.try_clone()?);
    let asking = thread::spawn(move || {
        let copied = io::copy(&mut from, &mut into);
        let _ = into.shutdown(Shutdown::Write);
        copied
    });
    let answered = io::copy(&mut &chip, &mut &*client);
    let _ = client.shutdown(Shutdown::Both);
    let _ = asking.join();
    answered.map(drop)
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut client: &TcpStream) -> io::Result<()> {
        loop {
            let command = read_message(client)?;
            let fault = self.fault_for(code_of(&command));
            match fault {
                Some(Fault::Code(code)) => {
                    client.write_all(&refusal(code))?;
                    continue;
                }
                Some(Fault::Stall) => self.wait_until_released(),
                _ => {}
            }
            let response = self.exchange(&command)?;
            if let Some(recorded) = &mut self.state().recorded {
                recorded.push((command.clone(), response.clone()));
            }
            match fault {
                Some(Fault::Swallow) => {}
                Some(Fault::Cut) => return Ok(()),
                Some(Fault::Truncate) => {
                    client.write_all(response.get(..response.len() / 2).unwrap_or_default())?;
                    return Ok(());
                }
                Some(Fault::Oversize) => {
                    let mut long = response;
                    long.splice(2..6, 0x0010_0000_u32.to_be_bytes());
                    client.write_all(&long)?;
                }
                Some(Fault::Garble) => {
                    let mut wrong = response;
                    wrong.last_mut().into_iter().for_each(|byte| *byte ^= 1);
                    client.write_all(&wrong)?;
                }
                Some(Fault::Code(_) | Fault::Stall) | None => client.write_all(&response)?,
            }
        }
    }

    /// Counts a command, and says which fault meets it.
    fn fault_for(&self, code: u32) -> Option<Fault> {
        let mut state = self.state();
        *state.seen.entry(code).or_default() += 1;
        let rule = state
            .rules
            .iter_mut()
            .find(|rule| rule.command.is_none_or(|command| command == code) && rule.left != Some(0))?;
        rule.left = rule.left.map(|left| left - 1);
        Some(rule.fault)
    }

    fn wait_until_released(&self) {
        let mut state = self.state();
        let before = state.released;
        state.stalled += 1;
        while state.released == before {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.stalled -= 1;
    }

    /// Asks the chip. Where it was switched off meanwhile, over a new connection.
    fn exchange(&self, command: &[u8]) -> io::Result<Vec<u8>> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = line.as_ref() {
            let answered = ask(open, command);
            if answered.is_ok() {
                return answered;
            }
        }
        *line = None;
        let new = TcpStream::connect(self.chip)?;
        let answered = ask(&new, command);
        *line = Some(new);
        answered
    }
}

fn ask(mut chip: &TcpStream, command: &[u8]) -> io::Result<Vec<u8>> {
    chip.write_all(command)?;
    read_message(chip)
}

/// A command or a response: tag, size of it all, code, and the rest.
fn read_message(mut from: &TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; HEADER];
    from.read_exact(&mut message)?;
    let size = usize::try_from(number(&message, 2)).unwrap_or(usize::MAX);
    if !(HEADER..=LONGEST).contains(&size) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a TPM message of {size} bytes")));
    }
    message.resize(size, 0);
    from.read_exact(message.get_mut(HEADER..).unwrap_or_default())?;
    Ok(message)
}

fn number(message: &[u8], at: usize) -> u32 {
    message.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

fn code_of(message: &[u8]) -> u32 {
    number(message, 6)
}

/// A response that is nothing but a code: `TPM_ST_NO_SESSIONS`, ten bytes.
fn refusal(code: u32) -> Vec<u8> {
    [&0x8001_u16.to_be_bytes()[..], &10_u32.to_be_bytes(), &code.to_be_bytes()].concat()
}
