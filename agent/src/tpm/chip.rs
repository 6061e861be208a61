//! The owner thread's side: the connection, how to get another, and patience with a chip that asks for it.
//!
//! Three kinds of faults pass by themselves, and each is met once here rather than at every command:
//!
//! * **The connection is lost**, or what was loaded is gone (a reset, a suspend, a TPM that was cleared): once more over a new one. So too
//!   where the chip says something that makes no sense for what was asked: on a bare TPM somebody else's key may be behind our handle.
//! * **The chip puts a command off** (`TPM_RC_RETRY`, `TPM_RC_YIELDED`, `TPM_RC_TESTING`, `TPM_RC_NV_RATE` …), or others hold its slots: again,
//!   with growing pauses. tpm2-tss sends a command that was answered with the first three up to five times by itself, without a pause; so
//!   each try here is up to five there.
//! * **Nobody waits for the answer any more**: no further try.

use std::{sync::Arc, time::Duration};

use super::{TpmConfig, connection::Connection, error::TpmError, pace::Pace};

/// The pauses between tries, in milliseconds. Together less than the shortest deadline, so that whoever waits hears the chip's own reason.
pub(super) const BACK_OFF: [u64; 8] = [20, 40, 80, 160, 320, 640, 640, 640];

/// The chip, as the owner thread holds it.
pub(super) struct Chip {
    config: TpmConfig,
    pace: Arc<dyn Pace>,
    connection: Option<Connection>,
}

impl Chip {
    pub(super) fn new(config: TpmConfig, pace: Arc<dyn Pace>) -> Self {
        Self { config, pace, connection: None }
    }

    /// Does something, again where that may help and `is_wanted` still says so.
    pub(super) fn run<T>(
        &mut self,
        is_wanted: impl Fn() -> bool,
        act: impl Fn(&mut Connection) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let mut reconnected = false;
        let mut pauses = BACK_OFF.map(Duration::from_millis).into_iter();
        loop {
            let error = match self.once(&act) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if error.is_lost() || error.makes_no_sense() {
                self.connection = None;
                if reconnected {
                    return Err(self.named(error));
                }
                tracing::warn!(%error, tcti = %self.config.tcti, "connecting to the TPM again");
                reconnected = true;
            } else {
                let Some(pause) = pauses.next().filter(|_| error.may_pass() && is_wanted()) else { return Err(error) };
                tracing::debug!(%error, ?pause, "trying the TPM again");
                self.pace.pause(pause);
            }
        }
    }

    fn once<T>(&mut self, act: impl Fn(&mut Connection) -> Result<T, TpmError>) -> Result<T, TpmError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            empty => empty.insert(Connection::open(&self.config, &self.pace)?),
        };
        act(connection)
    }

    fn named(&self, error: TpmError) -> TpmError {
        match error {
            TpmError::Lost { attempted, why, .. } => {
                TpmError::Lost { tcti: self.config.tcti.to_string(), attempted, why }
            }
            other => other,
        }
    }
}
