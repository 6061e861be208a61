//! What `/proc` says of a process. What may not be read is missing, and never an error.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::digest;
use daypass_proto::caller::{ContentHash, Executable, Process, Reported, Unit};

/// The largest executable that is hashed, in bytes.
const MAX_EXECUTABLE: u64 = 512 * 1024 * 1024;
/// How many hashes are remembered.
const REMEMBERED: usize = 256;
/// The most that is read of a file of `/proc`, in bytes.
const MAX_PROC: u64 = 64 * 1024;

/// When a process started, in clock ticks since the machine did (proc(5), field 22 of `stat`).
pub fn start_time(pid: i32) -> Option<u64> {
    Stat::read(pid).map(|stat| stat.start_time)
}

/// The parent of a process, where that is older than it: a parent that ended may have left its id to a younger process.
pub fn parent(pid: i32) -> Option<i32> {
    let child = Stat::read(pid)?;
    let parent = Stat::read(child.parent)?;
    // Read again: the child may have been given another parent meanwhile.
    (parent.start_time <= child.start_time && Stat::read(pid)? == child).then_some(child.parent)
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stat {
    parent: i32,
    start_time: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&text(pid, "stat")?)
    }

    /// The name of the process stands in parentheses and may hold anything, parentheses and spaces too: what counts follows the last one.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        // Fields 4 and 22; the first here is 3.
        let parent = fields.nth(1)?.parse().ok()?;
        let start_time = fields.nth(17)?.parse().ok()?;
        Some(Self { parent, start_time })
    }
}

fn text(pid: i32, name: &str) -> Option<String> {
    let mut text = String::new();
    File::open(format!("/proc/{pid}/{name}")).ok()?.take(MAX_PROC).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The unit in the unified hierarchy (cgroups(7)).
fn unit(pid: i32) -> Option<Unit> {
    unit_of(&text(pid, "cgroup")?)
}

fn unit_of(cgroup: &str) -> Option<Unit> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    path.rsplit('/').find_map(|part| Unit::try_from(part.to_owned()).ok())
}

/// Reads what can be read of processes; remembers the hashes of executables that have not changed.
#[derive(Debug, Default)]
pub struct Reader {
    hashes: Mutex<HashMap<FileId, ContentHash>>,
}

/// What changes when a file's content does.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct FileId {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Reader {
    /// What can be learned of this process from here.
    pub fn read(&self, pid: i32) -> Process {
        Process { executable: executable(pid).into(), sha256: self.hash(pid).into(), unit: Reported::from(unit(pid)) }
    }

    fn hash(&self, pid: i32) -> Option<ContentHash> {
        // The link leads to the very file that runs, also where its path has another file now, or none.
        let mut file = File::open(format!("/proc/{pid}/exe")).ok()?;
        let metadata = file.metadata().ok()?;
        if metadata.len() > MAX_EXECUTABLE {
            return None;
        }
        let id = FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        if let Some(known) = self.hashes.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Some(known.clone());
        }
        let mut context = digest::Context::new(&digest::SHA256);
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match file.read(&mut chunk).ok()? {
                0 => break,
                read => context.update(chunk.get(..read)?),
            }
        }
        let hash = ContentHash::new(context.finish().as_ref().try_into().ok()?);
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        if hashes.len() >= REMEMBERED {
            hashes.clear();
        }
        hashes.insert(id, hash.clone());
        Some(hash)
    }
}

fn executable(pid: i32) -> Option<Executable> {
    let path: PathBuf = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    path.into_os_string().into_string().ok().and_then(|text| Executable::try_from(text).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_cannot_forge_the_other_fields() {
        let numbers = "S 7 1 1 0 -1 4194560 100 0 0 0 0 0 0 0 20 0 1 0 12345 1000 10";
        let expected = Some(Stat { parent: 7, start_time: 12345 });
        assert_eq!(Stat::parse(&format!("42 (git) {numbers}")), expected);
        assert_eq!(Stat::parse(&format!("42 (a) S 1 1 (b) {numbers}")), expected);
        for bad in ["", "42", "42 (git)", "42 (git) S x", "42 (git) S 7 1 1 0 -1 4194560 100 0 0 0"] {
            assert_eq!(Stat::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_nearest_unit_counts() {
        let unit = |text: &str| unit_of(text).map(|unit| unit.to_string());
        assert_eq!(unit("0::/system.slice/cron.service\n").as_deref(), Some("cron.service"));
        assert_eq!(
            unit("1:name=x:/y\n0::/user.slice/user-1000.slice/user@1000.service/app.slice/vte-1.scope\n").as_deref(),
            Some("vte-1.scope")
        );
        assert_eq!(unit("0::/system.slice/a.service/payload\n").as_deref(), Some("a.service"));
        assert_eq!(unit("0::/\n"), None);
        assert_eq!(unit("1:cpu:/x.service\n"), None);
    }

    #[test]
    fn this_very_process_can_be_read() {
        let reader = Reader::default();
        let own = i32::try_from(std::process::id()).unwrap();
        let process = reader.read(own);
        let path = std::env::current_exe().unwrap();
        assert_eq!(process.executable.to_string(), path.display().to_string());
        let content = fs::read(&path).unwrap();
        let hash = daypass_proto::encoding::sha256(&[&content]);
        assert_eq!(process.sha256, Reported::Known(ContentHash::new(hash)));
        assert_eq!(reader.read(own), process, "from memory");
        assert_eq!(parent(own), Some(i32::try_from(std::os::unix::process::parent_id()).unwrap()));
        assert_eq!(reader.read(i32::MAX), Process::default());
    }
    proptest! {
        #[test]
        fn whatever_a_process_calls_itself(name in "[ -~\n)(]{0,40}", junk in "\\PC{0,60}") {
            let numbers = "S 7 1 1 0 -1 4194560 100 0 0 0 0 0 0 0 20 0 1 0 12345 1000 10";
            let expected = Some(Stat { parent: 7, start_time: 12345 });
            prop_assert_eq!(Stat::parse(&format!("42 ({name}) {numbers}")), expected);
            let _ = Stat::parse(&junk);
            if let Some(unit) = unit_of(&format!("0::/{junk}\n")) {
                prop_assert!(junk.contains(unit.as_ref()));
            }
        }
    }
}
