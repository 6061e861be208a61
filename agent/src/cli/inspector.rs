//! `daypass inspector`: opens its socket and answers the agent.

use std::{fs, io, os::unix::fs::PermissionsExt as _, os::unix::net::UnixListener, path::Path};

use daypass_proto::local_api::ErrorCode;
use nix::unistd::{User, chown};

use super::{arguments::Inspector, failure::Failure};
use crate::{
    caller::inspector::serve,
    file_kind::{AtSocket, at_socket},
};

pub(super) fn run(asked: &Inspector) -> Result<(), Failure> {
    let asker = uid_of(&asked.asker)?;
    let failed = |error: io::Error| {
        Failure::new(
            ErrorCode::Configuration,
            format!("could not open the inspector's socket: {error}"),
            "start it by `daypass-inspector.socket`, or name a free path with `--listen`",
        )
    };
    let listener = match (listenfd::ListenFd::from_env().take_unix_listener(0).map_err(failed)?, &asked.listen) {
        (Some(inherited), _) => inherited,
        (None, Some(path)) => listen(path, asker).map_err(failed)?,
        (None, None) => {
            return Err(Failure::new(
                ErrorCode::Configuration,
                "no socket was handed over, and none was named",
                "start it by `daypass-inspector.socket`, or name a path with `--listen`",
            ));
        }
    };
    serve(&listener, asker).map_err(failed)
}

fn uid_of(asker: &str) -> Result<u32, Failure> {
    if let Ok(uid) = asker.parse() {
        return Ok(uid);
    }
    match User::from_name(asker) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        _ => Err(Failure::new(
            ErrorCode::Configuration,
            format!("there is no user `{asker}`"),
            "name the user that the agent runs as with `--asker`",
        )),
    }
}

/// Opens the socket for the asker alone. Bound under another name and moved into place when it is ready: nobody meets one with the wrong mode.
fn listen(path: &Path, asker: u32) -> io::Result<UnixListener> {
    let new = path.with_extension("new");
    for old in [path, &new] {
        match at_socket(old)? {
            AtSocket::Socket => fs::remove_file(old)?,
            AtSocket::Nothing => {}
            AtSocket::Other(kind) => {
                let taken = format!("`{}` is {kind}, and no socket: it is left alone", old.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, taken));
            }
        }
    }
    let listener = UnixListener::bind(&new)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
    if nix::unistd::geteuid().as_raw() != asker {
        chown(&new, Some(asker.into()), None)?;
    }
    fs::rename(&new, path)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_socket_is_left_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (path, own) = (folder.path().join("inspector.sock"), nix::unistd::geteuid().as_raw());
        fs::write(&path, "kept").unwrap();
        assert!(listen(&path, own).unwrap_err().to_string().contains("is a regular file"));
        assert_eq!(fs::read(&path).unwrap(), b"kept");
        fs::remove_file(&path).unwrap();
        drop(listen(&path, own).unwrap());
        listen(&path, own).unwrap();
    }
}
