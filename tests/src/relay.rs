//! A line to a server that can be cut, without the server knowing of it beforehand.

use std::{
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use crate::{Failure, faulty_tpm::relay};

#[derive(Debug, Default)]
struct State {
    open: Vec<TcpStream>,
    taken: usize,
    ended: bool,
}

/// A running relay. Dropped, it ends with its connections.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Relay {
    /// Puts a relay before the server at this address: the same host, another port.
    pub fn before(server: SocketAddr) -> Result<Self, Failure> {
        let opening = || Failure::machine(format!("open a relay before {server}"));
        let listener = TcpListener::bind((server.ip(), 0)).map_err(opening())?;
        let address = listener.local_addr().map_err(opening())?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                if state.ended {
                    return;
                }
                let Ok(client) = client else { continue };
                state.taken += 1;
                state.open.extend(client.try_clone());
                drop(state);
                // Why it ended is no concern of ours.
                thread::spawn(move || drop(relay(&client, server)));
            }
        });
        Ok(Self { address, state })
    }

    /// Where it is reached.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks every connection there is now.
    pub fn cut(&self) {
        for stream in std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).open) {
            // Gone already is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How many connections were taken so far.
    pub fn taken(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).taken
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.cut();
        // Wakes whoever waits for connections.
        let _ = TcpStream::connect(self.address);
    }
}
