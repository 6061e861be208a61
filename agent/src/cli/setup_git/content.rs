//! The text of the two files.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use daypass_proto::{local_api::ErrorCode, resource::Resource};

use crate::cli::failure::Failure;

const BEGIN: &str = "# begin: written by `daypass setup git`; `daypass setup git --undo` takes it away";
/// Ends the first line where the line before ours had no line break of its own.
const JOINED: &str = " (the line break before this is ours, too)";
const END: &str = "# end: written by `daypass setup git`";
const CREDENTIAL: &str = "[credential]";
const INCLUDE: &str = "[include]";

/// The helper as git is to run it.
pub(super) struct HelperLine {
    /// The program, by its full path.
    pub(super) program: PathBuf,
    /// The agent's socket, where it is an unusual one.
    pub(super) socket: Option<PathBuf>,
}

impl HelperLine {
    /// git runs a line that begins with `/` through the shell, so what a shell would read otherwise gets a backslash.
    fn line(&self) -> Result<String, Failure> {
        let mut line = for_shell(&self.program)?;
        if let Some(socket) = &self.socket {
            line += " --socket ";
            line += &for_shell(socket)?;
        }
        Ok(line + " --exclusive")
    }
}

/// Our own file.
pub(super) fn sections(resources: &BTreeMap<Resource, Option<String>>, helper: &HelperLine) -> Result<String, Failure> {
    let helper = quoted(&helper.line()?);
    let mut text =
        "# Written by `daypass setup git`, which overwrites it; `daypass setup git --undo` takes it away.\n".to_owned();
    for (resource, ca_file) in resources {
        let _ = write!(
            text,
            "\n[credential \"{resource}\"]\n\
             \t# Whatever helper stands before this one would be told to store what ours hands out: an empty value drops them all.\n\
             \thelper =\n\
             \thelper = {helper}\n\
             \t# Credentials are for one repository, so git has to say which.\n\
             \tuseHttpPath = true\n"
        );
        if let Some(file) = ca_file {
            let _ = write!(text, "[http \"{resource}\"]\n\tsslCAInfo = {}\n", quoted(plain(Path::new(file))?));
        }
    }
    Ok(text)
}

/// The lines that include our file. The empty section before it catches what `git config --global credential.helper …` adds later: git
/// adds to the last section of that name, so it comes before our include instead of after it.
pub(super) fn include(ours: &Path) -> Result<String, Failure> {
    Ok(format!("{BEGIN}\n{CREDENTIAL}\n{INCLUDE}\n\tpath = {}\n{END}\n", quoted(plain(ours)?)))
}

/// `text` with the include as its last lines.
pub(super) fn with_include(text: &str, include: &str) -> String {
    if text.is_empty() || text.ends_with('\n') {
        return format!("{text}{include}");
    }
    format!("{text}\n{}", include.replacen(BEGIN, &format!("{BEGIN}{JOINED}"), 1))
}

/// `text` without our lines. What git wrote among them since stays.
pub(super) fn without_include(text: &str) -> Result<String, Failure> {
    let mut rest = String::new();
    let mut lines = text.split_inclusive('\n');
    while let Some(line) = lines.next() {
        let Some(joined) = begins(line) else {
            rest.push_str(line);
            continue;
        };
        let before = rest.len();
        let mut heading = "";
        let mut path_seen = false;
        loop {
            let Some(line) = lines.next() else {
                return Err(Failure::new(
                    ErrorCode::Configuration,
                    format!("the git configuration has the line `{BEGIN}` without its end"),
                    "take that line and the include below it out by hand, then run this again",
                ));
            };
            match line.trim() {
                END => break,
                CREDENTIAL => heading = "[credential]\n",
                INCLUDE => heading = "[include]\n",
                // The first path is ours; others came later.
                path if !path_seen && path.starts_with("path") => path_seen = true,
                _ => {
                    rest.push_str(std::mem::take(&mut heading));
                    rest.push_str(line);
                }
            }
        }
        // What git wrote since needs the line break.
        if joined && rest.len() == before && lines.clone().next().is_none() && rest.ends_with('\n') {
            rest.pop();
        }
    }
    Ok(rest)
}

/// Whether our lines begin here, and with them a line break that is ours.
fn begins(line: &str) -> Option<bool> {
    match line.trim_end().strip_prefix(BEGIN)? {
        "" => Some(false),
        JOINED => Some(true),
        _ => None,
    }
}

fn plain(path: &Path) -> Result<&str, Failure> {
    path.to_str().filter(|text| !text.contains(['\n', '\r', '\0'])).ok_or_else(|| {
        Failure::new(
            ErrorCode::Configuration,
            format!("git's configuration cannot hold the path `{}`", path.to_string_lossy().escape_debug()),
            "use a path in UTF-8 without line breaks",
        )
    })
}

fn for_shell(path: &Path) -> Result<String, Failure> {
    let mut line = String::new();
    for letter in plain(path)?.chars() {
        if letter.is_ascii()
            && !letter.is_ascii_alphanumeric()
            && !matches!(letter, '/' | '.' | '_' | '-' | '+' | ':' | '@' | ',')
        {
            line.push('\\');
        }
        line.push(letter);
    }
    Ok(line)
}

/// A value in git's syntax; quoted where anything in it would be read otherwise.
fn quoted(value: &str) -> String {
    let harmless = |letter: char| letter.is_ascii_alphanumeric() || "/._-+:@, ".contains(letter);
    if value.chars().all(harmless) && value.trim() == value {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', r"\\").replace('"', r#"\""#))
}
