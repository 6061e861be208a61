//! The files of a policy: as they lie in a folder, and as one version of them is kept in the store.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use daypass_proto::encoding::sha256;
use daypass_service::read_text;
use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// The folder of projects.
pub(super) const PROJECTS: &str = "projects";
/// How the file with a project's briefing ends, which lies beside the project's own.
pub(super) const BRIEFING: &str = ".briefing.md";
/// The folder of guardrails.
pub(super) const GUARDRAILS: &str = "guardrails";
/// The folder of examples.
pub(super) const EXAMPLES: &str = "tests";
/// What is read: each folder, and how its files end.
const READ: [(&str, &str); 3] = [(PROJECTS, "toml"), (GUARDRAILS, "cedar"), (EXAMPLES, "toml")];
/// The folders of a policy folder.
pub const FOLDERS: [&str; READ.len()] = [READ[0].0, READ[1].0, READ[2].0];
/// What may lie beside it, but for briefings: for people.
const PASSED_OVER: [&str; 2] = ["md", "example"];

/// The most files, and the most bytes of all of them: far above what anybody writes.
const MAX_FILES: usize = 2_000;
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The text of every file by its name below the policy folder, such as `projects/apollo.toml`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Files(BTreeMap<String, String>);

impl Files {
    /// Reads a policy folder. What is neither policy nor plainly for people is a fault: a file that nobody reads is a rule that
    /// somebody believes in.
    pub fn read(folder: &Path) -> Result<Self, Partly> {
        let mut found = Found { files: BTreeMap::new(), bytes: 0, faults: Vec::new() };
        for path in found.list("", folder) {
            let Some(name) = visible(&path) else { continue };
            match READ.iter().find(|(known, _)| *known == name) {
                Some((known, ending)) if path.is_dir() => found.take(known, ending, &path),
                _ if !path.is_dir() && is_for_people(&path) => {}
                _ => {
                    let known = READ.map(|(known, _)| format!("`{known}/`")).join(", ");
                    found
                        .faults
                        .push(Fault::of_file(&name, format!("is not read from here; a policy folder has {known}")));
                }
            }
        }
        Partly { files: Self(found.files), faults: found.faults }.whole()
    }

    /// Files that came by their names, held to what is read from a folder.
    pub fn received(files: BTreeMap<String, String>) -> Result<Self, Partly> {
        let (files, others): (BTreeMap<_, _>, BTreeMap<_, _>) = files.into_iter().partition(|(name, _)| {
            name.split_once('/').is_some_and(|(folder, file)| {
                let plain = !file.contains('/') && !file.starts_with('.');
                plain && READ.iter().any(|(known, ending)| folder == *known && is_read(folder, ending, file))
            })
        });
        let faults = others
            .keys()
            .map(|name| {
                Fault::of_file(
                    name,
                    "is not read; a policy has `projects/*.toml`, `projects/*.briefing.md`, `guardrails/*.cedar` and `tests/*.toml`".to_owned(),
                )
            })
            .collect();
        Partly { files: Self(files), faults }.whole()
    }

