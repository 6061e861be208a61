//! What is kept of a search: one text file for each target, a line of base64url for each input, the shortest first. What once broke something
//! stands in `regressions/`, as it is, in a file named after the fault.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use daypass_proto::encoding::{base64url, from_base64url};

use crate::Target;

/// The most that is kept for a target, in bytes of text.
const KEPT: usize = 40 * 1024;

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file(target: &Target) -> PathBuf {
    folder().join("corpus").join(target.name)
}

/// Everything that is kept for a target: seeds, corpus, regressions.
///
/// # Errors
/// A file that is there and does not read.
pub fn inputs(target: &Target) -> io::Result<Vec<Vec<u8>>> {
    let mut inputs = (target.seeds)();
    match fs::read_to_string(file(target)) {
        Ok(text) => {
            for line in text.lines() {
                inputs.push(from_base64url(line).ok_or(io::ErrorKind::InvalidData)?);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    inputs.extend(files(&folder().join("regressions").join(target.name))?);
    Ok(inputs)
}

fn files(folder: &Path) -> io::Result<Vec<Vec<u8>>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| fs::read(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Writes everything that is kept for a target into a folder, as libFuzzer reads it.
///
/// # Errors
/// The system's.
pub fn unpack(target: &Target, into: &Path) -> io::Result<()> {
    fs::create_dir_all(into)?;
    for (at, input) in inputs(target)?.iter().enumerate() {
        fs::write(into.join(format!("{at:05}")), input)?;
    }
    Ok(())
}

/// Keeps the shortest inputs of a folder as the target's corpus.
///
/// # Errors
/// The system's.
pub fn pack(target: &Target, from: &Path) -> io::Result<usize> {
    let seeds = (target.seeds)();
    let mut lines: Vec<String> =
        files(from)?.iter().filter(|input| !seeds.contains(input)).map(|input| base64url(input)).collect();
    lines.sort_by(|one, other| one.len().cmp(&other.len()).then_with(|| one.cmp(other)));
    lines.dedup();
    let mut text = String::new();
    let mut kept = 0;
    for line in &lines {
        if text.len() + line.len() >= KEPT {
            break;
        }
        text.push_str(line);
        text.push('\n');
        kept += 1;
    }
    fs::create_dir_all(folder().join("corpus"))?;
    fs::write(file(target), text)?;
    Ok(kept)
}
