//! Running a program of the system: what it says is kept, and shown where it fails.

use std::{
    ffi::OsStr,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::failure::Failure;

/// `program` with `arguments`, ready to run.
pub(crate) fn tool<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Runs it to its end and gives what it said on both streams, whatever its end.
pub(crate) fn ran(command: &mut Command) -> Result<(Output, String), Failure> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|source| Failure::Start { what: shown, source })?;
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    Ok((output, String::from_utf8_lossy(&said).into_owned()))
}

/// Runs it, and goes on only where it ended well; gives its standard output.
pub(crate) fn run(command: &mut Command) -> Result<String, Failure> {
    let (output, said) = ran(command)?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Failure::Tool { command: shown(command), output: said })
    }
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// A file operation's failure, named.
pub(crate) fn file(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    let path = path.to_owned();
    move |source| Failure::File { what, path, source }
}

/// Makes a folder, new and empty.
pub(crate) fn fresh_folder(path: &Path) -> Result<(), Failure> {
    if path.exists() {
        fs::remove_dir_all(path).map_err(file("remove", path))?;
    }
    fs::create_dir_all(path).map_err(file("make", path))
}