    /// The files of one folder, by their names in it.
    pub(super) fn within(&self, folder: &str) -> impl Iterator<Item = (&str, &str)> {
        let prefix = format!("{folder}/");
        self.0
            .iter()
            .filter(move |(name, _)| name.starts_with(&prefix))
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// All of them.
    pub(super) fn texts(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// The version of the policy: SHA-256 over names and contents.
    pub fn hash(&self) -> [u8; 32] {
        let mut all = Vec::new();
        for (name, text) in &self.0 {
            // Both of one length, so that no two policies are one text.
            all.extend_from_slice(&sha256(&[name.as_bytes()]));
            all.extend_from_slice(&sha256(&[text.as_bytes()]));
        }
        sha256(&[&all])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What was read of a policy some of whose files could not be, or are none of a policy's.
#[derive(Debug)]
pub struct Partly {
    /// The others.
    pub files: Files,
    /// What is wrong with those.
    pub faults: Vec<Fault>,
}

impl Partly {
    fn whole(self) -> Result<Files, Self> {
        if self.faults.is_empty() { Ok(self.files) } else { Err(self) }
    }
}

impl<N: Into<String>, T: Into<String>> FromIterator<(N, T)> for Files {
    fn from_iter<I: IntoIterator<Item = (N, T)>>(files: I) -> Self {
        Self(files.into_iter().map(|(name, text)| (name.into(), text.into())).collect())
    }
}

struct Found {
    files: BTreeMap<String, String>,
    bytes: usize,
    faults: Vec<Fault>,
}

impl Found {
    /// What is in a folder, in order.
    fn list(&mut self, name: &str, folder: &Path) -> Vec<PathBuf> {
        let read = || -> io::Result<Vec<PathBuf>> {
            let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
            paths.sort();
            Ok(paths)
        };
        read().unwrap_or_else(|error| {
            let shown = if name.is_empty() { folder.display().to_string() } else { name.to_owned() };
            self.faults.push(Fault::of_file(&shown, format!("could not be read: {error}")));
            Vec::new()
        })
    }

    fn take(&mut self, folder: &str, ending: &str, path: &Path) {
        for path in self.list(folder, path) {
            let Some(name) = visible(&path) else { continue };
            let read = is_read(folder, ending, &name);
            let name = format!("{folder}/{name}");
            if !read {
                if path.is_dir() || !is_for_people(&path) {
                    self.faults.push(Fault::of_file(&name, format!("is not read; files here end in `.{ending}`")));
                }
                continue;
            }
            match read_text(&path) {
                Ok(text) => {
                    self.bytes = self.bytes.saturating_add(text.len());
                    if self.bytes > MAX_BYTES || self.files.len() >= MAX_FILES {
                        self.faults
                            .push(Fault::of_file(&name, format!("is beyond {MAX_FILES} files or {MAX_BYTES} bytes")));
                        return;
                    }
                    self.files.insert(name, text);
                }
                Err(error) => self.faults.push(Fault::of_file(&name, format!("could not be read: {error}"))),
            }
        }
    }
}

/// Whether a file of this name, in this folder of files that end so, is part of a policy.
fn is_read(folder: &str, ending: &str, file: &str) -> bool {
    let ends = |ending: &str| file.strip_suffix(ending).is_some_and(|stem| stem.len() > 1 && stem.ends_with('.'));
    ends(ending) || folder == PROJECTS && file.len() > BRIEFING.len() && file.ends_with(BRIEFING)
}

/// The name of what is not hidden.
fn visible(path: &Path) -> Option<String> {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).filter(|name| !name.starts_with('.'))
}

fn is_for_people(path: &Path) -> bool {
    path.extension().is_some_and(|extension| PASSED_OVER.iter().any(|passed| extension == *passed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn what_nobody_reads_is_said() {
        let good =
            [("projects/a.toml", "x"), ("projects/b.toml.example", "x"), ("README.md", "x"), (".git/config", "x")];
        let files = Files::read(folder(&good).path()).unwrap();
        assert_eq!(files.within(PROJECTS).collect::<Vec<_>>(), [("projects/a.toml", "x")]);
        let more = [good[0], ("projects/a.briefing.md", "y"), ("projects/a.md", "z"), ("projects/.briefing.md", "z")];
        let files = Files::read(folder(&more).path()).unwrap();
        assert_eq!(
            files.within(PROJECTS).collect::<Vec<_>>(),
            [("projects/a.briefing.md", "y"), ("projects/a.toml", "x")]
        );
        for stray in [
            "a.toml",
            "project/a.toml",
            "projects/a.tml",
            "projects/deep/a.toml",
            "guardrail.cedar",
            "projects/a.toml~",
            "tests/a.yaml",
            "projects/a.briefing.txt",
        ] {
            let partly = Files::read(folder(&[good[0], (stray, "x")]).path()).unwrap_err();
            assert_eq!((partly.faults.len(), partly.files.len()), (1, 1), "{stray}: {partly:?}");
        }
        assert!(Files::read(Path::new("/nonexistent")).unwrap_err().faults[0].to_string().contains("/nonexistent"));
    }

    #[test]
    fn files_that_are_sent_are_those_that_would_be_read() {
        let received = |name: &str| {
            Files::received([(name.to_owned(), String::new())].into()).map_err(|partly| partly.faults.len())
        };
        for good in ["projects/a.toml", "projects/a.briefing.md", "guardrails/a.cedar", "tests/a.toml"] {
            assert!(received(good).is_ok(), "{good}");
        }
        for bad in [
            "a.toml",
            "projects/a.cedar",
            "projects/deep/a.toml",
            "projects/../a.toml",
            "projects/.toml",
            "projects/.a.toml",
            "other/a.toml",
            "/projects/a.toml",
            "projects/atoml",
            "projects/a.md",
            "projects/.briefing.md",
            "tests/a.briefing.md",
        ] {
            assert_eq!(received(bad), Err(1), "{bad}");
        }
    }

    #[test]
    fn each_policy_has_a_hash_of_its_own() {
        let hash = |files: &[(&str, &str)]| files.iter().copied().collect::<Files>().hash();
        let all = [
            hash(&[]),
            hash(&[("projects/a.toml", "x")]),
            hash(&[("projects/b.toml", "x")]),
            hash(&[("projects/a.toml", "y")]),
            hash(&[("projects/a.toml", ""), ("projects/b.toml", "x")]),
            hash(&[("projects/a.toml", "x"), ("projects/b.toml", "")]),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
