//! `daypass agent`: the service. It opens its socket, serves, keeps things fresh, and ends when it is told to.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use thiserror::Error;
use tokio::net::UnixListener;

use crate::{
    agent::Agent,
    api,
    caller::Caller,
    clock,
    config::Config,
    connections::Bounded,
    error::AgentError,
    file_kind::{AtSocket, at_socket},
    tpm::{Deadlines, TpmOwner, real_pace},
};

/// How often the work between requests is looked at. Each look compares times of day, so a suspended laptop is right at the next one.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
/// For how long what is under way at the chip is waited for at the end: as long as a signature may take, and well within a service
/// manager's patience. A chip that hangs keeps nobody from stopping.
const REST: Duration = Duration::from_secs(15);

/// Why the service does not run.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// The owner thread.
    #[error("could not start the thread that owns the TPM")]
    Thread(#[source] io::Error),
    /// The state.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The socket.
    #[error("could not open the socket `{}`", path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something at the socket's path that is no socket.
    #[error("`{}` is {kind}, and no socket: it is left alone; move it away, or name another `socket`", path.display())]
    Taken {
        /// Which.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Another agent.
    #[error("another agent answers on `{}`", .0.display())]
    Running(PathBuf),
    /// Serving.
    #[error("could not serve")]
    Serve(#[source] io::Error),
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(config: Config) -> Result<(), DaemonError> {
    let stopped = stop_signal().map_err(DaemonError::Serve)?;
    let (tpm, rest) =
        TpmOwner::start(config.tpm.clone(), Deadlines::default(), real_pace()).map_err(DaemonError::Thread)?;
    let agent = Arc::new(Agent::open(config, clock::system(), tpm)?);
    let listener = listen(agent.socket())?;
    agent.publish_authorities();
    tracing::info!(socket = %agent.socket().display(), "serving");
    // Under a service manager only; elsewhere there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let worker = Arc::clone(&agent);
    let housekeeping = tokio::spawn(async move {
        let mut tick = tokio::time::interval(HOUSEKEEPING);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            worker.housekeeping().await;
        }
    });
    // Apart from the above, so that a ledger that answers slowly holds up no renewal.
    let worker = Arc::clone(&agent);
    let following = tokio::spawn(async move {
        let mut tick = tokio::time::interval(HOUSEKEEPING);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            worker.follow_ledgers().await;
        }
    });
    let service = api::routes(agent).into_make_service_with_connect_info::<Caller>();
    let served = axum::serve(Bounded::new(listener), service).with_graceful_shutdown(stopped).await;
    housekeeping.abort();
    following.abort();
    let ended = async {
        let _ = tokio::join!(housekeeping, following);
        rest.come().await;
    };
    if tokio::time::timeout(REST, ended).await.is_err() {
        tracing::warn!("the TPM has not answered yet: stopping without its answer");
    }
    served.map_err(DaemonError::Serve)
}

/// Resolves when the service is told to stop. The signals are taken from the call on, not from the first poll: whoever starts this
/// program may stop it at once.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Whether a socket is there; nothing else is ever taken away.
fn is_socket(path: &Path) -> Result<bool, DaemonError> {
    match at_socket(path) {
        Ok(AtSocket::Socket) => Ok(true),
        Ok(AtSocket::Nothing) => Ok(false),
        Ok(AtSocket::Other(kind)) => Err(DaemonError::Taken { path: path.to_owned(), kind }),
        Err(source) => Err(DaemonError::Socket { path: path.to_owned(), source }),
    }
}

/// The service manager's socket where it hands one over; else our own, in a folder that decides who reaches it.
fn listen(path: &Path) -> Result<UnixListener, DaemonError> {
    let failed = |source| DaemonError::Socket { path: path.to_owned(), source };
    if let Some(inherited) = listenfd::ListenFd::from_env().take_unix_listener(0).map_err(failed)? {
        inherited.set_nonblocking(true).map_err(failed)?;
        return UnixListener::from_std(inherited).map_err(failed);
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    if is_socket(path)? {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(DaemonError::Running(path.to_owned()));
        }
        // Of an agent that was killed; binding does not replace it.
        fs::remove_file(path).map_err(failed)?;
    }
    // Bound under another name and moved into place when it is ready: nobody meets a socket with the wrong mode. Any local user may
    // connect where the folder lets them; whom the agent answers, it decides by uid.
    let new = path.with_extension("new");
    if is_socket(&new)? {
        fs::remove_file(&new).map_err(failed)?;
    }
    let listener = UnixListener::bind(&new).map_err(failed)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o666)).map_err(failed)?;
    fs::rename(&new, path).map_err(failed)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_socket_is_left_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        for taken in [path.clone(), folder.path().join("agent.new")] {
            fs::write(&taken, "kept").unwrap();
            let refused = listen(&path).unwrap_err().to_string();
            assert!(refused.contains(&format!("`{}` is a regular file", taken.display())), "{refused}");
            assert_eq!(fs::read(&taken).unwrap(), b"kept");
            fs::remove_file(&taken).unwrap();
        }
        // One that an agent left behind which was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listening = listen(&path).unwrap();
        assert!(matches!(listen(&path), Err(DaemonError::Running(_))));
        drop(listening);
    }
}
