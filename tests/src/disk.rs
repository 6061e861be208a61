//! Disks that fail: one that is full or read-only, in a mount namespace of its own, and one whose system calls fail or take their time.
//!
//! Both are the kernel's own faults, met by the built program as it is: a small `tmpfs`, and `strace`, which answers system calls in the kernel's
//! place for as long as it is attached. Both need root.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::sys::signal::Signal;

use crate::{Act, Failure, Place, Process, Programs, Ready, Service, Who, wait};

/// A small disk, mounted where only those see it who are [`Act::on_disk`].
#[derive(Debug)]
pub struct Disk {
    at: PathBuf,
    holder: Process,
}

impl Disk {
    /// An empty disk of `size` (as `mount` takes it) at the folder `at`.
    pub fn new(place: &Place, at: &Path, size: &str) -> Result<Self, Failure> {
        let ready = place.path().join("disk-ready");
        let uid = Who::Server.effective_uid();
        let script = format!(
            "mount -t tmpfs -o size={size},mode=0700,uid={uid},gid={uid} disk '{}' && touch '{}' && exec sleep infinity",
            at.display(),
            ready.display()
        );
        let act = Act::new(Programs::system("unshare")?, Who::Myself)
            .args(["--mount", "--propagation", "private", "sh", "-c"])
            .arg(script);
        let mut holder = Service::new("disk", act, Ready::AtOnce, place.path()).start()?;
        match wait::until(|| (ready.exists() || holder.ended()).then(|| ready.exists())) {
            Some(true) => Ok(Self { at: at.to_owned(), holder }),
            _ => Err(Failure::unexpected("a small disk", holder.log())),
        }
    }

    /// The process whose mounts show it.
    pub(crate) fn namespace(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/mnt", self.holder.pid()))
    }

    /// A file on it, as the harness sees it.
    pub fn seen(&self, name: &str) -> PathBuf {
        let inside = self.at.strip_prefix("/").unwrap_or(&self.at);
        PathBuf::from(format!("/proc/{}/root", self.holder.pid())).join(inside).join(name)
    }

    /// Fills what is left of it.
    pub fn fill(&self) -> Result<(), Failure> {
        let filling = self.seen("filling");
        let mut file = fs::File::create(&filling).map_err(Failure::machine(format!("make `{}`", filling.display())))?;
        // The error is what this is for.
        let _ = std::io::copy(&mut std::io::repeat(0), &mut file);
        Ok(())
    }

    /// Takes away what fills it.
    pub fn free(&self) -> Result<(), Failure> {
        fs::remove_file(self.seen("filling")).map_err(Failure::machine("free the disk"))
    }

    /// Mounts it anew, read-only or not. Nobody may have a file on it open for writing then.
    pub fn read_only(&self, on: bool) -> Result<(), Failure> {
        let how = if on { "remount,ro" } else { "remount,rw" };
        let mount =
            Act::new(Programs::system("mount")?, Who::Myself).args(["-o", how]).arg(&self.at).on_disk(Some(self));
        mount.run()?.succeeded().map(drop)
    }
}

/// System calls of a running program that go wrong until this is dropped.
#[derive(Debug)]
pub struct Interference {
    strace: Process,
    of: u32,
}

impl Interference {
    /// Attaches to `process`; `rule` says which calls, and what becomes of them, as in `pwrite64:error=EROFS`.
    pub fn with(process: &Process, rule: &str, logs: &Path) -> Result<Self, Failure> {
        let (calls, _) = rule.split_once(':').unwrap_or((rule, ""));
        let of = process.pid();
        let act = Act::new(Programs::system("strace")?, Who::Myself)
            .args(["-f", "-qq", "-o", "/dev/null", "-p", &of.to_string()])
            .args(["-e", &format!("trace={calls}"), "-e", &format!("inject={rule}")]);
        let mut strace = Service::new("strace", act, Ready::AtOnce, logs).start()?;
        match wait::until(|| (strace.ended() || traced(of, true)).then(|| traced(of, true))) {
            Some(true) => Ok(Self { strace, of }),
            _ => Err(Failure::unexpected("strace attached", strace.log())),
        }
    }

    /// Lets the program alone again.
    pub fn end(self) -> Result<(), Failure> {
        self.strace.signal(Signal::SIGTERM);
        match wait::until(|| traced(self.of, false).then_some(())) {
            Some(()) => Ok(()),
            None => Err(Failure::unexpected("strace gone", self.strace.log())),
        }
    }
}

/// Whether every thread of a process has a tracer, or none has.
fn traced(pid: u32, wanted: bool) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    tasks.flatten().all(|task| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).map(str::trim);
        // A thread that has ended meanwhile counts for both.
        tracer.is_none_or(|tracer| (tracer != "0") == wanted)
    })
}
